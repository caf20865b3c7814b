"""Sessions summed up: one row per session, from its events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.attribution import (
    ChannelRules,
    ConversionRule,
    load_channel_rules,
    load_conversion_rules,
    with_channel,
)
from clickstream_platform.lake import literal
from clickstream_platform.sessions.boundaries import CAMPAIGN
from clickstream_platform.sessions.policy import PAGE_VIEWS, PINGS, RESOLUTION, SessionPolicy
from clickstream_platform.sessions.weights import EngagementWeights, load_engagement_weights
from clickstream_platform.tables.sessions import SessionlessEvents, Sessions

FIRST = ("person_id", "visitor_id", "source", "referrer_host", "device_type", "browser_name",
         "os_name", "country")  # fmt: skip
"""Columns that a session takes from its first event."""

LAST = ("consent_analytics", "consent_marketing", "consent_personalization")
"""Columns that a session takes from its last event."""

READ = (*FIRST, *LAST, *CAMPAIGN, "event_key", "event_name", "event_date", "occurred_at",
        "page_host", "page_path", "engaged_time_ms", "order_id", "revenue", "is_bot",
        "platform")  # fmt: skip
"""Columns of an event that its session is made from, beside its place."""

POINT_STEPS = 1_000_000
"""Steps of one engagement point: points are added up as integers, so that their order, which
differs between engines and between runs, cannot change the sum."""

MILLISECOND = timedelta(milliseconds=1)

_MONEY = "decimal(18, 4)"


@dataclass(frozen=True, kw_only=True)
class SessionDefinitions:
    """The business definitions that sessions rest on."""

    channels: ChannelRules = field(default_factory=load_channel_rules)
    conversions: Mapping[str, ConversionRule] = field(default_factory=load_conversion_rules)
    weights: EngagementWeights = field(default_factory=load_engagement_weights)


def load_session_definitions(definitions: Path | None = None) -> SessionDefinitions:
    """Read what sessions rest on: the user's definitions, else the shipped ones.

    Read once while no file changes, because what is compiled from them is kept beside them. A
    file that cannot be used is a `DefinitionError`.
    """
    files = sorted(definitions.glob("*.toml")) if definitions else []
    return _read_definitions(definitions, tuple((f, f.stat().st_mtime_ns) for f in files))


@lru_cache(maxsize=4)
def _read_definitions(
    definitions: Path | None,
    stamps: tuple[tuple[Path, int], ...],  # noqa: ARG001 - a changed file is another key
) -> SessionDefinitions:
    return SessionDefinitions(
        channels=load_channel_rules(definitions),
        conversions=load_conversion_rules(definitions),
        weights=load_engagement_weights(definitions),
    )


def session_events(events: ir.Table, placed: ir.Table, *, buckets: int) -> ir.Table:
    """List which session each event belongs to.

    Args:
        events: Events with ``event_key``, ``event_name``, ``event_date``.
        placed: Result of `place_events`.
        buckets: Number of partitions; a person is in ``person_key % buckets``.

    Returns:
        Contract: `clickstream_platform.tables.sessions.SessionEvents`.
    """
    named = events.select("event_key", "event_name", "event_date")
    return (
        placed.filter(_.session_key.notnull())
        .inner_join(named, "event_key")
        .select(
            "event_key",
            "session_key",
            "person_key",
            "event_name",
            "occurred_us",
            "event_number",
            "event_date",
            bucket=(_.person_key % buckets).cast("int32"),
        )
    )


def sessionless_events(events: ir.Table, placed: ir.Table) -> ir.Table:
    """List the events that are in no session.

    Args:
        events: Events with ``event_key``, ``person_key``, ``event_name``, ``occurred_us`` and
            ``event_date``.
        placed: Result of `place_events` for those of a person.

    Returns:
        Contract: `clickstream_platform.tables.sessions.SessionlessEvents`.
    """
    columns = list(SessionlessEvents.to_schema().columns)
    left = placed.filter(_.session_key.isnull())
    reason = ibis.ifelse(_.is_server, ibis.literal("no_open_session"), ibis.literal("only_pings"))
    outside = events.inner_join(left.select("event_key", reason=reason), "event_key")
    nobody = events.filter(_.person_key.isnull()).mutate(reason=ibis.literal("no_person"))
    return outside.select(columns).union(nobody.select(columns))


def summarize_sessions(
    events: ir.Table,
    placed: ir.Table,
    *,
    policy: SessionPolicy,
    definitions: SessionDefinitions,
    buckets: int,
) -> ir.Table:
    """Sum up each session.

    Args:
        events: Events with the columns of `READ`.
        placed: Result of `place_events` for these events.
        policy: The session policy.
        definitions: Channels, conversions and weights.
        buckets: Number of partitions; a person is in ``person_key % buckets``.

    Returns:
        Contract: `clickstream_platform.tables.sessions.Sessions`, where every session that no
        earlier one was cut from says ``timeout`` as its reason; `name_first_sessions` then finds
        the first ones.
    """
    placed = placed.filter(_.session_key.notnull()).select(
        "event_key",
        "session_key",
        "person_key",
        "occurred_us",
        "event_number",
        "cut_reason",
        "is_server",
    )
    rows = placed.inner_join(events.select(READ), "event_key")
    ends = (
        placed.filter(~_.is_server)
        .group_by("session_key")
        .aggregate(
            start_us=_.occurred_us.min(),
            end_us=_.occurred_us.max(),
            last_number=_.event_number.max(),
        )
    )
    rows = rows.inner_join(ends, "session_key")
    summed = _sums(rows, policy, definitions.weights)
    first = rows.filter(_.event_number == 1).select(
        "session_key",
        "person_key",
        "cut_reason",
        *FIRST,
        # A page left open keeps the campaign in its address: a ping brings nobody.
        **{name: ibis.ifelse(_.event_name.isin(PINGS), None, _[name]) for name in CAMPAIGN},
        started_at="occurred_at",
        session_date="event_date",
    )
    last = rows.filter(_.event_number == _.last_number).select(
        "session_key", *LAST, ended_at="occurred_at"
    )
    converted = _conversions(rows, definitions.conversions)
    joined = (
        summed.inner_join(first, "session_key")
        .inner_join(last, "session_key")
        .left_join(converted, "session_key")
    )
    joined = joined.drop("session_key_right").mutate(bucket=(_.person_key % buckets).cast("int32"))
    return _finished(joined, policy, definitions.channels)


def _sums(rows: ir.Table, policy: SessionPolicy, weights: EngagementWeights) -> ir.Table:
    weight = ibis.cases(
        *((rows.event_name == literal(name), value) for name, value in weights.weights.items()),
        else_=weights.otherwise,
    )
    # What a server reports after the end is as young as the end.
    age_us = ibis.greatest(rows.end_us - rows.occurred_us, 0)
    half_lives = age_us / (policy.half_life // RESOLUTION)
    points = (ibis.literal(2.0) ** -half_lives * weight * POINT_STEPS).round().cast("int64")
    seen = ~_.is_server
    engaged_ms = _.engaged_time_ms.sum(where=seen)
    if policy.heartbeat is not None:
        beat_us = policy.heartbeat // RESOLUTION
        beats = (_.occurred_us / beat_us).floor().cast("int64")
        pinged = beats.nunique(where=seen & _.event_name.isin(PINGS))
        estimate = (pinged - 1) * (beat_us // 1_000) + policy.min_visit // MILLISECOND
        engaged_ms = ibis.coalesce(engaged_ms, ibis.ifelse(pinged > 0, estimate, None))
    return (
        rows.mutate(points=points)
        .group_by("session_key", "start_us", "end_us")
        .aggregate(
            events=_.count(),
            page_views=(seen & _.event_name.isin(PAGE_VIEWS)).cast("int64").sum(),
            engaged_ms=engaged_ms,
            landing_host=_.page_host.argmin(_.event_number, where=seen & _.page_host.notnull()),
            landing_path=_.page_path.argmin(_.event_number, where=seen & _.page_path.notnull()),
            exit_path=_.page_path.argmax(_.event_number, where=seen & _.page_path.notnull()),
            point_steps=_.points.sum(),
            is_bot=(seen & _.is_bot).any(),
        )
    )


def _conversions(rows: ir.Table, rules: Mapping[str, ConversionRule]) -> ir.Table:
    """Count conversions per session, each order once."""
    counting = [literal(name) for name, rule in rules.items() if rule.counts_revenue]
    of_order = ibis.window(group_by=["session_key", "order_id"], order_by="event_number")
    found = (
        rows.filter(_.event_name.isin([literal(name) for name in rules]))
        .mutate(repetition=ibis.row_number().over(of_order))
        .filter(_.order_id.isnull() | (_.order_id == "") | (_.repetition == 0))
    )
    return found.group_by("session_key").aggregate(
        conversions=_.count(), revenue=_.revenue.sum(where=_.event_name.isin(counting))
    )


def _finished(joined: ir.Table, policy: SessionPolicy, channels: ChannelRules) -> ir.Table:
    nothing = ibis.literal(0).cast(_MONEY)
    engaged_s = joined.engaged_ms / 1000.0
    conversions = joined.conversions.fill_null(0)
    is_engaged = (
        (engaged_s > policy.engaged_after.total_seconds()).fill_null(False)  # noqa: FBT003 - signature of Ibis
        | (conversions > 0)
        | (joined.page_views >= 2)  # noqa: PLR2004 - two page views, by definition
    )
    key, person = (joined[name].cast("string") for name in ("session_key", "person_key"))
    finished = joined.mutate(
        session_id=ibis.literal("s_").concat(person, "_", key),
        duration_s=(joined.end_us - joined.start_us) / 1e6,
        engaged_time_s=engaged_s,
        is_engaged=is_engaged,
        is_bounce=~is_engaged,
        conversions=conversions,
        revenue=joined.revenue.cast(_MONEY).fill_null(nothing),
        engagement_points=joined.point_steps / POINT_STEPS,
    )
    columns = list(Sessions.to_schema().columns)
    return with_channel(finished, channels).select(columns)


def name_first_sessions(sessions: ir.Table) -> ir.Table:
    """Tell each person's first session, ``first``, from those that follow a ``timeout``.

    Args:
        sessions: All sessions of the persons in it.

    Returns:
        The same rows, with ``cut_reason`` set anew where it is one of the two.
    """
    of_person = ibis.window(group_by="person_key", order_by=["started_at", "session_key"])
    number = ibis.row_number().over(of_person)
    opens_run = sessions.cut_reason.isin(["first", "timeout"])
    reason = ibis.cases(
        (~opens_run, sessions.cut_reason),
        (number == 0, ibis.literal("first")),
        else_=ibis.literal("timeout"),
    )
    return sessions.mutate(cut_reason=reason)
