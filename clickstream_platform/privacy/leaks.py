"""Leaks: personal values that are stored in spite of minimisation, and taking them out.

What is stored went through the rules of its day. Rules are mended, adapters compute new texts,
the list of allowed query keys is cut: the scan asks every stored text by the rules of today.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import polars as pl

from clickstream_platform.lake import Lake, polars_schema, rewriting
from clickstream_platform.lake.history import scrub_history
from clickstream_platform.privacy.minimisation import find_personal, scrub_payloads
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES

LEAK = {"table": pl.String(), "column": pl.String(), "kind": pl.String(), "rows": pl.Int64()}
"""Columns of what a scan finds."""

KEYS = ("_id", "_key", "_model")
"""Endings of columns that hold hashes, pseudonyms and names of our own, not what was sent."""

_DATA_FILE = re.compile(rb'[^/"]+\.parquet')

Told = Callable[[str, int, int], None]
"""Told of each table: what is being done, how far, out of how much."""


class Mended(NamedTuple):
    """What taking leaks out changed."""

    found: pl.DataFrame
    """The leaks, as `scan_leaks` lists them."""
    rows: dict[str, int]
    """Rows changed by table; tables without leaks are left out."""


def text_columns(table: str) -> list[str]:
    """Columns of a table that may hold what somebody sent: texts, but for keys of our own."""
    spec = TABLES[table]
    if not spec.person_columns:
        return []  # definitions and counts: nothing of anybody's events
    return [
        name
        for name, kind in polars_schema(table).items()
        if kind == pl.String() and name not in spec.person_columns and not name.endswith(KEYS)
    ]


def scan_leaks(settings: Settings, *, progress: Told | None = None) -> pl.DataFrame:
    """Look for personal values in every text of the lake; values are not told.

    Args:
        settings: Where everything lies, and whether query keys need to be on a list.
        progress: Told of every table.

    Returns:
        ``table``, ``column``, ``kind`` (``email``, ``phone``, …; ``query`` is a query key that is
        not allowed), ``rows``. Grain: table, column, kind; in order of the tables.
    """
    lake = Lake(settings.lake_folder)
    leaks = []
    for number, table in enumerate(TABLES):
        if progress:
            progress(f"looking through {table}", number, len(TABLES))
        parts = [_found(frame, settings) for _, frame in _parts(lake, table)]
        if parts:
            total = pl.concat(parts).group_by("column", "kind").agg(pl.col("rows").sum())
            leaks.append(total.select(pl.lit(table).alias("table"), "column", "kind", "rows"))
    if not leaks:
        return pl.DataFrame(schema=LEAK)
    return pl.concat([each.sort("column", "kind") for each in leaks]).cast(pl.Schema(LEAK))


def mend_leaks(settings: Settings, *, progress: Told | None = None) -> Mended:
    """Mask what `scan_leaks` finds, in place, and remove it from the tables' past too.

    Date by date, each in one atomic commit; stopped in the middle, the next run goes on. Rows
    keep their identifiers, people and places, so that nothing is loaded twice. Landed files are
    as they were sent: they go with their storage period.

    Args:
        settings: Where everything lies.
        progress: Told of every table.

    Returns:
        What was found and how many rows were changed.
    """
    lake = Lake(settings.lake_folder)
    found = scan_leaks(settings, progress=progress)
    with rewriting(settings.state, progress=progress):
        rows = {
            table: _mend_table(lake, table, settings)
            for table in found["table"].unique(maintain_order=True)
        }
    return Mended(found, rows)


def _parts(lake: Lake, table: str) -> Iterator[tuple[date | None, pl.DataFrame]]:
    """The texts of a table, one date at a time where it has dates."""
    columns = text_columns(table)
    if not columns or not lake.exists(table):
        return
    if TABLES[table].date_column is None:
        yield None, lake.scan(table).select(columns).collect(engine="streaming")
        return
    for day in lake.dates(table):
        yield day, lake.scan(table, dates=[day]).select(columns).collect(engine="streaming")


def _found(frame: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Leaks in some rows: ``column``, ``kind``, ``rows``."""
    found = []
    for column in frame.columns:
        values = frame[column].drop_nulls().value_counts(name="rows")
        kinds = find_personal(
            values[column],
            query_keys=settings.privacy.query_keys,
            allowed=settings.privacy.allowed_query_keys,
        )
        found.append(
            kinds.select(
                pl.lit(column).alias("column"), "kind", rows=values["rows"].gather(kinds["row"])
            )
        )
    return pl.concat(found).cast({"rows": pl.Int64})


def _mend_table(lake: Lake, table: str, settings: Settings) -> int:
    lake.require_sound(table)
    before = {part: _found(frame, settings) for part, frame in _parts(lake, table)}
    changed = 0
    for day, found in before.items():
        if found.is_empty():
            continue
        whole = lake.scan(table, dates=None if day is None else [day]).collect(engine="streaming")
        names = sorted(set(found["column"]))
        mended = whole.with_columns(_scrubbed(whole[name], settings) for name in names)
        differs = pl.any_horizontal(whole[name].ne_missing(mended[name]) for name in names)
        changed += int(pl.select(differs.sum()).item())
        if day is None:
            lake.overwrite(table, mended)
        else:
            lake.overwrite_dates(table, mended, dates=[day])
    lake.vacuum(table)
    scrub_history(lake, table, _of_files_that_are_gone(lake, table))
    return changed


def _scrubbed(texts: pl.Series, settings: Settings) -> pl.Series:
    return scrub_payloads(
        texts,
        query_keys=settings.privacy.query_keys,
        allowed=settings.privacy.allowed_query_keys,
    )


def _of_files_that_are_gone(lake: Lake, table: str) -> Callable[[bytes], bool]:
    """Whether lines of the log tell the least and greatest values of files that are gone."""
    held = {Path(file).name.encode() for file in lake.files(table)}

    def tells(content: bytes) -> bool:
        lines = (line for line in content.splitlines() if b'"stats"' in line)
        return any(
            _DATA_FILE.search(line) and held.isdisjoint(_DATA_FILE.findall(line)) for line in lines
        )

    return tells
