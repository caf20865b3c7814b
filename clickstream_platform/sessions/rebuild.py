"""Making all sessions anew, some dates at a time, in bounded memory."""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TypedDict, Unpack

import ibis
from ibis import _

from clickstream_platform.lake import DataFile, Engine, Lake, view, write_parquet
from clickstream_platform.sessions.making import COLUMNS, MADE, NO_RESTARTS, make_sessions
from clickstream_platform.sessions.policy import EPOCH, RESOLUTION, SessionPolicy
from clickstream_platform.sessions.sources import view_events
from clickstream_platform.sessions.summary import SessionDefinitions

CHUNK_ROWS = 2_000_000
"""Events that are held at once, whole dates at a time."""


def rebuild_sessions(  # noqa: PLR0913 - a connection, a lake, a folder, and the rules
    backend: Engine,
    lake: Lake,
    spool: Path,
    *,
    policy: SessionPolicy,
    definitions: SessionDefinitions,
    buckets: int,
) -> dict[str, list[DataFile]]:
    """Make all sessions of all events.

    Sessions still open at the end of a stretch of dates are carried into the next one, so memory
    is bounded by `CHUNK_ROWS` and the events of one longest session of everybody.

    Args:
        backend: Connection with ``people``.
        lake: The lake.
        spool: Empty folder for what is made, until it is written.
        policy: The session policy.
        definitions: Channels, conversions and weights.
        buckets: Number of buckets by person.

    Returns:
        What was made, by name of `MADE`, as files of the spool.
    """
    backend.raw_sql("CREATE OR REPLACE TEMP TABLE seen (person_key BIGINT)")
    made: dict[str, list[DataFile]] = {name: [] for name in MADE}
    rules: Rules = {"policy": policy, "definitions": definitions, "buckets": buckets}
    for _stretch in make_stretches(backend, lake, **rules):
        _find_first_sessions(backend)
        for name in MADE:
            made[name] += write_parquet(backend, _QUERIES[name], name, spool / name)
        backend.raw_sql("INSERT INTO seen SELECT person_key FROM firsts")
    return made


class Rules(TypedDict):
    """What sessions are made by."""

    policy: SessionPolicy
    definitions: SessionDefinitions
    buckets: int


def make_stretches(
    backend: Engine, lake: Lake, dates: Collection[date] | None = None, **rules: Unpack[Rules]
) -> Iterator[list[date]]:
    """Make the sessions of one stretch of dates after the other, as views of the connection.

    Args:
        backend: Connection with ``people``; see `make_sessions` for what it has after each step.
        lake: The lake.
        dates: Dates of events to take in; all unless given.
        rules: See `rebuild_sessions`.

    Yields:
        The dates whose events were taken in last.
    """
    columns = ", ".join(COLUMNS)
    stretches = list(date_stretches(backend, lake, dates))
    backend.raw_sql(NO_RESTARTS)
    for number, stretch in enumerate(stretches):
        files = lake.files("events", dates=stretch)
        view_events(backend, lake, rules["policy"], files=files, name="stretch_events")
        carried = f"UNION ALL SELECT {columns} FROM carried_events" if number else ""  # noqa: S608 - names of our own
        backend.raw_sql(
            f"CREATE OR REPLACE TEMP VIEW source_events AS SELECT {columns} FROM stretch_events "  # noqa: S608 - names of our own
            f"WHERE NOT is_synthetic {carried}"
        )
        end = datetime.combine(max(stretch) + timedelta(days=1), time(), UTC)
        is_last = number == len(stretches) - 1
        timeout_us = rules["policy"].timeout_us
        make_sessions(
            backend,
            open_from_us=None if is_last else (end - EPOCH) // RESOLUTION - timeout_us,
            is_read_once=True,
            **rules,
        )
        backend.fill("carried_events", "FROM next_events")
        backend.fill("restarts", "FROM carried_restarts")
        yield stretch


def _find_first_sessions(backend: Engine) -> None:
    """Find the first session of everybody who had none in the stretches before."""
    backend.fill(
        "firsts",
        "SELECT person_key, arg_min(session_key, (start_us, session_key)) AS session_key "
        "FROM first_rows WHERE person_key NOT IN (FROM seen) GROUP BY person_key",
    )


_QUERIES = {name: f"FROM made_{name}" for name in MADE} | {
    "sessions": "SELECT s.* REPLACE (CASE WHEN s.cut_reason = 'timeout' AND f.session_key IS NOT "
    "NULL THEN 'first' ELSE s.cut_reason END AS cut_reason) FROM made_sessions s LEFT JOIN "
    "firsts f ON f.person_key = s.person_key AND f.session_key = s.session_key"
}
"""What is written of what is made: a first session says so, not that it follows a timeout."""


def is_bucketed(backend: Engine, lake: Lake, buckets: int) -> bool:
    """Whether every event is in the bucket that the setting would put it in.

    It is not after the setting was changed, and then a person's events cannot be found by bucket.
    """
    events = view(backend, lake, "events")
    bucket = ibis.coalesce(events.visitor_key, events.user_key, 0) % buckets
    strange = events.filter(events.bucket != bucket).count().to_pyarrow().as_py()
    return bool(strange == 0)


def date_stretches(
    backend: Engine, lake: Lake, dates: Collection[date] | None = None
) -> Iterator[list[date]]:
    """Split the dates of events into stretches of `CHUNK_ROWS` events or one date."""
    if not lake.exists("events"):
        return
    events = view(backend, lake, "events", files=lake.files("events", dates=dates))
    counted = events.group_by("event_date").aggregate(rows=_.count())
    stretch: list[date] = []
    rows = 0
    for day, number in sorted(counted.to_polars().rows()):
        if stretch and rows + number > CHUNK_ROWS:
            yield stretch
            stretch, rows = [], 0
        stretch.append(day)
        rows += number
    if stretch:
        yield stretch
