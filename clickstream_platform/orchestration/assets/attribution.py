"""Attribution assets: contacts with marketing, conversions, and who earned them."""

from datetime import timedelta

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.partitions import DAY_OF_ARRIVAL
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import CONVERSIONS, CREDITS, TOUCHPOINTS
from clickstream_platform.orchestration.tables import (
    ONE_RUN,
    TRANSIENT,
    Materialized,
    materialize,
    table,
)


@dg.multi_asset(
    name="collect_touchpoints",
    specs=[
        table(
            "touchpoints",
            stage=TOUCHPOINTS,
            owner="marketing-analytics",
            kinds={"duckdb"},
            deps=["sessions", "person_consents"],
            condition=when_behind(),
        )
    ],
    partitions_def=TOUCHPOINTS.partitions,
    backfill_policy=ONE_RUN,
    pool=TOUCHPOINTS.pool,
    retry_policy=TRANSIENT,
)
def touchpoints(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Take the sessions that can earn credit: of people who allow it."""
    yield from materialize(context, platform, TOUCHPOINTS)


@dg.multi_asset(
    name="count_conversions",
    specs=[
        table(
            "conversions",
            stage=CONVERSIONS,
            owner="marketing-analytics",
            kinds={"duckdb"},
            deps=[
                dg.AssetDep("events", partition_mapping=DAY_OF_ARRIVAL),
                "sessions",
                "session_events",
                "person_consents",
                "sessionless_events",
            ],
            condition=when_behind(),
        )
    ],
    partitions_def=CONVERSIONS.partitions,
    backfill_policy=ONE_RUN,
    pool=CONVERSIONS.pool,
    retry_policy=TRANSIENT,
)
def conversions(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Take the events that the business has declared to count, once per order."""
    yield from materialize(context, platform, CONVERSIONS)


# Credit of a day looks back over touchpoints of many days. Which ones changed, and so which days
# of credit, is known by the tables; a mapping over 30 days would ask for 31 partitions a time.
@dg.multi_asset(
    name="split_credit",
    specs=[
        table(
            "attribution_credits",
            stage=CREDITS,
            owner="marketing-analytics",
            kinds={"duckdb"},
            deps=["touchpoints", "conversions"],
            condition=when_behind(),
            fresh_within=timedelta(hours=26),
        )
    ],
    partitions_def=CREDITS.partitions,
    backfill_policy=ONE_RUN,
    pool=CREDITS.pool,
    retry_policy=TRANSIENT,
)
def attribution_credits(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Split each conversion over the touchpoints that led to it, by every model."""
    yield from materialize(context, platform, CREDITS)


attribution_checks = [
    *(
        contract_check(name, stage)
        for stage in (TOUCHPOINTS, CONVERSIONS, CREDITS)
        for name in stage.tables
    ),
]
"""Contract checks of the tables above."""
