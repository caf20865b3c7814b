"""Segment assets: how engaged people are, and which segments they are in."""

from datetime import timedelta

import dagster as dg

from clickstream_platform.orchestration.checks import contract_check
from clickstream_platform.orchestration.conditions import when_behind
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import SCORES, SEGMENTS
from clickstream_platform.orchestration.tables import TRANSIENT, Materialized, materialize, table


@dg.multi_asset(
    name="score_engagement",
    specs=[
        table(
            "engagement_scores",
            stage=SCORES,
            owner="growth",
            kinds={"duckdb"},
            deps=["sessions", "person_consents"],
            condition=when_behind(),
        )
    ],
    pool=SCORES.pool,
    retry_policy=TRANSIENT,
)
def engagement_scores(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Score people whose sessions changed."""
    yield from materialize(context, platform, SCORES)


@dg.multi_asset(
    name="evaluate_segments",
    specs=[
        table(
            "segment_members",
            stage=SEGMENTS,
            owner="growth",
            kinds={"duckdb"},
            deps=["engagement_scores", "sessions", "sessionless_events", "events", "consents"],
            condition=when_behind(),
        ),
        table(
            "segments",
            stage=SEGMENTS,
            owner="growth",
            kinds={"duckdb"},
            deps=["engagement_scores", "sessions", "sessionless_events", "events", "consents"],
            condition=when_behind(),
            fresh_within=timedelta(hours=26),
        ),
    ],
    pool=SEGMENTS.pool,
    retry_policy=TRANSIENT,
)
def segments(context: dg.AssetExecutionContext, platform: Platform) -> Materialized:
    """Decide who is in which segment now, and note who entered and who left."""
    yield from materialize(context, platform, SEGMENTS)


segment_checks = [
    contract_check("engagement_scores", SCORES),
    *(contract_check(name, SEGMENTS) for name in SEGMENTS.tables),
]
"""Contract checks of the tables above."""
