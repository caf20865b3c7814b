"""Breaking contracts on purpose: what is found, and that no table escapes."""

import math

import polars as pl
import pytest

from clickstream_platform.lake import polars_schema
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform.tables.contracts import Breach, breaches
from clickstream_platform_tests.frames import sessions_frame

FLOATS = [
    (table, column)
    for table in TABLES
    for column, kind in polars_schema(table).items()
    if kind.is_float()
]


def empty(table: str) -> pl.DataFrame:
    """The table without a row."""
    return pl.DataFrame(schema=polars_schema(table))


@pytest.mark.parametrize("table", TABLES)
def test_empty_table_is_sound(table: str) -> None:
    assert breaches(TABLES[table].contract, empty(table)) == []


@pytest.mark.parametrize("table", TABLES)
def test_column_of_the_grain_that_is_missing_is_named(table: str) -> None:
    contract = TABLES[table].contract
    # With rows: Pandera looks for repetitions in no column where the grain is a single one.
    frame = empty(table).clear(2)
    for column in contract.to_schema().unique or []:
        assert breaches(contract, frame.drop(column)) == [Breach(column, "is missing", None)]


@pytest.mark.parametrize(("table", "column"), FLOATS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_is_none_breaks_every_contract(table: str, column: str, value: float) -> None:
    row = empty(table).clear(1).with_columns(pl.lit(value).alias(column))
    assert Breach(column, "is not finite", 1) in breaches(TABLES[table].contract, row)


def test_worst_breach_comes_first() -> None:
    # Three durations are negative, one of them without end; two channels are null.
    three = sessions_frame([{"session_id": f"s{n}"} for n in range(3)])
    broken = three.with_columns(
        duration_s=pl.Series([-1.0, -2.0, -math.inf]),
        channel=pl.Series(["Direct", None, None], dtype=pl.String),
    )
    assert breaches(TABLES["sessions"].contract, broken) == [
        Breach("duration_s", "greater_than_or_equal_to(0)", 3),
        Breach("channel", "is null", 2),
        Breach("duration_s", "is not finite", 1),
    ]


def test_message_counts_rows_and_quotes_none() -> None:
    row = sessions_frame([{"cut_reason": "ann@example.com"}])
    (found,) = breaches(TABLES["sessions"].contract, row)
    assert str(found).startswith("cut_reason isin(")
    assert str(found).endswith(" (rows: 1)")
    assert "example.com" not in str(found)
