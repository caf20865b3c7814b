"""Purchases that a server reports: of the session that is open, else of their person alone."""

from datetime import timedelta
from decimal import Decimal

from clickstream_platform.attribution import refresh_conversions
from clickstream_platform.settings import Settings
from clickstream_platform_tests.sessions.history import History, visit
from clickstream_platform_tests.sessions.test_server_events import report, seen
from clickstream_platform_tests.stored import rows_of

DAY = timedelta(days=1) // timedelta(minutes=1)


def conversions_of(history: History) -> list[tuple[object, ...]]:
    """Person, whether in a session, and revenue, after checking incremental against full."""
    history.refresh()
    refresh_conversions(history.lake, history.settings)
    (stored,) = rows_of(history.lake, ["conversions"]).values()
    refresh_conversions(history.lake, history.settings, full=True)
    (anew,) = rows_of(history.lake, ["conversions"]).values()
    assert stored.equals(anew)
    rows = stored.sort("converted_us").to_dicts()
    return [(it["person_id"], it["session_id"] is not None, it["revenue"]) for it in rows]


def test_no_purchase_is_lost_and_a_late_visit_takes_it_in(settings: Settings) -> None:
    history = History(settings)
    history.add(report("s0", 0, order_id="o0"), report("s1", DAY), seen("b1", DAY - 10))
    ten = Decimal(10)
    assert conversions_of(history) == [("ann", False, ten), ("ann", True, ten)]
    history.add(seen("a0", -5))
    assert conversions_of(history) == [("ann", True, ten), ("ann", True, ten)]
    history.drop(["a0"])
    assert conversions_of(history)[0] == ("ann", False, ten)
    history.add(report("again", 2, order_id="o0", revenue=Decimal(99)))
    assert conversions_of(history) == [("ann", False, ten), ("ann", True, ten)]


def test_report_about_a_visitor_is_of_its_person(settings: Settings) -> None:
    history = History(settings)
    history.add(report("s0", 0, user_id=None, visitor_id="phone"))
    assert conversions_of(history) == [("phone", False, Decimal(10))]
    history.add(visit("login", "phone", DAY, user_id="ann"))
    assert conversions_of(history) == [("ann", False, Decimal(10))]
