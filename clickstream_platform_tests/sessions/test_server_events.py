"""Events of servers: they join the open session of their person, and make and move none."""

from decimal import Decimal

import pytest

from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import events_frame, surrogate
from clickstream_platform_tests.sessions.history import Event, History, visit
from clickstream_platform_tests.sessions.making import by_statements
from clickstream_platform_tests.sessions.test_refresh import passers_by

MICROSECOND = 1 / 60_000_000
"""In minutes."""


def report(event_id: str, at: float, **columns: object) -> Event:
    """A purchase of Ann's that a server reports so many minutes after noon."""
    bought = {"event_name": "purchase", "revenue": Decimal(10), "platform": "server"}
    return visit(event_id, None, at, user_id="ann") | bought | columns


def seen(event_id: str, at: float, **columns: object) -> Event:
    """A page that Ann sees so many minutes after noon."""
    return visit(event_id, None, at, user_id="ann") | columns


def test_report_counts_in_the_session_and_moves_none_of_its_ends() -> None:
    events = [seen("a0", 0), seen("a1", 20), report("s0", 10), report("s1", 50), report("s2", 90)]
    made = by_statements(events_frame(events))
    (session,) = made["sessions"].to_dicts()
    # Two pages in 20 minutes, one report in between and one exactly half an hour after the last.
    assert (session["events"], session["duration_s"]) == (4, 20 * 60)
    assert (session["conversions"], session["revenue"]) == (2, Decimal(20))
    numbers = made["session_events"].sort("event_number")
    names = {surrogate(name): name for name in ("a0", "a1", "s0", "s1", "s2")}
    assert [names[key] for key in numbers["event_key"]] == ["a0", "s0", "a1", "s1"]
    (left,) = made["sessionless_events"].to_dicts()
    assert (left["event_key"], left["reason"]) == (surrogate("s2"), "no_open_session")


@pytest.mark.parametrize(
    ("at", "is_inside"),
    [
        pytest.param(-MICROSECOND, False, id="before anything was done"),
        pytest.param(0, True, id="in the same instant"),
        pytest.param(30, True, id="at the end of the timeout"),
        pytest.param(30 + MICROSECOND, False, id="after it"),
    ],
)
def test_timeout_includes_its_end(at: float, *, is_inside: bool) -> None:
    made = by_statements(events_frame([seen("zz", 0), report("a", at)]))
    assert made["sessions"]["events"].to_list() == [2 if is_inside else 1]
    assert made["sessionless_events"].height == (not is_inside)


def test_report_neither_opens_a_session_nor_holds_one_open() -> None:
    events = [report("s0", -5), seen("a0", 0), report("s1", 20), seen("a1", 40)]
    made = by_statements(events_frame(events))
    assert made["sessions"]["events"].sort().to_list() == [1, 2]
    only = by_statements(events_frame([report("s0", 0), report("s1", 1)]))
    assert (only["sessions"].height, only["sessionless_events"].height) == (0, 2)


def test_pings_are_no_session_to_report_to() -> None:
    events = [seen("a0", 0, event_name="page_ping"), report("s0", 1)]
    made = by_statements(events_frame(events))
    assert set(made["sessionless_events"]["reason"]) == {"only_pings", "no_open_session"}


def test_order_that_page_and_server_report_counts_once() -> None:
    page = seen("a0", 0, event_name="purchase", order_id="o1", revenue=Decimal(10))
    (session,) = by_statements(events_frame([page, report("s0", 1, order_id="o1")]))[
        "sessions"
    ].to_dicts()
    assert (session["conversions"], session["revenue"]) == (1, Decimal(10))


def test_what_a_server_is_says_nothing_about_its_person() -> None:
    # A library that a server sends with is a bot by its user agent, and sees no page.
    reports = [report(f"s{i}", i, is_bot=True, event_name="page_view") for i in range(3)]
    (session,) = by_statements(events_frame([seen("a0", 0), *reports]))["sessions"].to_dicts()
    assert (session["is_bot"], session["page_views"], session["events"]) == (False, 1, 4)


def test_late_visit_takes_in_what_was_reported(settings: Settings) -> None:
    history = History(settings)
    midnight = 12 * 60
    history.add(*passers_by(), report("s0", midnight + 10), report("s1", midnight + 45))
    history.refresh()
    history.check()
    history.add(seen("a0", midnight - 15))
    assert not history.refresh().is_full
    history.check()
    history.add(seen("a1", midnight + 15))
    assert not history.refresh().is_full
    history.check()
    assert history.lake.row_count("sessionless_events") == 0
    history.drop(["a1"])
    assert not history.refresh().is_full
    history.check()
    assert history.lake.row_count("sessionless_events") == 1


def test_campaign_before_a_report_is_not_carried_over_a_gap(settings: Settings) -> None:
    # The report lies within half an hour of both, the visits do not of each other.
    history = History(settings)
    news = {"campaign_source": "news"}
    pings = [seen(f"p{i}", 25 * i, event_name="page_ping") for i in range(1, 59)]
    first = seen("a0", 0, **news)
    history.add(*passers_by(300), first, *pings, report("s0", 58 * 25 + 20))
    history.add(seen("b0", 58 * 25 + 45), seen("b1", 58 * 25 + 50, campaign_source="ads"))
    history.refresh()
    history.check()
    history.add(seen("b2", 58 * 25 + 60, **news))
    assert not history.refresh().is_full
    history.check()


def test_a_rebuild_in_stretches_carries_reports(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickstream_platform.sessions.rebuild.CHUNK_ROWS", 1)
    history = History(settings)
    midnight = 12 * 60
    history.add(
        seen("a0", midnight - 20),
        report("s0", midnight - 10),
        report("s1", midnight + 5),
        seen("a1", midnight + 10),
        seen("b0", 3 * midnight - 5, event_name="page_ping"),
        report("s2", 3 * midnight - 4),
        seen("b1", 3 * midnight + 5),
    )
    history.refresh()
    history.check()
    assert history.lake.row_count("sessions") == 2
