"""Snowplow's fractribution suite: our stages on its events, its channels as rules of a user."""

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import ibis.expr.types as ir
import polars as pl
import pytest
from ibis.backends.duckdb import Backend

from clickstream_platform.attribution import (
    attribution_credits,
    conversions,
    eligible_paths,
    load_channel_rules,
    load_conversion_rules,
    touchpoints,
    with_channel,
)
from clickstream_platform.collection.consent import load_policy
from clickstream_platform.collection.consent_log import silence_of
from clickstream_platform_tests.frames import (
    events_frame,
    person_consents_frame,
    sessions_frame,
    surrogate,
)

CHANNELS = """
otherwise = "Unmatched_Channel"
[[rule]]
channel = "Paid_Search_Brand"
when = { medium = ["cpc", "ppc"], campaign = 'brand' }
[[rule]]
channel = "Paid_Search_Generic"
when = { medium = ["cpc", "ppc"], campaign = 'generic' }
[[rule]]
channel = "Paid_Search_Other"
when = { medium = ["cpc", "ppc"] }
[[rule]]
channel = "Organic_Search"
when = { medium = ["organic"] }
[[rule]]
channel = "Display_Other"
when = { medium = ["display", "cpm", "banner"] }
[[rule]]
channel = "Video"
when = { campaign = 'video|youtube' }
[[rule]]
channel = "Video"
when = { source = 'video|youtube' }
[[rule]]
channel = "Paid_Social_Other"
when = { medium = ["social"] }
[[rule]]
channel = "Direct"
when = { source = ["(direct)"] }
[[rule]]
channel = "Referral"
when = { medium = ["referral"] }
[[rule]]
channel = "Email"
when = { medium = ["email"] }
"""
THIRTY_DAYS = timedelta(days=30)


class Tables(NamedTuple):
    """What our stages make of the suite's events."""

    sessions: ir.Table
    touchpoints: ir.Table
    conversions: ir.Table


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return [*csv.DictReader(opened)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix(".000").removesuffix("Z")).replace(tzinfo=UTC)


def customer(row: dict[str, str]) -> str:
    return "u" + row["user_id"] if row["user_id"] else "f" + row["domain_userid"]


@pytest.fixture
def suite(shared: Path) -> Path:
    return shared / "cases/snowplow_fractribution"


@pytest.fixture
def tables(suite: Path, tmp_path: Path, duckdb_backend: Backend) -> Tables:
    raw = read(suite / "source/snowplow_fractribution_events.csv")
    # A visit is a session with a page view; one event converts in a session without any.
    in_time = sorted(raw, key=lambda row: (row["event_name"] != "page_view", when(row)))
    first = {row["domain_sessionid"]: row for row in reversed(in_time)}
    sessions = sessions_frame([session(row) for row in first.values()])
    events = events_frame([event(row) for row in raw])
    places = events.select("event_key", "event_name", "occurred_us").with_columns(
        session_key=pl.Series([surrogate(row["domain_sessionid"]) for row in raw])
    )
    (tmp_path / "channels.toml").write_text(CHANNELS)
    held, silence = person_consents_frame({}), silence_of(load_policy())
    stored = {
        name: duckdb_backend.create_table(name, frame.to_arrow())
        for name, frame in {"s": sessions, "e": events, "p": places, "h": held}.items()
    }
    named = with_channel(stored["s"], load_channel_rules(tmp_path))
    found = conversions(
        stored["e"], stored["p"], named, stored["h"], load_conversion_rules(), silence
    )
    visits = named.filter(named.page_views > 0)
    return Tables(visits, touchpoints(visits, stored["h"], silence), found)


def when(row: dict[str, str]) -> str:
    return row["derived_tstamp"]


def session(row: dict[str, str]) -> dict[str, object]:
    return {
        "session_key": surrogate(row["domain_sessionid"]),
        "person_id": customer(row),
        "started_at": at(when(row)),
        "page_views": int(row["event_name"] == "page_view"),
        "campaign_source": row["mkt_source"],
        "campaign_medium": row["mkt_medium"],
        "campaign_name": row["mkt_campaign"],
    }


def event(row: dict[str, str]) -> dict[str, object]:
    is_conversion = float(row["tr_total"] or 0) > 0
    return {
        "event_id": row["event_id"],
        "event_name": "purchase" if is_conversion else "page_view",
        "occurred_at": at(when(row)),
        "revenue": Decimal(row["tr_total"]) if is_conversion else None,
    }


