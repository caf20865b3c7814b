"""Assets: one per stored table, one group per stage."""

import dagster as dg

from clickstream_platform.orchestration.assets.activation import activation_checks, crm_syncs
from clickstream_platform.orchestration.assets.attribution import (
    attribution_checks,
    attribution_credits,
    conversions,
    touchpoints,
)
from clickstream_platform.orchestration.assets.bots import bot_behaviour, bot_checks
from clickstream_platform.orchestration.assets.consent import (
    consent_checks,
    consents,
    cookieless_counts,
    person_consents,
)
from clickstream_platform.orchestration.assets.events import (
    LANDED_FILES,
    event_checks,
    events,
    raw_events,
)
from clickstream_platform.orchestration.assets.identity import (
    identity_checks,
    identity_decisions,
    identity_map,
)
from clickstream_platform.orchestration.assets.privacy import privacy_checks, subject_requests
from clickstream_platform.orchestration.assets.reports import report, report_contract
from clickstream_platform.orchestration.assets.segments import (
    engagement_scores,
    segment_checks,
    segments,
)
from clickstream_platform.orchestration.assets.sessions import session_checks, sessions

all_assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
    LANDED_FILES,
    raw_events,
    events,
    identity_decisions,
    identity_map,
    consents,
    person_consents,
    cookieless_counts,
    bot_behaviour,
    sessions,
    touchpoints,
    conversions,
    attribution_credits,
    engagement_scores,
    segments,
    crm_syncs,
    subject_requests,
    report,
]
"""Every asset, in the order of the stages."""

all_contract_checks = [
    *event_checks,
    *identity_checks,
    *consent_checks,
    *bot_checks,
    *session_checks,
    *attribution_checks,
    *segment_checks,
    *activation_checks,
    *privacy_checks,
    report_contract,
]
"""The contract check of every table and of the report."""

__all__ = ["all_assets", "all_contract_checks"]
