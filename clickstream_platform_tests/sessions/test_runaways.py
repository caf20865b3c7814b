"""Runaway sessions: what is one, what is none, and that a rest ends it."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from ibis.backends.duckdb import Backend

from clickstream_platform.sessions import SessionPolicy, refresh_sessions, runaway_sessions
from clickstream_platform.settings import Settings
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import NOON, sessions_frame
from clickstream_platform_tests.sessions.history import History, visit
from clickstream_platform_tests.sessions.test_refresh import DAY, passers_by

Row = dict[str, object]


def session(start: float, hours: float, reason: str, **columns: object) -> Row:
    """A session so many hours after noon, of so many hours."""
    started = NOON + timedelta(hours=start)
    times: Row = {"started_at": started, "ended_at": started + timedelta(hours=hours)}
    return times | {"cut_reason": reason} | columns


def found(
    backend: Backend, folder: Path, rows: list[Row], **rules: int
) -> list[tuple[object, ...]]:
    """Sessions, events, cuts for events and for duration of each runaway."""
    made = run(
        backend,
        folder,
        {"sessions": sessions_frame(rows)},
        lambda sessions: runaway_sessions(sessions, policy=SessionPolicy(**rules)),  # type: ignore[arg-type]  # numbers alone
    )
    return (
        made.sort("started_at").select("sessions", "events", "event_cuts", "duration_cuts").rows()
    )


def test_what_the_limits_cut_is_put_together_again(duckdb_backend: Backend, tmp_path: Path) -> None:
    # 10,000 events in the first hour, as many in the second, 5 more: 20,005 in three sessions.
    rows = [
        session(0, 1, "first", events=10_000),
        session(1, 1, "max_events", events=10_000),
        session(2, 1, "max_events", events=5, is_bot=True),
        session(30, 1, "timeout", events=7),
    ]
    assert found(duckdb_backend, tmp_path, rows) == [(3, 20_005, 2, 0)]


@pytest.mark.parametrize(
    ("reasons", "runaways"),
    [
        pytest.param(["first", "max_duration"], 0, id="one day and some hours without a rest"),
        pytest.param(["first", "max_duration", "max_duration"], 1, id="more than two days"),
        pytest.param(["first", "max_events"], 1, id="one event too many"),
        pytest.param(["first", "timeout", "campaign"], 0, id="other cuts"),
        pytest.param(
            ["first", "max_duration", "campaign", "max_duration"], 0, id="two runs of one cut"
        ),
    ],
)
def test_a_runaway_is_more_than_people_do(
    duckdb_backend: Backend, tmp_path: Path, reasons: list[str], runaways: int
) -> None:
    rows = [session(24 * i, 23.9, reason) for i, reason in enumerate(reasons)]
    assert len(found(duckdb_backend, tmp_path, rows)) == runaways


@pytest.mark.parametrize(
    ("gap_us", "sessions"),
    [
        pytest.param(30 * 60_000_000, 3, id="half an hour is no rest"),
        pytest.param(30 * 60_000_000 + 1, 2, id="more is: pings alone lie between"),
    ],
)
def test_a_rest_ends_a_runaway(
    duckdb_backend: Backend, tmp_path: Path, gap_us: int, sessions: int
) -> None:
    late = (24 * 3_600_000_000 + gap_us) / 3_600_000_000
    rows = [
        session(0, 24, "first"),
        session(late, 23, "max_duration"),
        session(late + 23.5, 1, "max_duration"),
    ]
    assert [row[0] for row in found(duckdb_backend, tmp_path, rows)] == [sessions]


def test_storms_are_counted_by_person(duckdb_backend: Backend, tmp_path: Path) -> None:
    rows = [
        session(24 * i, 23.9, "first" if i == 0 else "max_duration", person_id=name)
        for name, number in (("ann", 2), ("bob", 2))
        for i in range(number)
    ]
    assert found(duckdb_backend, tmp_path, rows) == []
    assert len(found(duckdb_backend, tmp_path, rows, storm_cuts=1)) == 2


def test_a_runaway_comes_grows_and_goes(settings: Settings) -> None:
    history = History(settings)
    awake = [visit(f"a{i:03}", "ann", 29 * i) for i in range(110)]  # two days and five hours
    history.add(*passers_by(400), *awake[:40])
    history.refresh()
    assert history.lake.row_count("runaway_sessions") == 0
    for until in (105, 110):
        history.add(*awake[:until])
        assert not history.refresh().is_full
        history.check()
        rows = history.lake.scan("runaway_sessions").collect()
        assert rows.select("sessions", "events", "duration_cuts").rows() == [(3, until, 2)]
    history.add(visit("other", "cat", 500 * DAY))
    version = history.lake.version("runaway_sessions")
    history.refresh()
    assert history.lake.version("runaway_sessions") == version
    history.drop(["a050"])  # an hour's rest
    assert not history.refresh().is_full
    history.check()
    assert history.lake.row_count("runaway_sessions") == 0


def test_a_lake_from_before_gets_the_table(settings: Settings) -> None:
    history = History(settings)
    history.add(*passers_by(3))
    history.refresh()
    for file in sorted(history.lake.path("runaway_sessions").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    history.lake.path("runaway_sessions").rmdir()
    history.add(visit("new", "ann", 5))
    assert history.refresh().is_full
    assert history.lake.exists("runaway_sessions")
    done = refresh_sessions(history.lake, settings)
    assert (done.rows_written, pl.DataFrame(done.dates).height) == (0, 0)
