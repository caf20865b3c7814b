"""Frames of records, as the reader of every format yields them."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from clickstream_platform.errors import ClickstreamError

RECORDS = {"payload": pl.String(), "read_error": pl.String()}
"""Columns of what readers yield, in the order of the file."""

CHUNK_ROWS = 100_000


class FileRefusedError(ClickstreamError, ValueError):
    """A landed file cannot be read at all."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{path.name}: {reason}. Nothing of it was taken; replace it by a sound file, "
            "or mend its adapter."
        )


def unreadable(text: str, reason: str) -> pl.DataFrame:
    """One record that could not be read, and why."""
    return pl.DataFrame({"payload": [text], "read_error": [reason]}, schema=RECORDS)


def reading_engine() -> duckdb.DuckDBPyConnection:
    """An engine that reads files in their order and fetches nothing."""
    connection = duckdb.connect(
        config={
            "threads": 2,
            "memory_limit": "1GB",
            "preserve_insertion_order": True,
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def frames_of(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path
) -> Iterator[pl.DataFrame]:
    """Yield the column ``payload`` of a query over one file, in frames of bounded size."""
    reader = connection.execute(query, [str(path)]).to_arrow_reader(CHUNK_ROWS)
    batches: list[pa.RecordBatch] = []
    for batch in reader:
        # DuckDB hands out a few thousand rows at a time, whatever it is asked for.
        batches.append(batch)
        if sum(held.num_rows for held in batches) >= CHUNK_ROWS:
            yield _joined(batches)
            batches = []
    if batches:
        yield _joined(batches)


def _joined(batches: list[pa.RecordBatch]) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches)))
    return frame.select(pl.col("payload"), read_error=pl.lit(None, pl.String))
