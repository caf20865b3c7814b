"""Consent assets: what people chose, and the log that proves it."""

from datetime import timedelta

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import CONSENT
from clickstream_platform.orchestration.tables import TRANSIENT, Materialized, materialize, table


@dg.multi_asset(
    name="record_consent",
    specs=[
        table(
            name,
            stage=CONSENT,
            owner="privacy",
            kinds={"duckdb"},
            deps=["events"],
            condition=when_behind(),
            fresh_within=timedelta(hours=26),
        )
        for name in CONSENT.tables
    ],
    pool=CONSENT.pool,
    retry_policy=TRANSIENT,
)
def consents(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Record every choice that events carry, and chain it so that nobody can change it."""
    yield from materialize(context, platform, CONSENT)


consent_checks = [contract_check(name, CONSENT) for name in CONSENT.tables]
"""Contract checks of the tables above."""
