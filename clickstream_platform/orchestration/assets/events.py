"""Landing and event assets: what arrived, what is sound, what waits, what was repeated."""

from datetime import timedelta

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import EVENTS, RAW_EVENTS
from clickstream_platform.orchestration.tables import (
    ONE_RUN,
    TRANSIENT,
    Materialized,
    materialize,
    table,
)

LANDED_FILES = dg.AssetSpec(
    "landed_files",
    group_name="landing",
    description="Files dropped into the landing folder, one folder per source. Each is taken "
    "exactly once, by path and sha256, when nobody writes to it any more.",
    owners=["team:data-platform"],
    kinds={"file"},
)
"""What comes from outside: the platform reads it and does not make it."""


@dg.multi_asset(
    name="take_landed_files",
    specs=[
        table(
            "raw_events",
            stage=RAW_EVENTS,
            owner="data-platform",
            kinds={"duckdb", "polars"},
            deps=["landed_files"],
        )
    ],
    partitions_def=RAW_EVENTS.partitions,
    backfill_policy=ONE_RUN,
    pool=RAW_EVENTS.pool,
    retry_policy=TRANSIENT,
)
def raw_events(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Take every file that waits in landing; what was taken before is never edited."""
    yield from materialize(context, platform, RAW_EVENTS)


@dg.multi_asset(
    name="load_events",
    specs=[
        table(
            "events",
            stage=EVENTS,
            owner="data-platform",
            kinds={"duckdb", "polars"},
            deps=["raw_events"],
            condition=when_behind(),
            fresh_within=timedelta(hours=26),
        ),
        table(
            "quarantined_events",
            stage=EVENTS,
            owner="data-quality",
            kinds={"duckdb"},
            deps=["raw_events"],
            condition=when_behind(),
        ),
        table(
            "duplicate_events",
            stage=EVENTS,
            owner="data-quality",
            kinds={"duckdb"},
            deps=["raw_events"],
            condition=when_behind(),
        ),
    ],
    partitions_def=EVENTS.partitions,
    backfill_policy=ONE_RUN,
    pool=EVENTS.pool,
    retry_policy=TRANSIENT,
)
def events(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Load what is landed; a partition that is asked for is derived anew from raw_events."""
    yield from materialize(context, platform, EVENTS)


event_checks = [
    contract_check("raw_events", RAW_EVENTS),
    *(contract_check(name, EVENTS) for name in EVENTS.tables),
]
"""Contract checks of the tables above."""
