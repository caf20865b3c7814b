"""DuckDB over the lake: columns are known from contracts, and queries compiled once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import ibis
import polars as pl
import pytest
from ibis import _

from clickstream_platform.lake import Engine, Lake, connect, view
from clickstream_platform.settings import LakeSettings
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform_tests.lake.test_store import one


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def engine() -> Engine:
    return connect(LakeSettings())


@pytest.mark.parametrize("table", TABLES)
def test_columns_of_a_view_are_those_that_the_engine_sees(
    engine: Engine, lake: Lake, table: str
) -> None:
    assert view(engine, lake, table).schema() == engine.table(table).schema()


def test_one_expression_is_compiled_once_whatever_the_connection(
    lake: Lake, tmp_path: Path
) -> None:
    first, second = (connect(LakeSettings(), spill=tmp_path / name) for name in ("a", "b"))
    asked = [
        backend.compile(view(backend, lake, "events").filter(_.event_id == "compiled once").count())
        for backend in (first, second)
    ]
    assert asked[0] is asked[1]
    other = view(first, lake, "events").filter(_.event_id == "another").count()
    assert first.compile(other) != asked[0]


def test_what_does_not_fit_is_spilled_where_it_was_said(tmp_path: Path) -> None:
    sort = "CREATE TABLE sorted AS SELECT hash(range) AS h FROM range(12_000_000) ORDER BY h"
    scant = LakeSettings(memory_limit="80MB", threads=1)
    folder = tmp_path / "Ann's"
    folder.mkdir()
    engine = connect(scant, spill=folder)
    assert engine.raw_sql("SELECT current_setting('temp_directory')").fetchall() == [(str(folder),)]
    engine.raw_sql(sort)
    with pytest.raises(duckdb.OutOfMemoryException):
        connect(scant).raw_sql(sort)


def test_one_expression_tells_of_the_rows_that_are_there_now(engine: Engine, lake: Lake) -> None:
    counts = []
    for event_id in ("a", "b"):
        lake.append("events", one(event_id))
        counts.append(view(engine, lake, "events").count().to_pyarrow().as_py())
    assert counts == [1, 2]


def test_microseconds_between_instants_are_counted_without_a_calendar(engine: Engine) -> None:
    instants = [datetime(year, 3, 29, 1, 59, 59, 999_999, UTC) for year in (1901, 1969, 2026)]
    rows = engine.make_table("instants", pl.DataFrame({"at": instants}))
    start = ibis.timestamp("1970-01-01 00:00:00", timezone="UTC")
    since = rows.select(us=rows["at"].delta(start, unit="microsecond"))
    assert "DATE_DIFF" not in engine.compile(since)
    expected = [(at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta.resolution for at in instants]
    assert sorted(engine.to_pyarrow(since.us).to_pylist()) == expected
    days = rows.select(days=rows["at"].delta(start, unit="day"))
    assert sorted(engine.to_pyarrow(days.days).to_pylist()) == [
        us // 86_400_000_000 for us in expected
    ]


def test_tables_in_memory_are_not_taken_for_each_other(engine: Engine) -> None:
    sums = [
        engine.to_pyarrow(ibis.memtable(pl.DataFrame({"x": numbers})).x.sum()).as_py()
        for numbers in ([1, 2], [3, 4])
    ]
    assert sums == [3, 7]


def test_made_table_takes_the_place_of_one_with_other_columns(engine: Engine) -> None:
    made = engine.make_table("made", pl.DataFrame({"name": ["a", None], "number": [1, 2]}))
    assert made.schema() == engine.table("made").schema()
    assert made.number.sum().to_pyarrow().as_py() == 3
    # DuckDB adds integers up to something wider; the type of the expression is kept.
    total = made.aggregate(total=_.number.sum())
    again = engine.make_table("totals", total)
    assert again.schema() == total.schema() == engine.table("totals").schema()
    assert engine.make_table("made", again).to_polars().to_dicts() == [{"total": 3}]
