"""Session boundaries: where one session of a person ends and the next begins."""

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.sessions.policy import (
    DAY_US,
    LOGOUTS,
    PINGS,
    SERVER,
    SessionPolicy,
    zone_offsets,
)

IN_TIME = ("occurred_us", "event_key")
"""A person's events in order of time; events of one instant in order of their keys."""

IN_SESSION = ("occurred_us", "is_server", "event_key")
"""A session's events in order of time; what a server reports comes after what it may report."""

CAMPAIGN = ("campaign_source", "campaign_medium", "campaign_name", "click_id_type")
"""What must differ for a campaign to be another one."""

ROUNDS_AT_ONCE = 4
"""Cuts for length that one query finds."""

_SEPARATOR = "\x1f"
_STRETCH = ("person_key", "stretch")
_SESSION = (*_STRETCH, "start_number")


def with_campaign(events: ir.Table, *, policy: SessionPolicy) -> ir.Table:
    """Add ``is_ping``, ``is_server`` and ``campaign``: the campaign of an event that can cut.

    The campaign is one text. Pings never cut, because a page that stays open in a second tab keeps
    sending its own campaign; null where there is none and where the policy does not cut on
    campaigns. What the policy's other cuts look at is added only if it has them: ``is_logout``,
    ``seen_user_key`` (the user of an event that is no ping) and ``local_day`` (days since
    1970-01-01, policy's zone).

    Args:
        events: Events with ``event_name``, ``platform`` and the columns of `CAMPAIGN`; with
            ``user_key`` and ``occurred_us`` where the policy has other cuts.
        policy: The session policy.
    """
    is_ping = events.event_name.isin(PINGS)
    is_server = (events.platform == SERVER).fill_null(False)  # noqa: FBT003 - signature of Ibis
    marked = _with_marks(events.mutate(is_ping=is_ping, is_server=is_server), policy)
    if not policy.cut_on_campaign:
        return marked.mutate(campaign=ibis.null("string"))
    named = ibis.or_(*(marked[name].notnull() for name in CAMPAIGN))
    parts = [marked[name].fill_null("") for name in CAMPAIGN]
    text = parts[0]
    for part in parts[1:]:
        text = text.concat(_SEPARATOR, part)
    return marked.mutate(campaign=ibis.ifelse(named & ~marked.is_ping, text, None))


def _with_marks(events: ir.Table, policy: SessionPolicy) -> ir.Table:
    if policy.cut_on_logout:
        events = events.mutate(is_logout=_.event_name.isin(LOGOUTS))
    if policy.cut_on_identity:
        events = events.mutate(seen_user_key=ibis.ifelse(_.is_ping, None, _.user_key))
    if policy.cut_at_midnight:
        first, *later = zone_offsets(policy.time_zone)
        since = [(events.occurred_us >= it.from_us, it.offset_us) for it in reversed(later)]
        offset_us = ibis.cases(*since, else_=first.offset_us) if since else first.offset_us
        local_us = events.occurred_us + offset_us
        events = events.mutate(local_day=(local_us / DAY_US).floor().cast("int64"))
    return events


