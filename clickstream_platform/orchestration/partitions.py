"""Partitions: hours of arrival for what arrives, days of event time for what is derived."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import dagster as dg

KEPT_MONTHS = 13
"""Months of partitions the orchestrator shows; older rows stay in the tables, and are refreshed
with the rest, but have no partition of their own to click on. 13 months of hours are about 9,500
keys, a third of what the UI stays quick with."""

LOOK_BACK = timedelta(days=35)
"""How old a partition automation still asks for: the lateness horizon of 30 days and some slack."""

HOUR_FORMAT = "%Y-%m-%d-%H:%M"
DAY_FORMAT = "%Y-%m-%d"


def first_of_month(now: datetime, *, months_back: int) -> datetime:
    """First instant of a month in UTC, so many months before the one of ``now``."""
    months = now.year * 12 + now.month - 1 - months_back
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


START = first_of_month(datetime.now(UTC), months_back=KEPT_MONTHS - 1)
"""First partition; moves on the first of a month, when the code is next loaded."""

ARRIVAL_HOURS = dg.HourlyPartitionsDefinition(START, end_offset=1, fmt=HOUR_FORMAT)
"""Hours of arrival, the current one included."""

EVENT_DAYS = dg.DailyPartitionsDefinition(START, end_offset=1, fmt=DAY_FORMAT)
"""Days of event time, UTC, today included."""

DAY_OF_ARRIVAL = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
"""From hours of arrival to the day they lie in. What arrives late touches other days as well:
which, is known by the tables alone, so a run that is asked for one day brings all up to date."""


def hour_key(at: datetime) -> str:
    """Partition key of the hour in which something arrived."""
    return at.astimezone(UTC).strftime("%Y-%m-%d-%H:00")


def day_key(day: date) -> str:
    """Partition key of a day."""
    return day.isoformat()


def hour_of(key: str) -> datetime:
    """First instant of the hour that a partition key names."""
    return datetime.strptime(key, HOUR_FORMAT).replace(tzinfo=UTC)


def day_of(key: str) -> date:
    """Day that a partition key names."""
    return date.fromisoformat(key)


def shown(
    partitions: dg.TimeWindowPartitionsDefinition, keys: Iterable[str], *, now: datetime
) -> list[str]:
    """Those of the keys that the orchestrator has partitions for, in order.

    Keys sort as time does, so the two ends decide: listing every hour would cost more than the
    rest of a run.
    """
    step = timedelta(hours=1) if partitions is ARRIVAL_HOURS else timedelta(days=1)
    fmt = HOUR_FORMAT if partitions is ARRIVAL_HOURS else DAY_FORMAT
    first = START.strftime(fmt)
    after = (now.astimezone(UTC) + step).strftime(fmt)
    return [key for key in sorted(set(keys)) if first <= key < after]
