"""Checking a table against its contract, without repeating what the table says."""

from typing import NamedTuple

import pandera.polars as pa
import polars as pl
import polars.selectors as cs

from clickstream_platform.errors import ClickstreamError

_ABOUT_COLUMNS = {
    "column_in_dataframe": "is missing",
    "column_in_schema": "is not in the contract",
}
_WORDS = _ABOUT_COLUMNS | {
    "not_nullable": "is null",
    "multiple_fields_uniqueness": "repeats a row of the same grain",
}


class Breach(NamedTuple):
    """One way in which a table breaks its contract."""

    column: str | None
    """Column at fault, or None for a rule about the whole table."""
    rule: str
    rows: int | None
    """Rows at fault, or None where the column as a whole is wrong."""

    def __str__(self) -> str:
        words = self.rule if self.column is None else f"{self.column} {self.rule}"
        return words if self.rows is None else f"{words} (rows: {self.rows:,})"


class ContractError(ClickstreamError, ValueError):
    """A table breaks its contract.

    The message counts rows and quotes none: a failing value may be somebody's email address,
    and logs outlive the tables they describe.
    """

    def __init__(self, table: str, grain: str, breaches: list[Breach]) -> None:
        self.table, self.breaches = table, breaches
        super().__init__(
            f"{table} (one row per {grain}) breaks its contract:\n"
            + "".join(f"  - {breach}\n" for breach in breaches)
            + "Quarantine these rows upstream, or change the contract and its version together. "
            "Values are withheld because they may identify people."
        )


def breaches(contract: type[pa.DataFrameModel], table: pl.DataFrame) -> list[Breach]:
    """List what breaks the contract, most rows first; empty if the table is sound.

    Wrong columns and types hide the rules about content, which mean nothing until the shape
    is right. The table must be collected: given a ``LazyFrame``, Pandera checks the shape
    alone, and any content passes.
    """
    # The shape first, by itself: without a column of its grain, Pandera fails over the content.
    if (cases := _cases(contract, table.lazy())) is not None:
        return _counted(cases, rows=None)
    found = _not_finite(table)
    if (cases := _cases(contract, table)) is not None:
        found += _counted(cases, rows=pl.col("index").n_unique())
    return sorted(found, key=lambda breach: (-(breach.rows or 0), breach.column or ""))


def _not_finite(table: pl.DataFrame) -> list[Breach]:
    """Find numbers that are none: NaN and infinity lie within every range that is open above."""
    wrong = table.select((~cs.float().is_finite()).sum())
    return [
        Breach(name, "is not finite", wrong[name].item())
        for name in wrong.columns
        if wrong[name].item()
    ]


def _counted(cases: pl.DataFrame, *, rows: pl.Expr | None) -> list[Breach]:
    """Count failure cases by column and rule, most rows first."""
    names_column = pl.col("check").is_in(list(_ABOUT_COLUMNS))
    counted = cases.group_by(
        column=pl.when(names_column)
        .then("failure_case")
        .when(pl.col("schema_context") == "Column")
        .then("column"),
        rule=pl.col("check").replace(_WORDS).str.replace(r"^dtype\('(.+)'\)$", "must be $1"),
    ).agg(rows=rows)
    worst_first = counted.sort("rows", "column", "rule", descending=[True, False, False])
    return [Breach(*row) for row in worst_first.iter_rows()]


def _cases(
    contract: type[pa.DataFrameModel], table: pl.DataFrame | pl.LazyFrame
) -> pl.DataFrame | None:
    """Failure cases of a table, or None."""
    try:
        contract.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases: pl.DataFrame = error.failure_cases
        return cases
    return None


def require(contract: type[pa.DataFrameModel], table: pl.DataFrame) -> pl.DataFrame:
    """Return the table unchanged, or raise `ContractError`."""
    if found := breaches(contract, table):
        schema = contract.to_schema()
        raise ContractError(schema.name or contract.__name__, ", ".join(schema.unique or []), found)
    return table
