"""Sessions by a walk through each person's events: slow, naive, and written apart.

Nothing here comes from the package but the names of pings and page views; tests hold the
package's relations to it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from clickstream_platform.lake import polars_schema
from clickstream_platform.sessions import (
    PAGE_VIEWS,
    PINGS,
    SessionDefinitions,
    SessionPolicy,
    load_session_definitions,
)
from clickstream_platform_tests.frames import BUCKETS, instant

Row = dict[str, Any]

SHIPPED = load_session_definitions()
CAMPAIGN = ("campaign_source", "campaign_medium", "campaign_name", "click_id_type")


@dataclass
class Run:
    """Events of one session to be."""

    reason: str
    events: list[Row] = field(default_factory=list)
    reported: list[Row] = field(default_factory=list)
    """By servers."""

    def all(self) -> list[Row]:
        """Everything in order of time, reports after what they may report."""
        return sorted(
            [*self.events, *self.reported],
            key=lambda it: (it["occurred_us"], it["platform"] == "server", it["event_key"]),
        )


@dataclass
class SoFar:
    """What was seen of a person since the last gap."""

    campaign: tuple[str | None, ...] | None = None
    user: int | None = None


def person_of(event: Row, people: Mapping[int, Row]) -> tuple[int | None, str | None]:
    """Key and pseudonym of an event's person; ``people`` are the visitors that are not shared."""
    if event["user_key"] is not None:
        return event["user_key"], event["user_id"]
    if event["visitor_key"] in people:
        link = people[event["visitor_key"]]
        return link["person_key"], link["person_id"]
    return event["visitor_key"], event["visitor_id"]


def walk(
    events: pl.DataFrame,
    identity_map: pl.DataFrame,
    policy: SessionPolicy,
    definitions: SessionDefinitions = SHIPPED,
) -> dict[str, pl.DataFrame]:
    """The tables of sessions, but for channels, in order of all columns."""
    people = {
        link["visitor_key"]: link for link in identity_map.to_dicts() if not link["is_shared"]
    }
    by_person: dict[int, list[Row]] = defaultdict(list)
    sessions: list[Row] = []
    places: list[Row] = []
    sessionless: list[Row] = []
    for event in events.to_dicts():
        if event["is_synthetic"]:
            continue
        event["person_key"], event["person_id"] = person_of(event, people)
        if event["person_key"] is None:
            sessionless.append(_sessionless(event, "no_person"))
        else:
            by_person[event["person_key"]].append(event)
    for theirs in by_person.values():
        in_time = sorted(theirs, key=lambda it: (it["occurred_us"], it["event_key"]))
        is_first = True
        did = [it for it in in_time if it["platform"] != "server"]
        runs = list(_runs(did, policy))
        reports = [it for it in in_time if it["platform"] == "server"]
        left = [it for it in reports if not _reported(it, did, runs, policy)]
        sessionless += [_sessionless(it, "no_open_session") for it in left]
        for run in runs:
            if all(it["event_name"] in PINGS for it in run.events):
                sessionless += [_sessionless(it, "only_pings") for it in run.events]
                continue
            reason = "first" if is_first and run.reason == "timeout" else run.reason
            is_first = False
            sessions.append(_summary(run, policy, definitions) | {"cut_reason": reason})
            places += _places(run)
    return {
        "sessions": _frame("sessions", sessions).drop("channel"),
        "session_events": _frame("session_events", places),
        "sessionless_events": _frame("sessionless_events", sessionless),
        "runaway_sessions": _frame("runaway_sessions", _runaways(sessions, policy)),
    }


def _reported(it: Row, did: list[Row], runs: list[Run], policy: SessionPolicy) -> bool:
    """Whether a session was open when a server reported this; it then belongs to it."""
    before = [done for done in did if done["occurred_us"] <= it["occurred_us"]]
    if not before or it["occurred_us"] - before[-1]["occurred_us"] > policy.timeout_us:
        return False
    (run,) = (run for run in runs if before[-1] in run.events)
    if all(done["event_name"] in PINGS for done in run.events):
        return False
    run.reported.append(it)
    return True


def _runaways(sessions: Iterable[Row], policy: SessionPolicy) -> list[Row]:
    """What the limits cut; ``sessions`` are in order of time for each person."""
    chains: list[list[Row]] = []
    for session in sessions:
        last = chains[-1][-1] if chains else None
        follows = (
            last is not None
            and last["person_key"] == session["person_key"]
            and session["cut_reason"] in {"max_duration", "max_events"}
            and session["started_at"] - last["ended_at"] <= policy.timeout
        )
        if follows:
            chains[-1].append(session)
        else:
            chains.append([session])
    found = []
    for chain in chains:
        reasons = [it["cut_reason"] for it in chain]
        cuts = {"event_cuts": reasons.count("max_events")}
        cuts["duration_cuts"] = reasons.count("max_duration")
        if cuts["event_cuts"] or cuts["duration_cuts"] >= policy.storm_cuts:
            ends = {"ended_at": chain[-1]["ended_at"], "is_bot": any(it["is_bot"] for it in chain)}
            sums = {"sessions": len(chain), "events": sum(it["events"] for it in chain)}
            found.append(chain[0] | cuts | ends | sums)
    return found


