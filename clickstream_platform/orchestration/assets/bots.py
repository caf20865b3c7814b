"""Bot assets: what the behaviour of visitors says about whether they are people."""

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import BEHAVIOUR
from clickstream_platform.orchestration.tables import TRANSIENT, Materialized, materialize, table


@dg.multi_asset(
    name="measure_behaviour",
    specs=[
        table(
            "bot_behaviour",
            stage=BEHAVIOUR,
            owner="data-platform",
            kinds={"duckdb"},
            deps=["events"],
            condition=when_behind(),
        )
    ],
    pool=BEHAVIOUR.pool,
    retry_policy=TRANSIENT,
)
def bot_behaviour(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Measure what visitors of changed events did on those days."""
    yield from materialize(context, platform, BEHAVIOUR)


bot_checks = [contract_check("bot_behaviour", BEHAVIOUR)]
"""Contract checks of the table above."""
