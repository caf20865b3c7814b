"""What the catalog says of a table, for each engine that reads or writes it."""

from functools import lru_cache

import polars as pl
import pyarrow as pa
from deltalake import Schema

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.tables.catalog import TABLES, StoredTable


class LakeError(ClickstreamError, LookupError):
    """A table of the lake cannot be read or written as asked."""

    def __init__(self, table: str, reason: str, *, remedy: str) -> None:
        self.table = table
        super().__init__(f"{table}: {reason}. {remedy}")


def stored(table: str) -> StoredTable:
    """The catalog's entry of a table.

    Raises:
        LakeError: There is no such table.
    """
    try:
        return TABLES[table]
    except KeyError:
        raise LakeError(
            table, "is not a table of the lake", remedy=f"Tables: {', '.join(TABLES)}."
        ) from None


@lru_cache(maxsize=64)
def polars_schema(table: str) -> dict[str, pl.DataType]:
    """Columns and types of a table, in the order of its contract."""
    columns = stored(table).contract.to_schema().columns
    return {name: column.dtype.type for name, column in columns.items()}


@lru_cache(maxsize=64)
def arrow_schema(table: str) -> pa.Schema:
    """Columns and types of a table as Arrow."""
    return pl.DataFrame(schema=polars_schema(table)).to_arrow().schema


def delta_schema(table: str) -> Schema:
    """Columns and types of a table as its log says them."""
    return Schema.from_arrow(arrow_schema(table))
