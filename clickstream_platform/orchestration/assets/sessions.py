"""Session assets."""

from datetime import timedelta

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.partitions import DAY_OF_ARRIVAL
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import SESSIONS
from clickstream_platform.orchestration.tables import (
    ONE_RUN,
    TRANSIENT,
    Materialized,
    materialize,
    table,
)

BEFORE = [dg.AssetDep("events", partition_mapping=DAY_OF_ARRIVAL), dg.AssetDep("identity_map")]


@dg.multi_asset(
    name="split_sessions",
    specs=[
        table(
            "sessions",
            stage=SESSIONS,
            owner="web-analytics",
            kinds={"duckdb"},
            deps=[*BEFORE, dg.AssetDep("bot_behaviour")],
            condition=when_behind(),
            fresh_within=timedelta(hours=26),
            code_version="2",
        ),
        *(
            table(
                name,
                stage=SESSIONS,
                owner="web-analytics",
                kinds={"duckdb"},
                deps=BEFORE,
                condition=when_behind(),
                code_version="2",
            )
            for name in SESSIONS.tables[1:]
        ),
    ],
    partitions_def=SESSIONS.partitions,
    backfill_policy=ONE_RUN,
    pool=SESSIONS.pool,
    retry_policy=TRANSIENT,
)
def sessions(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Split each person's events into sessions, under one policy."""
    yield from materialize(context, platform, SESSIONS)


session_checks = [*(contract_check(name, SESSIONS) for name in SESSIONS.tables)]
"""Contract checks of the tables above."""
