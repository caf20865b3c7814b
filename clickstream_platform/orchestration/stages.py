"""The stages, in order: which function brings which tables up to date, and what that touched.

Assets, the tick, and `clickstream materialize` all come through here. Engines are imported inside
functions, because the code location must load in a moment.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from clickstream_platform.orchestration.partitions import (
    ARRIVAL_HOURS,
    EVENT_DAYS,
    day_key,
    hour_key,
)
from clickstream_platform.settings import Settings

if TYPE_CHECKING:
    from clickstream_platform.lake import Lake, Refreshed

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told of long work: what is done, how far, out of how much."""

PROGRESS: ContextVar[Progress | None] = ContextVar("progress", default=None)
"""Who is told of the work of this process; nobody in runs that the orchestrator launches."""


@contextmanager
def told(progress: Progress | None) -> Iterator[None]:
    """Tell of the work inside the block."""
    token = PROGRESS.set(progress)
    try:
        yield
    finally:
        PROGRESS.reset(token)


COLLECTED: "ContextVar[list[Refreshed] | None]" = ContextVar("collected", default=None)
"""What the stages of this process did, where somebody wants to know."""


@contextmanager
def collected() -> "Iterator[list[Refreshed]]":
    """Collect what the stages inside the block did, in order."""
    found: list[Refreshed] = []
    token = COLLECTED.set(found)
    try:
        yield found
    finally:
        COLLECTED.reset(token)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one materialisation is asked to do; without hours and dates, whatever is new."""

    settings: Settings
    now: datetime
    hours: tuple[datetime, ...] = ()
    """Hours of arrival to derive anew."""
    dates: tuple[date, ...] = ()
    """Dates to compute from scratch."""

    @property
    def lake(self) -> "Lake":
        """The lake of the settings."""
        from clickstream_platform.lake import Lake

        return Lake(self.settings.lake_folder)


Refresh: TypeAlias = "Callable[[Work], Iterable[Refreshed]]"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Tables that are written together, by one function."""

    name: str
    tables: tuple[str, ...]
    refresh: Refresh
    partitions: dg.TimeWindowPartitionsDefinition | None = None
    is_derived: bool = False
    """Whether its tables follow from those before them alone. Others hold what was drawn, decided,
    said or seen at some time, and cannot be made twice."""
    sound_before: tuple[str, ...] = ()
    """Tables whose contracts are checked first, because it also runs after their stage failed."""

    @property
    def pool(self) -> str:
        """Pool of the writer: a table has one at a time."""
        return self.tables[0]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one table."""

    table: str
    version: int
    is_changed: bool
    partitions: tuple[str, ...] = ()
    """Keys that were touched; empty where the table has none."""
    added: tuple[str, ...] = ()
    """Data files that are new."""
    partition_rows: dict[str, int] = field(default_factory=dict)
    """Rows of touched days, where they could be counted from file footers."""
    rows: int = 0
    duration_s: float = 0.0
    details: dict[str, int | float | str] = field(default_factory=dict)


def bring_up_to_date(stage: Stage, work: Work) -> list[Outcome]:
    """Run one stage, and find out what it touched from the tables themselves."""
    from clickstream_platform.lake import adapt, deriving

    lake = work.lake
    if progress := PROGRESS.get():
        progress(stage.name, 0, 0)
    adapt(lake, stage.tables, is_derived=stage.is_derived)
    before = {table: lake.version(table) for table in stage.tables}
    waiting = set(_hours_of_unloaded(work.settings)) if stage.partitions is ARRIVAL_HOURS else set()
    started = time.perf_counter()
    with deriving(work.settings.state, progress=PROGRESS.get()):
        done = list(stage.refresh(work))
    duration_s = time.perf_counter() - started
    if (found := COLLECTED.get()) is not None:
        found += done
    refreshed = {one.table: one for one in done}
    if stage.name == "raw_events":
        waiting |= set(_hours_of_unloaded(work.settings))
    hours = tuple(sorted(waiting | {hour_key(hour) for hour in work.hours}))
    return [
        _outcome(lake, stage, table, before[table], refreshed.get(table), hours, duration_s)
        for table in stage.tables
    ]


def _outcome(  # noqa: PLR0913, PLR0917 - all that is known of one table
    lake: "Lake",
    stage: Stage,
    table: str,
    before: int,
    refreshed: "Refreshed | None",
    hours: tuple[str, ...],
    duration_s: float,
) -> Outcome:
    version = lake.version(table)
    changes = lake.changes(table, since=before)
    added = lake.files(table) if changes is None else changes.added
    is_changed = bool(added if changes is None else changes.added or changes.removed)
    partitions: tuple[str, ...] = ()
    partition_rows: dict[str, int] = {}
    if stage.partitions is ARRIVAL_HOURS:
        partitions = hours
    elif stage.partitions is EVENT_DAYS and is_changed:
        dates = lake.dates(table) if changes is None else changes.dates
        partitions = tuple(map(day_key, dates))
        partition_rows = _rows_by_day(lake, table, dates)
    figures: dict[str, int | float | str] = {}
    if refreshed is not None:
        figures = {
            "rows_written": refreshed.rows_written,
            "rows_read": refreshed.rows_read,
            **refreshed.details,
        }
    return Outcome(
        table=table,
        version=version,
        is_changed=is_changed,
        partitions=partitions,
        added=tuple(added),
        partition_rows=partition_rows,
        rows=lake.row_count(table),
        duration_s=duration_s,
        details=figures,
    )


def _hours_of_unloaded(settings: Settings) -> list[str]:
    """Hours of arrival of batches that are not loaded yet, as partition keys."""
    from clickstream_platform.events import unfinished_batches

    rows = unfinished_batches(settings)
    return sorted({hour_key(datetime.fromisoformat(str(row["arrived_at"]))) for row in rows})


def _rows_by_day(lake: "Lake", table: str, dates: Sequence[date]) -> dict[str, int]:
    import pyarrow.parquet as pq

    return {
        day_key(day): sum(
            pq.read_metadata(file).num_rows for file in lake.files(table, dates=[day])
        )
        for day in dates
    }


# -- What each stage calls -----------------------------------------------------------------------


def _take(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.events import ingest_landing

    yield ingest_landing(work.settings, now=work.now, progress=PROGRESS.get())


def _load(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.events import refresh_events

    yield refresh_events(work.settings, hours=work.hours, progress=PROGRESS.get())


def _stitch(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.identity import refresh_identity

    yield refresh_identity(work.lake, work.settings)


def _decide(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.identity import ensure_decisions
    from clickstream_platform.lake import Refreshed

    yield Refreshed(table="identity_decisions", version=ensure_decisions(work.lake))


def _record_consent(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.collection.consent_log import refresh_consents

    yield from refresh_consents(work.lake, work.settings)


def _hold_consent(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.collection.consent_log import refresh_person_consents

    yield refresh_person_consents(work.lake, now=work.now)


def _count_cookieless(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.sessions import refresh_cookieless

    yield from _anew_then_new(refresh_cookieless, work)


def _measure_behaviour(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.collection.bot_behaviour import refresh_bot_behaviour

    yield refresh_bot_behaviour(work.lake, work.settings)


def _sessionize(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.sessions import refresh_sessions

    yield from _anew_then_new(refresh_sessions, work)


def _touch(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.attribution import refresh_touchpoints

    yield from _anew_then_new(refresh_touchpoints, work)


def _convert(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.attribution import refresh_conversions

    yield from _anew_then_new(refresh_conversions, work)


def _credit(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.attribution import refresh_credits

    yield from _anew_then_new(refresh_credits, work)


def _anew_then_new(refresh: "Callable[..., Refreshed]", work: Work) -> "Iterator[Refreshed]":
    """Compute the dates that are asked for from scratch, then take in whatever is new."""
    if work.dates:
        yield refresh(work.lake, work.settings, dates=list(work.dates))
    yield refresh(work.lake, work.settings)


def _score(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.segments import refresh_scores

    yield refresh_scores(work.lake, work.settings)


def _segment(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.segments import refresh_segments

    yield refresh_segments(work.lake, work.settings, now=work.now)


def _sync(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.activation import sync_crm
    from clickstream_platform.connectors import crm_destination
    from clickstream_platform.privacy import Suppression, Vault

    folder = work.settings.state / "vault"
    yield sync_crm(
        work.lake,
        work.settings,
        vault=Vault(folder),
        suppression=Suppression(folder),
        destination=crm_destination(work.settings),
        now=work.now,
    )


def _mirror(work: Work) -> "Iterator[Refreshed]":
    from clickstream_platform.lake import Refreshed
    from clickstream_platform.privacy import Register

    Register(work.settings).mirror()
    yield Refreshed(table="subject_requests", version=work.lake.version("subject_requests"))


RAW_EVENTS = Stage(
    name="raw_events", tables=("raw_events",), refresh=_take, partitions=ARRIVAL_HOURS
)
EVENTS = Stage(
    name="events",
    tables=("events", "quarantined_events", "duplicate_events"),
    refresh=_load,
    partitions=ARRIVAL_HOURS,
)
DECISIONS = Stage(name="decisions", tables=("identity_decisions",), refresh=_decide)
IDENTITY = Stage(
    name="identity",
    tables=("identity_map", "identity_merges", "identity_conflicts"),
    refresh=_stitch,
    is_derived=True,
)
CONSENT = Stage(name="consent", tables=("consents", "consent_log"), refresh=_record_consent)
PERSON_CONSENTS = Stage(
    name="person_consents", tables=("person_consents",), refresh=_hold_consent, is_derived=True
)
COOKIELESS = Stage(
    name="cookieless",
    tables=("cookieless_counts",),
    refresh=_count_cookieless,
    partitions=EVENT_DAYS,
    is_derived=True,
)
BEHAVIOUR = Stage(
    name="behaviour", tables=("bot_behaviour",), refresh=_measure_behaviour, is_derived=True
)
SESSIONS = Stage(
    name="sessions",
    tables=("sessions", "session_events", "sessionless_events", "runaway_sessions"),
    refresh=_sessionize,
    partitions=EVENT_DAYS,
    is_derived=True,
)
TOUCHPOINTS = Stage(
    name="touchpoints",
    tables=("touchpoints",),
    refresh=_touch,
    partitions=EVENT_DAYS,
    is_derived=True,
)
CONVERSIONS = Stage(
    name="conversions",
    tables=("conversions",),
    refresh=_convert,
    partitions=EVENT_DAYS,
    is_derived=True,
)
CREDITS = Stage(
    name="credits",
    tables=("attribution_credits",),
    refresh=_credit,
    partitions=EVENT_DAYS,
    is_derived=True,
)
SCORES = Stage(name="scores", tables=("engagement_scores",), refresh=_score, is_derived=True)
SEGMENTS = Stage(name="segments", tables=("segments", "segment_members"), refresh=_segment)
SYNCS = Stage(name="syncs", tables=("crm_syncs",), refresh=_sync, sound_before=SEGMENTS.tables)
REQUESTS = Stage(name="privacy", tables=("subject_requests",), refresh=_mirror)

STAGES = (
    RAW_EVENTS,
    EVENTS,
    IDENTITY,
    CONSENT,
    PERSON_CONSENTS,
    COOKIELESS,
    BEHAVIOUR,
    SESSIONS,
    TOUCHPOINTS,
    CONVERSIONS,
    CREDITS,
    SCORES,
    SEGMENTS,
    SYNCS,
)
"""From a landed file to the CRM, in order."""
