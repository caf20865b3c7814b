"""Reading the lake with SQL: every table by name, nothing else, and nothing can be changed."""

from collections.abc import Sequence
from typing import NamedTuple

import duckdb

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.lake.engine import Engine, connect, view
from clickstream_platform.lake.store import Lake
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES

NOT_ONE_SELECT = "Only one SELECT is answered: the lake is read here, never written"


class QueryError(ClickstreamError, ValueError):
    """A query cannot be answered as written."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{reason if reason[-1] in '.?!' else reason + '.'} Tables: {', '.join(TABLES)}. "
            "`clickstream sql 'DESCRIBE events'` lists columns."
        )


class Answer(NamedTuple):
    """Rows of a query."""

    columns: list[str]
    rows: list[tuple[object, ...]]
    is_cut: bool
    """Whether there are more rows than were asked for."""


def open_tables(lake: Lake, settings: Settings, *, tables: Sequence[str] = tuple(TABLES)) -> Engine:
    """Open DuckDB with tables of the lake as views, in the reporting time zone.

    The connection can read files of the lake alone: no other file, no network, no extension, and
    no setting that would change this.
    """
    backend = connect(settings.lake, spill=settings.state / "spill")
    for table in tables:
        view(backend, lake, table)
    folder = str(lake.folder.resolve()).replace("'", "''")
    backend.raw_sql(f"SET TimeZone = '{settings.time_zone}'")
    backend.raw_sql(f"SET allowed_directories = ['{folder}', '{settings.state / 'spill'}']")
    backend.raw_sql("SET enable_external_access = false")
    backend.raw_sql("SET lock_configuration = true")
    return backend


OF_THE_QUERY = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.ParserException,
    duckdb.SyntaxException,
)
"""Errors that a damaged file cannot be the cause of."""


def select(backend: Engine, query: str, *, limit: int, lake: Lake | None = None) -> Answer:
    """Answer one SELECT with at most so many rows.

    Args:
        backend: Connection of `open_tables`.
        query: The SELECT.
        limit: Most rows.
        lake: Looked at where the engine trips over a file, which it tells in words of its own;
            what is broken there is a `BrokenSealError`.

    Raises:
        QueryError: It is not exactly one SELECT, or names what is not there.
    """
    connection: duckdb.DuckDBPyConnection = backend.con
    try:
        statements = connection.extract_statements(query)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise QueryError(NOT_ONE_SELECT)
        connection.execute(statements[0])
        columns = [str(column[0]) for column in connection.description or ()]
        rows = connection.fetchmany(limit + 1)
    except duckdb.Error as error:
        if lake is not None and not isinstance(error, OF_THE_QUERY):
            lake.require_whole()
        # What follows is the query once more; the person has just typed it.
        reason = str(error).split("\n\nLINE", 1)[0]
        raise QueryError(" ".join(reason.split())) from None
    return Answer(columns, rows[:limit], len(rows) > limit)
