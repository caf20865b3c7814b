"""Making the tables of sessions from frames, by the definition and by the statements."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import polars as pl
from ibis import _
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.identity import with_person
from clickstream_platform.lake import connect, polars_schema
from clickstream_platform.sessions import (
    SessionDefinitions,
    SessionPolicy,
    name_first_sessions,
    place_events,
    runaway_sessions,
    session_events,
    sessionless_events,
    summarize_sessions,
    with_campaign,
)
from clickstream_platform.sessions.making import COLUMNS, MADE, NO_RESTARTS, make_sessions
from clickstream_platform.settings import LakeSettings
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform.tables.contracts import require
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import BUCKETS, identity_frame
from clickstream_platform_tests.sessions.walk import SHIPPED

Tables = dict[str, pl.DataFrame]

NOBODY = identity_frame([])
HALF_AN_HOUR = SessionPolicy()
FEW_CHANNELS = replace(
    SHIPPED,
    channels=replace(SHIPPED.channels, rules=SHIPPED.channels.rules[:1], categories={}, brands={}),
)
"""Definitions whose query is a small one."""


def longest_run(events: pl.DataFrame, policy: SessionPolicy) -> tuple[int, int]:
    """The longest time, and the most events, that follow each other without a gap."""
    in_time = pl.col("occurred_us").sort()
    runs = (in_time.diff() > policy.timeout_us).fill_null(value=False).cum_sum()
    found = (
        events.filter(pl.col("person_key").is_not_null())
        .group_by("person_key")
        .agg(in_time, run=runs)
        .explode("occurred_us", "run")
        .group_by("person_key", "run")
        .agg(span=pl.col("occurred_us").max() - pl.col("occurred_us").min(), events=pl.len())
        .select(pl.col("span", "events").max().fill_null(0))
    )
    span, most = found.row(0)
    return int(span), int(most)


def by_definition(  # noqa: PLR0913 - an engine, a folder, two tables, and the rules
    backend: SQLBackend,
    folder: Path,
    events: pl.DataFrame,
    identity_map: pl.DataFrame = NOBODY,
    *,
    policy: SessionPolicy = HALF_AN_HOUR,
    definitions: SessionDefinitions = SHIPPED,
) -> Tables:
    """What the relations make of the frames, on any engine."""

    def named(events: ir.Table, identity_map: ir.Table) -> ir.Table:
        real = events.filter(~_.is_synthetic)
        return with_campaign(with_person(real, identity_map), policy=policy)

    people = run(backend, folder, {"events": events, "identity_map": identity_map}, named)
    most_cuts = policy.most_cuts(*longest_run(people, policy))
    placed = run(
        backend,
        folder,
        {"events": people},
        lambda events: place_events(
            events.filter(_.person_key.notnull()), policy=policy, most_cuts=most_cuts
        ),
    )
    both = {"events": people, "placed": placed}

    def summarized(events: ir.Table, placed: ir.Table) -> ir.Table:
        found = summarize_sessions(
            events, placed, policy=policy, definitions=definitions, buckets=BUCKETS
        )
        return name_first_sessions(found)

    def placed_events(events: ir.Table, placed: ir.Table) -> ir.Table:
        return session_events(events, placed, buckets=BUCKETS)

    transforms = {
        "sessions": summarized,
        "session_events": placed_events,
        "sessionless_events": sessionless_events,
    }
    made = {name: run(backend, folder, both, it) for name, it in transforms.items()}
    made["runaway_sessions"] = run(
        backend,
        folder,
        {"sessions": made["sessions"]},
        lambda sessions: runaway_sessions(sessions, policy=policy),
    )
    return _checked(made)


def by_statements(
    events: pl.DataFrame,
    identity_map: pl.DataFrame = NOBODY,
    *,
    policy: SessionPolicy = HALF_AN_HOUR,
    definitions: SessionDefinitions = SHIPPED,
) -> Tables:
    """What the statements for DuckDB make of the frames, in one stretch."""
    backend = connect(LakeSettings())
    try:
        return _by_statements(backend, events, identity_map, policy, definitions)
    finally:
        backend.disconnect()


def _by_statements(
    backend: Backend,
    events: pl.DataFrame,
    identity_map: pl.DataFrame,
    policy: SessionPolicy,
    definitions: SessionDefinitions,
) -> Tables:
    real = events.filter(~pl.col("is_synthetic")).select(COLUMNS)
    backend.create_table("source_events", real.to_arrow(), temp=True)
    backend.create_table("people", identity_map.to_arrow(), temp=True)
    backend.raw_sql(NO_RESTARTS)
    make_sessions(backend, policy=policy, definitions=definitions, buckets=BUCKETS)
    made: dict[str, Any] = {name: backend.table(f"made_{name}") for name in MADE}
    made["sessions"] = name_first_sessions(made["sessions"])
    made["runaway_sessions"] = runaway_sessions(made["sessions"], policy=policy)
    return _checked({name: table.to_polars() for name, table in made.items()})


def _checked(tables: Tables) -> Tables:
    """The tables with the columns of their contracts, which they keep, in order of all rows."""
    found = {}
    for name, frame in tables.items():
        schema = polars_schema(name)
        typed = frame.select(*schema).cast(schema)  # type: ignore[arg-type]  # types by column
        found[name] = require(TABLES[name].contract, typed).sort(typed.columns)
    return found


def assert_same(made: Tables, expected: Tables) -> None:
    """Every row of every table is the same, in the columns that are expected."""
    for name, rows in expected.items():
        found = made[name].select(rows.columns).sort(rows.columns)
        if not found.equals(rows):
            more = found.join(rows, on=rows.columns, how="anti", nulls_equal=True)
            less = rows.join(found, on=rows.columns, how="anti", nulls_equal=True)
            message = f"{name}: made {more.rows(named=True)[:3]}, not {less.rows(named=True)[:3]}"
            raise AssertionError(message)
