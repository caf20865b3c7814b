"""What leaves a segment empty without a word: names that nobody has, files that nobody reads."""

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from clickstream_platform.segments.rules import Segment


def unread_files(definitions: Path | None) -> list[str]:
    """Files of the user's `segments/` folder that look like segments, but are not read as any."""
    if definitions is None:
        return []
    folder = definitions / "segments"
    read = set(folder.glob("*.toml"))
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path not in read
        and not path.name.startswith(".")
        and ".toml" in path.name.lower()
        and path.is_file()
    )


def unknown_names(
    segments: Iterable[Segment], *, event_names: Collection[str], channels: Collection[str]
) -> list[str]:
    """Names in rules that no row has, in words, with the nearest one that some row has.

    Args:
        segments: Whose rules.
        event_names: Names of events that have occurred; empty before the first event, and then
            not asked for.
        channels: Channels that sessions can have.
    """
    known = {("sessions", "channel"): (channels, "no rule of channels gives")}
    if event_names:
        known["events", "event_name"] = (event_names, "never occurred in events")
    found = []
    for segment in segments:
        for table, column, value in _texts(segment):
            names, fault = known.get((table, column), ((value,), ""))
            if value not in names:
                close = get_close_matches(value, names, n=1)
                meant = f" (did you mean {close[0]}?)" if close else ""
                found.append(f"{segment.name}: {column} {value} {fault}{meant}")
    return list(dict.fromkeys(found))


def _texts(segment: Segment) -> Iterator[tuple[str, str, str]]:
    """Table, column and value of every text that a rule compares with."""
    for rule in segment.rule.activities():
        for column, test in rule.tests.items():
            for value in test if isinstance(test, tuple) else (test,):
                if isinstance(value, str):
                    yield str(rule.counted), column, value
