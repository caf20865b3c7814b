"""Who matches a segment: worked by hand, against a naive reading of the rule, on both engines."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.collection.consent import COLUMNS as CONSENTS
from clickstream_platform.lake import polars_schema
from clickstream_platform.segments import Rule, Segment, segment_matches
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


ODD = (
    "${x}",
    "$${x}",
    "a\x0bb",
    "\x07",
    "\f %+",
    "\b",
    "\x1f\t\n",
    "a\\",
    "\\v",
    "'",
    "%",
    "é",
    "👩\u200d👧",
)
"""Names of events that an engine could read in its own way where a query holds them."""

Matches = Callable[..., set[str]]


@pytest.fixture
def inside(duckdb_backend: Backend, tmp_path: Path) -> Matches:
    """Persons who match one rule at noon."""

    def persons(world: World, *, now: datetime = NOON, **rule: object) -> set[str]:
        return matches(duckdb_backend, tmp_path, world, segment("s", rule), now=now)["s"]

    return persons


def test_counts_sessions_that_are_as_asked(inside: Matches) -> None:
    world = World()
    for person, channels in {"ann": ["Email", "Email"], "bob": ["Email", "Direct"]}.items():
        world.person(person)
        for channel in channels:
            world.session(person, channel=channel)
    assert inside(world, table="sessions", count={"min": 2}, where={"channel": "Email"}) == {"ann"}
    assert inside(world, table="sessions", count={"max": 1}, where={"channel": "Email"}) == {"bob"}
    either = {"channel": ["Email", "Direct"]}
    assert inside(world, table="sessions", count={"min": 2}, where=either) == {"ann", "bob"}


def test_who_never_did_something_has_no_such_event_in_the_window(inside: Matches) -> None:
    world = World()
    for person, ago in {"ann": 3 * DAY, "bob": 8 * DAY}.items():
        world.person(person)
        world.session(person, "purchase", ago=ago)
    world.person("carol")
    assert inside(world, never="purchase", within_days=7) == {"bob", "carol"}
    assert inside(world, never="purchase") == {"carol"}
    assert inside(world, never="purchase", before_days=7) == {"ann", "carol"}


def test_totals_add_up_a_column(inside: Matches) -> None:
    world = World()
    for person, revenue in {"ann": Decimal("60.00"), "bob": Decimal("49.99")}.items():
        world.person(person)
        world.session(person, "purchase", revenue=revenue)
        world.session(person, "purchase", revenue=Decimal(40))
    # Ann: 60 + 40 = 100; Bob: 49.99 + 40 = 89.99.
    assert inside(world, did="purchase", total={"revenue": {"min": 100}}) == {"ann"}
    assert inside(world, table="sessions", total={"revenue": {"max": 90}}) == {"bob"}


def test_an_order_reported_twice_counts_once(inside: Matches) -> None:
    world = World()
    world.person()
    world.session("ann", "purchase", ago=DAY, order_id="o1", revenue=Decimal(60))
    world.outside("ann", "purchase", order_id="o1", revenue=Decimal(61))
    # The earlier report says 60.
    assert inside(world, did="purchase", total={"revenue": {"min": 60, "max": 60}}) == {"ann"}
    assert inside(world, did="purchase", count={"min": 2}) == set()
    assert inside(world, table="events", count={"min": 1, "max": 1}) == {"ann"}
    assert inside(world, did="purchase") == {"ann"}


@pytest.mark.parametrize(
    ("name", "order_id", "times"),
    [
        pytest.param("purchase", "o2", 1, id="another order"),
        pytest.param("purchase", "", 2, id="a blank order"),
        pytest.param("purchase", None, 2, id="no order"),
        pytest.param("refund", "o1", 2, id="an event that does not convert"),
        pytest.param("sign_up", "o1", 1, id="a conversion of another name"),
    ],
)
def test_what_is_no_repeated_order_counts_again(
    inside: Matches, name: str, order_id: str | None, times: int
) -> None:
    world = World()
    for person in ("ann", "bob"):
        world.person(person)
        world.session(person, "purchase", ago=DAY, order_id="o1", revenue=Decimal(60))
    for _ in range(2):
        world.session("ann", name, order_id=order_id, revenue=Decimal(40))
    count, total = 1 + times, 60 + 40 * times
    assert inside(world, table="events", count={"min": count, "max": count}) == {"ann"}
    exactly = {"revenue": {"min": total, "max": total}}
    assert inside(world, table="events", total=exactly) == {"ann"}


def test_an_order_counts_if_any_report_of_it_fits(inside: Matches) -> None:
    world = World()
    world.person()
    world.session("ann", "purchase", ago=DAY, order_id="o1", country="DE", revenue=Decimal(60))
    world.session("ann", "purchase", order_id="o1", country="AT", revenue=Decimal(60))
    for country in ("DE", "AT", ["DE", "AT"]):
        once = {"where": {"country": country}, "count": {"min": 1, "max": 1}}
        assert inside(world, did="purchase", **once) == {"ann"}


def test_columns_of_an_event_beyond_its_name(inside: Matches) -> None:
    world = World()
    for person, country in {"ann": "DE", "bob": None}.items():
        world.person(person)
        world.session(person, "search", country=country)
    assert inside(world, did="search", where={"country": ["DE", "AT"]}) == {"ann"}
    assert inside(world, never="search", where={"country": "DE"}) == {"bob"}


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


def test_properties_beginnings_and_values_that_are_there(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    found = matches(duckdb_backend, tmp_path, properties_world(), *asked())
    for number, (column, test, expected) in enumerate(ASKED):
        assert found[f"asked{number}"] == expected, (column, test)


def test_a_category_is_seen_three_times(inside: Matches) -> None:
    world = World()
    for person, times in {"ann": 3, "bob": 2}.items():
        world.person(person)
        for category in ["shoes"] * times + ["hats"]:
            world.session(person, "view_item", properties=f'{{"category":"{category}"}}')
    often = {"where": {"properties.category": "shoes"}, "count": {"min": 3}}
    assert inside(world, did="view_item", **often) == {"ann"}


@pytest.mark.parametrize("order", [(0.1, 0.2, 0.3), (0.3, 0.2, 0.1)])
def test_total_of_fractions_does_not_depend_on_their_order(
    inside: Matches, order: tuple[float, ...]
) -> None:
    # In floating point 0.1 + 0.2 + 0.3 is more than 0.3 + 0.2 + 0.1, which is 0.6.
    world = World()
    world.person()
    for seconds in order:
        world.session(engaged_time_s=seconds)
    exactly = {"engaged_time_s": {"min": 0.6, "max": 0.6}}
    assert inside(world, table="sessions", total=exactly) == {"ann"}


def test_last_digits_of_a_score_do_not_decide(inside: Matches) -> None:
    world = World()
    world.person("ann", score=0.1 + 0.2 + 0.3)
    world.person("bob", score=0.3 + 0.2 + 0.1)
    assert inside(world, score={"min": 0.6, "max": 0.6}) == {"ann", "bob"}


def test_what_a_server_reported_counts_without_a_session(inside: Matches) -> None:
    world = World()
    for person in ("ann", "bob"):
        world.person(person)
        world.session(person, "add_to_cart")
    world.outside("ann", "purchase", revenue=Decimal(40))
    world.outside("bob", "purchase", revenue=Decimal(40), reason="only_pings")
    assert inside(world, did="purchase", within_days=7) == {"ann"}
    assert inside(world, never="purchase") == {"bob"}
    assert inside(world, did="purchase", total={"revenue": {"min": 40}}) == {"ann"}


def test_score_has_decayed_until_now(inside: Matches) -> None:
    world = World()
    world.person("ann", score=8)
    world.person("bob", score=7.9)
    assert inside(world, score={"min": 4}, now=NOON + WEEK) == {"ann"}


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        pytest.param(0 * DAY, {"ann"}, id="now"),
        pytest.param(-TICK, set(), id="after now"),
        pytest.param(7 * DAY, {"ann"}, id="at the far end"),
        pytest.param(7 * DAY + TICK, set(), id="just outside"),
    ],
)
@pytest.mark.parametrize("rule", [{"table": "sessions"}, {"did": "search"}])
def test_window_includes_both_ends(
    inside: Matches, rule: Row, ago: timedelta, expected: set[str]
) -> None:
    world = World()
    world.person()
    world.session("ann", "search", ago=ago)
    assert inside(world, **rule, within_days=7) == expected


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        pytest.param(3 * DAY, {"ann"}, id="at the near end"),
        pytest.param(3 * DAY - TICK, set(), id="too young"),
    ],
)
def test_rows_may_have_to_be_old(inside: Matches, ago: timedelta, expected: set[str]) -> None:
    world = World()
    world.person()
    world.session("ann", "search", ago=ago)
    assert inside(world, did="search", before_days=3) == expected


def test_without_consent_to_the_purpose_nobody_matches(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    world = World()
    for person, consent in {"ann": True, "bob": False, "carol": None}.items():
        world.person(person, marketing=consent)
        world.session(person)
    marketing = segment("marketing", {"table": "sessions"})
    analytics = segment("analytics", {"table": "sessions"}, purpose="analytics")
    found = matches(duckdb_backend, tmp_path, world, marketing, analytics)
    assert found == {"marketing": {"ann"}, "analytics": {"ann", "bob", "carol"}}


def test_what_a_person_chose_since_their_last_session_counts(inside: Matches) -> None:
    world = World()
    for person, scored, chosen in [
        ("ann", True, False),
        ("bob", False, True),
        ("carol", True, None),
        ("dan", True, True),
    ]:
        world.person(person, marketing=scored)
        world.session(person)
        world.choices.append({"person_key": surrogate(person), "consent_marketing": chosen})
    assert inside(world, table="sessions") == {"bob", "dan"}


def test_sessions_of_bots_do_not_count(inside: Matches) -> None:
    world = World()
    world.person()
    world.session("ann", "search", is_bot=True)
    assert inside(world, table="sessions") == set()
    assert inside(world, did="search") == set()


NAMES = ["search", "view_item", "purchase"]


def random_world(rng: random.Random, *, people: int = 12, sessions: int = 60) -> World:
    world = World()
    persons = [f"p{number}" for number in range(people)]
    for person in persons:
        world.person(person, score=rng.randrange(10), marketing=rng.choice([True, True, None]))
    for _ in range(sessions):
        world.session(
            rng.choice(persons),
            *rng.choices(NAMES, k=rng.randrange(4)),
            ago=rng.randrange(20) * DAY + rng.choice([-1, 0, 1]) * TICK,
            channel=rng.choice(["Email", "Direct"]),
            page_views=rng.randrange(5),
            is_bot=rng.random() < 0.1,
            country=rng.choice(["DE", "FR", None]),
            order_id=rng.choice(["o1", "o2", "", None]),
            revenue=rng.choice([Decimal(0), Decimal("10.10"), Decimal("20.20")]),
        )
    return world


def random_rule(rng: random.Random, depth: int = 2) -> Row:
    kind = rng.choice(["sessions", "did", "never", "events", "score"] + ["tree"] * 2 * (depth > 0))
    if kind == "tree":
        joint = rng.choice(["all", "any", "not"])
        parts = [random_rule(rng, depth - 1) for _ in range(rng.randint(1, 3))]
        return {joint: parts[0] if joint == "not" else parts}
    if kind == "score":
        return {"score": {rng.choice(["min", "max"]): rng.randrange(10)}}
    rule: Row = {"table": kind} if kind in {"sessions", "events"} else {kind: rng.choice(NAMES)}
    if rng.random() < 0.7:
        rule["within_days"] = rng.randint(6, 20)
    if rng.random() < 0.3:
        rule["before_days"] = rng.randint(1, 5)
    if rng.random() < 0.5:
        rule["where"] = rng.choice(
            [{"channel": ["Email", "Organic"]}, {"page_views": {"min": 2, "max": 3}}]
            if kind == "sessions"
            else [{"country": "DE"}, {"revenue": {"min": 10.10}}]
        )
    if kind != "never" and rng.random() < 0.5:
        rule["count"] = {rng.choice(["min", "max"]): rng.randrange(4)}
    elif kind != "never" and rng.random() < 0.3:
        rule["total"] = {"revenue": {"min": 20}}
    return rule


def naive(world: World, rule: Rule, person: str) -> bool:
    """The rule read word by word, for one person."""
    if rule.parts:
        held = [naive(world, part, person) for part in rule.parts]
        return not held[0] if rule.negated else (all(held) if rule.all else any(held))
    if rule.score:
        (score,) = (row["score"] for row in world.scores if row["person_id"] == person)
        return in_bounds(score, rule.score)
    bots = {row["session_key"] for row in world.sessions if row.get("is_bot")}
    rows = world.sessions if rule.counted == "sessions" else world.events
    kept = [
        row
        for row in rows
        if row["person_id"] == person
        and row["session_key"] not in bots
        and is_in_window(row, rule)
        and all(is_as(row.get(name), test) for name, test in rule.tests.items())
    ]
    if rule.counted == "events" and rule.asks_how_many:
        kept = without_repetitions(kept)
    if rule.total:
        ((column, bounds),) = rule.total.items()
        return in_bounds(sum(float(str(row[column])) for row in kept), bounds)
    return in_bounds(len(kept), rule.count) if rule.count else bool(kept) != rule.is_absence


def without_repetitions(rows: list[Row]) -> list[Row]:
    """Of the conversions of one name with one order, the earliest alone."""
    kept: dict[object, Row] = {}
    for row in sorted(rows, key=lambda row: (row["occurred_at"], surrogate(str(row["event_id"])))):
        is_order = row["event_name"] in {"purchase", "sign_up"} and row["order_id"]
        kept.setdefault((row["event_name"], row["order_id"]) if is_order else row["event_id"], row)
    return [*kept.values()]


def is_in_window(row: Row, rule: Rule) -> bool:
    at = row.get("occurred_at", row.get("started_at"))
    assert isinstance(at, datetime)
    days = (NOON - at) / DAY
    return (rule.before_days or 0) <= days <= (rule.within_days or 1_000)


def is_as(value: object, test: object) -> bool:
    if isinstance(test, tuple):
        return value in test
    return in_bounds(value, test) if hasattr(test, "min") else value == test


def in_bounds(value: object, bounds: object) -> bool:
    low, high = getattr(bounds, "min", None), getattr(bounds, "max", None)
    number = float(str(value))
    return (low is None or number >= low) and (high is None or number <= high)


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_a_naive_reading(duckdb_backend: Backend, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    world = random_world(rng)
    segments = [segment(f"s{number}", random_rule(rng)) for number in range(8)]
    expected = {
        each.name: {
            str(row["person_id"])
            for row in world.scores
            if row["consent_marketing"] and naive(world, each.rule, str(row["person_id"]))
        }
        for each in segments
    }
    assert matches(duckdb_backend, tmp_path, world, *segments) == expected


@pytest.mark.spark
@pytest.mark.slow
def test_engines_agree(duckdb_backend: Backend, spark_backend: SQLBackend, tmp_path: Path) -> None:
    rng = random.Random(7)
    world = random_world(rng)
    segments = [segment(f"s{number}", random_rule(rng)) for number in range(8)]
    world.person("odd")
    world.session("odd", *ODD, ago=DAY)
    odd = [
        segment(f"odd{number}", {"table": "events", "where": {"event_name": name}})
        for number, name in enumerate(ODD)
    ]
    orders = [
        segment(f"orders{least}", {"did": "purchase", "count": {"min": least}})
        for least in range(2, 6)
    ]
    one, other = (
        matches(engine, tmp_path, world, *segments, *orders, *odd)
        for engine in (duckdb_backend, spark_backend)
    )
    assert one == other
    assert any(one[each.name] for each in segments)
    assert any(one[each.name] for each in orders)
    assert all(one[each.name] == {"odd"} for each in odd)
    (again := tmp_path / "again").mkdir()
    one, other = (
        matches(engine, again, properties_world(), *asked())
        for engine in (duckdb_backend, spark_backend)
    )
    assert one == other
