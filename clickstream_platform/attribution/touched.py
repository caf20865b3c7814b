"""Which dates are touched by what changed before: those alone are recomputed."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.attribution.conversions import COLUMNS, ConversionRule
from clickstream_platform.attribution.credits import MICROSECOND
from clickstream_platform.attribution.orders import OUTSIDE
from clickstream_platform.attribution.touchpoints import READ, USES
from clickstream_platform.lake import (
    Changes,
    Engine,
    Lake,
    Parts,
    changed_rows,
    distinct_dates,
    part_of,
    view,
)
from clickstream_platform.tables.catalog import TABLES

DAY = timedelta(days=1)

MADE_OF = ("sessions", "touchpoints")
"""Tables with the same partitions: what the one holds becomes the other."""


def touched_by_sessions(backend: Engine, lake: Lake, changes: Mapping[str, Changes]) -> Parts:
    """Partitions of sessions that changed, or of people who now allow something else."""
    rows = changed_rows(backend, lake, "sessions", changes["sessions"], READ)
    chose = _choosers(backend, lake, changes["person_consents"])
    if rows is None or chose is None:
        dates = None if chose is None else changes["sessions"].dates
        files = [file for name in MADE_OF for file in lake.files(name, dates=dates)]
        return {part_of(file) for file in files}
    theirs = view(backend, lake, "sessions").semi_join(chose, "person_key")
    parts = [each.select("session_date", "bucket") for each in (rows, theirs)]
    return set(ibis.union(*parts, distinct=True).to_polars().iter_rows())


def touched_by_events(  # noqa: PLR0913 - what changed, what counts, and how far it reaches
    backend: Engine,
    lake: Lake,
    changes: Mapping[str, Changes],
    rules: Mapping[str, ConversionRule],
    *,
    reach: timedelta,
    timeout: timedelta,
) -> list[date]:
    """Dates of events that count and that changed, in their session or in what they allow.

    Args:
        backend: Connection.
        lake: The lake.
        changes: Changes by upstream.
        rules: Which events count.
        reach: From the start of a session to the last that a server may report in it.
        timeout: From the last that a person did in a session to the same.
    """
    dates: set[date] = set()
    for table in ("session_events", OUTSIDE):
        dates |= dates_of_choosers(
            backend, lake, changes["person_consents"], table, event_names=[*rules]
        )
    event = ("event_key", "event_name", "event_date", "occurred_us")
    for table, columns in {
        "events": (*event, "event_id", "order_id", "revenue", "is_synthetic", "country"),
        "session_events": (*event, "session_key", "person_key"),
        OUTSIDE: (*event, "person_key", "reason"),
    }.items():
        if table not in changes:
            continue
        rows = changed_rows(backend, lake, table, changes[table], columns)
        if rows is None:
            dates |= set(changes[table].dates)
        else:
            dates |= distinct_dates(rows.filter(_.event_name.isin([*rules])), "event_date")
    # Sessions count their conversions by the same rules: one without any has none to move.
    session = ("session_key", "session_id", "person_id", "is_bot", "country", "conversions")
    sessions = changed_rows(
        backend, lake, "sessions", changes["sessions"], (*session, "session_date", "ended_at")
    )
    if sessions is None:
        return sorted(dates | _followed(set(changes["sessions"].dates), reach))
    spans = sessions.filter(_.conversions > 0).select(
        "session_date", end=(_.ended_at + ibis.interval(timeout)).date()
    )
    for first, last in spans.distinct().to_polars().iter_rows():
        dates |= {first + number * DAY for number in range((last - first).days + 1)}
    return sorted(dates)


def dates_of_choosers(
    backend: Engine,
    lake: Lake,
    changes: Changes,
    table: str,
    *,
    event_names: Sequence[str] | None = None,
) -> set[date]:
    """Dates on which a table holds rows of people who now allow something else."""
    chose = _choosers(backend, lake, changes)
    if chose is None:
        return set(lake.dates(table))
    rows = view(backend, lake, table)
    if event_names is not None:
        rows = rows.filter(_.event_name.isin(event_names))
    return distinct_dates(rows.semi_join(chose, "person_key"), str(TABLES[table].date_column))


def _choosers(backend: Engine, lake: Lake, changes: Changes) -> ir.Table | None:
    columns = ("person_key", *USES.values())
    return changed_rows(backend, lake, "person_consents", changes, columns)


def touched_by_touchpoints(
    backend: Engine, lake: Lake, changes: Mapping[str, Changes], *, lookback: timedelta
) -> tuple[list[date], ir.Table | None]:
    """Dates of conversions that changed, or that a touchpoint that changed precedes.

    Returns:
        The dates, and whose conversions they are; None where that is not known.
    """
    converted = changed_rows(backend, lake, "conversions", changes["conversions"], COLUMNS)
    if converted is None:
        dates = set(changes["conversions"].dates)
    else:
        dates = distinct_dates(converted, "conversion_date")
    touch = ("touchpoint_id", "person_key", "touched_us", "channel", "campaign_name", "is_direct")
    touched = changed_rows(backend, lake, "touchpoints", changes["touchpoints"], touch)
    if touched is None:
        return sorted(dates | _followed(set(changes["touchpoints"].dates), lookback)), None
    stored = view(backend, lake, "conversions")
    near = touched.select(touched_key="person_key", touched_us="touched_us")
    led_to = stored.semi_join(
        near,
        [
            stored.person_key == near.touched_key,
            near.touched_us <= stored.converted_us,
            near.touched_us >= stored.converted_us - lookback // MICROSECOND,
        ],
    )
    dates |= distinct_dates(led_to, "conversion_date")
    if converted is None:
        return sorted(dates), None
    persons = converted.select("person_key").union(led_to.select("person_key"), distinct=True)
    return sorted(dates), backend.make_table("touched", persons)


def _followed(dates: set[date], reach: timedelta) -> set[date]:
    """Dates, and those that something of these dates reaches."""
    return {day + later * DAY for day in dates for later in range(_whole_days(reach) + 1)}


def preceding(dates: Sequence[date], reach: timedelta) -> list[date]:
    """Dates of what reaches one of these dates, which are in order."""
    earliest = dates[0] - _whole_days(reach) * DAY
    return [earliest + number * DAY for number in range((dates[-1] - earliest).days + 1)]


def _whole_days(duration: timedelta) -> int:
    return -(-duration // DAY)
