"""Touchpoints: contacts with marketing that can earn credit, one per session of a person."""

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.attribution.channels import DIRECT

EPOCH = ibis.timestamp("1970-01-01 00:00:00", timezone="UTC")
"""Engines round the seconds of an instant each in their own way; microseconds are whole."""


def touchpoints(sessions: ir.Table) -> ir.Table:
    """Turn sessions into touchpoints; sessions of bots are none.

    Args:
        sessions: Contract: `clickstream_platform.tables.sessions.Sessions`.

    Returns:
        Contract: `clickstream_platform.tables.attribution.Touchpoints`.
    """
    return sessions.filter(~_.is_bot).select(
        "person_id",
        "person_key",
        touchpoint_id=_.session_id,
        touched_at=_.started_at,
        touched_us=_.started_at.delta(EPOCH, unit="microsecond"),
        touch_date=_.session_date,
        channel=_.channel,
        campaign_source=_.campaign_source,
        campaign_medium=_.campaign_medium,
        campaign_name=_.campaign_name,
        is_direct=_.channel == DIRECT,
    )