def test_sessions_have_their_channels(suite: Path, tables: Tables) -> None:
    expected = read(suite / "expected/snowplow_fractribution_sessions_by_customer_id_expected.csv")
    columns = ["person_id", "started_at", "channel", "campaign_name", "campaign_source"]
    got = tables.sessions.select(*columns, "campaign_medium").to_polars().rows()
    assert sorted(got) == sorted(
        (
            row["customer_id"],
            at(row["visit_start_tstamp"]),
            *(row[name] for name in ("channel", "campaign", "source", "medium")),
        )
        for row in expected
    )


def test_channels_are_counted(suite: Path, tables: Tables) -> None:
    expected = read(suite / "expected/snowplow_fractribution_channel_counts_expected.csv")
    counted = tables.sessions.to_polars().group_by(
        "channel", "campaign_name", "campaign_source", "campaign_medium"
    )
    assert sorted(counted.len().rows()) == sorted(
        (*[*row.values()][:4], int(row["number_of_sessions"])) for row in expected
    )


def test_conversions(suite: Path, tables: Tables) -> None:
    expected = read(
        suite / "expected/snowplow_fractribution_conversions_by_customer_id_expected.csv"
    )
    got = tables.conversions.select("person_id", "converted_at", "revenue").to_polars().rows()
    assert sorted(got) == sorted(
        (row["customer_id"], at(row["conversion_tstamp"]), Decimal(row["revenue"]))
        for row in expected
    )


def test_paths_to_conversion(suite: Path, tables: Tables) -> None:
    expected = read(suite / "expected/snowplow_fractribution_paths_to_conversion_expected.csv")
    rows = eligible_paths(tables.touchpoints, tables.conversions, lookback=THIRTY_DAYS)
    got = rows.to_polars().sort("position").group_by("conversion_id")
    person = dict(tables.conversions.select("conversion_id", "person_id").to_polars().rows())
    assert sorted((person[key], " > ".join(path["channel"])) for (key,), path in got) == sorted(
        (row["customer_id"], row["path"]) for row in expected
    )


def test_path_summary(suite: Path, tables: Tables) -> None:
    expected = read(suite / "expected/snowplow_fractribution_path_summary_expected.csv")
    assert summary(tables) == {
        row["transformed_path"]: (
            int(row["conversions"]),
            int(row["non_conversions"]),
            Decimal(row["revenue"] or 0),
        )
        for row in expected
    }


def summary(tables: Tables) -> dict[str, tuple[int, int, Decimal]]:
    """Conversions, paths of people who did not convert, and revenue, by collapsed path."""
    found: dict[str, tuple[int, int, Decimal]] = {}
    revenue = dict(tables.conversions.select("conversion_id", "revenue").to_polars().rows())
    for is_conversion, converted in ((True, tables.conversions), (False, last_visits(tables))):
        rows = eligible_paths(tables.touchpoints, converted, lookback=THIRTY_DAYS).to_polars()
        for (key,), path in rows.sort("position").group_by("conversion_id"):
            name = " > ".join(channel for channel, _ in groupby(path["channel"]))
            yes, no, total = found.get(name, (0, 0, Decimal(0)))
            value = revenue.get(key, Decimal(0))
            found[name] = (yes + is_conversion, no + (not is_conversion), total + value)
    return found


def last_visits(tables: Tables) -> ir.Table:
    """The last visit of each person who did not convert, in place of a conversion."""
    others = tables.touchpoints.anti_join(tables.conversions, "person_key")
    return others.group_by("person_key").agg(
        conversion_id=others.touchpoint_id.max(),
        conversion_date=others.touch_date.max(),
        converted_us=others.touched_us.max(),
        revenue=others.touched_us.max() * 0,
        is_attributable=others.touched_us.max() > 0,
    )


def test_last_touch(suite: Path, tables: Tables) -> None:
    expected = read(suite / "expected/snowplow_fractribution_channel_attribution_expected.csv")
    rows = attribution_credits(
        tables.touchpoints, tables.conversions, lookback=THIRTY_DAYS, half_life=THIRTY_DAYS
    ).to_polars()
    last = rows.filter(pl.col("model") == "last").group_by("channel")
    got = {name: values for name, *values in last.agg(pl.sum("credit", "revenue")).rows()}
    for row in expected:
        if row["ATTRIBUTION_TYPE"] == "last_touch":
            credit, revenue = got.pop(row["CHANNEL"], (0, 0))
            assert credit == pytest.approx(float(row["CONVERSIONS"]), abs=0.002)
            assert revenue == pytest.approx(float(row["REVENUE"]), abs=0.05)
    assert got == {}
