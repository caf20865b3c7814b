"""People: whom events are of, now and as it was known at any moment."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import ibis.expr.types as ir
import polars as pl
import pytest
from ibis import _
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.identity import (
    identity_links,
    map_identities,
    people_as_of,
    with_person,
)
from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.identity import IdentityMap
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import NOON, events_frame, instant, surrogate
from clickstream_platform_tests.identity.links import Event, logins, seen


def mapped(events: ir.Table) -> ir.Table:
    return map_identities(identity_links(events))


def people(backend: SQLBackend, folder: Path, *events: Event) -> dict[str, set[str]]:
    """Persons by visitor, after checking the contract."""
    rows = require(IdentityMap, run(backend, folder, {"events": events_frame([*events])}, mapped))
    found: dict[str, set[str]] = {}
    for row in rows.to_dicts():
        assert row["person_key"] == surrogate(row["person_id"])
        found.setdefault(row["visitor_id"], set()).add(row["person_id"])
    return found


def test_login_makes_the_visitor_the_user(duckdb_backend: Backend, tmp_path: Path) -> None:
    events = [seen("a", "phone", "ann", 0), seen("b", "laptop", "ann", 1)]
    assert people(duckdb_backend, tmp_path, *events) == {"phone": {"ann"}, "laptop": {"ann"}}


def test_two_users_on_one_device_are_never_merged(duckdb_backend: Backend, tmp_path: Path) -> None:
    events = [
        seen("a", "tablet", "ann", 0),
        seen("b", "tablet", "bob", 1),
        seen("c", "phone", "ann", 2),
    ]
    assert people(duckdb_backend, tmp_path, *events) == {"tablet": {"tablet"}, "phone": {"ann"}}


def test_event_is_of_its_user_then_of_the_visitors_only_user_then_of_the_visitor(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    events = events_frame(
        [
            seen("a", "phone", None, 0),
            seen("b", "phone", "ann", 1),
            seen("c", "tablet", "ann", 2),
            seen("d", "tablet", "bob", 3),
            seen("e", "tablet", None, 4),
            seen("f", None, "bob", 5),
            seen("g", "laptop", None, 6),
            seen("h", None, None, 7),
        ]
    )
    found = run(
        duckdb_backend,
        tmp_path,
        {"events": events},
        lambda events: with_person(events, mapped(events)),
    ).sort("event_id")
    assert found["person_id"].to_list() == [
        "ann", "ann", "ann", "bob", "tablet", "bob", "laptop", None,
    ]  # fmt: skip
    known = found.filter(pl.col("person_id").is_not_null())
    assert known["person_key"].to_list() == [surrogate(it) for it in known["person_id"]]
    assert found.drop("person_key", "person_id").equals(events.sort("event_id"))


def test_without_pseudonyms_only_the_surrogate_is_added(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    events = events_frame([seen("a", "phone", "ann", 1), seen("b", "phone", None, 2)])
    found = run(
        duckdb_backend,
        tmp_path,
        {"events": events},
        lambda events: with_person(
            events.select("event_id", "visitor_key", "user_key"), mapped(events)
        ),
    )
    assert found.columns == ["event_id", "visitor_key", "user_key", "person_key"]
    assert found["person_key"].to_list() == [surrogate("ann")] * 2


def as_of(backend: SQLBackend, folder: Path, events: pl.DataFrame, at: datetime) -> dict[str, str]:
    """Person of each visitor as it was known at a moment."""
    found = run(
        backend,
        folder,
        {"events": events},
        lambda events: people_as_of(mapped(events), recorded_at=at),
    )
    return dict(found.select("visitor_id", "person_id").rows())


@pytest.mark.parametrize(
    ("seconds", "known"),
    [
        pytest.param(9.999999, {}, id="before anything arrived"),
        pytest.param(10, {"tablet": "ann"}, id="at the arrival of the first evidence"),
        pytest.param(99.999999, {"tablet": "ann"}, id="just before the second user arrived"),
        pytest.param(100, {"tablet": "tablet"}, id="when the device turned out to be shared"),
    ],
)
def test_people_as_of_know_what_had_arrived(
    duckdb_backend: Backend, tmp_path: Path, seconds: float, known: dict[str, str]
) -> None:
    # Bob was there before Ann, but it became known after her.
    events = events_frame(
        [
            seen("a", "tablet", "ann", 5, received_at=NOON + timedelta(seconds=10)),
            seen("b", "tablet", "bob", 1, received_at=NOON + timedelta(seconds=100)),
        ]
    )
    at = NOON + timedelta(seconds=seconds)
    assert as_of(duckdb_backend, tmp_path, events, at) == known


@pytest.mark.parametrize("seed", range(4))
def test_people_as_of_are_those_of_the_events_that_had_arrived(
    duckdb_backend: Backend, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    events = events_frame(logins(rng, 40))
    at = instant(rng.choice(events["occurred_us"].to_list()))
    arrived = events.filter(pl.col("received_at") <= at)
    then = run(duckdb_backend, tmp_path, {"events": arrived}, mapped)
    expected = dict(then.select("visitor_id", "person_id").rows())
    assert as_of(duckdb_backend, tmp_path, events, at) == expected


@pytest.mark.spark
def test_engines_agree(duckdb_backend: Backend, spark_backend: SQLBackend, tmp_path: Path) -> None:
    events = events_frame(logins(random.Random(7), 200))
    at = NOON + timedelta(seconds=10)

    def persons(events: ir.Table) -> ir.Table:
        people = mapped(events)
        known = people_as_of(people, recorded_at=at).select(
            event_id=_.visitor_id.concat("'s"), person_key="person_key", person_id="person_id"
        )
        return (
            with_person(events, people).select("event_id", "person_key", "person_id").union(known)
        )

    on_spark = run(spark_backend, tmp_path, {"events": events}, persons)
    on_duckdb = run(duckdb_backend, tmp_path, {"events": events}, persons)
    assert on_spark.sort(on_spark.columns).equals(on_duckdb.sort(on_duckdb.columns))
