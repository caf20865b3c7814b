"""Retaking: raw events are made anew from the landed files, where those are what they were."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

import polars as pl

from clickstream_platform.events.adapters import adapter_for, read_adapters, require_adapters
from clickstream_platform.events.door import open_door
from clickstream_platform.events.landed import LandedFile, sha256_of
from clickstream_platform.events.landing import take
from clickstream_platform.events.ledger import Ledger
from clickstream_platform.lake import Lake, polars_schema, turn
from clickstream_platform.settings import Settings


def retake_days(settings: Settings, days: Collection[date]) -> bool:
    """Take anew whatever arrived on some days; the next refresh of events loads it again.

    Nothing of these days in raw_events is read: it may be broken.

    Returns:
        Whether that was done. It is not, and nothing changes, where a landed file is gone or not
        what it was.
    """
    with turn(settings.state):
        return _retaken(settings, days)


def _retaken(settings: Settings, days: Collection[date]) -> bool:
    lake, ledger = Lake(settings.lake_folder), Ledger(settings.state)
    rows = [row for row in ledger.in_state("landed", "loading", "loaded") if _day(row) in days]
    if any(_landed(settings, row) is None for row in rows):
        return False
    require_adapters([str(row["source"]) for row in rows], settings.definitions)
    chosen = [str(row["batch_id"]) for row in rows]
    ledger.set_state(chosen, "loading")
    empty = pl.DataFrame(schema=polars_schema("raw_events"))
    lake.overwrite_dates("raw_events", empty, dates=days)
    take_again(settings, lake, ledger, chosen)
    ledger.set_state(chosen, "loading")
    return True


def take_again(settings: Settings, lake: Lake, ledger: Ledger, chosen: Sequence[str]) -> None:
    """Take the landed files of batches anew, where they are still what they were."""
    adapters = read_adapters(settings.definitions)
    door = open_door(settings)
    for row in ledger.in_state("loading"):
        file = _landed(settings, row) if row["batch_id"] in chosen else None
        if file is None:
            continue
        ledger.set_state([str(row["batch_id"])], "landing")
        arrived_at = datetime.fromisoformat(str(row["arrived_at"]))
        take(settings, file, adapter_for(file.source, adapters), lake, ledger, door, arrived_at)


def _day(row: Mapping[str, object]) -> date:
    return datetime.fromisoformat(str(row["arrived_at"])).date()


def _landed(settings: Settings, row: Mapping[str, object]) -> LandedFile | None:
    """The landed file of a batch, or None if it is gone or not what it was."""
    path = settings.landing / str(row["path"])
    if not path.exists() or sha256_of(path) != row["sha256"]:
        return None
    look = path.stat()
    return LandedFile(
        path=path,
        source=str(row["source"]),
        relative=str(row["path"]),
        size=look.st_size,
        mtime_ns=look.st_mtime_ns,
    )
