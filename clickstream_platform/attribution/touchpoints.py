"""Touchpoints: contacts with marketing that can earn credit, one per session of a person."""

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.attribution.channels import DIRECT
from clickstream_platform.collection.consent_log import Silence, permitted

EPOCH = ibis.timestamp("1970-01-01 00:00:00", timezone="UTC")
"""Engines round the seconds of an instant each in their own way; microseconds are whole."""


READ = ("person_id", "person_key", "session_id", "started_at", "session_date", "bucket", "channel",
        "campaign_source", "campaign_medium", "campaign_name", "is_bot", "country")  # fmt: skip
"""Columns of sessions that touchpoints are made from."""

USES = {"may_measure": "consent_analytics", "may_attribute": "consent_attribution"}
"""What attribution does with rows of people, each with the consent that it asks."""


def touchpoints(
    sessions: ir.Table, person_consents: ir.Table, silence: Mapping[str, Silence]
) -> ir.Table:
    """Turn sessions into touchpoints; sessions of bots are none, nor of who does not allow it.

    Args:
        sessions: Contract: `clickstream_platform.tables.sessions.Sessions`.
        person_consents: Contract: `clickstream_platform.tables.consent.PersonConsents`.
        silence: What counts for who never chose.

    Returns:
        Contract: `clickstream_platform.tables.attribution.Touchpoints`.
    """
    of_people = permitted(sessions.filter(~_.is_bot), person_consents, USES, silence)
    return of_people.filter(_.may_measure, _.may_attribute).select(
        "person_id",
        "person_key",
        touchpoint_id=_.session_id,
        touched_at=_.started_at,
        touched_us=_.started_at.delta(EPOCH, unit="microsecond"),
        touch_date=_.session_date,
        bucket=_.bucket,
        channel=_.channel,
        campaign_source=_.campaign_source,
        campaign_medium=_.campaign_medium,
        campaign_name=_.campaign_name,
        is_direct=_.channel == DIRECT,
    )
