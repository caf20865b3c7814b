"""Session boundaries: where one session of a person ends and the next begins."""

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.sessions.policy import PINGS, SessionPolicy

IN_TIME = ("occurred_us", "event_key")
"""A person's events in order of time; events of one instant in order of their keys."""

CAMPAIGN = ("campaign_source", "campaign_medium", "campaign_name", "click_id_type")
"""What must differ for a campaign to be another one."""

ROUNDS_AT_ONCE = 4
"""Cuts for length that one query finds."""

_SEPARATOR = "\x1f"
_SESSION = ("person_key", "stretch", "session_us")


def with_campaign(events: ir.Table, *, policy: SessionPolicy) -> ir.Table:
    """Add ``is_ping``, and ``campaign``: the campaign of an event that can cut, as one text.

    Pings never cut, because a page that stays open in a second tab keeps sending its own
    campaign; null where there is none and where the policy does not cut on campaigns.

    Args:
        events: Events with ``event_name`` and the columns of `CAMPAIGN`.
        policy: The session policy.
    """
    is_ping = events.event_name.isin(PINGS)
    if not policy.cut_on_campaign:
        return events.mutate(is_ping=is_ping, campaign=ibis.null("string"))
    named = ibis.or_(*(events[name].notnull() for name in CAMPAIGN))
    parts = [events[name].fill_null("") for name in CAMPAIGN]
    text = parts[0]
    for part in parts[1:]:
        text = text.concat(_SEPARATOR, part)
    return events.mutate(is_ping=is_ping, campaign=ibis.ifelse(named & ~is_ping, text, None))


def place_events(events: ir.Table, *, policy: SessionPolicy, most_cuts: int) -> ir.Table:
    """Decide which session each event belongs to.

    In order of time, an event starts a session if

    - it is the person's first, or comes more than the timeout after the one before (``timeout``);
    - it carries a campaign other than the last one since then, or the first one since then
      (``campaign``);
    - it comes more than the longest duration after the start of its session (``max_duration``).

    A session of nothing but pings is none: its events stay without a session.

    Args:
        events: One row per event of a person: ``event_key``, ``person_key``, ``occurred_us``
            (int64, never null), ``is_ping`` and ``campaign`` of `with_campaign`. A
            ``restart_reason`` that is not null says that the event is known to start a session,
            and why; its ``campaign`` is then the last one so far.
        policy: The session policy.
        most_cuts: At least as many cuts for length as any run can need, see
            `SessionPolicy.most_cuts`; 0 where no run is longer than a session may be.

    Returns:
        ``event_key``, ``person_key``, ``occurred_us``, ``session_key`` (the key of the first
        event; null without a session), ``event_number`` (from 1), ``cut_reason``,
        ``opening_key`` (``session_key`` even without a session) and ``last_campaign`` (the
        campaign that another one is compared with). Grain: event_key.
    """
    stretches = _number_stretches(events, policy)
    if most_cuts:
        placed = _cut_long_stretches(stretches, policy, most_cuts)
    else:
        of_stretch = ibis.window(group_by=["person_key", "stretch"])
        placed = stretches.mutate(session_us=_.occurred_us.min().over(of_stretch))
    return _number_events(placed)


def _number_stretches(events: ir.Table, policy: SessionPolicy) -> ir.Table:
    """Number what lies between gaps and campaign cuts, per person."""
    gap = _.occurred_us - _.occurred_us.lag()
    if "restart_reason" not in events.columns:
        events = events.mutate(restart_reason=ibis.null("string"))
    in_time = ibis.window(group_by="person_key", order_by=list(IN_TIME))
    so_far = ibis.cumulative_window(group_by="person_key", order_by=list(IN_TIME))
    runs = (
        events.mutate(gap_us=gap.over(in_time))
        .mutate(
            opens_run=_.restart_reason.notnull()
            | _.gap_us.isnull()
            | (_.gap_us > policy.timeout_us)
        )
        .mutate(run=_.opens_run.cast("int64").sum().over(so_far))
    )
    if not policy.cut_on_campaign:
        return _reasoned(runs.mutate(is_cut=ibis.literal(value=False))).mutate(stretch=_.run)
    in_run = ibis.window(group_by=["person_key", "run"], order_by=list(IN_TIME))
    cuts = (
        runs.filter(_.campaign.notnull())
        .mutate(previous=_.campaign.lag().over(in_run))
        .filter(~_.opens_run, _.previous.isnull() | (_.previous != _.campaign))
        .select(cut_key="event_key")
    )
    marked = runs.left_join(cuts, runs.event_key == cuts.cut_key)
    marked = marked.mutate(is_cut=_.cut_key.notnull())
    opens = _.opens_run | _.is_cut
    return _reasoned(marked).mutate(stretch=opens.cast("int64").sum().over(so_far))


def _reasoned(marked: ir.Table) -> ir.Table:
    reason = ibis.cases(
        (_.restart_reason.notnull(), _.restart_reason),
        (_.opens_run, ibis.literal("timeout")),
        (_.is_cut, ibis.literal("campaign")),
        else_=ibis.literal("max_duration"),
    )
    return marked.mutate(reason=reason)


def _cut_long_stretches(stretches: ir.Table, policy: SessionPolicy, most_cuts: int) -> ir.Table:
    """Cut what is longer than a session may be, one cut after the other.

    Every round finds the next cut of all stretches at once: the first event that is too far from
    the cut before. Only long stretches take part.
    """
    longest = policy.max_duration_us
    of_stretch = ibis.window(group_by=["person_key", "stretch"])
    measured = stretches.mutate(
        session_us=_.occurred_us.min().over(of_stretch),
        end_us=_.occurred_us.max().over(of_stretch),
    )
    is_long = _.end_us - _.session_us > longest
    cut = measured.filter(is_long).mutate(last_us=_.session_us)
    for number in range(most_cuts):
        if number % ROUNDS_AT_ONCE == 0:
            # Each round wraps the ones before: without a rest, thirty days of a bot that never
            # sleeps are a query nested too deep to be written down.
            cut = cut.cache()
        beyond = ibis.ifelse(_.occurred_us - _.last_us > longest, _.occurred_us, None)
        cut = (
            cut.mutate(next_us=beyond.min().over(of_stretch))
            .mutate(
                session_us=ibis.ifelse(
                    _.next_us.notnull() & (_.occurred_us >= _.next_us), _.next_us, _.session_us
                ),
                last_us=_.next_us,
            )
            .drop("next_us")
        )
    return measured.filter(~is_long).union(cut.drop("last_us"))


def _number_events(placed: ir.Table) -> ir.Table:
    of_session = ibis.window(group_by=list(_SESSION))
    in_session = ibis.window(group_by=list(_SESSION), order_by=list(IN_TIME))
    of_stretch = ibis.window(group_by=["person_key", "stretch"])
    return placed.mutate(
        event_number=ibis.row_number().over(in_session) + 1,
        opening_key=_.event_key.first().over(in_session),
        cut_reason=_.reason.first().over(in_session),
        real_events=(~_.is_ping).cast("int64").sum().over(of_session),
        last_campaign=_.campaign.max().over(of_stretch),
    ).select(
        "event_key",
        "person_key",
        "occurred_us",
        session_key=ibis.ifelse(_.real_events > 0, _.opening_key, None),
        event_number=_.event_number.cast("int64"),
        cut_reason=_.cut_reason,
        opening_key=_.opening_key,
        last_campaign=_.last_campaign,
    )
