"""Files written by DuckDB and committed where they lie: equal to a table that Delta wrote."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.lake import Lake, connect, polars_schema, write_parquet
from clickstream_platform.settings import LakeSettings

FIRST = date(2026, 3, 1)
TABLE = "session_events"


def places(count: int, *, offset: int = 0) -> pl.DataFrame:
    """Places of events over three days and four buckets."""
    rows = [
        {
            "event_key": offset + number,
            "session_key": offset + number - number % 5,
            "person_key": number % 17,
            "event_name": "page_view",
            "occurred_us": round(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6) + number,
            "event_number": number % 5 + 1,
            "event_date": FIRST + timedelta(days=number % 3),
            "bucket": number % 17 % 4,
        }
        for number in range(count)
    ]
    return pl.DataFrame(rows, schema=polars_schema(TABLE))


def replaced(lake: Lake, rows: pl.DataFrame, spool: Path, **consumed: int) -> int:
    """Replace the table by way of DuckDB's files."""
    backend = connect(LakeSettings())
    backend.create_table("made", rows.to_arrow(), temp=True)
    files = write_parquet(backend, "FROM made", TABLE, spool)
    return lake.replace(TABLE, files, consumed=consumed)


def stored(lake: Lake) -> pl.DataFrame:
    return lake.scan(TABLE).sort("event_key").collect()


def test_holds_what_delta_would_have_written(tmp_path: Path) -> None:
    rows = places(1_000)
    ours, theirs = Lake(tmp_path / "ours"), Lake(tmp_path / "theirs")
    assert replaced(ours, rows, tmp_path / "spool", events=3) == 0
    theirs.overwrite(TABLE, rows)
    assert stored(ours).equals(stored(theirs))
    assert ours.row_count(TABLE) == 1_000
    assert ours.dates(TABLE) == theirs.dates(TABLE)
    assert ours.consumed(TABLE, "events") == 3


def test_a_second_time_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    replaced(lake, places(900), tmp_path / "spool", events=1)
    assert replaced(lake, places(40, offset=5_000), tmp_path / "spool", events=2) == 1
    assert stored(lake)["event_key"].to_list() == list(range(5_000, 5_040))
    assert lake.consumed(TABLE, "events") == 2
    changes = lake.changes(TABLE, since=0)
    assert changes is not None
    assert changes.added
    assert changes.removed


def test_nothing_empties_the_table(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    replaced(lake, places(9), tmp_path / "spool", events=1)
    replaced(lake, places(0), tmp_path / "spool", events=2)
    assert stored(lake).is_empty()
    assert lake.consumed(TABLE, "events") == 2


@pytest.mark.parametrize("person", range(3))
def test_erasure_and_overwriting_find_every_row(tmp_path: Path, person: int) -> None:
    # Statistics in the log let Delta skip files: wrong ones would leave rows behind.
    lake, rows = Lake(tmp_path / "lake"), places(500)
    replaced(lake, rows, tmp_path / "spool", events=1)
    theirs = rows.filter(pl.col("person_key") == person)
    assert lake.delete(TABLE, f"person_key = {person}") == theirs.height
    assert lake.row_count(TABLE) == 500 - theirs.height
    where = f"event_date in ('{FIRST}')"
    lake.overwrite(TABLE, rows.filter(pl.col("event_date") == FIRST), where=where)
    left = rows.filter((pl.col("person_key") != person) | (pl.col("event_date") == FIRST))
    assert stored(lake)["event_key"].to_list() == left["event_key"].to_list()
    lake.vacuum(TABLE)
    assert lake.row_count(TABLE) == left.height
