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
