"""Bringing stored tables to what a test says they hold, as the stages before would."""

from collections.abc import Iterable

import polars as pl

from clickstream_platform.lake import Lake
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform.tables.contracts import require


def bring(lake: Lake, table: str, now: pl.DataFrame) -> None:
    """Make a table by date hold these rows, rewriting the dates that differ and no other."""
    column = TABLES[table].date_column
    assert column is not None
    before = lake.scan(table).collect()
    differ = pl.concat(
        [
            now.join(before, on=now.columns, how="anti", nulls_equal=True),
            before.join(now, on=now.columns, how="anti", nulls_equal=True),
        ]
    )
    if dates := sorted(differ[column].unique()):
        lake.overwrite_dates(table, now.filter(pl.col(column).is_in(dates)), dates=dates)


def rows_of(lake: Lake, tables: Iterable[str]) -> dict[str, pl.DataFrame]:
    """Rows of each table in one order, after checking their contracts."""
    return {
        name: require(TABLES[name].contract, frame).sort(frame.columns)
        for name in tables
        for frame in [lake.scan(name).collect()]
    }
