"""SQL over the lake: tables by name, read and never written, and no way out of the folder."""

from pathlib import Path

import pytest
from ibis.backends.duckdb import Backend

from clickstream_platform.lake import Lake, QueryError, open_tables, select
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import NOON, events_frame


@pytest.fixture
def tables(lake: Lake, settings: Settings) -> Backend:
    """A lake of three events, two of them of Ann."""
    people = ["ann", "ann", "bob"]
    rows: list[dict[str, object]] = [
        {"event_id": f"e{number}", "visitor_id": person, "occurred_at": NOON}
        for number, person in enumerate(people)
    ]
    lake.append("events", events_frame(rows))
    return open_tables(lake, settings)


def test_tables_are_known_by_name(tables: Backend) -> None:
    query = "SELECT visitor_id, count(*) AS events FROM events GROUP BY 1 ORDER BY 1"
    answer = select(tables, query, limit=10)
    assert answer == (["visitor_id", "events"], [("ann", 2), ("bob", 1)], False)


def test_table_that_was_never_written_is_empty(tables: Backend) -> None:
    assert select(tables, "SELECT * FROM sessions", limit=1).rows == []


def test_answer_says_when_it_is_cut(tables: Backend) -> None:
    assert select(tables, "FROM events", limit=3).is_cut is False
    answer = select(tables, "SELECT event_id FROM events ORDER BY 1", limit=2)
    assert (answer.rows, answer.is_cut) == ([("e0",), ("e1",)], True)


def test_dates_are_those_of_the_reporting_time_zone(lake: Lake, settings: Settings) -> None:
    late = NOON.replace(hour=23, minute=30)
    lake.append("events", events_frame([{"occurred_at": late}]))
    zoned = settings.model_copy(update={"time_zone": "Europe/Berlin"})
    query = "SELECT occurred_at::DATE::VARCHAR FROM events"
    assert select(open_tables(lake, zoned), query, limit=1).rows == [("2026-03-02",)]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("COPY events TO 'out.csv'", id="copy"),
        pytest.param("CREATE TABLE t AS FROM events", id="create"),
        pytest.param("SELECT 1; DROP VIEW events", id="two statements"),
        pytest.param("ATTACH 'other.db'", id="attach"),
        pytest.param("INSTALL httpfs", id="extension"),
        pytest.param("SET lock_configuration = false", id="setting"),
        pytest.param("", id="nothing"),
    ],
)
def test_only_one_select_is_answered(tables: Backend, query: str) -> None:
    with pytest.raises(QueryError, match=r"^Only one SELECT is answered: "):
        select(tables, query, limit=1)


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_text('secret.csv')",
        "FROM read_csv('secret.csv')",
        "FROM glob('*')",
        "FROM 'secret.csv'",
    ],
)
def test_no_file_outside_the_lake_can_be_read(
    tables: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryError, match=r"disabled by configuration|does not exist"):
        select(tables, query, limit=1)


def test_error_names_the_tables_there_are(tables: Backend) -> None:
    with pytest.raises(QueryError, match=r"visits does not exist.*Tables: raw_events, events, "):
        select(tables, "SELECT * FROM visits", limit=1)
