"""A small world of events with known people and sessions, written into a lake as stages would."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

import polars as pl

from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform_tests.frames import (
    events_frame,
    instant,
    person_consents_frame,
    sessions_frame,
    surrogate,
)
from clickstream_platform_tests.stored import bring

HOUR_US = 3_600_000_000
SESSION_US = 12 * HOUR_US
"""Events of a person within one such stretch are a session here; stretches span midnight."""


@dataclass(frozen=True)
class Happening:
    """One event of one visitor."""

    event_id: str
    visitor: str
    us: int
    name: str = "page_view"
    order: str | None = None
    revenue: Decimal | None = None
    channel: str = "Email"
    country: str = "US"


@dataclass
class World:
    """Events, and who the visitors are; what the stages before attribution make of them."""

    happenings: dict[str, Happening] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    """Person of a visitor that is not its own."""
    bots: set[str] = field(default_factory=set)
    """People who are none."""
    choices: dict[str, str] = field(default_factory=dict)
    """What people allow: measurement, then attribution, as y, n or - for never said."""

    def add(self, happenings: Iterable[Happening]) -> None:
        self.happenings |= {it.event_id: it for it in happenings}

    def erase(self, person: str) -> None:
        whose = {it.event_id for it in self.happenings.values() if self.person(it) == person}
        self.happenings = {k: it for k, it in self.happenings.items() if k not in whose}

    def move(self, event_id: str, us: int) -> None:
        self.happenings[event_id] = replace(self.happenings[event_id], us=us)

    def person(self, it: Happening) -> str:
        return self.people.get(it.visitor, it.visitor)

    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables that attribution reads."""
        runs: dict[tuple[str, int], list[Happening]] = defaultdict(list)
        in_time = sorted(self.happenings.values(), key=lambda it: (it.us, surrogate(it.event_id)))
        for it in in_time:
            runs[self.person(it), (it.us + 6 * HOUR_US) // SESSION_US].append(it)
        sessions: list[dict[str, object]] = []
        places: list[dict[str, object]] = []
        for (person, _), run in runs.items():
            key = surrogate(run[0].event_id)
            sessions.append(
                {
                    "session_key": key,
                    "person_id": person,
                    "started_at": instant(run[0].us),
                    "ended_at": instant(run[-1].us),
                    "channel": run[0].channel,
                    "country": run[0].country,
                    "is_bot": person in self.bots,
                    "events": len(run),
                    "conversions": sum(it.name == "purchase" for it in run),
                }
            )
            places += [
                {
                    "event_key": surrogate(it.event_id),
                    "session_key": key,
                    "person_key": surrogate(person),
                    "event_name": it.name,
                    "occurred_us": it.us,
                    "event_number": number,
                    "event_date": instant(it.us).date(),
                }
                for number, it in enumerate(run, 1)
            ]
        events: list[dict[str, object]] = [
            {
                "event_id": it.event_id,
                "event_name": it.name,
                "occurred_us": it.us,
                "visitor_id": it.visitor,
                "order_id": it.order,
                "revenue": it.revenue,
            }
            for it in in_time
        ]
        return {
            "events": events_frame(events).with_columns(ordinal=pl.lit(0, pl.Int64)),
            "session_events": pl.DataFrame(places, schema=polars_schema("session_events")),
            "sessions": sessions_frame(sessions),
        }

    def person_consents(self) -> pl.DataFrame:
        """What the people of the world allow."""
        return person_consents_frame(self.choices)


def write(lake: Lake, world: World, *, order: tuple[str, ...] = ()) -> None:
    """Bring the upstream tables to what the world says, rewriting dates that differ."""
    tables = world.tables()
    for name in order or tuple(tables):
        bring(lake, name, tables[name])
    held, before = world.person_consents(), lake.scan("person_consents").collect()
    if not lake.exists("person_consents") or not held.equals(before):
        lake.overwrite("person_consents", held)


def hours(number: float) -> int:
    """Microseconds so many hours after 2026-03-01 00:00 UTC."""
    return 1_772_323_200_000_000 + int(number * HOUR_US)


def purchase(
    event_id: str, visitor: str, at: float, order: str | None = None, revenue: int = 10
) -> Happening:
    """A purchase so many hours after 2026-03-01 00:00 UTC."""
    return Happening(event_id, visitor, hours(at), "purchase", order, Decimal(revenue))


def visit(event_id: str, visitor: str, at: float, channel: str = "Email") -> Happening:
    """A page view so many hours after 2026-03-01 00:00 UTC."""
    return Happening(event_id, visitor, hours(at), channel=channel)


DAY = timedelta(days=1)
