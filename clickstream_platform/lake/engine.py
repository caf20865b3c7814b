"""DuckDB over the lake: a locked-down connection, and tables as views by name."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import polars as pl
import pyarrow as pa
import sqlglot.expressions as sge
from ibis.backends.duckdb import Backend
from ibis.backends.sql.compilers.duckdb import DuckDBCompiler

from clickstream_platform.lake.schemas import arrow_schema, polars_schema, stored
from clickstream_platform.lake.store import Lake
from clickstream_platform.lake.writing import DataFile
from clickstream_platform.settings import LakeSettings, Settings

SQL_TYPES = {
    pl.String: "VARCHAR",
    pl.Int64: "BIGINT",
    pl.Int32: "INTEGER",
    pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN",
    pl.Date: "DATE",
    pl.Datetime: "TIMESTAMPTZ",
    pl.Decimal: "DECIMAL(18,4)",
}
"""DuckDB's name of each type that contracts use outside nested columns."""


MOST_COMPILED = 512
"""Expressions whose SQL is kept; the one that was used longest ago goes first."""

_compiled: "OrderedDict[ops.Node, str]" = OrderedDict()


class _Compiler(DuckDBCompiler):  # type: ignore[misc]  # Ibis has no types
    """Ibis's, but for what costs DuckDB a look into a calendar without need."""

    def visit_TimestampDelta(  # noqa: N802 - Ibis's name
        self,
        op: ops.TimestampDelta,
        *,
        part: sge.Expression,
        left: sge.Expression,
        right: sge.Expression,
    ) -> sge.Expression:
        """Microseconds between two instants are the same in every calendar."""
        if op.part.value == "microsecond":
            return sge.Sub(this=self.f.epoch_us(left), expression=self.f.epoch_us(right))
        found: sge.Expression = super().visit_TimestampDelta(op, part=part, left=left, right=right)
        return found


