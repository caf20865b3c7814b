"""A stored history of events that grows, changes and shrinks, and what sessions follow from it."""

from collections.abc import Iterable, Mapping

import polars as pl

from clickstream_platform.identity import decide, refresh_identity
from clickstream_platform.lake import Lake, Refreshed
from clickstream_platform.sessions import SessionPolicy, refresh_sessions
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import NOON, events_frame, surrogate
from clickstream_platform_tests.sessions.making import assert_same
from clickstream_platform_tests.sessions.walk import person_of, walk
from clickstream_platform_tests.stored import bring, rows_of

TABLES = ("sessions", "session_events", "sessionless_events", "runaway_sessions")

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US

Event = dict[str, object]


def minutes(number: float) -> int:
    """Microseconds so many minutes after 2026-03-01 12:00 UTC."""
    return 1_772_366_400_000_000 + round(number * MINUTE_US)


def visit(event_id: str, visitor: str | None, at: float, **columns: object) -> Event:
    """A page view so many minutes after noon, unless the columns say otherwise."""
    return {"event_id": event_id, "visitor_id": visitor, "occurred_us": minutes(at)} | columns


def _frame_of(events: Mapping[str, Event]) -> pl.DataFrame:
    in_order = [it for _, it in sorted(events.items())]
    return events_frame(in_order).with_columns(ordinal=pl.lit(0, pl.Int64))


class History:
    """Events by id, written to the lake as they change."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lake = Lake(settings.lake_folder)
        self.events: dict[str, Event] = {}

    def add(self, *events: Event) -> None:
        """Events that arrive; one that is known already is what it now says."""
        told = {str(it["event_id"]): it for it in events}
        is_known = not self.events.keys().isdisjoint(told)
        self.events |= told
        if is_known:
            self.write()
        else:
            self.lake.append("events", _frame_of(told))

    def drop(self, event_ids: Iterable[str]) -> None:
        """Events that are taken out of the events table alone."""
        for event_id in event_ids:
            self.events.pop(event_id, None)
        self.write()

    def erase(self, visitor: str) -> None:
        """The persons of a visitor leave every table and the past, as an erasure has it."""
        self.refresh()
        identity_map = self.lake.scan("identity_map").collect().to_dicts()
        people = {link["visitor_key"]: link for link in identity_map if not link["is_shared"]}
        key = surrogate(visitor)
        persons = {key} | {it["user_key"] for it in identity_map if it["visitor_key"] == key}
        theirs = [
            it["event_id"]
            for it in self.frame().to_dicts()
            if it["visitor_key"] == key or person_of(it, people)[0] in persons
        ]
        self.lake.delete("identity_map", f"visitor_key = {key}")
        for table in TABLES:
            self.lake.delete(table, f"person_key in ({', '.join(map(str, persons))})")
        self.drop(theirs)
        for table in ("events", "identity_map", *TABLES):
            self.lake.vacuum(table)

    def decide(self, kind: str, *names: str, restores: str | None = None) -> None:
        """Somebody decides about the link of two identifiers, or takes a decision back."""
        identifier, other = (
            (names[place], surrogate(names[place])) if names else None for place in (0, 1)
        )
        decide(
            self.lake, kind, reason="a test", actor="ann", now=NOON,
            identifier=identifier, other=other, restores=restores,
        )  # fmt: skip

    def write(self) -> None:
        bring(self.lake, "events", self.frame())

    def frame(self) -> pl.DataFrame:
        return _frame_of(self.events)

    def refresh(self, *, full: bool = False) -> Refreshed:
        """Bring people and sessions up to date."""
        refresh_identity(self.lake, self.settings, full=full)
        return refresh_sessions(self.lake, self.settings, full=full)

    def check(self) -> None:
        """The stored sessions are those of a naive walk through the events."""
        people = self.lake.scan("identity_map").collect()
        stored = rows_of(self.lake, TABLES)
        assert_same(stored, walk(self.frame(), people, SessionPolicy.of(self.settings)))
