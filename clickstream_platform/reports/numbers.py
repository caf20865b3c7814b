"""How figures are written for people."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

NOTHING = "n/a"
"""What stands in place of an absent value."""


def count(value: float) -> str:
    """A whole number with separators: 12,345."""
    return f"{value:,.0f}"


def share(value: float | None, digits: int = 1) -> str:
    """A share of 0 to 1 as a percentage: 12.3 %."""
    return NOTHING if value is None else f"{value * 100:,.{digits}f} %"


def counted(value: float, one: str, many: str = "") -> str:
    """A whole number with what it counts: 1 day, 2 days."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


SCALES = ((1e12, "tn"), (1e9, "bn"), (1e6, "M"))
"""Units of numbers that would not fit into a headline."""

LONGEST_AMOUNT = 1e8
"""Amount from which on the whole number would not fit into a headline."""


def short_count(value: float) -> str:
    """A whole number short enough for a headline: 12,345 or 1.23 M."""
    for size, unit in SCALES:
        if abs(value) >= size:
            return f"{value / size:,.2f} {unit}"
    return count(value)


def money(value: float) -> str:
    """An amount: with two decimals while they matter, short where the whole would not fit."""
    if abs(value) >= LONGEST_AMOUNT:
        return short_count(value)
    return f"{value:,.2f}" if abs(value) < 1_000 else f"{value:,.0f}"  # noqa: PLR2004 - a thousand


def duration(seconds: float) -> str:
    """A duration in the two units that matter: 3 min 12 s."""
    whole = timedelta(seconds=round(seconds))
    days, rest = whole.days, whole.seconds
    hours, minutes, left = rest // 3600, rest // 60 % 60, rest % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), 3)
    return (
        " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"
    )


def day(value: date) -> str:
    """A date in words: 3 March 2026."""
    return f"{value.day} {value:%B %Y}"


def instant(value: datetime, zone: ZoneInfo) -> str:
    """A moment in the reporting time zone, to the minute."""
    return f"{value.astimezone(zone):%Y-%m-%d %H:%M}"


def cell(column: str, value: object, zone: ZoneInfo) -> str:
    """One value of a table, written by what its type and its column's name promise."""
    match value:
        case None:
            text = NOTHING
        case bool():
            text = "yes" if value else "no"
        case datetime():
            text = instant(value, zone)
        case timedelta():
            text = duration(max(0.0, value.total_seconds()))
        case float() if column.endswith(("_rate", "_share")):
            text = share(value)
        case float() if column.endswith("_s"):
            text = duration(value)
        case float() | Decimal():
            is_money = column == "revenue" or isinstance(value, Decimal)
            text = f"{value:,.2f}" if is_money else f"{value:,.1f}"
        case int():
            text = count(value)
        case _:
            text = str(value)
    return text
