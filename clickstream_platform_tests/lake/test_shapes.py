"""Tables of an earlier version: derived ones are emptied, others widened, nothing is lost."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from clickstream_platform.lake import Lake, LakeError, adapt, connect, polars_schema, view
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
