"""Engagement scores: worked by hand, as laws over arrivals, then at the edges."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.errors import ParameterError
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.segments import engagement_scores, refresh_scores, score_at
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.segments import EngagementScores
from clickstream_platform_tests.frames import NOON, sessions_frame
from clickstream_platform_tests.segments.answers import answer

TABLE = "engagement_scores"
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


def session(
    key: int, person: str = "ann", *, ago: timedelta = 0 * DAY, points: float = 1, **other: object
) -> dict[str, object]:
    return {
        "session_key": key,
        "person_id": person,
        "started_at": NOON - ago - timedelta(minutes=5),
        "ended_at": NOON - ago,
        "engagement_points": float(points),
    } | other


def scores(
    backend: SQLBackend, folder: Path, rows: list[dict[str, object]], *, half_life: timedelta = WEEK
) -> pl.DataFrame:
    file = folder / "sessions.parquet"
    sessions_frame(rows).write_parquet(file)
    table = engagement_scores(backend.read_parquet(file), half_life=half_life)
    frame = answer(backend, table, folder).sort("person_key")
    return frame.with_columns(pl.col(n).cast(t) for n, t in polars_schema(TABLE).items())


def test_points_halve_with_every_half_life(duckdb_backend: Backend, tmp_path: Path) -> None:
    # Sessions of 8, 4 and 1 points two weeks, one week and no time before: 8/4 + 4/2 + 1 = 5.
    rows = [session(1, ago=2 * WEEK, points=8), session(2, ago=WEEK, points=4), session(3)]
    found = require(EngagementScores, scores(duckdb_backend, tmp_path, rows)).row(0, named=True)
    assert found["score"] == pytest.approx(5)
    assert (found["sessions"], found["anchored_at"]) == (3, NOON)
    assert found["first_seen_at"] == NOON - 2 * WEEK - timedelta(minutes=5)


def test_consent_is_that_of_the_last_session(duckdb_backend: Backend, tmp_path: Path) -> None:
    rows = [
        session(1, ago=DAY, consent_marketing=True, consent_analytics=True),
        session(2, consent_marketing=False, consent_analytics=None),
    ]
    found = scores(duckdb_backend, tmp_path, rows).row(0, named=True)
    assert (found["consent_marketing"], found["consent_analytics"]) == (False, None)


def test_of_two_sessions_that_end_together_the_larger_key_is_last(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    rows = [session(2, consent_marketing=True), session(1, consent_marketing=False)]
    assert scores(duckdb_backend, tmp_path, rows)["consent_marketing"].to_list() == [True]


def test_sessions_of_bots_do_not_count(duckdb_backend: Backend, tmp_path: Path) -> None:
    rows = [session(1), session(2, ago=-DAY, is_bot=True), session(3, "bob", is_bot=True)]
    found = scores(duckdb_backend, tmp_path, rows)
    assert found.select("person_id", "score", "anchored_at").rows() == [("ann", 1.0, NOON)]


def test_sessions_far_in_the_past_underflow_to_nothing(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    rows = [session(1, ago=20_000 * DAY, points=1e6), session(2)]
    found = scores(duckdb_backend, tmp_path, rows, half_life=timedelta(minutes=1))
    assert found["score"].to_list() == [1.0]


def test_half_life_must_be_longer_than_zero(duckdb_backend: Backend, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"^half_life must be longer than zero, got .* Try "):
        scores(duckdb_backend, tmp_path, [session(1)], half_life=timedelta(0))


@pytest.mark.parametrize(
    ("later", "left"),
    [
        pytest.param(0 * DAY, 8.0, id="at the anchor"),
        pytest.param(WEEK, 4.0, id="one half-life later"),
        pytest.param(3 * WEEK, 1.0, id="three half-lives later"),
        pytest.param(-WEEK, 8.0, id="before the anchor it does not grow"),
    ],
)
def test_score_halves_after_its_anchor(
    duckdb_backend: Backend, tmp_path: Path, later: timedelta, left: float
) -> None:
    file = tmp_path / "scores.parquet"
    scores(duckdb_backend, tmp_path, [session(1, points=8)]).write_parquet(file)
    table = duckdb_backend.read_parquet(file)
    now = score_at(table.score, table.anchored_at, now=NOON + later, half_life=WEEK)
    assert table.select(now=now).to_pyarrow()["now"].to_pylist() == pytest.approx([left])


MOMENTS = st.integers(0, 40 * 86_400_000_000)
CONSENT = st.sampled_from([True, False, None])
SESSIONS = st.builds(
    lambda key, person, us, points, is_bot, consent: session(
        key,
        person,
        ago=us * timedelta.resolution,
        points=points,
        is_bot=is_bot,
        consent_marketing=consent,
    ),
    st.integers(0, 10_000),
    st.sampled_from(["ann", "bob", "v1", "v2", "v3"]),
    MOMENTS,
    st.floats(0, 100),
    st.sampled_from([False, False, False, True]),
    CONSENT,
)
HISTORIES = st.lists(SESSIONS, max_size=12, unique_by=lambda row: row["session_key"])


@pytest.mark.spark
@pytest.mark.slow
def test_engines_agree(duckdb_backend: Backend, spark_backend: SQLBackend, tmp_path: Path) -> None:
    rows = [
        session(
            key,
            f"p{key * 7 % 23}",
            ago=timedelta(microseconds=key**5 % 10**12 - 10**6),
            points=key % 11 / 3,
            is_bot=key % 13 == 0,
            consent_marketing=[True, False, None][key % 3],
        )
        for key in range(300)
    ]
    one, other = (scores(engine, tmp_path, rows) for engine in (duckdb_backend, spark_backend))
    assert one.drop("score").equals(other.drop("score"))
    assert one["score"].to_list() == pytest.approx(other["score"].to_list(), rel=1e-12)


def stored(lake: Lake) -> pl.DataFrame:
    return require(EngagementScores, lake.scan(TABLE).collect()).sort("person_key")


def assert_same(lake: Lake, settings: Settings) -> None:
    """What was refreshed step by step equals what a full refresh gives."""
    stepwise = stored(lake)
    refresh_scores(lake, settings, full=True)
    whole = stored(lake)
    assert stepwise.drop("score").equals(whole.drop("score"))
    assert stepwise["score"].to_list() == pytest.approx(whole["score"].to_list(), abs=1e-9)


@budget(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=st.lists(HISTORIES, min_size=1, max_size=3),
    erased=st.sampled_from([None, "ann", "v1"]),
)
def test_step_by_step_equals_a_full_refresh(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[dict[str, object]]],
    erased: str | None,
) -> None:
    settings = load_settings(tmp_path_factory.mktemp("data"))
    lake = Lake(settings.lake_folder)
    for number, batch in enumerate(batches):
        # Keys are unique across batches; late sessions are any that end before others.
        rows = [row | {"session_key": int(str(row["session_key"])) * 3 + number} for row in batch]
        lake.append("sessions", sessions_frame(rows))
        refresh_scores(lake, settings)
    if erased is not None:
        lake.delete("sessions", f"person_id = '{erased}'")
        refresh_scores(lake, settings)
        assert erased not in stored(lake)["person_id"]
    assert_same(lake, settings)


def put(lake: Lake, rows: Iterable[dict[str, object]]) -> None:
    lake.append("sessions", sessions_frame(list(rows)))


def test_only_persons_of_changed_files_are_computed(lake: Lake, settings: Settings) -> None:
    put(lake, [session(key, f"p{key}") for key in range(100)])
    assert refresh_scores(lake, settings).is_full
    put(lake, [session(100, "p7")])
    again = refresh_scores(lake, settings)
    assert (again.is_full, again.rows_written, again.rows_read) == (False, 1, 2)
    assert stored(lake).height == 100


def test_nothing_new_writes_nothing(lake: Lake, settings: Settings) -> None:
    assert refresh_scores(lake, settings).version == -1
    put(lake, [session(1)])
    first = refresh_scores(lake, settings)
    assert refresh_scores(lake, settings).version == first.version
    lake.compact("sessions")
    assert refresh_scores(lake, settings).version == first.version


def test_person_without_sessions_left_loses_the_row(lake: Lake, settings: Settings) -> None:
    put(lake, [session(1), session(2, "bob")])
    refresh_scores(lake, settings)
    lake.delete("sessions", "person_id = 'ann'")
    refresh_scores(lake, settings)
    assert stored(lake)["person_id"].to_list() == ["bob"]


def test_files_that_a_vacuum_took_lead_to_a_full_refresh(lake: Lake, settings: Settings) -> None:
    put(lake, [session(1), session(2, "bob")])
    refresh_scores(lake, settings)
    lake.delete("sessions", "person_id = 'ann'")
    lake.vacuum("sessions")
    assert refresh_scores(lake, settings).is_full
    assert stored(lake)["person_id"].to_list() == ["bob"]


def test_another_half_life_recomputes_everything(lake: Lake, settings: Settings) -> None:
    put(lake, [session(1, ago=WEEK, points=4), session(2)])
    refresh_scores(lake, settings)
    section = settings.engagement.model_copy(update={"half_life_days": 3.5})
    changed = settings.model_copy(update={"engagement": section})
    assert refresh_scores(lake, changed).is_full
    assert stored(lake)["score"].to_list() == pytest.approx([2])


def test_last_moment_counts_to_the_microsecond(duckdb_backend: Backend, tmp_path: Path) -> None:
    end = datetime(2026, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC)
    rows = [
        session(9, started_at=end - DAY, ended_at=end - timedelta.resolution),
        session(1, started_at=end - DAY, ended_at=end, consent_marketing=True),
    ]
    assert scores(duckdb_backend, tmp_path, rows)["consent_marketing"].to_list() == [True]
