"""Small worlds of persons, sessions and events, and who of them matches a segment."""

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
from ibis.backends.sql import SQLBackend

from clickstream_platform.collection.consent import COLUMNS as CONSENTS
from clickstream_platform.lake import polars_schema
from clickstream_platform.segments import Segment, segment_matches
from clickstream_platform_tests.frames import (
    NOON,
    events_frame,
    microseconds,
    sessions_frame,
    surrogate,
)
from clickstream_platform_tests.segments.answers import answer

DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
TICK = timedelta.resolution

Row = dict[str, object]


class World:
    """Persons with their sessions and events; the tables follow."""

    def __init__(self) -> None:
        self.scores: list[Row] = []
        self.sessions: list[Row] = []
        self.events: list[Row] = []
        self.choices: list[Row] = []
        self.sessionless: list[Row] = []
        self.details: list[Row] = []

    def person(self, person: str = "ann", *, score: float = 1, **consents: bool | None) -> None:
        given = {"analytics": True, "marketing": True, "personalization": True} | consents
        self.scores.append(
            {
                "person_key": surrogate(person),
                "person_id": person,
                "bucket": 0,
                "anchored_at": NOON,
                "score": score,
                "sessions": 1,
                "first_seen_at": NOON,
                "conversions": 0,
            }
            | {f"consent_{purpose}": value for purpose, value in given.items()}
        )

    def session(
        self, person: str = "ann", *names: str, ago: timedelta = 0 * DAY, **columns: object
    ) -> None:
        """A session, and in it events of these names, all at one time."""
        key = len(self.sessions)
        of_event = {
            name: columns.pop(name)
            for name in ("country", "order_id", "page_path", "product_id", "properties")
            if name in columns
        }
        self.sessions.append(
            {"session_key": key, "person_id": person, "started_at": NOON - ago}
            | {"revenue": Decimal(0)}
            | columns
        )
        for name in names:
            self.events.append(
                {
                    "event_id": f"e{len(self.events)}",
                    "event_name": name,
                    "occurred_at": NOON - ago,
                    "session_key": key,
                    "person_id": person,
                    "revenue": columns.get("revenue"),
                }
                | of_event
            )

    def outside(
        self, person: str, name: str, *, reason: str = "no_open_session", **columns: object
    ) -> None:
        """An event of the person in no session, at noon."""
        event_id = f"o{len(self.sessionless)}"
        self.sessionless.append(
            {
                "event_key": surrogate(event_id),
                "person_key": surrogate(person),
                "reason": reason,
                "event_name": name,
                "occurred_us": microseconds(NOON),
                "event_date": NOON.date(),
            }
        )
        self.details.append({"event_id": event_id, "event_name": name} | columns)

    def tables(self) -> dict[str, pl.DataFrame]:
        own = ("session_key", "person_id")
        events = [{k: v for k, v in row.items() if k not in own} for row in self.events]
        schema = polars_schema("session_events")
        session_events = pl.DataFrame(
            [
                {
                    "event_key": surrogate(str(row["event_id"])),
                    "session_key": row["session_key"],
                    "person_key": surrogate(str(row["person_id"])),
                    "event_name": row["event_name"],
                    "occurred_us": microseconds(at),
                    "event_number": 1,
                    "event_date": at.date(),
                }
                for row in self.events
                if isinstance(at := row["occurred_at"], datetime)
            ],
            schema=schema,
        )
        return {
            "engagement_scores": pl.DataFrame(
                self.scores, schema=polars_schema("engagement_scores")
            ),
            "sessions": sessions_frame(self.sessions),
            "session_events": session_events,
            "sessionless_events": pl.DataFrame(
                self.sessionless, schema=polars_schema("sessionless_events")
            ),
            "events": events_frame([*events, *self.details]),
            "current_consents": pl.DataFrame(
                self.choices,
                schema={"person_key": pl.Int64} | dict.fromkeys(CONSENTS, pl.Boolean),
            ),
        }


def segment(name: str, rule: Row, *, purpose: str = "marketing") -> Segment:
    return Segment.model_validate(
        {
            "name": name,
            "description": "A test.",
            "owner": "us",
            "purpose": purpose,
            "expires": "2030-01-01",
            "rule": rule,
        }
    )


def matches(
    backend: SQLBackend,
    folder: Path,
    world: World,
    *segments: Segment,
    now: datetime = NOON,
) -> dict[str, set[str]]:
    """Persons of each segment."""
    tables = {}
    for name, frame in world.tables().items():
        frame.write_parquet(folder / f"{name}.parquet")
        tables[name] = backend.read_parquet(str(folder / f"{name}.parquet"))
    found = segment_matches(
        tables, segments, now=now, half_life=WEEK, conversions=["purchase", "sign_up"]
    )
    wide = answer(backend, found, folder)
    assert wide["person_key"].is_unique().all()
    assert wide.null_count().sum_horizontal().item() == 0
    return {each.name: set(wide.filter(each.name)["person_id"]) for each in segments}


PROPERTIES = (
    '{"category":"shoes","size":42,"on sale":true,"a.b":"x"}',
    '{"category":"shoes \\u00e9\\n","size":"42","on sale":"true"}',
    '{"category":"","size":42.5,"on sale":false}',
    '{"category":null,"size":421,"list":["shoes"]}',
    "{}",
    None,
)
"""Properties of the events of p0, p1, ..."""

ASKED: tuple[tuple[str, object, set[str]], ...] = (
    ("properties.category", "shoes", {"p0"}),
    ("properties.category", ["shoes", "shoes é\n"], {"p0", "p1"}),
    ("properties.category", {"starts_with": "shoes"}, {"p0", "p1"}),
    ("properties.category", {"is_set": True}, {"p0", "p1"}),
    ("properties.category", {"is_set": False}, {"p2", "p3", "p4", "p5"}),
    ("properties.size", 42, {"p0", "p1"}),
    ("properties.size", 42.5, {"p2"}),
    ("properties.on sale", True, {"p0", "p1"}),
    ("properties.a.b", "x", {"p0"}),
    ("properties.list", {"is_set": True}, {"p3"}),
    ("page_path", {"starts_with": "/p_"}, {"p0"}),
    ("page_path", {"starts_with": "${x}"}, {"p1"}),
    ("page_path", {"is_set": True}, {"p0", "p1", "p3"}),
    ("page_path", {"is_set": False}, {"p2", "p4", "p5"}),
    ("product_id", {"is_set": True}, set()),
    ("revenue", {"is_set": True}, set()),
    ("occurred_at", {"is_set": True}, {"p0", "p1", "p2", "p3", "p4", "p5"}),
)
"""Column, what is asked of it, and whose events have it."""


def properties_world() -> World:
    world = World()
    paths = ["/p_1", "${x}/", "", "/pp1", None, None]
    for number, (properties, path) in enumerate(zip(PROPERTIES, paths, strict=True)):
        world.person(f"p{number}")
        world.session(f"p{number}", "view_item", page_path=path, properties=properties)
    return world


def asked() -> list[Segment]:
    return [
        segment(f"asked{number}", {"table": "events", "where": {column: test}})
        for number, (column, test, _) in enumerate(ASKED)
    ]
