"""Keeping touchpoints, conversions and credits up to date, partition by partition."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256

import ibis.expr.types as ir
import pyarrow as pa

from clickstream_platform.attribution.conversions import load_conversion_rules
from clickstream_platform.attribution.credits import attribution_credits
from clickstream_platform.attribution.orders import OUTSIDE, Finder
from clickstream_platform.attribution.touched import (
    MADE_OF,
    preceding,
    touched_by_events,
    touched_by_sessions,
    touched_by_touchpoints,
)
from clickstream_platform.attribution.touchpoints import touchpoints
from clickstream_platform.collection.consent import load_policy
from clickstream_platform.collection.consent_log import silence_of
from clickstream_platform.lake import (
    Changes,
    Lake,
    Parts,
    Refreshed,
    net_changes,
    opened_engine,
    part_of,
    rows_of,
    scan_files,
    stream,
    stream_schema,
    view,
)
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES

SESSIONS_AT_ONCE = 1_000_000
"""Sessions that one query turns into touchpoints; more of them are more queries."""

CONVERSIONS_AT_ONCE = 100_000
"""Conversions that one query splits; their paths times six models are held in memory."""

DEFINITION = "definition"
"""Name under which a commit notes which definitions it was made with."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a refresh has to take in."""

    table: str
    consumed: Mapping[str, int]
    """Versions to note with the rows; none for a backfill, which takes nothing in."""
    changes: Mapping[str, Changes] | None
    """Changes by upstream, or None where everything is to be recomputed."""


def refresh_touchpoints(
    lake: Lake, settings: Settings, *, dates: Sequence[date] | None = None, full: bool = False
) -> Refreshed:
    """Bring `touchpoints` up to date with `sessions` and `person_consents`.

    Recomputed are the partitions of sessions that changed, and of all sessions of people who now
    allow something else.

    Args:
        lake: The lake.
        settings: Memory, threads, where to spill, and the user's definitions.
        dates: Recompute these dates from scratch, and no others.
        full: Recompute everything.
    """
    silence = silence_of(load_policy(settings.definitions))
    step = _plan(
        lake,
        "touchpoints",
        ("sessions", "person_consents"),
        is_backfill=dates is not None,
        full=full,
        made_with=_fingerprint(silence),
    )
    if step is None:
        return _nothing_to_do(lake, "touchpoints")
    with opened_engine(settings) as backend:
        touched: Parts | None = None
        if step.changes and not full:
            touched = touched_by_sessions(backend, lake, step.changes)
            dates = sorted({day for day, _ in touched})
        elif dates is not None:
            files = [file for name in MADE_OF for file in lake.files(name, dates=dates)]
            touched = {part_of(file) for file in files}
        files = lake.files("sessions", dates=dates)
        if touched is not None:
            files = [file for file in files if part_of(file) in touched]
        rows = _rows_by_date("sessions", files)
        held = view(backend, lake, "person_consents")
        turned = [
            touchpoints(
                view(backend, lake, "sessions", files=part, name=f"sessions_{number}"),
                held,
                silence,
            )
            for number, days in enumerate(_days(rows, SESSIONS_AT_ONCE))
            if (part := [file for file in files if part_of(file)[0] in days])
        ]
        return _write(lake, step, touched, turned, rows_read=sum(rows.values()))


def refresh_conversions(
    lake: Lake, settings: Settings, *, dates: Sequence[date] | None = None, full: bool = False
) -> Refreshed:
    """Bring `conversions` up to date with events, sessions and what people allow.

    Recomputed are the dates on which an event that counts, its session, its order or what its
    person allows changed, and the dates of other events of such an order: an earlier one that
    arrives late takes the place of the one that counted, and one that is erased gives it back.

    Args:
        lake: The lake.
        settings: Memory, threads, where to spill, longest session, the user's definitions.
        dates: Recompute these dates, and those that share an order with them.
        full: Recompute everything.
    """
    rules = load_conversion_rules(settings.definitions)
    silence = silence_of(load_policy(settings.definitions))
    upstreams = ["events", "session_events", "sessions", "person_consents"]
    if lake.exists(OUTSIDE):
        upstreams.append(OUTSIDE)
    step = _plan(
        lake,
        "conversions",
        upstreams,
        is_backfill=dates is not None,
        full=full,
        made_with=_fingerprint((rules, silence)),
    )
    if step is None:
        return _nothing_to_do(lake, "conversions")
    # A server may report as long after the last that a person did as a session waits for more.
    timeout = timedelta(minutes=settings.sessions.timeout_minutes)
    longest = timedelta(hours=settings.sessions.max_duration_hours) + timeout
    with opened_engine(settings) as backend:
        finder = Finder(backend, lake, rules, silence, longest_session=longest)
        if full:
            dates = None
        elif step.changes:
            dates = touched_by_events(
                backend, lake, step.changes, rules, reach=longest, timeout=timeout
            )
        if dates is not None:
            dates = finder.with_shared_orders(dates)
        found = finder.settled(dates)
        read = sum(_rows_by_date("events", lake.files("events", dates=dates)).values())
        return _write(lake, step, _whole(dates), [found], rows_read=read)