def place_events(events: ir.Table, *, policy: SessionPolicy, most_cuts: int) -> ir.Table:
    """Decide which session each event belongs to.

    In order of time, an event starts a session if

    - it is the person's first, or comes more than the timeout after the one before (``timeout``);
    - it carries a campaign other than the last one since then, or the first one since then
      (``campaign``);
    - the policy says so and it follows a logout (``logout``), carries the first user since then
      (``identity``) or another local date than the event before (``midnight``);
    - it comes more than the longest duration after the start of its session (``max_duration``);
    - its session has as many events as one may have (``max_events``).

    A session of nothing but pings is none: its events stay without a session.

    An event of a server is no part of this. It belongs to the session of what its person did last,
    if that is no more than the timeout ago, and to none otherwise.

    Args:
        events: One row per event of a person: ``event_key``, ``person_key``, ``occurred_us``
            (int64, never null), and what `with_campaign` adds. A ``restart_reason`` that is not
            null says that the event is known to start a session, and why; its ``campaign`` and
            ``seen_user_key`` are then the last ones so far.
        policy: The session policy.
        most_cuts: At least as many cuts for length as any run can need, see
            `SessionPolicy.most_cuts`; 0 where no run is longer than a session may be.

    Returns:
        ``event_key``, ``person_key``, ``occurred_us``, ``session_key`` (the key of the first
        event; null without a session), ``event_number`` (from 1, events of servers included),
        ``cut_reason`` and ``is_server``. Grain: event_key.
    """
    stretches = _number_stretches(events.filter(~_.is_server), policy)
    if most_cuts:
        placed = _cut_long_stretches(stretches, policy, most_cuts)
    else:
        placed = stretches.mutate(
            start_number=ibis.literal(0).cast("int64"), limit_reason=ibis.null("string")
        )
    return _number_events(_with_server_events(events, _name_sessions(placed), policy))


def _number_stretches(events: ir.Table, policy: SessionPolicy) -> ir.Table:
    """Number what lies between gaps and cuts that do not depend on length, per person."""
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
    cuts: list[str] = []
    marked = runs
    if policy.cut_on_campaign:
        marked = _mark_other(marked, runs, "campaign")
        cuts.append("campaign")
    if policy.cut_on_logout:
        after_logout = _.is_logout.lag().over(in_time).fill_null(False)  # noqa: FBT003 - signature of Ibis
        marked = marked.mutate(cut_by_logout=after_logout)
        cuts.append("logout")
    if policy.cut_on_identity:
        marked = _mark_other(marked, runs, "seen_user_key", name="identity")
        cuts.append("identity")
    if policy.cut_at_midnight:
        is_other = (_.local_day != _.local_day.lag()).over(in_time)
        marked = marked.mutate(cut_by_midnight=is_other.fill_null(False))  # noqa: FBT003 - signature of Ibis
        cuts.append("midnight")
    reasons = [(marked[f"cut_by_{cut}"], ibis.literal(cut)) for cut in cuts]
    opens = ibis.or_(marked.opens_run, *(is_cut for is_cut, _reason in reasons))
    reason = ibis.cases(
        (marked.restart_reason.notnull(), marked.restart_reason),
        (marked.opens_run, ibis.literal("timeout")),
        *reasons,
        else_=ibis.null("string"),
    )
    return marked.mutate(reason=reason, opens=opens).mutate(
        stretch=_.opens.cast("int64").sum().over(so_far)
    )


def _mark_other(marked: ir.Table, runs: ir.Table, column: str, *, name: str = "") -> ir.Table:
    """Mark events that carry another value than the last one of their run, or its first."""
    name = name or column
    in_run = ibis.window(group_by=["person_key", "run"], order_by=list(IN_TIME))
    cuts = (
        runs.filter(runs[column].notnull())
        .mutate(previous=_[column].lag().over(in_run))
        .filter(~_.opens_run, _.previous.isnull() | (_.previous != _[column]))
        .select(cut_key="event_key")
    )
    joined = marked.left_join(cuts, marked.event_key == cuts.cut_key)
    return joined.mutate(**{f"cut_by_{name}": _.cut_key.notnull()}).drop("cut_key")


