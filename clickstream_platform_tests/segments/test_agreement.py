"""Who matches a segment: as a naive reading of the rule says, and alike on both engines."""

import random
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.segments import Rule
from clickstream_platform_tests.frames import NOON, surrogate
from clickstream_platform_tests.segments.worlds import (
    DAY,
    TICK,
    Row,
    World,
    asked,
    matches,
    properties_world,
    segment,
)

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