def refresh_credits(
    lake: Lake, settings: Settings, *, dates: Sequence[date] | None = None, full: bool = False
) -> Refreshed:
    """Bring `attribution_credits` up to date with `touchpoints` and `conversions`.

    Recomputed are conversions that changed, those that a touchpoint that changed precedes within
    the lookback window, and others of the same persons on the same dates. The dates are rewritten.

    Args:
        lake: The lake.
        settings: Memory, threads, where to spill, lookback and half-life.
        dates: Recompute these dates from scratch, and no others.
        full: Recompute everything.
    """
    policy = settings.attribution
    upstreams = ("touchpoints", "conversions")
    step = _plan(
        lake,
        "attribution_credits",
        upstreams,
        is_backfill=dates is not None,
        full=full,
        made_with=_fingerprint(policy),
    )
    if step is None:
        return _nothing_to_do(lake, "attribution_credits")
    lookback = timedelta(days=policy.lookback_days)
    half_life = timedelta(days=policy.half_life_days)
    with opened_engine(settings) as backend:
        persons = None
        if full:
            dates = None
        elif step.changes:
            changes = step.changes
            dates, persons = touched_by_touchpoints(backend, lake, changes, lookback=lookback)
        rows = _rows_by_date("conversions", lake.files("conversions", dates=dates))
        if persons is not None:
            lake.require_sound(step.table, lake.files(step.table, dates=dates))

        def split(number: int, days: list[date]) -> ir.Table:
            read = {"touchpoints": preceding(days, lookback), "conversions": days, step.table: days}
            touched, converted, stored = (
                view(
                    backend,
                    lake,
                    name,
                    files=lake.files(name, dates=dates),
                    name=f"{name}_{number}",
                )
                for name, dates in read.items()
            )
            if persons is not None:
                touched, converted = (  # a join would be taken for part of the one that follows
                    rows.filter(rows.person_key.isin(persons.person_key))
                    for rows in (touched, converted)
                )
            made = attribution_credits(touched, converted, lookback=lookback, half_life=half_life)
            if persons is None:
                return made
            return stored.anti_join(persons, "person_key").union(made.select(stored.columns))

        credited = [split(*part) for part in enumerate(_days(rows, CONVERSIONS_AT_ONCE))]
        return _write(lake, step, _whole(dates), credited, rows_read=sum(rows.values()))


# -- What is to be done ------------------------------------------------------------------------


def _plan(  # noqa: PLR0913 - each names one thing a refresh depends on
    lake: Lake,
    table: str,
    upstreams: Sequence[str],
    *,
    is_backfill: bool,
    full: bool,
    made_with: int = 0,
) -> Step | None:
    versions = {name: lake.version(name) for name in upstreams}
    if min(versions.values()) < 0:
        return None
    if is_backfill and not full:
        return Step(table=table, consumed={}, changes={})
    newest = versions | {DEFINITION: made_with}
    consumed = {name: lake.consumed(table, name) for name in newest}
    if consumed == newest and not full:
        return None
    everything = Step(table=table, consumed=newest, changes=None)
    if full or min(consumed.values()) < 0 or consumed[DEFINITION] != made_with:
        return everything
    found = {name: net_changes(lake, name, since=consumed[name]) for name in upstreams}
    changes = {name: change for name, change in found.items() if change is not None}
    if len(changes) < len(found):
        return everything
    taken = {name: change.version for name, change in changes.items()}
    return Step(table=table, consumed=newest | taken, changes=changes)


def _fingerprint(definition: object) -> int:
    """A number that differs where a definition differs, in the range of a Delta version."""
    return int(sha256(repr(definition).encode()).hexdigest()[:15], 16)


# -- Reading and writing -----------------------------------------------------------------------


def _rows_by_date(table: str, files: Sequence[str]) -> dict[date, int]:
    column = str(TABLES[table].date_column)
    return dict(scan_files(table, files).group_by(column).len().collect().iter_rows())


def _whole(dates: Sequence[date] | None) -> Parts | None:
    """Partitions of a table that has no buckets."""
    return None if dates is None else {(day, 0) for day in dates}


def _days(rows: Mapping[date, int], at_once: int) -> Iterator[list[date]]:
    """Group dates in order so that a group holds so many rows, or one date that holds more."""
    part: list[date] = []
    held = 0
    for day in sorted(rows):
        if part and held + rows[day] > at_once:
            yield part
            part, held = [], 0
        part.append(day)
        held += rows[day]
    if part:
        yield part


class _Counted:
    """Batches of several expressions, one after the other, counted as they pass."""

    def __init__(self, table: str, expressions: Sequence[ir.Table]) -> None:
        self.table, self.expressions, self.rows = table, expressions, 0

    def reader(self) -> pa.RecordBatchReader:
        spec = TABLES[self.table]
        in_order = [*spec.partition_by, *spec.sort_by]

        def batches() -> Iterator[pa.RecordBatch]:
            for expression in self.expressions:
                for batch in stream(expression.order_by(in_order), self.table):
                    self.rows += batch.num_rows
                    yield batch

        return pa.RecordBatchReader.from_batches(stream_schema(self.table), batches())


def _write(
    lake: Lake, step: Step, parts: Parts | None, expressions: Sequence[ir.Table], *, rows_read: int
) -> Refreshed:
    """Replace partitions, all of them where they are None, by the rows of expressions."""
    counted = _Counted(step.table, expressions)
    if parts:
        version = lake.overwrite(
            step.table, counted.reader(), where=rows_of(step.table, parts), consumed=step.consumed
        )
    elif parts is None:
        version = lake.overwrite(step.table, counted.reader(), consumed=step.consumed)
    else:
        version = lake.note(step.table, step.consumed)
    return Refreshed(
        table=step.table,
        version=version,
        rows_written=counted.rows,
        rows_read=rows_read,
        dates=tuple(sorted({day for day, _ in parts or ()})),
        is_full=parts is None,
    )


def _nothing_to_do(lake: Lake, table: str) -> Refreshed:
    return Refreshed(table=table, version=lake.version(table))
