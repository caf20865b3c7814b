"""Partitions by date and bucket: which a file is of, and which rows are in them."""

import re
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import TypeAlias

from clickstream_platform.tables.catalog import TABLES

Parts: TypeAlias = set[tuple[date, int]]
"""Partitions: date and bucket, which is 0 where a table has none."""

_PART = re.compile(r"[a-z]_date=(\d{4}-\d{2}-\d{2})/(?:bucket=(\d+)/)?")


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
