"""Identity assets: who is who, since when and why, and what was not merged."""

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import DECISIONS, IDENTITY
from clickstream_platform.orchestration.tables import TRANSIENT, Materialized, materialize, table


@dg.multi_asset(
    name="stitch_identities",
    specs=[
        table(
            name,
            stage=IDENTITY,
            owner="identity",
            kinds={"duckdb"},
            deps=["events", "identity_decisions"],
            condition=when_behind(),
            code_version="5",
        )
        for name in IDENTITY.tables
    ],
    pool=IDENTITY.pool,
    retry_policy=TRANSIENT,
)
def identity_map(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Link what events show together; merge nobody who is shared or in conflict."""
    yield from materialize(context, platform, IDENTITY)


@dg.multi_asset(
    name="keep_decisions",
    specs=[table("identity_decisions", stage=DECISIONS, owner="identity", kinds={"polars"})],
    pool=DECISIONS.pool,
    retry_policy=TRANSIENT,
)
def identity_decisions(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Show what people decided with `clickstream identity`; rows are appended there alone."""
    yield from materialize(context, platform, DECISIONS)


identity_checks = [
    contract_check("identity_decisions", DECISIONS),
    *(contract_check(name, IDENTITY) for name in IDENTITY.tables),
]
"""Contract checks of the tables above."""
