"""Comparing policies: what the same events come to under each, without storing anything."""

from collections.abc import Collection, Mapping
from datetime import date
from typing import NamedTuple

import polars as pl

from clickstream_platform.lake import Engine, Lake, opened_engine, view
from clickstream_platform.sessions.policy import SessionPolicy
from clickstream_platform.sessions.rebuild import Rules, make_stretches
from clickstream_platform.sessions.summary import load_session_definitions
from clickstream_platform.settings import SessionSettings, Settings, load_presets

OWN = "yours"
"""Name of the policy that the settings describe."""

_SUMS = """
SELECT channel, cut_reason, count(*) AS sessions, sum(events) AS events,
  sum(CAST(is_bounce AS BIGINT)) AS bounces, sum(duration_s) AS duration_s,
  sum(engaged_time_s) AS engaged_time_s, sum(conversions) AS conversions, sum(revenue) AS revenue,
  sum(CASE WHEN conversions > 0 THEN 1 ELSE 0 END) AS converted
FROM made_sessions WHERE NOT is_bot GROUP BY ALL
"""


class Comparison(NamedTuple):
    """What sessions come to under several policies; bots are left out."""

    totals: pl.DataFrame
    """One row per policy: ``policy``, ``sessions``, ``events_per_session``, ``bounce_rate``,
    ``conversion_rate`` (sessions with a conversion), ``mean_duration_s``, ``engaged_time_s`` (of
    all sessions; null where nothing says it), ``conversions``, ``revenue``,
    ``sessionless_events``."""
    channels: pl.DataFrame
    """One row per policy and channel: ``policy``, ``channel``, ``sessions``, ``sessions_share``,
    ``share_shift`` (share minus that of the first policy), ``revenue``."""
    cuts: pl.DataFrame
    """One row per policy and reason: ``policy``, ``cut_reason``, ``sessions``."""


def preset_policies(settings: Settings) -> dict[str, SessionPolicy]:
    """The policy of the settings, and that of every preset, by name."""
    policies = {OWN: SessionPolicy.of(settings)}
    for name in load_presets():
        sessions = SessionSettings(preset=name)
        policies[name] = SessionPolicy.of(settings.model_copy(update={"sessions": sessions}))
    return policies


def compare_policies(
    lake: Lake,
    settings: Settings,
    policies: Mapping[str, SessionPolicy],
    *,
    dates: Collection[date] | None = None,
) -> Comparison:
    """Make the sessions of all events under each policy, and sum them up.

    Args:
        lake: The lake; nothing is written.
        settings: Definitions, memory, and where to spill.
        policies: By name; the first is what channels of others are compared with.
        dates: Make sessions of the events of these dates alone; of all unless given.
    """
    with opened_engine(settings) as backend:
        view(backend, lake, "identity_map")
        backend.fill("people", "FROM identity_map")
        found = {name: _sums(backend, lake, settings, it, dates) for name, it in policies.items()}
    sums = pl.concat([rows for rows, _ in found.values()], how="vertical")
    named = sums.with_columns(
        policy=pl.Series(
            [name for name, (rows, _) in found.items() for _ in range(rows.height)], dtype=pl.String
        )
    )
    sessionless = pl.DataFrame(
        {"policy": [*found], "sessionless_events": [number for _, number in found.values()]}
    )
    first = next(iter(policies), OWN)
    return Comparison(
        totals=sessionless.join(_totals(named), on="policy", how="left", maintain_order="left"),
        channels=_channels(named, first),
        cuts=named.group_by("policy", "cut_reason", maintain_order=True)
        .agg(pl.col("sessions").sum())
        .sort("policy", "sessions", "cut_reason", descending=[False, True, False]),
    )


def _sums(
    backend: Engine,
    lake: Lake,
    settings: Settings,
    policy: SessionPolicy,
    dates: Collection[date] | None,
) -> tuple[pl.DataFrame, int]:
    """Sums by channel and reason, and how many events are in no session."""
    definitions = load_session_definitions(settings.definitions)
    parts: list[pl.DataFrame] = []
    sessionless = 0
    rules = Rules(policy=policy, definitions=definitions, buckets=settings.lake.buckets)
    for _dates in make_stretches(backend, lake, dates, **rules):
        parts.append(backend.sql(_SUMS).to_polars().cast(_TYPES))
        counted = backend.raw_sql("SELECT count(*) FROM made_sessionless_events").fetchall()
        sessionless += int(counted[0][0])
    return pl.concat([pl.DataFrame(schema=_TYPES), *parts]), sessionless


_TYPES = {
    "channel": pl.String(),
    "cut_reason": pl.String(),
    "sessions": pl.Int64(),
    "events": pl.Int64(),
    "bounces": pl.Int64(),
    "duration_s": pl.Float64(),
    "engaged_time_s": pl.Float64(),
    "conversions": pl.Int64(),
    "revenue": pl.Decimal(38, 4),
    "converted": pl.Int64(),
}


def _totals(named: pl.DataFrame) -> pl.DataFrame:
    known = pl.col("engaged_time_s").is_not_null().any()
    return (
        named.group_by("policy", maintain_order=True)
        .agg(
            pl.col("sessions", "events", "bounces", "converted", "conversions", "revenue").sum(),
            pl.col("duration_s").sum(),
            engaged_time_s=pl.when(known).then(pl.col("engaged_time_s").sum()),
        )
        .select(
            "policy",
            "sessions",
            events_per_session=pl.col("events") / pl.col("sessions"),
            bounce_rate=pl.col("bounces") / pl.col("sessions"),
            conversion_rate=pl.col("converted") / pl.col("sessions"),
            mean_duration_s=pl.col("duration_s") / pl.col("sessions"),
            engaged_time_s="engaged_time_s",
            conversions="conversions",
            revenue="revenue",
        )
    )


def _channels(named: pl.DataFrame, first: str) -> pl.DataFrame:
    sessions = pl.col("sessions").sum()
    rows = (
        named.group_by("policy", "channel", maintain_order=True)
        .agg(sessions, pl.col("revenue").sum())
        .with_columns(sessions_share=pl.col("sessions") / sessions.over("policy"))
    )
    # A channel that a policy never names has a share all the same: none.
    every = rows.select("policy").unique().join(rows.select("channel").unique(), how="cross")
    whole = every.join(rows, on=["policy", "channel"], how="left").with_columns(
        pl.col("sessions", "sessions_share", "revenue").fill_null(0)
    )
    before = whole.filter(pl.col("policy") == first).select("channel", before="sessions_share")
    return (
        whole.join(before, on="channel", how="left")
        .with_columns(share_shift=pl.col("sessions_share") - pl.col("before").fill_null(0))
        .select("policy", "channel", "sessions", "sessions_share", "share_shift", "revenue")
        .sort("policy", "channel")
    )