def _runs(in_time: Sequence[Row], policy: SessionPolicy) -> Iterable[Run]:
    runs: list[Run] = []
    so_far = SoFar()
    for event in in_time:
        campaign: tuple[str | None, ...] | None = tuple(event[name] or None for name in CAMPAIGN)
        if event["event_name"] in PINGS or all(event[name] is None for name in CAMPAIGN):
            campaign = None
        user = None if event["event_name"] in PINGS else event["user_key"]
        before = runs[-1].events[-1] if runs else None
        if before is None or event["occurred_us"] - before["occurred_us"] > policy.timeout_us:
            reason: str | None = "timeout"
            so_far = SoFar()
        else:
            reason = _cut(event, campaign, user, so_far, runs[-1], policy)
        if reason is not None:
            runs.append(Run(reason))
        so_far.campaign = so_far.campaign if campaign is None else campaign
        so_far.user = so_far.user if user is None else user
        runs[-1].events.append(event)
    return runs


def _cut(  # noqa: PLR0913, PLR0917, PLR0911 - one return for each reason
    event: Row,
    campaign: tuple[str | None, ...] | None,
    user: int | None,
    so_far: SoFar,
    run: Run,
    policy: SessionPolicy,
) -> str | None:
    """Why an event without a gap before it starts a session, if it does."""
    before = run.events[-1]
    if policy.cut_on_campaign and campaign is not None and campaign != so_far.campaign:
        return "campaign"
    if policy.cut_on_logout and before["event_name"] in {"logout", "sign_out"}:
        return "logout"
    if policy.cut_on_identity and user is not None and user != so_far.user:
        return "identity"
    if policy.cut_at_midnight and _date(event, policy) != _date(before, policy):
        return "midnight"
    if event["occurred_us"] - run.events[0]["occurred_us"] > policy.max_duration_us:
        return "max_duration"
    if policy.max_events is not None and len(run.events) >= policy.max_events:
        return "max_events"
    return None


def _date(event: Row, policy: SessionPolicy) -> date:
    return instant(event["occurred_us"]).astimezone(ZoneInfo(policy.time_zone)).date()


def _engaged_ms(run: Sequence[Row], policy: SessionPolicy) -> int | None:
    reported = [it["engaged_time_ms"] for it in run if it["engaged_time_ms"] is not None]
    if reported or policy.heartbeat is None:
        return sum(reported) if reported else None
    beat = policy.heartbeat // timedelta(microseconds=1)
    beats = {it["occurred_us"] // beat for it in run if it["event_name"] in PINGS}
    least = policy.min_visit // timedelta(milliseconds=1)
    return (len(beats) - 1) * beat // 1000 + least if beats else None


def _summary(whole: Run, policy: SessionPolicy, definitions: SessionDefinitions) -> Row:
    run = whole.events
    first, last = run[0], run[-1]
    came = first["event_name"] not in PINGS
    views = sum(it["event_name"] in PAGE_VIEWS for it in run)
    engaged = _engaged_ms(run, policy)
    orders: set[str] = set()
    conversions, revenue = 0, Decimal(0)
    for it in whole.all():
        if it["event_name"] not in definitions.conversions or it["order_id"] in orders:
            continue
        if it["order_id"]:
            orders.add(it["order_id"])
        conversions += 1
        if definitions.conversions[it["event_name"]].counts_revenue:
            revenue += it["revenue"] or 0
    steps = 0
    for it in whole.all():
        age = max(last["occurred_us"] - it["occurred_us"], 0) / (
            policy.half_life.total_seconds() * 1e6
        )
        steps += round(0.5**age * definitions.weights.weight(it["event_name"]) * 1_000_000)
    is_engaged = (
        (engaged or 0) > policy.engaged_after.total_seconds() * 1000
        or conversions > 0
        or views >= 2
    )
    paths = [it["page_path"] for it in run if it["page_path"] is not None]
    hosts = [it["page_host"] for it in run if it["page_host"] is not None]
    return {
        **{name: first[name] for name in ("person_id", "person_key", "visitor_id", "source",
           "referrer_host", "device_type", "browser_name", "os_name", "country")},
        **{name: first[name] if came else None for name in CAMPAIGN},
        **{name: last[name] for name in ("consent_analytics", "consent_marketing",
           "consent_personalization")},
        "session_id": f"s_{first['person_key']}_{first['event_key']}",
        "session_key": first["event_key"],
        "started_at": instant(first["occurred_us"]),
        "ended_at": instant(last["occurred_us"]),
        "session_date": instant(first["occurred_us"]).date(),
        "bucket": first["person_key"] % BUCKETS,
        "duration_s": (last["occurred_us"] - first["occurred_us"]) / 1e6,
        "events": len(whole.all()),
        "page_views": views,
        "engaged_time_s": None if engaged is None else engaged / 1000,
        "is_engaged": is_engaged,
        "is_bounce": not is_engaged,
        "landing_host": hosts[0] if hosts else None,
        "landing_path": paths[0] if paths else None,
        "exit_path": paths[-1] if paths else None,
        "conversions": conversions,
        "revenue": revenue,
        "engagement_points": steps / 1_000_000,
        "is_bot": any(it["is_bot"] for it in run),
    }  # fmt: skip


def _places(run: Run) -> list[Row]:
    return [
        {
            "event_key": event["event_key"],
            "session_key": run.events[0]["event_key"],
            "person_key": event["person_key"],
            "event_name": event["event_name"],
            "occurred_us": event["occurred_us"],
            "event_number": number,
            "event_date": instant(event["occurred_us"]).date(),
            "bucket": event["person_key"] % BUCKETS,
        }
        for number, event in enumerate(run.all(), 1)
    ]


def _sessionless(event: Row, reason: str) -> Row:
    return {
        "event_key": event["event_key"],
        "person_key": event["person_key"],
        "reason": reason,
        "event_name": event["event_name"],
        "occurred_us": event["occurred_us"],
        "event_date": instant(event["occurred_us"]).date(),
    }


def _frame(table: str, rows: list[Row]) -> pl.DataFrame:
    schema = polars_schema(table)
    frame = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)
    return frame.sort(frame.columns)
