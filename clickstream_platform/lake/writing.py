"""Writing data files: rows that are added to a table, as one Parquet file for each partition.

The writer of delta-rs costs half as much again for partitions of a few thousand rows, and computes
statistics of every column for the log, which would tell least and greatest values of texts.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

ROW_GROUP = 122_880
"""Rows of a row group, as DuckDB writes them."""

KEYS_OF_FILES = ("batch_id",)
"""Texts of our own whose least and greatest value say which files a batch lies in."""

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

Partition: TypeAlias = tuple[object, ...]


class DataFile(NamedTuple):
    """A Parquet file that holds rows of one partition of a table."""

    path: Path
    rows: int
    size: int
    """Bytes."""
    partition: Mapping[str, str | None]
    """Partition columns, which the file does not hold, and their values."""
    ranges: Mapping[str, tuple[int | str, int | str]]
    """Least and greatest value of columns, as far as they are known: integers and batches."""


def write_files(
    frames: Iterable[pl.DataFrame],
    folder: Path,
    *,
    partition_by: Sequence[str],
    sort_by: Sequence[str],
) -> list[DataFile]:
    """Write rows below the folder of a table; no reader sees them before they are committed.

    Args:
        frames: Rows; each frame is a row group of every partition that it holds rows of.
        folder: Folder of the table.
        partition_by: Dates and integers.
        sort_by: Order of the rows within a frame and partition.

    Where ``frames`` or the disk fails nothing stays behind.
    """
    open_files: dict[Partition, _OpenFile] = {}
    try:
        for frame in frames:
            for partition, rows in _parts(frame, partition_by, sort_by):
                if partition not in open_files:
                    texts = [None if value is None else str(value) for value in partition]
                    named = dict(zip(partition_by, texts, strict=True))
                    open_files[partition] = _OpenFile(folder, named, rows.schema)
                open_files[partition].write(rows)
        return [file.close() for file in open_files.values()]
    except BaseException:
        for file in open_files.values():
            file.discard()
        raise


def _parts(
    frame: pl.DataFrame, partition_by: Sequence[str], sort_by: Sequence[str]
) -> Iterator[tuple[Partition, pa.Table]]:
    """Cut a frame into its partitions, without copying texts."""
    order = [*partition_by, *sort_by]
    ordered = frame.sort(order) if order and frame.height else frame
    counted = ordered.group_by(partition_by, maintain_order=True).len() if partition_by else None
    # Texts as they lie in Polars, where the writer of Parquet can read them so.
    is_nested = any(kind.is_nested() for kind in ordered.dtypes)
    level = pl.CompatLevel.oldest() if is_nested else pl.CompatLevel.newest()
    rows = ordered.drop(partition_by).to_arrow(compat_level=level)
    if counted is None:
        yield (), rows
        return
    start = 0
    for *partition, count in counted.iter_rows():
        yield tuple(partition), rows.slice(start, count)
        start += count


class _OpenFile:
    """A data file that is being written, and the ranges of what it holds."""

    def __init__(
        self, folder: Path, partition: Mapping[str, str | None], schema: pa.Schema
    ) -> None:
        below = folder.joinpath(*_folders(partition))
        below.mkdir(parents=True, exist_ok=True)
        self.path = below / f"part-{uuid4()}.zstd.parquet"
        self._partition = partition
        self._writer = pq.ParquetWriter(
            self.path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=_texts(schema),
            store_schema=False,
        )

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows, row_group_size=ROW_GROUP)

    def close(self) -> DataFile:
        self._writer.close()
        written = pq.read_metadata(self.path)
        return DataFile(
            path=self.path,
            rows=written.num_rows,
            size=self.path.stat().st_size,
            partition=self._partition,
            ranges=_ranges(written),
        )

    def discard(self) -> None:
        self._writer.close()
        self.path.unlink(missing_ok=True)


def _texts(schema: pa.Schema) -> list[str]:
    """Columns of texts, which repeat.

    Keys and instants hardly do: a dictionary of them is given up after it has been made.
    """
    is_text = pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view
    return [field.name for field in schema if any(check(field.type) for check in is_text)]


def _ranges(written: pq.FileMetaData) -> dict[str, tuple[int | str, int | str]]:
    """Least and greatest value of integers and keys, from the footer of a file."""
    found: dict[str, tuple[int | str, int | str]] = {}
    for place in range(written.num_columns):
        column = written.schema.column(place)
        plain = column.physical_type in {"INT32", "INT64"} and column.logical_type.type == "NONE"
        if not plain and column.path not in KEYS_OF_FILES:
            continue
        said = [
            written.row_group(group).column(place).statistics
            for group in range(written.num_row_groups)
        ]
        known = [each for each in said if each is not None and each.has_min_max]
        if known and all(each in known or each.null_count for each in said if each is not None):
            found[column.path] = min(each.min for each in known), max(each.max for each in known)
    return found


def _folders(partition: Mapping[str, str | None]) -> list[str]:
    """Names of the folders of a partition, in the words that Hive has for null."""
    return [f"{name}={NO_VALUE if value is None else value}" for name, value in partition.items()]


def add_action(file: DataFile, folder: Path) -> AddAction:
    """Move a file below a table's folder, and say so in the words of Delta's log."""
    parts = _folders(file.partition)
    target = folder.joinpath(*parts, file.path.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    file.path.replace(target)
    stats = {
        "numRecords": file.rows,
        "minValues": {name: least for name, (least, _) in file.ranges.items()},
        "maxValues": {name: greatest for name, (_, greatest) in file.ranges.items()},
    }
    return AddAction(
        path="/".join([*parts, file.path.name]),
        size=file.size,
        partition_values=dict(file.partition),
        modification_time=int(target.stat().st_mtime * 1_000),
        data_change=True,
        stats=json.dumps(stats),
    )
