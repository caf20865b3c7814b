"""Comparisons of two records: what tells them apart, as data, and as Splink takes it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from clickstream_platform.definitions import Definition

if TYPE_CHECKING:  # an extra
    from splink.internals.comparison_creator import ComparisonCreator
    from splink.internals.comparison_level_creator import ComparisonLevelCreator

Column = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]

Key = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*(:[1-9][0-9]?)?$")]
"""A column, or with ``:3`` the first three characters of it."""


class Comparison(Definition):
    """How one column of two records is compared."""

    column: Column
    kind: Literal["exact", "name", "edits", "typos", "date", "overlap"]
    at: tuple[float, ...] = ()
    """Thresholds, strictest first; none for exact."""
    swapped_with: Column | None = None
    """Column whose value may stand in this one, and this one's there: a family name."""
    by_frequency: bool = False
    """Whether to agree in a rare value says more than to agree in a common one."""

    @model_validator(mode="after")
    def _thresholds_fit(self) -> Self:
        loosens = [it > that if self._falls else it < that for it, that in pairwise(self.at)]
        whole = all(it >= 1 and it == int(it) for it in self.at)
        shares = all(0 < it < 1 for it in self.at)
        fits = shares if self.kind == "name" else whole
        if bool(self.at) == (self.kind == "exact") or not fits or not all(loosens):
            reason = (
                "`at` holds shares for name, counts for others, strictest first; exact has none"
            )
            raise ValueError(reason)
        if self.kind == "overlap" and (self.swapped_with or self.by_frequency):
            reason = "a list is neither swapped nor counted by frequency"
            raise ValueError(reason)
        return self

    @property
    def _falls(self) -> bool:
        """Whether a stricter threshold is a greater one."""
        return self.kind in {"name", "overlap"}

    @property
    def columns(self) -> frozenset[str]:
        """Columns that are looked at."""
        return frozenset({self.column, self.swapped_with} - {None})  # type: ignore[arg-type]


def columns_of(keys: tuple[str, ...]) -> frozenset[str]:
    """Columns that a rule of blocking looks at."""
    return frozenset(key.partition(":")[0] for key in keys)


def key_sql(key: str) -> str:
    """A key as Splink takes it."""
    column, _, length = key.partition(":")
    return f"substr({column}, 1, {length})" if length else column


def splink_comparison(rule: Comparison) -> "ComparisonCreator":
    """A comparison as Splink takes it: unknown, the same, then ever less alike, then different."""
    import splink.comparison_level_library as levels  # noqa: PLC0415 - an extra
    from splink.comparison_library import CustomComparison  # noqa: PLC0415

    alike: list[ComparisonLevelCreator] = [levels.NullLevel(rule.column)]
    if rule.kind != "overlap":
        alike.append(
            levels.ExactMatchLevel(rule.column, term_frequency_adjustments=rule.by_frequency)
        )
    if rule.swapped_with:
        alike.append(levels.ColumnsReversedLevel(rule.column, rule.swapped_with, symmetrical=True))
    if rule.kind == "date":
        alike.append(levels.ExactMatchLevel(_digits(rule)))
    alike += [_level(rule, at) for at in rule.at]
    return CustomComparison(
        output_column_name=rule.column, comparison_levels=[*alike, levels.ElseLevel()]
    )


def with_digits(records: pl.DataFrame, rules: Sequence[Comparison]) -> pl.DataFrame:
    """Add the digits of dates in order: they are the same when day and month are swapped."""
    return records.with_columns(
        pl.col(it.column)
        .cast(pl.String)
        .str.extract_all("[0-9]")
        .list.sort()
        .list.join("")
        .alias(_digits(it))
        for it in rules
        if it.kind == "date"
    )


def _digits(rule: Comparison) -> str:
    return f"{rule.column}__digits"


def _level(rule: Comparison, at: float) -> "ComparisonLevelCreator":
    import splink.comparison_level_library as levels  # noqa: PLC0415 - an extra

    match rule.kind:
        case "name":
            return levels.JaroWinklerLevel(rule.column, at)
        case "edits":
            return levels.LevenshteinLevel(rule.column, int(at))
        case "overlap":
            return levels.ArrayIntersectLevel(rule.column, int(at))
        case _:
            return levels.DamerauLevenshteinLevel(rule.column, int(at))
