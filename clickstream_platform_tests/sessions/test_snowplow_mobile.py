"""Snowplow's mobile model: its published sessions, screen views and users, from its own events.

The tracker says which session an event is of; so here a tracker's session is the person whose
events are split, and no gap ends it. Snowplow keeps three days of a session: what comes later is
its own session here, and only the first one is compared.
"""

import csv
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ibis.backends.duckdb import Backend

from clickstream_platform.identity import identity_links, map_identities
from clickstream_platform.sessions import SessionPolicy
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import events_frame
from clickstream_platform_tests.sessions.making import by_statements

CONTEXT = "contexts_com_snowplowanalytics_snowplow_client_session_1_0_1"
SCREEN = "unstruct_event_com_snowplowanalytics_mobile_screen_view_1_0_0"
WAREHOUSES = ("bigquery", "databricks", "default", "snowflake")
THREE_DAYS = timedelta(days=3)

Row = dict[str, Any]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return [*csv.DictReader(handle)]


def first_of(text: str) -> dict[str, str]:
    found = json.loads(text) if text else []
    return dict(found[0]) if found else {}


def events(case: Path) -> pl.DataFrame:
    """One event per id, the earliest at the collector; without those sent three days late."""
    raw = rows(case / "source" / "snowplow_mobile_events.csv")
    raw.sort(key=lambda it: it["collector_tstamp"])
    kept: dict[str, dict[str, str]] = {}
    for it in raw:
        age = instant(it["dvce_sent_tstamp"]) - instant(it["dvce_created_tstamp"])
        if age <= THREE_DAYS and first_of(it[CONTEXT]).get("session_id"):
            kept.setdefault(it["event_id"], it)
    seen: set[str] = set()
    found: list[Row] = []
    for it in sorted(kept.values(), key=lambda it: it["derived_tstamp"]):
        session = first_of(it[CONTEXT])
        screen = first_of(it[SCREEN]).get("id")
        # A screen view counts once over all sessions; one without an id is none.
        is_new = it["event_name"] == "screen_view" and bool(screen) and screen not in seen
        seen.add(screen or "")
        found.append(
            {
                "event_id": it["event_id"],
                "event_name": "screen_view" if is_new else "other",
                "occurred_at": instant(it["derived_tstamp"]),
                "visitor_id": session["user_id"],
                "user_id": session["session_id"],
                "page_path": first_of(it[SCREEN]).get("name"),
            }
        )
    return events_frame(found)


@pytest.fixture(scope="module")
def case(shared: Path) -> Path:
    return shared / "cases" / "snowplow_mobile"


@pytest.fixture(scope="module")
def sessions(case: Path) -> dict[str, Row]:
    """Our sessions by the tracker's session id."""
    policy = SessionPolicy(timeout=THREE_DAYS * 9, max_duration=THREE_DAYS, cut_on_campaign=False)
    made = by_statements(events(case), policy=policy)["sessions"]
    firsts = made.filter(pl.col("cut_reason") == "first")
    return {row["person_id"]: row for row in firsts.to_dicts()}


@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_sessions_are_the_published_ones(
    case: Path, sessions: dict[str, Row], warehouse: str
) -> None:
    expected = rows(case / "expected" / warehouse / "snowplow_mobile_sessions_expected.csv")
    assert {it["session_id"] for it in expected} == sessions.keys()
    for it in expected:
        ours = sessions[it["session_id"]]
        assert ours["visitor_id"] == it["device_user_id"]
        assert ours["started_at"] == instant(it["start_tstamp"])
        assert ours["ended_at"] == instant(it["end_tstamp"])
        # Warehouses truncate or round up.
        assert ours["duration_s"] == pytest.approx(float(it["session_duration_s"]), abs=1)
        assert ours["page_views"] == int(it["screen_views"] or 0)
        assert (ours["landing_path"] or "") == it["first_screen_view_name"]
        assert (ours["exit_path"] or "") == it["last_screen_view_name"]


@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_users_are_the_published_ones(case: Path, sessions: dict[str, Row], warehouse: str) -> None:
    expected = rows(case / "expected" / warehouse / "snowplow_mobile_users_expected.csv")
    assert {it["device_user_id"] for it in expected} == {
        it["visitor_id"] for it in sessions.values()
    }
    for it in expected:
        theirs = [row for row in sessions.values() if row["visitor_id"] == it["device_user_id"]]
        assert len(theirs) == int(it["sessions"])
        assert sum(row["page_views"] for row in theirs) == int(it["screen_views"] or 0)
        assert min(row["started_at"] for row in theirs) == instant(it["start_tstamp"])
        assert max(row["ended_at"] for row in theirs) == instant(it["end_tstamp"])
        assert len({row["session_date"] for row in theirs}) == int(it["active_days"])
        lasted = sum(row["duration_s"] for row in theirs)
        assert lasted == pytest.approx(float(it["sessions_duration_s"]), abs=len(theirs))


@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_person_is_theirs_where_a_device_has_one_user(
    case: Path, sessions: dict[str, Row], warehouse: str, duckdb_backend: Backend, tmp_path: Path
) -> None:
    expected = rows(case / "expected" / warehouse / "snowplow_mobile_sessions_expected.csv")
    stitched = {it["device_user_id"]: it["stitched_user_id"] for it in expected}
    users = {it["session_id"]: it["user_id"] for it in expected}
    # Snowplow gives a device to the user of its last session, whoever used it before.
    last = {it["visitor_id"]: it for it in sorted(sessions.values(), key=lambda it: it["ended_at"])}
    assert {device: users[row["person_id"]] for device, row in last.items()} == stitched
    # We give a device that several users signed in on to none of them.
    logins = (
        events(case)
        .filter(pl.col("user_id").is_in([*users]))
        .with_columns(user_id=pl.col("user_id").replace_strict(users, return_dtype=pl.String))
    )
    named = events_frame(
        logins.select("event_id", "occurred_at", "visitor_id", "user_id").to_dicts()
    )
    people = run(
        duckdb_backend,
        tmp_path,
        {"events": named},
        lambda events: map_identities(identity_links(events)),
    )
    seen = {device: {users[k] for k, row in sessions.items() if row["visitor_id"] == device}
            for device in stitched}  # fmt: skip
    assert set(people.filter("is_shared")["visitor_id"]) == {
        d for d, u in seen.items() if len(u) > 1
    }
    own = people.filter(~pl.col("is_shared"))
    assert dict(own.select("visitor_id", "person_id").rows()) == {
        device: stitched[device] for device, theirs in seen.items() if len(theirs) == 1
    }


@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_screen_views_are_the_published_ones(
    case: Path, sessions: dict[str, Row], warehouse: str
) -> None:
    expected = rows(case / "expected" / warehouse / "snowplow_mobile_screen_views_expected.csv")
    counted = Counter(it["session_id"] for it in expected)
    assert sum(it["page_views"] for it in sessions.values()) == len(expected) == 77
    assert {k: it["page_views"] for k, it in sessions.items() if it["page_views"]} == counted
