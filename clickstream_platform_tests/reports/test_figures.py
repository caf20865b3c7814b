"""Figures of the report: worked by hand on small lakes, and at the edges of their periods."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.reports.figures import QUERIES, Figures, Period, change, fold
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import (
    NOON,
    events_frame,
    microseconds,
    sessions_frame,
    surrogate,
)

DAY = timedelta(days=1)
MARCH = Period(first_date=date(2026, 3, 1), last_date=date(2026, 3, 3))
STEPS = ("view_item", "add_to_cart", "begin_checkout", "purchase")


def table(name: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows with every column of a contract; what is not given is null."""
    schema = polars_schema(name)
    return pl.DataFrame([{c: row.get(c) for c in schema} for row in rows], schema=schema)


def walk(lake: Lake, person: str, names: list[str], *, is_bot: bool = False) -> None:
    """One session of a person, an event per minute from noon."""
    key = surrogate(f"{person}{len(names)}")
    row: dict[str, object] = {"person_id": person, "session_key": key, "is_bot": is_bot}
    lake.append("sessions", sessions_frame([row | {"device_type": "mobile"}]))
    events: list[dict[str, object]] = [
        {
            "event_key": key + number,
            "session_key": key,
            "person_key": surrogate(person),
            "event_name": name,
            "occurred_us": microseconds(NOON + number * timedelta(minutes=1)),
            "event_number": number + 1,
            "event_date": NOON.date(),
        }
        for number, name in enumerate(names)
    ]
    lake.append("session_events", table("session_events", events))


def funnel_of(lake: Lake, settings: Settings) -> list[int]:
    return Figures(lake, settings).frame("funnel", MARCH)["people"].to_list()


def test_funnel_counts_people_who_pass_steps_in_order(lake: Lake, settings: Settings) -> None:
    walk(lake, "ann", [*STEPS])
    walk(lake, "bob", ["view_item", "add_to_cart", "purchase"])
    assert funnel_of(lake, settings) == [2, 2, 1, 1]


def test_step_before_the_one_it_follows_does_not_count(lake: Lake, settings: Settings) -> None:
    walk(lake, "ann", ["add_to_cart", "view_item"])
    assert funnel_of(lake, settings) == [1, 0, 0, 0]


def test_step_may_be_repeated_and_others_may_lie_between(lake: Lake, settings: Settings) -> None:
    # The cart before the item does not count, the one after it does.
    walk(lake, "ann", ["add_to_cart", "view_item", "page_view", "add_to_cart"])
    assert funnel_of(lake, settings) == [1, 1, 0, 0]


def test_steps_of_two_people_do_not_add_up_to_one(lake: Lake, settings: Settings) -> None:
    walk(lake, "ann", ["view_item"])
    walk(lake, "bob", ["add_to_cart", "begin_checkout", "purchase"])
    assert funnel_of(lake, settings) == [1, 0, 0, 0]


def test_bots_pass_no_funnel(lake: Lake, settings: Settings) -> None:
    walk(lake, "crawler", [*STEPS], is_bot=True)
    assert funnel_of(lake, settings) == []


def test_day_without_events_is_a_zero_for_people_and_bots(lake: Lake, settings: Settings) -> None:
    lake.append(
        "events",
        events_frame(
            [
                {"event_id": "a", "occurred_at": NOON},
                {"event_id": "b", "occurred_at": NOON, "is_bot": True},
                {"event_id": "c", "occurred_at": NOON, "is_synthetic": True},
                {"event_id": "d", "occurred_at": NOON + 2 * DAY},
            ]
        ),
    )
    frame = Figures(lake, settings).frame("events_by_day", MARCH)
    wide = frame.pivot("visitor_type", index="day", values="events").sort("day")
    assert wide.select("People", "Bots").rows() == [(1, 1), (0, 0), (1, 0)]


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        pytest.param("UTC", [date(2026, 3, 1)], id="still the first of March in London"),
        pytest.param("Europe/Berlin", [date(2026, 3, 2)], id="already the second in Berlin"),
    ],
)
def test_days_are_those_of_the_reporting_time_zone(
    lake: Lake, settings: Settings, zone: str, days: list[date]
) -> None:
    at = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    lake.append("sessions", sessions_frame([{"started_at": at}]))
    lake.append("events", events_frame([{"occurred_at": at}]))
    figures = Figures(lake, settings.model_copy(update={"time_zone": zone}))
    period = figures.period(90)
    assert period == Period(first_date=days[0], last_date=days[0])
    found = figures.frame("sessions_by_day", MARCH).filter(pl.col("sessions") == 1)
    assert found["day"].to_list() == days


