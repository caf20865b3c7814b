"""How values of a table are written for people."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from clickstream_platform.reports import numbers
from clickstream_platform.reports.sections.parts import title_of

VIENNA = ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize(
    ("column", "value", "written"),
    [
        ("sessions", 12345, "12,345"),
        ("bounce_rate", 0.4567, "45.7 %"),
        ("mean_duration_s", 140.1, "2 min 20 s"),
        ("engaged_time_s", 0.0, "0 s"),
        ("longest_s", None, "n/a"),
        ("events_per_session", 4.44, "4.4"),
        ("revenue", 1234.5, "1,234.50"),
        ("revenue", Decimal("52064.6680"), "52,064.67"),
        ("is_expired", False, "no"),
        ("newest_at", datetime(2026, 3, 29, 1, 30, tzinfo=UTC), "2026-03-29 03:30"),
        ("age", timedelta(hours=22, minutes=31), "22 h 31 min"),
        ("channel", "Direct", "Direct"),
    ],
)
def test_cell_is_written_by_its_type_and_name(column: str, value: object, written: str) -> None:
    assert numbers.cell(column, value, VIENNA) == written


def test_title_leaves_the_unit_to_the_value() -> None:
    assert title_of("mean_duration_s") == "Mean duration"
    assert title_of("newest_at") == "Newest"
    assert title_of("sessions") == "Sessions"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.00"),
        (999.5, "999.50"),
        (-1_234.5, "-1,234"),
        (99_999_999.0, "99,999,999"),
        (154_430_000.0, "154.43 M"),
        (-2_500_000_000.0, "-2.50 bn"),
        (3_000_000_000_000.0, "3.00 tn"),
    ],
)
def test_amount_fits_into_a_headline(value: float, written: str) -> None:
    assert numbers.money(value) == written


def test_one_is_no_plural() -> None:
    assert numbers.counted(1, "day") == "1 day"
    assert numbers.counted(0, "day") == "0 days"
    assert numbers.counted(1_200, "person", "people") == "1,200 people"
