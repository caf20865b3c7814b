"""What is said of a session: worked by hand; that it is also so defined, `test_agreement` shows."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from clickstream_platform.attribution import ConversionRule
from clickstream_platform.sessions import (
    SessionDefinitions,
    SessionPolicy,
    load_session_definitions,
)
from clickstream_platform_tests.frames import BUCKETS, events_frame, instant, surrogate
from clickstream_platform_tests.sessions.history import Event, minutes, visit
from clickstream_platform_tests.sessions.making import (
    HALF_AN_HOUR,
    NOBODY,
    Tables,
    by_statements,
)
from clickstream_platform_tests.sessions.walk import SHIPPED

Make = Callable[..., Tables]
SECOND = 1 / 60


def summary(
    *events: Event,
    policy: SessionPolicy = HALF_AN_HOUR,
    definitions: SessionDefinitions = SHIPPED,
    make: Make = by_statements,
) -> dict[str, Any]:
    """The only session of the events."""
    made = make(events_frame([*events]), NOBODY, policy=policy, definitions=definitions)
    (row,) = made["sessions"].to_dicts()
    return dict(row)


def test_session_is_summed_up_from_its_events() -> None:
    campaign = {"campaign_source": "news", "campaign_medium": "email", "campaign_name": "spring"}
    session = summary(
        visit(
            "a",
            "phone",
            0,
            source="web",
            referrer_host="www.google.com",
            device_type="mobile",
            browser_name="Firefox",
            os_name="Linux",
            country="DE",
            consent_analytics=True,
            consent_marketing=True,
            **campaign,
        ),
        visit("b", "phone", 1, page_host="shop.example", page_path="/a", engaged_time_ms=4_000),
        visit(
            "c",
            "phone",
            2,
            event_name="page_ping",
            engaged_time_ms=2_500,
            country="FR",
            source="app",
        ),
        visit("d", "phone", 3, page_path="/b", consent_analytics=False),
        visit(
            "e",
            "phone",
            10.5,
            event_name="purchase",
            order_id="o1",
            revenue=Decimal("12.5"),
            consent_marketing=False,
        ),
    )
    key, person = surrogate("a"), surrogate("phone")
    # A purchase at the end is worth 20, three views 1 each and a ping 0.1, halved per 7 days.
    age = [(10.5 - at) / (7 * 24 * 60) for at in (0, 1, 3)]
    points = 20 + sum(0.5**it for it in age) + 0.1 * 0.5 ** (8.5 / (7 * 24 * 60))
    assert session.pop("engagement_points") == pytest.approx(points, abs=5e-6)
    assert session == {
        "session_id": f"s_{person}_{key}",
        "session_key": key,
        "person_id": "phone",
        "person_key": person,
        "visitor_id": "phone",
        "source": "web",
        "started_at": instant(minutes(0)),
        "ended_at": instant(minutes(10.5)),
        "session_date": date(2026, 3, 1),
        "bucket": person % BUCKETS,
        "duration_s": 630.0,
        "cut_reason": "first",
        "events": 5,
        "page_views": 3,
        "engaged_time_s": 6.5,
        "is_engaged": True,
        "is_bounce": False,
        "landing_host": "shop.example",
        "landing_path": "/a",
        "exit_path": "/b",
        "referrer_host": "www.google.com",
        "campaign_source": "news",
        "campaign_medium": "email",
        "campaign_name": "spring",
        "click_id_type": None,
        "channel": "Email",
        "device_type": "mobile",
        "browser_name": "Firefox",
        "os_name": "Linux",
        "country": "DE",
        "conversions": 1,
        "revenue": Decimal("12.5"),
        "is_bot": False,
        "consent_analytics": None,
        "consent_marketing": False,
        "consent_personalization": None,
    }


@pytest.mark.parametrize(
    ("is_engaged", "events"),
    [
        pytest.param(False, [visit("a", "ann", 0, engaged_time_ms=10_000)], id="exactly 10 s"),
        pytest.param(True, [visit("a", "ann", 0, engaged_time_ms=10_001)], id="over 10 s"),
        pytest.param(True, [visit("a", "ann", 0), visit("b", "ann", 29)], id="two page views"),
        pytest.param(
            True,
            [visit("a", "ann", 0), visit("b", "ann", 0, event_name="screen_view")],
            id="a page and a screen",
        ),
        pytest.param(
            False,
            [visit("a", "ann", 0), visit("b", "ann", 29, event_name="search")],
            id="one page and half an hour without a ping",
        ),
        pytest.param(True, [visit("a", "ann", 0, event_name="sign_up")], id="a conversion"),
    ],
)
def test_session_that_is_not_engaged_is_a_bounce(is_engaged: object, events: list[Event]) -> None:
    session = summary(*events)
    assert (session["is_engaged"], session["is_bounce"]) == (is_engaged, not is_engaged)


def test_engaged_time_is_unknown_where_nothing_reports_it() -> None:
    assert summary(visit("a", "ann", 0))["engaged_time_s"] is None
    assert summary(visit("a", "ann", 0, engaged_time_ms=0))["engaged_time_s"] == 0


HEARTBEAT = SessionPolicy(heartbeat=timedelta(seconds=10), min_visit=timedelta(seconds=5))


def test_engaged_time_is_estimated_from_the_beats_that_had_a_ping() -> None:
    pinged = [
        visit(f"p{i}", "ann", it * SECOND, event_name="page_ping")
        for i, it in enumerate((10, 12, 20, 45))
    ]
    # Pings in the beats from 10 s, 20 s and 40 s on: 10 s times two, and 5 s.
    assert summary(visit("a", "ann", 0), *pinged, policy=HEARTBEAT)["engaged_time_s"] == 25
    assert summary(visit("a", "ann", 0), *pinged[:2], policy=HEARTBEAT)["engaged_time_s"] == 5
    assert summary(visit("a", "ann", 0), policy=HEARTBEAT)["engaged_time_s"] is None
    assert summary(visit("a", "ann", 0), *pinged)["engaged_time_s"] is None


def test_beats_before_1970_are_as_long_as_others() -> None:
    at = [{"occurred_us": us * 1_000_000} for us in (-5, 5)]
    pinged = [visit(f"p{i}", "ann", 0, event_name="page_ping") | it for i, it in enumerate(at)]
    seen = visit("a", "ann", 0) | at[0]
    assert summary(seen, *pinged, policy=HEARTBEAT)["engaged_time_s"] == 15


def test_reported_engaged_time_is_not_estimated_over() -> None:
    pinged = visit("p", "ann", 1, event_name="page_ping", engaged_time_ms=700)
    assert summary(visit("a", "ann", 0), pinged, policy=HEARTBEAT)["engaged_time_s"] == 0.7


def buys(event_id: str, at: float, order: str | None, revenue: int, **more: object) -> Event:
    bought = {"event_name": "purchase", "order_id": order, "revenue": Decimal(revenue)}
    return visit(event_id, "ann", at, **bought | more)


def test_order_of_a_session_counts_once_at_its_first_event() -> None:
    session = summary(
        buys("a", 1, "o1", 10),
        buys("b", 2, "o1", 99),
        buys("c", 3, "o2", 5),
        buys("d", 4, None, 1),
        buys("e", 5, None, 1),
        buys("f", 6, "", 1),
        buys("g", 7, "", 1),
    )
    assert (session["conversions"], session["revenue"]) == (6, Decimal(19))


def test_only_declared_events_convert_and_only_some_bring_revenue() -> None:
    session = summary(
        buys("a", 1, None, 10, event_name="sign_up"),
        buys("b", 2, None, 20, event_name="view_item"),
        visit("c", "ann", 3, event_name="purchase"),
    )
    assert (session["conversions"], session["revenue"]) == (2, Decimal(0))


def test_conversions_are_those_of_the_definitions() -> None:
    rules = {"page_view": ConversionRule(counts_revenue=True)}
    own = SessionDefinitions(conversions=rules)
    events = visit("a", "ann", 0, revenue=Decimal(3)), buys("b", 1, None, 9)
    session = summary(*events, definitions=own)
    assert (session["conversions"], session["revenue"]) == (1, Decimal(3))


def test_campaign_of_a_ping_brings_nobody() -> None:
    pinged = {"event_name": "page_ping", "campaign_source": "news", "click_id_type": "gclid"}
    session = summary(visit("a", "ann", 0, **pinged), visit("b", "ann", 1))
    assert (session["campaign_source"], session["click_id_type"]) == (None, None)
    assert session["channel"] == "Direct"


@pytest.mark.parametrize(
    ("link", "channel"),
    [
        pytest.param({}, "Direct", id="nothing"),
        pytest.param({"referrer_host": "www.google.com"}, "Organic Search", id="search engine"),
        pytest.param({"referrer_host": "shop.example"}, "Direct", id="the shop itself"),
        pytest.param({"click_id_type": "gclid"}, "Paid Search", id="click id alone"),
    ],
)
def test_channel_is_that_of_the_first_event(link: Event, channel: str) -> None:
    first = visit("a", "ann", 0, page_host="shop.example", page_path="/", **link)
    assert summary(first, visit("b", "ann", 1))["channel"] == channel


def test_session_is_a_bots_if_any_event_is() -> None:
    assert summary(visit("a", "ann", 0), visit("b", "ann", 1, is_bot=True))["is_bot"]


def test_points_of_an_event_halve_with_every_half_life() -> None:
    # A view 20 minutes before the end, at a half-life of 10 minutes, is worth a quarter.
    policy = SessionPolicy(half_life=timedelta(minutes=10))
    events = visit("a", "ann", 0), visit("b", "ann", 20, event_name="search")
    assert summary(*events, policy=policy)["engagement_points"] == 0.25 + 2


def test_last_event_of_an_instant_is_the_one_with_the_greatest_key() -> None:
    first, last = sorted(("x", "y"), key=surrogate)
    at_once = [
        visit(last, "ann", 0, consent_analytics=True, page_path="/last"),
        visit(first, "ann", 0, consent_analytics=False, page_path="/first"),
    ]
    session = summary(*at_once)
    assert session["consent_analytics"] is True
    assert (session["landing_path"], session["exit_path"]) == ("/first", "/last")


def test_definitions_are_read_once_while_no_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "conversions.toml"
    file.write_text("[page_view]\ncounts_revenue = false")
    first = load_session_definitions(tmp_path)
    assert load_session_definitions(tmp_path) is first
    assert [*first.conversions] == ["page_view"]
    file.write_text("[search_for_something]\ncounts_revenue = false")
    assert [*load_session_definitions(tmp_path).conversions] == ["search_for_something"]
