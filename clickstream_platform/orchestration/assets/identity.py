"""Identity asset: which visitor was signed in as which user."""

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import IDENTITY
from clickstream_platform.orchestration.tables import TRANSIENT, Materialized, materialize, table


@dg.multi_asset(
    name="stitch_identities",
    specs=[
        table(
            "identity_map",
            stage=IDENTITY,
            owner="identity",
            kinds={"duckdb"},
            deps=["events"],
            condition=when_behind(),
        )
    ],
    pool=IDENTITY.pool,
    retry_policy=TRANSIENT,
)
def identity_map(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Link visitors to the users they signed in as, and merge nobody on a shared device."""
    yield from materialize(context, platform, IDENTITY)


identity_checks = [contract_check("identity_map", IDENTITY)]
"""Contract checks of the tables above."""