def _cut_long_stretches(stretches: ir.Table, policy: SessionPolicy, most_cuts: int) -> ir.Table:
    """Cut what is longer than a session may be, one cut after the other.

    Every round finds the next cut of all stretches at once: the first event that is too far from
    the cut before, or one too many. Only long stretches take part.
    """
    longest, most = policy.max_duration_us, policy.max_events
    of_stretch = ibis.window(group_by=list(_STRETCH))
    so_far = ibis.cumulative_window(group_by=list(_STRETCH), order_by=list(IN_TIME))
    measured = stretches.mutate(
        # Counted, because Spark numbers rows in 32 bits while Ibis takes them for 64.
        number=_.event_key.count().over(so_far),
        last_us=_.occurred_us.min().over(of_stretch),
        end_us=_.occurred_us.max().over(of_stretch),
        size=_.event_key.count().over(of_stretch),
        start_number=ibis.literal(1).cast("int64"),
        limit_reason=ibis.null("string"),
    )
    is_long = _.end_us - _.last_us > longest
    if most is not None:
        is_long |= _.size > most
    cut = measured.filter(is_long).mutate(last_number=_.start_number)
    for number in range(most_cuts):
        if number % ROUNDS_AT_ONCE == 0:
            # Each round wraps the ones before: without a rest, thirty days of a bot that never
            # sleeps are a query nested too deep to be written down.
            cut = cut.cache()
        is_too_far = _.occurred_us - _.last_us > longest
        is_beyond = is_too_far if most is None else is_too_far | (_.number - _.last_number >= most)
        cut = (
            cut.mutate(is_too_far=is_too_far, beyond=ibis.ifelse(is_beyond, _.number, None))
            .mutate(next_number=_.beyond.min().over(of_stretch))
            .mutate(is_next=(_.number == _.next_number).fill_null(False))  # noqa: FBT003 - signature of Ibis
            .mutate(
                start_number=ibis.ifelse(
                    (_.number >= _.next_number).fill_null(False),  # noqa: FBT003 - signature of Ibis
                    _.next_number,
                    _.start_number,
                ),
                limit_reason=ibis.cases(
                    (_.is_next & _.is_too_far, ibis.literal("max_duration")),
                    (_.is_next, ibis.literal("max_events")),
                    else_=_.limit_reason,
                ),
                last_number=_.next_number,
                last_us=ibis.ifelse(_.is_next, _.occurred_us, None).max().over(of_stretch),
            )
            .drop("is_too_far", "beyond", "next_number", "is_next")
        )
    return measured.filter(~is_long).union(cut.drop("last_number"))


def _name_sessions(placed: ir.Table) -> ir.Table:
    """Name the session of each event by its first event."""
    of_session = ibis.window(group_by=list(_SESSION))
    in_session = ibis.window(group_by=list(_SESSION), order_by=list(IN_TIME))
    return placed.mutate(
        opening_key=_.event_key.first().over(in_session),
        cut_reason=ibis.coalesce(_.limit_reason, _.reason).first().over(in_session),
        real_events=(~_.is_ping).cast("int64").sum().over(of_session),
    ).select(
        "event_key",
        "person_key",
        "occurred_us",
        "cut_reason",
        "is_server",
        session_key=ibis.ifelse(_.real_events > 0, _.opening_key, None),
    )


def _with_server_events(events: ir.Table, named: ir.Table, policy: SessionPolicy) -> ir.Table:
    """Add the events of servers, each in the session of what its person did last."""
    so_far = ibis.cumulative_window(group_by="person_key", order_by=list(IN_SESSION))
    theirs = events.filter(_.is_server).mutate(
        cut_reason=ibis.null("string"), session_key=ibis.null("int64")
    )
    everything = named.union(theirs.select(named.columns))
    # Numbered by what the person did: a server's event has the number of what came last.
    numbered = everything.mutate(number=(~_.is_server).cast("int64").sum().over(so_far))
    did = numbered.filter(~_.is_server)
    last = did.select(
        "person_key", "number", last_us="occurred_us", last_key="session_key", why="cut_reason"
    )
    found = numbered.filter(_.is_server).left_join(last, ["person_key", "number"])
    is_open = (_.occurred_us - _.last_us <= policy.timeout_us) & _.last_key.notnull()
    joined = found.select(
        "event_key",
        "person_key",
        "occurred_us",
        "is_server",
        cut_reason=ibis.ifelse(is_open, _.why, None),
        session_key=ibis.ifelse(is_open, _.last_key, None),
    )
    return named.union(joined.select(named.columns))


def _number_events(named: ir.Table) -> ir.Table:
    in_session = ibis.window(group_by="session_key", order_by=list(IN_SESSION))
    number = ibis.row_number().over(in_session) + 1
    return named.mutate(event_number=number.cast("int64"))
