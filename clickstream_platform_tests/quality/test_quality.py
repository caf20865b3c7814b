"""What arrived: how complete, how much of it is refused, how old, how new; by hand and at edges."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

from clickstream_platform.errors import DefinitionError
from clickstream_platform.lake import Lake
from clickstream_platform.quality import (
    completeness,
    load_expectations,
    load_storage_periods,
    overdue,
    refusals,
    watermarks,
)
from clickstream_platform.quality.completeness import Expectation
from clickstream_platform.quality.refusals import ALLOWED_SHARE, FEWEST, WINDOW
from clickstream_platform.quality.storage_periods import StoragePeriod
from clickstream_platform.quality.watermarks import ALLOWED_AGE
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import NOON, events_frame

DAY, INSTANT = timedelta(days=1), timedelta.resolution
CARRIES = Expectation(
    event_names=("purchase",), any_of=("page_url", "page_path"), share=0.5, why="-"
)


def put(lake: Lake, *rows: dict[str, object]) -> None:
    known = {"is_synthetic": False, "collection_source": "client", "source": "web"}
    lake.append(
        "events", events_frame([{"event_id": f"e{n}"} | known | r for n, r in enumerate(rows)])
    )


def batch(source: str, received: int, quarantined: int = 0, **others: object) -> dict[str, object]:
    known = {"too_late": 0, "arrived_at": NOON.isoformat()}
    return {"source": source, "received": received, "quarantined": quarantined} | known | others


def test_share_counts_events_of_the_kind_that_carry_one_of_the_columns(lake: Lake) -> None:
    # Of four purchases one has an address and one a path: 2 / 4. The page view is no purchase.
    bare: dict[str, object] = {"event_name": "purchase", "page_url": None, "page_path": None}
    put(
        lake,
        bare,
        bare,
        bare | {"page_url": "u"},
        bare | {"page_path": "/"},
        bare | {"event_name": "x"},
    )
    (found,) = completeness(lake, [CARRIES], since=NOON.date())
    assert (found.source, found.events, found.complete, found.share) == ("web", 4, 2, 0.5)
    assert found.is_enough
    assert not found._replace(complete=1).is_enough


def test_synthetic_imported_and_old_events_are_not_asked_to_be_complete(lake: Lake) -> None:
    known: dict[str, object] = {"event_name": "purchase"}
    put(
        lake,
        known | {"is_synthetic": True},
        known | {"collection_source": "import"},
        known | {"occurred_at": NOON - DAY},
    )
    assert completeness(lake, [CARRIES], since=NOON.date()) == []
    assert completeness(lake, [CARRIES], since=NOON.date() - DAY)[0].events == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[[expected]", r"completeness\.toml.*syntax.*TOML", id="no TOML"),
        pytest.param(
            '[[expected]]\nevent_names=[]\nany_of=["hat"]\nshare=1\nwhy="-"',
            r"expected\.0\.any_of.*\['hat'\]",
            id="no such column",
        ),
        pytest.param(
            '[[expected]]\nevent_names=[]\nany_of=["page_url"]\nshare=2\nwhy="-"',
            r"expected\.0\.share",
            id="share above one",
        ),
    ],
)
def test_expectations_that_cannot_be_used_name_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "completeness.toml").write_text(text)
    with pytest.raises(DefinitionError, match=message):
        load_expectations(tmp_path)


def test_own_definitions_replace_the_shipped_ones(tmp_path: Path) -> None:
    assert load_expectations(tmp_path) == load_expectations(None) != []
    (tmp_path / "completeness.toml").write_text("")
    assert load_expectations(tmp_path) == []


def test_refused_and_too_late_records_are_added_up_by_source() -> None:
    # (10 + 5 + 6) / (100 + 200) = 0.07, more than 5 %, of 21 records.
    batches = [batch("web", 100, 10), batch("app", 50), batch("web", 200, 5, too_late=6)]
    app, web = refusals(batches, now=NOON)
    assert (app.source, app.share, app.is_alarming) == ("app", 0, False)
    assert (web.refused, web.share, web.is_alarming) == (21, 0.07, True)


@pytest.mark.parametrize(
    ("received", "refused", "is_alarming"),
    [
        pytest.param(20, FEWEST, True, id="fewest that say something"),
        pytest.param(20, FEWEST - 1, False, id="too few to say"),
        pytest.param(400, int(400 * ALLOWED_SHARE), False, id="exactly the share"),
        pytest.param(400, int(400 * ALLOWED_SHARE) + 1, True, id="just above"),
        pytest.param(0, 0, False, id="nothing arrived"),
    ],
)
def test_alarm_is_above_both_thresholds(received: int, refused: int, *, is_alarming: bool) -> None:
    (found,) = refusals([batch("web", received, refused)], now=NOON)
    assert found.is_alarming is is_alarming


@pytest.mark.parametrize(
    ("age", "counts"), [(WINDOW, 1), (WINDOW + INSTANT, 0)], ids=["on", "past"]
)
def test_window_includes_its_far_end(age: timedelta, counts: int) -> None:
    assert len(refusals([batch("web", 1, arrived_at=(NOON - age).isoformat())], now=NOON)) == counts


def test_refusals_do_not_depend_on_order_or_split() -> None:
    rng = random.Random(7)
    batches = [batch(rng.choice("abc"), rng.randrange(90), rng.randrange(9)) for _ in range(40)]
    shuffled = rng.sample(batches, len(batches))
    assert refusals(batches, now=NOON) == refusals(shuffled, now=NOON)
    assert sum(f.received for f in refusals(batches, now=NOON)) == sum(
        int(str(b["received"])) for b in batches
    )


@pytest.mark.parametrize(("days", "rows"), [(10, 0), (11, 1)], ids=["of that age", "a day older"])
def test_row_is_overdue_the_day_after_its_period(lake: Lake, days: int, rows: int) -> None:
    put(lake, {"occurred_at": NOON - days * DAY}, {"occurred_at": NOON})
    found = overdue(lake, {"events": StoragePeriod(days=10, why="-")}, now=NOON)
    assert [(o.table, o.oldest, o.rows) for o in found] == [
        ("events", (NOON - days * DAY).date(), 1)
    ] * rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("events =", r"storage_periods\.toml.*TOML", id="no TOML"),
        pytest.param('[visits]\ndays=1\nwhy="-"', r"visits.*is not a table with dates", id="table"),
        pytest.param('[events]\ndays=0\nwhy="-"', r"events\.days", id="no days"),
        pytest.param('[events]\ndays=1\nwhy="-"\nx=1', r"events\.x", id="unknown key"),
    ],
)
def test_periods_that_cannot_be_used_name_the_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "storage_periods.toml").write_text(text)
    with pytest.raises(DefinitionError, match=message):
        load_storage_periods(tmp_path)


@pytest.mark.parametrize(("age", "is_late"), [(ALLOWED_AGE, False), (ALLOWED_AGE + INSTANT, True)])
def test_live_source_is_late_beyond_the_allowed_age(
    lake: Lake, settings: Settings, age: timedelta, *, is_late: bool
) -> None:
    put(lake, {"occurred_at": NOON - age}, {"occurred_at": NOON - age - DAY})
    (mark,) = watermarks(lake, settings, now=NOON)
    assert (mark.source, mark.age, mark.is_live, mark.is_late) == ("web", age, True, is_late)


def test_future_events_and_imported_history_are_not_fooled_by(
    lake: Lake, settings: Settings
) -> None:
    # A clock that is wrong does not make a silent source look fresh; history is never late.
    put(
        lake,
        {"occurred_at": NOON - 9 * DAY},
        {"occurred_at": NOON + DAY},
        {"occurred_at": NOON - 999 * DAY, "source": "nasa"},
    )
    nasa, web = watermarks(lake, settings, now=NOON)
    assert (nasa.source, nasa.is_live, nasa.is_late) == ("nasa", False, False)
    assert (web.age, web.is_late) == (9 * DAY, True)


def test_nothing_arrived_yet_is_nothing_to_say(lake: Lake, settings: Settings) -> None:
    periods = {"events": StoragePeriod(days=1, why="-")}
    assert watermarks(lake, settings, now=NOON) == []
    assert overdue(lake, periods, now=NOON) == []


def test_reports_of_browsers_need_nobody(lake: Lake) -> None:
    nobody: dict[str, object] = {"visitor_id": None, "visitor_key": None, "user_id": None}
    put(lake, nobody | {"event_name": "csp_violation", "source": "csp_reports"})
    assert completeness(lake, load_expectations(None), since=NOON.date()) == []


def test_canaries_do_not_make_a_silent_source_look_alive(lake: Lake, settings: Settings) -> None:
    put(lake, {"occurred_at": NOON - 3 * DAY}, {"is_synthetic": True})
    (mark,) = watermarks(lake, settings, now=NOON)
    assert (mark.age, mark.is_late) == (3 * DAY, True)
