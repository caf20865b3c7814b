"""What changed in a table between two of its versions, down to rows."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import ibis.expr.types as ir

from clickstream_platform.lake.engine import Engine, view
from clickstream_platform.lake.store import Changes, Lake


def net_changes(lake: Lake, table: str, *, since: int) -> Changes | None:
    """List what differs between a version and the newest, or None if that is not known.

    Files that came and went in between are left out, so that what was in them is not taken for
    what there is.
    """
    while (changes := lake.changes(table, since=since)) is not None:
        files = set(lake.files(table))
        if lake.version(table) != changes.version:
            continue  # Somebody wrote in between: look again.
        return changes._replace(added=[file for file in changes.added if file in files])
    return None


def changed_rows(
    backend: Engine, lake: Lake, table: str, changes: Changes, columns: Sequence[str]
) -> ir.Table | None:
    """Rows that are there now and were not, or were there and are not, in some columns.

    None where that is not known, because removed files have been vacuumed: then every row of the
    dates of the changes may have changed.
    """
    if not all(Path(file).exists() for file in changes.removed):
        return None
    added = view(backend, lake, table, files=changes.added, name=f"added_{table}")
    removed = view(backend, lake, table, files=changes.removed, name=f"removed_{table}")
    now, before = added.select(columns), removed.select(columns)
    return now.difference(before).union(before.difference(now))


def distinct_dates(rows: ir.Table, column: str) -> set[date]:
    """Dates that occur in a column."""
    return set(rows.select(column).distinct().to_polars()[column])
