"""Activation asset: what the CRM is told."""

from datetime import timedelta

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import SYNCS
from clickstream_platform.orchestration.tables import TRANSIENT, Materialized, materialize, table


@dg.multi_asset(
    name="sync_crm",
    specs=[
        table(
            "crm_syncs",
            stage=SYNCS,
            owner="crm",
            kinds={"hubspot"},
            deps=["segment_members", "engagement_scores", "consents"],
            condition=when_behind(),
            fresh_within=timedelta(hours=26),
        )
    ],
    pool=SYNCS.pool,
    retry_policy=TRANSIENT,
)
def crm_syncs(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Send what changed since the last sync, after asking for consent and suppression."""
    yield from materialize(context, platform, SYNCS)


activation_checks = [contract_check("crm_syncs", SYNCS)]
"""Contract checks of the tables above."""