def test_period_ends_with_the_newest_event_and_is_not_longer_than_asked(
    lake: Lake, settings: Settings
) -> None:
    lake.append(
        "events",
        events_frame([{"event_id": "old", "occurred_at": NOON - 400 * DAY}, {"event_id": "new"}]),
    )
    period = Figures(lake, settings).period(7)
    assert period == Period(first_date=NOON.date() - 6 * DAY, last_date=NOON.date())
    assert period.days == 7


def test_empty_lake_has_no_period(lake: Lake, settings: Settings) -> None:
    assert Figures(lake, settings).period(90) is None


def test_credits_are_those_of_conversions_of_the_period(lake: Lake, settings: Settings) -> None:
    conversions, credits_ = [], []
    for number, at in enumerate([NOON, NOON - DAY]):
        conversion: dict[str, object] = {
            "conversion_id": f"c{number}",
            "conversion_name": "purchase",
            "person_id": "ann",
            "person_key": 1,
            "session_id": "s",
            "converted_at": at,
            "converted_us": microseconds(at),
            "conversion_date": at.date(),
            "revenue": Decimal(40),
        }
        credit: dict[str, object] = {
            "model": "linear",
            "conversion_id": f"c{number}",
            "person_key": 1,
            "conversion_date": at.date(),
        }
        conversions.append(conversion)
        credits_ += [
            credit | {"touchpoint_id": "t0", "channel": "Email", "credit": 0.25, "revenue": 10.0},
            credit | {"touchpoint_id": "t1", "channel": "Direct", "credit": 0.75, "revenue": 30.0},
        ]
    lake.append("conversions", table("conversions", conversions))
    lake.append("attribution_credits", table("attribution_credits", credits_))
    frame = Figures(lake, settings).frame("channel_credits", MARCH)
    assert frame.rows() == [("linear", "Direct", 0.75, 30.0), ("linear", "Email", 0.25, 10.0)]


def test_every_session_has_one_duration_band(lake: Lake, settings: Settings) -> None:
    lengths = [0, 1, 10, 30, 60, 180, 600, 1_800, 80_000]
    lake.append(
        "sessions",
        sessions_frame(
            [
                {
                    "session_key": n,
                    "ended_at": NOON + timedelta(seconds=length),
                    "events": 1 + bool(length),
                }
                for n, length in enumerate(lengths)
            ]
        ),
    )
    frame = Figures(lake, settings).frame("session_durations", MARCH)
    assert frame["sessions"].to_list() == [1, 1, 1, 1, 1, 1, 1, 2]


def test_runaways_are_those_that_reach_into_the_period(lake: Lake, settings: Settings) -> None:
    rows: list[dict[str, object]] = []
    for number, (first, last) in enumerate([(-9, -8), (-8, 0), (2, 9), (3, 9)]):
        started, ended = NOON + first * DAY, NOON + last * DAY
        rows.append(
            {"session_key": number, "source": "web", "is_bot": False, "started_at": started}
            | {"ended_at": ended, "session_date": started.date(), "sessions": 2, "events": 10}
        )
    lake.append("runaway_sessions", table("runaway_sessions", rows))
    (found,) = Figures(lake, settings).frame("runaway_sessions", MARCH).to_dicts()
    assert (found["runaways"], found["sessions"], found["events"]) == (2, 4, 20)
    assert found["longest_s"] == 8 * 86_400


