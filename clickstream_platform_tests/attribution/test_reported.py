"""Purchases that a server reports: of the session that is open, else of their person alone."""

from datetime import timedelta
from decimal import Decimal
from functools import partial

from clickstream_platform.attribution import refresh_conversions
from clickstream_platform.collection.consent_log import refresh_consents, refresh_person_consents
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import NOON, day, person_consents_frame
from clickstream_platform_tests.sessions.history import History, visit
from clickstream_platform_tests.sessions.test_server_events import report, seen
from clickstream_platform_tests.stored import rows_of

HOME = "US"
"""Where nobody has to be asked before measurement."""

report_at_home, seen_at_home = partial(report, country=HOME), partial(seen, country=HOME)

DAY = timedelta(days=1) // timedelta(minutes=1)


def conversions_of(history: History) -> list[tuple[object, ...]]:
    """Person, whether in a session, and revenue, after checking incremental against full."""
    history.refresh()
    refresh_consents(history.lake, history.settings)
    refresh_person_consents(history.lake, now=NOON)
    refresh_conversions(history.lake, history.settings)
    (stored,) = rows_of(history.lake, ["conversions"]).values()
    refresh_conversions(history.lake, history.settings, full=True)
    (anew,) = rows_of(history.lake, ["conversions"]).values()
    assert stored.equals(anew)
    rows = stored.sort("converted_us").to_dicts()
    return [(it["person_id"], it["session_id"] is not None, it["revenue"]) for it in rows]


def test_no_purchase_is_lost_and_a_late_visit_takes_it_in(settings: Settings) -> None:
    history = History(settings)
    history.add(
        report_at_home("s0", 0, order_id="o0"),
        report_at_home("s1", DAY),
        seen_at_home("b1", DAY - 10),
    )
    ten = Decimal(10)
    assert conversions_of(history) == [("ann", False, ten), ("ann", True, ten)]
    history.add(seen_at_home("a0", -5))
    assert conversions_of(history) == [("ann", True, ten), ("ann", True, ten)]
    history.drop(["a0"])
    assert conversions_of(history)[0] == ("ann", False, ten)
    history.add(report_at_home("again", 2, order_id="o0", revenue=Decimal(99)))
    assert conversions_of(history) == [("ann", False, ten), ("ann", True, ten)]


def test_report_outside_of_sessions_follows_what_its_person_and_its_country_allow(
    settings: Settings,
) -> None:
    # Nobody was asked: in Germany that is no, in the US yes. Then she says no herself.
    history = History(settings)
    history.add(report("s0", 0, country="DE"), report_at_home("s1", DAY))
    assert len(conversions_of(history)) == 1
    history.add(report_at_home("s0", 0))
    assert len(conversions_of(history)) == 2
    for said, kept in (("nn", 0), ("yn", 2)):
        history.lake.overwrite("person_consents", person_consents_frame({"ann": said}))
        refresh_conversions(history.lake, settings)
        rows = history.lake.scan("conversions").collect()
        assert rows["is_attributable"].to_list() == [False] * kept


def test_report_about_a_visitor_is_of_its_person(settings: Settings) -> None:
    history = History(settings)
    history.add(report_at_home("s0", 0, user_id=None, visitor_id="phone"))
    assert conversions_of(history) == [("phone", False, Decimal(10))]
    history.add(visit("login", "phone", DAY, user_id="ann", country=HOME))
    assert conversions_of(history) == [("ann", False, Decimal(10))]


def test_purchase_reported_after_midnight_follows_its_session(settings: Settings) -> None:
    # Ann's session ends five minutes before midnight, and the shop reports five minutes after.
    history = History(settings)
    last = seen_at_home("a0", DAY / 2 - 5)
    history.add(last, report_at_home("s0", DAY / 2 + 5))
    assert conversions_of(history) == [("ann", True, Decimal(10))]
    history.add(last | {"is_bot": True})
    assert conversions_of(history) == []


def test_purchase_reported_after_the_longest_session_is_in_it(settings: Settings) -> None:
    # 24 hours from a minute before one midnight to a minute before the next, then the report.
    history = History(settings)
    start = DAY / 2 - 1
    history.add(*(seen_at_home(f"a{i}", start + 30 * i) for i in range(49)))
    history.add(report_at_home("s0", start + DAY + 6))
    assert conversions_of(history) == [("ann", True, Decimal(10))]
    refresh_conversions(history.lake, settings, dates=[day(2)])
    assert conversions_of(history) == [("ann", True, Decimal(10))]
