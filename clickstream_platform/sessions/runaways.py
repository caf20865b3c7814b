"""Runaway sessions: what would be one session, and had to be cut again and again for its length."""

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.sessions.policy import SessionPolicy

LIMITS = ("max_duration", "max_events")
"""Reasons of a session that was cut from the one before because that was full."""

EPOCH = ibis.timestamp("1970-01-01 00:00:00", timezone="UTC")


def runaway_sessions(sessions: ir.Table, *, policy: SessionPolicy) -> ir.Table:
    """Put together again what the limits cut, where that is more than people do.

    A session that was cut for its length follows the one before if no more than the timeout lies
    between them. Sessions that follow each other are a runaway if one of them was cut because the
    one before had as many events as one may have, or if `SessionPolicy.storm_cuts` of them were
    because it lasted as long as one may.

    Args:
        sessions: All sessions of the persons in it. Contract:
            `clickstream_platform.tables.sessions.Sessions`.
        policy: The policy that made them.

    Returns:
        Contract: `clickstream_platform.tables.sessions.RunawaySessions`.
    """
    cut = sessions.filter(sessions.cut_reason.isin(LIMITS)).select("person_key").distinct()
    order = ["start_us", "session_key"]
    in_time = ibis.window(group_by="person_key", order_by=order)
    so_far = ibis.cumulative_window(group_by="person_key", order_by=order)
    in_chain = ibis.window(group_by=["person_key", "chain"], order_by=order)
    gap_us = (_.start_us - _.end_us.lag()).over(in_time)
    chained = (
        sessions.semi_join(cut, "person_key")
        .mutate(
            start_us=_.started_at.delta(EPOCH, unit="microsecond"),
            end_us=_.ended_at.delta(EPOCH, unit="microsecond"),
            is_cut=_.cut_reason.isin(LIMITS),
        )
        .mutate(gap_us=gap_us.fill_null(policy.timeout_us + 1))
        .mutate(opens_chain=~_.is_cut | (_.gap_us > policy.timeout_us))
        .mutate(chain=_.opens_chain.cast("int64").sum().over(so_far))
        .mutate(number=ibis.row_number().over(in_chain))
    )
    summed = chained.group_by("person_key", "chain").aggregate(
        **{
            name: _[name].argmin(_.number)
            for name in ("session_id", "session_key", "person_id", "source", "session_date")
        },
        started_at=_.started_at.min(),
        ended_at=_.ended_at.max(),
        sessions=_.count(),
        events=_.events.sum().cast("int64"),
        event_cuts=(_.cut_reason == "max_events").cast("int64").sum(),
        duration_cuts=(_.cut_reason == "max_duration").cast("int64").sum(),
        is_bot=_.is_bot.any(),
    )
    is_runaway = (_.event_cuts > 0) | (_.duration_cuts >= policy.storm_cuts)
    return summed.filter(is_runaway).drop("chain")