class Engine(Backend):  # type: ignore[misc]  # Ibis has no types
    """DuckDB for Ibis, which compiles an expression once per process.

    A refresh asks what the last one asked, of views of the same names and columns, and compiling
    that took more time than answering it. Connections that were opened alike are equal to Ibis,
    and so are expressions over their tables.
    """

    compiler = _Compiler()

    def compile(self, expr: ir.Expr, /, **options: Any) -> str:  # noqa: ANN401 - Ibis's, handed on
        """Compile an expression to SQL."""
        if any(option is not None for option in options.values()):
            return str(super().compile(expr, **options))
        node = expr.op()
        if node in _compiled:
            _compiled.move_to_end(node)
            return _compiled[node]
        sql = str(super().compile(expr))
        if not node.find(ops.InMemoryTable):  # it has another name each time
            _compiled[node] = sql
            if len(_compiled) > MOST_COMPILED:
                _compiled.popitem(last=False)
        return sql

    def make_table(self, name: str, rows: ir.Table | pl.DataFrame) -> ir.Table:
        """Make a temporary table of an expression or a frame, in place of one of that name."""
        if isinstance(rows, pl.DataFrame):
            given = rows.to_arrow()
            self.con.register("_given", given)
            self.raw_sql(f'CREATE OR REPLACE TEMP TABLE "{name}" AS FROM _given')
            self.con.unregister("_given")
            return self.typed(name, ibis.Schema.from_pyarrow(_plain(given.schema)))
        schema = rows.schema()
        self.raw_sql(f'CREATE OR REPLACE TEMP TABLE "{name}" ({_column_list(schema)})')
        self.raw_sql(f'INSERT INTO "{name}" {self.compile(rows)}')
        return self.typed(name, schema)

    def fill(self, name: str, query: str) -> None:
        """Make a temporary table of DuckDB's answer to a query, in place of one of that name."""
        self.raw_sql(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")

    def height(self, name: str) -> int:
        """Count the rows of a table of the connection."""
        return int(self.raw_sql(f"SELECT count(*) FROM {name}").fetchall()[0][0])  # noqa: S608 - name of our own

    def typed(self, name: str, schema: ibis.Schema) -> ir.Table:
        """A table of the connection whose columns are known, without asking for them."""
        return ops.DatabaseTable(name, schema=schema, source=self).to_expr()

    def shaped(self, name: str, table: str) -> ir.Table:
        """A table of the connection that has the columns of a table of the lake."""
        return self.typed(name, _schema(table))


@lru_cache(maxsize=256)
def _column_list(schema: ibis.Schema) -> str:
    """Columns and types, as DuckDB writes them."""
    return ", ".join(column.sql("duckdb") for column in schema.to_sqlglot_column_defs("duckdb"))


@lru_cache(maxsize=64)
def _schema(table: str) -> ibis.Schema:
    """Columns and types of a table of the catalog, as Ibis says them."""
    return ibis.Schema.from_pyarrow(_plain(arrow_schema(table)))


def connect(settings: LakeSettings, *, spill: Path | None = None) -> Engine:
    """Open DuckDB in memory, in UTC, with bounded memory and without downloads of extensions.

    Args:
        settings: Memory and threads.
        spill: Folder for what does not fit into memory; without it, that is an error.
    """
    backend: Engine = Engine().connect(
        memory_limit=settings.memory_limit,
        threads=settings.threads or os.cpu_count() or 1,
        python_enable_replacements=False,
        autoinstall_known_extensions=False,
        autoload_known_extensions=False,
        preserve_insertion_order=False,
    )
    # Said afterwards, so that connections of two data folders are opened alike, too.
    folder = str(spill or "").replace("'", "''")
    backend.raw_sql(f"SET TimeZone = 'UTC'; SET temp_directory = '{folder}'")
    return backend


@contextmanager
def opened_engine(settings: Settings) -> Iterator[Engine]:
    """Open DuckDB for the work of a data folder, which spills there what does not fit."""
    spill = settings.state / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    engine = connect(settings.lake, spill=spill)
    try:
        yield engine
    finally:
        engine.disconnect()


def view(
    backend: Engine,
    lake: Lake,
    table: str,
    *,
    files: Sequence[str] | None = None,
    name: str | None = None,
) -> ir.Table:
    """Make a table of the lake, or some of its files, a view of the connection.

    Args:
        backend: Connection of `connect`.
        lake: The lake.
        table: Table of the catalog; empty, with its columns, where nothing was written yet.
        files: Data files to read; all of the newest snapshot unless given.
        name: Name of the view; the table's unless given.
    """
    read = lake.files(table) if files is None else files
    query = read_files(lake, table, read)
    try:
        backend.raw_sql(f'CREATE OR REPLACE TEMP VIEW "{name or table}" AS {query}')
    except duckdb.Error:  # it says in words of its own what a broken file is
        lake.require_sound(table, read)
        raise
    return backend.shaped(name or table, table)


def read_files(lake: Lake, table: str, files: Sequence[str]) -> str:
    """The query, for DuckDB, of all columns of data files of a table; of no rows without files."""
    schema = polars_schema(table)
    parts = lake.partition_by(table)
    columns = ", ".join(schema)
    nothing = ", ".join(f"CAST(NULL AS {_sql_type(kind)}) AS {n}" for n, kind in schema.items())
    none = f"SELECT {nothing} WHERE false"
    if not files:
        return none
    types = ", ".join(f"'{part}': {_sql_type(schema[part])}" for part in parts)
    hive = f", hive_partitioning=true, hive_types={{{types}}}" if parts else ""
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    if not lake.is_widened(table):
        return f"SELECT {columns} FROM read_parquet([{listed}]{hive})"  # noqa: S608 - names and files of the catalog
    rows = f"SELECT * FROM read_parquet([{listed}]{hive}, union_by_name=true)"  # noqa: S608 - files of the catalog
    return f"SELECT {columns} FROM ({none} UNION ALL BY NAME {rows})"  # noqa: S608 - names of the catalog


def write_parquet(backend: Backend, query: str, table: str, folder: Path) -> list[DataFile]:
    """Write the rows of a query as data files of a partitioned table, for `Lake.replace`.

    Args:
        backend: Connection of `connect`.
        query: SELECT with the columns of the table, in any order.
        table: Table of the catalog.
        folder: Where to write; its files are added to.
    """
    schema, spec = polars_schema(table), stored(table)
    columns = ", ".join(
        f"CAST({name} AS {_sql_type(kind)}) AS {name}" for name, kind in schema.items()
    )
    order = ", ".join([*spec.partition_by, *spec.sort_by])
    rows = backend.raw_sql(
        f"COPY (SELECT {columns} FROM ({query}) ORDER BY {order}) TO '{folder}' "  # noqa: S608 - names of the catalog
        f"(FORMAT parquet, PARTITION_BY ({', '.join(spec.partition_by)}), COMPRESSION zstd, "
        "COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 122880, FILENAME_PATTERN 'part-{uuid}', "
        "OVERWRITE_OR_IGNORE, RETURN_STATS)"
    ).fetchall()
    numbers = [name for name, kind in schema.items() if kind.is_integer()]
    return [
        DataFile(
            path=Path(path),
            rows=count,
            size=size,
            partition=partition,
            ranges={
                name: (int(found["min"]), int(found["max"]))
                for name in numbers
                if "min" in (found := columns.get(f'"{name}"', {})) and "max" in found
            },
        )
        for path, count, size, _, columns, partition in rows
    ]


def stream(rows: ir.Table, table: str) -> pa.RecordBatchReader:
    """Read an expression batch by batch, with the columns and types of a stored table."""
    schema = stream_schema(table)
    batches = rows.select(schema.names).to_pyarrow_batches(chunk_size=122_880)
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in batches))


def stream_schema(table: str) -> pa.Schema:
    """Columns and types of a stored table, as `stream` gives them."""
    return _plain(arrow_schema(table))


def _plain(schema: pa.Schema) -> pa.Schema:
    """The text type that DuckDB hands out, in place of the ones that Polars does."""
    texts = pa.types.is_large_string, pa.types.is_string_view
    return pa.schema(
        (field.name, pa.string() if any(is_text(field.type) for is_text in texts) else field.type)
        for field in schema
    )


def _sql_type(kind: pl.DataType) -> str:
    if isinstance(kind, pl.List):
        return _sql_type(kind.inner) + "[]"  # type: ignore[arg-type]
    if isinstance(kind, pl.Struct):
        fields = ", ".join(f"{field.name} {_sql_type(field.dtype)}" for field in kind.fields)  # type: ignore[arg-type]
        return f"STRUCT({fields})"
    return SQL_TYPES[kind.base_type()]