def test_record_that_breaks_two_rules_is_counted_under_both(lake: Lake, settings: Settings) -> None:
    broken = [
        {"code": code, "field": field, "expected": "another", "got": "a"}
        for code, field in (("missing", "event_name"), ("range", "revenue"))
    ]
    row: dict[str, object] = {
        "batch_id": "b",
        "ordinal": 0,
        "source": "shop",
        "arrived_at": NOON,
        "arrival_date": NOON.date(),
        "fate": "quarantined",
        "payload": "{}",
        "violations": broken,
    }
    late: dict[str, object] = row | {"ordinal": 1, "fate": "too_late"}
    lake.append("quarantined_events", table("quarantined_events", [row, late]))
    frame = Figures(lake, settings).frame("quarantine_reasons")
    assert frame.rows() == [("shop", "missing", "event_name", 1), ("shop", "range", "revenue", 1)]


@pytest.mark.parametrize(
    ("answer", "word"), [(True, "granted"), (False, "refused"), (None, "unknown")]
)
def test_consent_that_nobody_gave_is_unknown(
    lake: Lake, settings: Settings, answer: object, word: str
) -> None:
    lake.append("sessions", sessions_frame([{"consent_marketing": answer}]))
    frame = Figures(lake, settings).frame("consent", MARCH)
    assert frame.filter(pl.col("purpose") == "marketing").rows() == [("marketing", word, 1)]


@pytest.mark.parametrize("query", sorted(file.stem for file in QUERIES.glob("*.sql")))
def test_query_says_what_it_reads_and_answers_over_an_empty_lake(
    lake: Lake, settings: Settings, query: str
) -> None:
    text = (QUERIES / f"{query}.sql").read_text()
    header = text.split("\nSELECT", 1)[0].split("\nWITH", 1)[0]
    assert "-- Reads: " in header
    assert " Grain: " in header
    values: dict[str, object] = {"now": NOON, "conversions": ["purchase"]}
    asked = {name: value for name, value in values.items() if f"${name}" in text}
    Figures(lake, settings).frame(query, MARCH if "$first_date" in text else None, **asked)


def test_session_of_two_events_at_one_instant_is_not_one_event(
    lake: Lake, settings: Settings
) -> None:
    # Logs tell whole seconds: two requests of one second last no time.
    lake.append("sessions", sessions_frame([{"events": 1}, {"events": 2, "page_views": 2}]))
    frame = Figures(lake, settings).frame("session_durations", MARCH)
    assert frame.filter(pl.col("sessions") == 1)["band"].to_list() == ["one event", "under 10 s"]
    assert frame["sessions"].sum() == 2


def test_change_compares_the_last_seven_values_with_the_seven_before() -> None:
    # Means 10 and 12: a fifth more. What lies further back does not count.
    assert change(pl.Series([99] + [10] * 7 + [12] * 7)) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "values",
    [[1] * 13, [0] * 7 + [5] * 7, [-4] * 7 + [5] * 7],
    ids=["too few", "from nothing", "from a loss"],
)
def test_change_of_what_cannot_be_compared_is_none(values: list[int]) -> None:
    assert change(pl.Series(values)) is None


def test_fold_keeps_the_largest_labels_and_the_total() -> None:
    frame = pl.DataFrame({"channel": [*"abcd"], "conversions": [1.0, 4.0, 3.0, 2.0]})
    folded = fold(frame, "channel", by="conversions", keep=2, into="Other")
    assert folded["channel"].to_list() == ["Other", "b", "c", "Other"]
    assert folded["conversions"].sum() == 10


def test_fold_does_not_rename_a_single_label() -> None:
    frame = pl.DataFrame({"channel": [*"abc"], "conversions": [3.0, 2.0, 1.0]})
    folded = fold(frame, "channel", by="conversions", keep=2, into="Other")
    assert folded["channel"].to_list() == [*"abc"]
