"""The definition, the statements for DuckDB and a naive walk give the same rows, on any engine."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.attribution import ConversionRule
from clickstream_platform.sessions import EngagementWeights, SessionPolicy
from clickstream_platform_tests.frames import events_frame
from clickstream_platform_tests.sessions.crowd import crowd, identities
from clickstream_platform_tests.sessions.making import (
    FEW_CHANNELS,
    Tables,
    assert_same,
    by_definition,
    by_statements,
)
from clickstream_platform_tests.sessions.walk import walk

POLICIES = {
    "default": SessionPolicy(),
    "short sessions": SessionPolicy(max_duration=timedelta(minutes=50)),
    "no campaign cut": SessionPolicy(cut_on_campaign=False, max_duration=timedelta(hours=9)),
    "every cut": SessionPolicy(
        max_duration=timedelta(hours=2),
        cut_on_logout=True,
        cut_on_identity=True,
        cut_at_midnight=True,
        time_zone="Australia/Lord_Howe",
        max_events=4,
        heartbeat=timedelta(seconds=10),
        min_visit=timedelta(seconds=5),
    ),
}
SEEDS = range(2)
ON_SPARK = replace(POLICIES["every cut"], max_duration=timedelta(minutes=70), max_events=4)
"""Every way through the relations, in few rounds: each of them costs Spark seconds."""


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("policy", POLICIES.values(), ids=[*POLICIES])
def test_statements_agree_with_a_walk(policy: SessionPolicy, seed: int) -> None:
    events = crowd(seed, policy, events=300)
    people = identities(events)
    assert_same(by_statements(events, people, policy=policy), walk(events, people, policy))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("policy", POLICIES.values(), ids=[*POLICIES])
def test_definition_agrees_with_statements(
    duckdb_backend: Backend, tmp_path: Path, policy: SessionPolicy, seed: int
) -> None:
    events = crowd(100 + seed, policy, events=300)
    people = identities(events)
    made = by_definition(duckdb_backend, tmp_path, events, people, policy=policy)
    assert_same(made, by_statements(events, people, policy=policy))


@pytest.mark.spark
def test_engines_agree(duckdb_backend: Backend, spark_backend: SQLBackend, tmp_path: Path) -> None:
    # Channels have a test of their own on both engines; their rules cost Spark a minute.
    odd = "${x}"
    event = {"event_name": odd, "visitor_id": "odd", "revenue": Decimal(7), "event_id": odd}
    events = pl.concat([crowd(201, ON_SPARK, events=150), events_frame([event])])
    people = identities(events)
    rules = {**FEW_CHANNELS.conversions, odd: ConversionRule(counts_revenue=True)}
    definitions = replace(
        FEW_CHANNELS,
        conversions=rules,
        weights=EngagementWeights(otherwise=1, weights={odd: 7}),
    )

    def made(backend: SQLBackend) -> Tables:
        return by_definition(
            backend, tmp_path, events, people, policy=ON_SPARK, definitions=definitions
        )

    on_duckdb = made(duckdb_backend)
    assert {"max_duration", "max_events"} <= set(on_duckdb["sessions"]["cut_reason"])
    assert on_duckdb["sessions"].filter(visitor_id="odd", conversions=1).height == 1
    assert_same(made(spark_backend), on_duckdb)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_real_event_has_one_place_and_nothing_is_lost(seed: int) -> None:
    events = crowd(300 + seed, SessionPolicy())
    made = by_statements(events, identities(events))
    real = events.filter(~pl.col("is_synthetic"))
    places = [*made["session_events"]["event_key"], *made["sessionless_events"]["event_key"]]
    assert sorted(places) == sorted(real["event_key"])
    sessions = made["sessions"]
    assert sessions["events"].sum() == made["session_events"].height
    # Orders are counted once per session, so only what has no order can be added up.
    in_sessions = real.filter(
        pl.col("event_key").is_in(made["session_events"]["event_key"].implode())
    )
    without = in_sessions.with_columns(order_id=pl.lit(None, pl.String))
    once = by_statements(without, identities(events))["sessions"]
    bought = in_sessions.filter(pl.col("event_name") == "purchase")
    declared = in_sessions.filter(pl.col("event_name").is_in(["purchase", "sign_up"]))
    assert once["revenue"].sum() == bought["revenue"].sum()
    assert once["conversions"].sum() == declared.height


@pytest.mark.parametrize("seed", SEEDS)
def test_order_of_rows_does_not_matter(seed: int) -> None:
    events = crowd(400 + seed, SessionPolicy())
    people = identities(events)
    shuffled = by_statements(events.sample(fraction=1, shuffle=True, seed=seed), people)
    assert_same(shuffled, by_statements(events.sort("occurred_us"), people))
