"""Tables of an earlier version: derived ones are emptied, others widened, nothing is lost."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from clickstream_platform.lake import (
    Lake,
    LakeError,
    adapt,
    connect,
    polars_schema,
    require_current,
    view,
)
from clickstream_platform.settings import LakeSettings
from clickstream_platform_tests.lake.test_store import one


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def write(lake: Lake, table: str, rows: pl.DataFrame, *, partition_by: list[str]) -> None:
    """Write a table as an earlier version did."""
    lake.folder.mkdir(parents=True, exist_ok=True)
    write_deltalake(lake.path(table), rows.to_arrow(), partition_by=partition_by)


def touches(*, without: str) -> pl.DataFrame:
    schema = polars_schema("touchpoints")
    return pl.DataFrame(schema={name: kind for name, kind in schema.items() if name != without})


def touch() -> pl.DataFrame:
    """One touchpoint, of which nothing but its date is known."""
    schema = polars_schema("touchpoints")
    made = pl.DataFrame({"touch_date": [date(2026, 11, 1)]}, schema={"touch_date": pl.Date})
    return made.select(
        pl.col(name) if name == "touch_date" else pl.lit(None, kind).alias(name)
        for name, kind in schema.items()
    )


def test_a_table_of_today_stays_as_it_is(lake: Lake) -> None:
    lake.append("events", one("a"))
    version = lake.version("events")
    assert adapt(lake, ["events", "duplicate_events"], is_derived=False) == []
    assert lake.version("events") == version


def test_derived_tables_are_emptied_together_and_forget_what_they_took_in(lake: Lake) -> None:
    write(lake, "touchpoints", touches(without="bucket"), partition_by=["touch_date"])
    lake.overwrite("conversions", pl.DataFrame(schema=polars_schema("conversions")),
                   consumed={"events": 7})  # fmt: skip
    lake.overwrite("sessions", pl.DataFrame(schema=polars_schema("sessions")))
    together = ["touchpoints", "conversions"]
    assert adapt(lake, together, is_derived=True) == together
    assert lake.consumed("conversions", "events") == -1
    assert lake.scan("touchpoints").collect().schema == polars_schema("touchpoints")
    assert adapt(lake, together, is_derived=True) == []


def test_other_tables_are_widened_and_keep_their_rows(lake: Lake) -> None:
    new = one("new")
    old = one("old").drop("bot_signals", "bot_score")
    write(lake, "events", old, partition_by=["event_date", "bucket"])
    assert adapt(lake, ["events"], is_derived=False) == ["events"]
    lake.append("events", new.with_columns(bot_score=pl.lit(7, new.schema["bot_score"])))
    read = lake.scan("events").select("event_id", "bot_score").sort("event_id").collect()
    assert read.rows() == [("new", 7), ("old", None)]
    events = view(connect(LakeSettings()), lake, "events").order_by("event_id")
    assert events.to_polars().select("event_id", "bot_score").rows() == read.rows()
    assert adapt(lake, ["events"], is_derived=False) == []


def test_a_column_that_was_something_else_is_refused(lake: Lake) -> None:
    strange = one("a").with_columns(country=pl.lit(49))
    write(lake, "events", strange, partition_by=["event_date", "bucket"])
    with pytest.raises(LakeError, match=r"events: was written by an earlier .*\['country'\]"):
        adapt(lake, ["events"], is_derived=False)
    assert lake.row_count("events") == 1


@pytest.mark.parametrize(
    ("table", "lacks", "parts"),
    [
        pytest.param("events", "bot_score", ["event_date", "bucket"], id="a column"),
        pytest.param("touchpoints", "bucket", ["touch_date"], id="a partition"),
    ],
)
def test_readers_see_nulls_before_the_refresh_that_mends_a_table(
    lake: Lake, table: str, lacks: str, parts: list[str]
) -> None:
    row = one("a") if table == "events" else touch()
    write(lake, table, row.drop(lacks).with_columns(gone=pl.lit(1)), partition_by=parts)
    expected = row.with_columns(pl.lit(None, row.schema[lacks]).alias(lacks))
    assert lake.scan(table).collect().equals(expected)
    assert view(connect(LakeSettings()), lake, table).to_polars().equals(expected)


def test_writers_say_what_to_run_before_that(lake: Lake) -> None:
    lake.append("crm_syncs", pl.DataFrame(schema=polars_schema("crm_syncs")))
    require_current(lake)
    write(lake, "touchpoints", touch().drop("bucket"), partition_by=["touch_date"])
    for work in (
        lambda: require_current(lake),
        lambda: lake.append("touchpoints", touch()),
        lambda: lake.delete("touchpoints", "bucket = 1"),
        lambda: lake.update("touchpoints", {"channel": "'x'"}, "bucket = 1"),
    ):
        with pytest.raises(LakeError, match=r"^touchpoints: .*earlier version.*materialize"):
            work()
    adapt(lake, ["touchpoints"], is_derived=True)
    require_current(lake)
