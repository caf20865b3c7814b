"""Consent assets: what people chose, and the log that proves it."""

from datetime import timedelta

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.partitions import DAY_OF_ARRIVAL
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import CONSENT, COOKIELESS, PERSON_CONSENTS
from clickstream_platform.orchestration.tables import (
    ONE_RUN,
    TRANSIENT,
    Materialized,
    materialize,
    table,
)


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


@dg.multi_asset(
    name="hold_consent",
    specs=[
        table(
            "person_consents",
            stage=PERSON_CONSENTS,
            owner="privacy",
            kinds={"polars"},
            deps=["consents", "identity_map"],
            condition=when_behind(),
        )
    ],
    pool=PERSON_CONSENTS.pool,
    retry_policy=TRANSIENT,
)
def person_consents(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Say what each person consents to now, on whichever device they said so last."""
    yield from materialize(context, platform, PERSON_CONSENTS)


@dg.multi_asset(
    name="count_without_identifiers",
    specs=[
        table(
            "cookieless_counts",
            stage=COOKIELESS,
            owner="privacy",
            kinds={"duckdb"},
            deps=[
                dg.AssetDep("events", partition_mapping=DAY_OF_ARRIVAL),
                "identity_map",
                "person_consents",
            ],
            condition=when_behind(),
        )
    ],
    partitions_def=COOKIELESS.partitions,
    backfill_policy=ONE_RUN,
    pool=COOKIELESS.pool,
    retry_policy=TRANSIENT,
)
def cookieless_counts(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Count what may not be measured by person, in cells of enough people."""
    yield from materialize(context, platform, COOKIELESS)


consent_checks = [
    contract_check(name, stage)
    for stage in (CONSENT, PERSON_CONSENTS, COOKIELESS)
    for name in stage.tables
]
"""Contract checks of the tables above."""
