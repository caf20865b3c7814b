"""Tables that an earlier version of the platform wrote get the columns and partitions of today."""

from collections.abc import Sequence

from deltalake import DeltaTable, Schema

from clickstream_platform.lake.schemas import LakeError, arrow_schema, stored
from clickstream_platform.lake.snapshots import keep, take
from clickstream_platform.lake.store import WIDENED, Lake, column_types, commit
from clickstream_platform.tables.catalog import TABLES


def adapt(lake: Lake, tables: Sequence[str], *, is_derived: bool) -> list[str]:
    """Give tables that are written together the shape of their contracts.

    Derived ones are emptied, so that the refresh that follows makes them anew. Others get the
    columns they lack, which are null in old rows.

    Args:
        lake: The lake.
        tables: Tables of one stage.
        is_derived: Whether they follow from others alone.

    Returns:
        Tables that were emptied or widened.

    What is neither, a table that is not derived and has other columns, is a `LakeError`.
    """
    old = [table for table in tables if lake.exists(table) and not lake.has_shape(table)]
    if not old:
        return []
    if is_derived:
        written = [table for table in tables if lake.exists(table)]
        for table in written:
            _empty(lake, table)
        return written
    for table in old:
        _widen(lake, table)
    return old


def require_current(lake: Lake) -> None:
    """Refuse work that is about every table where an earlier version wrote one: a `LakeError`."""
    for table in TABLES:
        lake.require_shape(table)


def _empty(lake: Lake, table: str) -> None:
    """Put an empty table of today's shape in a table's place; what it has taken in is forgotten."""
    path = lake.path(table)
    forgotten = dict.fromkeys(lake.upstreams(table), -1)
    take(path)
    made = DeltaTable.create(
        path,
        _wanted(table),
        mode="overwrite",
        partition_by=list(stored(table).partition_by),
        commit_properties=commit(forgotten, None),
    )
    keep(path, made)


def _widen(lake: Lake, table: str) -> None:
    opened = take(lake.path(table))
    has, wants = column_types(opened.schema()), column_types(_wanted(table))
    odd = sorted(name for name, kind in has.items() if wants.get(name) != kind)
    if odd or tuple(opened.metadata().partition_columns) != stored(table).partition_by:
        raise LakeError(
            table,
            f"was written by an earlier version, with other columns or partitions {odd}",
            remedy="Read it with that version, or ingest its files into a new data folder.",
        )
    opened.alter.set_table_properties({WIDENED: "true"}, raise_if_not_exists=False)
    opened.alter.add_columns([it for it in _wanted(table).fields if it.name not in has])


def _wanted(table: str) -> Schema:
    return Schema.from_arrow(arrow_schema(table))
