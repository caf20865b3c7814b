"""Partitions: which one a file is of, which rows are in them, and conditions about them."""

import re
from collections.abc import Collection, Sequence
from datetime import date
from itertools import compress
from pathlib import Path
from typing import TypeAlias

import polars as pl

from clickstream_platform.lake.schemas import polars_schema, stored
from clickstream_platform.tables.catalog import TABLES

Parts: TypeAlias = set[tuple[date, int]]
"""Partitions: date and bucket, which is 0 where a table has none."""

_PART = re.compile(r"[a-z]_date=(\d{4}-\d{2}-\d{2})/(?:bucket=(\d+)/)?")
_PARTITION = re.compile(r"([a-z_]+)=([^/]+)/")
_WORD, _QUOTED_TEXT = re.compile(r"[a-z_]\w*"), re.compile(r"'[^']*'")


def part_of(file: str) -> tuple[date, int]:
    """Date and bucket of a data file, from its path; bucket 0 where there is none."""
    found = _PART.search(file)
    if found is None:
        message = f"not a data file of a date partition: {Path(file).name}"
        raise ValueError(message)
    return date.fromisoformat(found[1]), int(found[2] or 0)


def rows_of(table: str, parts: Collection[tuple[date, int]]) -> str:
    """The condition, in SQL, that is true of the rows of some partitions, of which there is one."""
    column = TABLES[table].date_column
    if "bucket" not in TABLES[table].partition_by:
        return f"{column} in ({', '.join(sorted({_quoted(day) for day, _ in parts}))})"
    dates: dict[tuple[int, ...], list[date]] = {}
    for day in sorted({day for day, _ in parts}):
        buckets = tuple(sorted(bucket for other, bucket in parts if other == day))
        dates.setdefault(buckets, []).append(day)
    return " or ".join(
        f"({column} in ({', '.join(map(_quoted, days))}) "
        f"and bucket in ({', '.join(map(str, buckets))}))"
        for buckets, days in dates.items()
    )


def _quoted(day: date) -> str:
    return f"'{day.isoformat()}'"


def names_partitions(table: str, where: str) -> bool:
    """Whether a condition is about partition columns alone, so that whole files match or not."""
    words = set(_WORD.findall(_QUOTED_TEXT.sub("", where.lower())))
    return words <= {"and", "or", "in", *stored(table).partition_by}


def files_matching(table: str, files: Sequence[str], where: str | None) -> list[str]:
    """Data files whose partition matches a condition about partition columns; all without one."""
    if where is None or not files:
        return list(files)
    kinds = {name: polars_schema(table)[name] for name in stored(table).partition_by}
    # Dates as texts, as conditions say them.
    schema = {n: kind if kind.is_integer() else pl.String() for n, kind in kinds.items()}
    parts = [dict(_PARTITION.findall(file)) for file in files]
    values = {
        name: pl.Series([part[name] for part in parts], dtype=pl.String).cast(kind, strict=False)
        for name, kind in schema.items()
    }
    is_meant = pl.DataFrame(values).select(pl.sql_expr(where)).to_series()
    return list(compress(files, is_meant))
