"""The lake: Delta tables by name, written atomically, read by file list, followed by version.

What a derived table has consumed of the tables it is made from is written into the same commit as
its rows (a Delta application transaction), so a crash between the two cannot be.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urlsplit

import polars as pl
import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import RemoveAction, create_table_with_add_actions

from clickstream_platform.lake.parts import files_matching, names_partitions
from clickstream_platform.lake.schemas import LakeError, delta_schema, polars_schema, stored
from clickstream_platform.lake.seals import BrokenSealError, broken, seal, unseal, unsealed
from clickstream_platform.lake.snapshots import keep, snapshot, take
from clickstream_platform.lake.writing import DataFile, add_action, write_files
from clickstream_platform.tables.catalog import TABLES

_DATE_PART = re.compile(r"[a-z]_date=(\d{4}-\d{2}-\d{2})/")

Rows: TypeAlias = pl.DataFrame | pa.Table | pa.RecordBatchReader
"""What can be written: a frame, an Arrow table, or a stream of Arrow batches."""

WRITER = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=122_880)
"""Zstd 1 costs as much time as Snappy and half its bytes; row groups as DuckDB writes them."""


WIDENED = "clickstream.widened"
"""Property of a table whose older files lack columns, which are null there."""


class Changes(NamedTuple):
    """What happened to a table between two versions."""

    version: int
    """Newest version, to be noted as consumed."""
    added: list[str]
    """Data files that were added and are not rewritten since: all new rows, and rows rewritten
    beside deleted ones."""
    removed: list[str]
    """Data files that were taken out; they exist until the next vacuum."""
    dates: list[date]
    """Date partitions touched either way."""


def file_paths(table: DeltaTable, pruned: list[tuple[str, str, Any]] | None = None) -> list[str]:
    """Paths of a table's data files, of which Delta says the folder as an address would."""
    root = urlsplit(table.table_uri).path
    found = table.file_uris(file_pruning_predicate=pruned)
    return [unquote(root) + file.removeprefix(root) for file in found]


class Lake:
    """Every stored table below one folder. One writer per table, any number of readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"Lake({str(self.folder)!r})"

    # -- What there is -------------------------------------------------------------------------

    def path(self, table: str) -> Path:
        """Folder of a table, whether or not it has been written."""
        return self.folder / stored(table).name

    def exists(self, table: str) -> bool:
        """Whether the table has been written."""
        return (self.path(table) / "_delta_log").exists()

    def version(self, table: str) -> int:
        """Version of the newest commit; -1 before the first."""
        return self.opened(table).version() if self.exists(table) else -1

    def versions(self, *tables: str) -> dict[str, int]:
        """Versions of those of the tables that were written, by name."""
        return {table: self.version(table) for table in tables if self.exists(table)}

    def files(self, table: str, *, dates: Iterable[date] | None = None) -> list[str]:
        """Data files of the newest snapshot, all or those of some date partitions."""
        if not self.exists(table):
            return []
        if dates is None:
            return sorted(file_paths(self.opened(table)))
        column = stored(table).date_column
        wanted = sorted({day.isoformat() for day in dates})
        if column is None:
            raise LakeError(table, "has no date partition", remedy="Read it whole.")
        if not wanted:
            return []
        return sorted(file_paths(self.opened(table), [(column, "in", wanted)]))

    def dates(self, table: str) -> list[date]:
        """Date partitions that hold rows, in order."""
        column = stored(table).date_column
        if column is None or not self.exists(table):
            return []
        found = {entry[column] for entry in self.opened(table).partitions()}
        return sorted(date.fromisoformat(str(day)) for day in found)

    def is_widened(self, table: str) -> bool:
        """Whether files of the table lack columns, or it has not got those of today yet."""
        if not self.exists(table):
            return False
        opened = self.opened(table)
        has = {field.name for field in opened.schema().fields}
        return WIDENED in opened.metadata().configuration or has != set(polars_schema(table))

    def has_shape(self, table: str) -> bool:
        """Whether a written table has the columns, types and partitions of its contract."""
        has, wanted = self.opened(table).schema(), delta_schema(table)
        is_typed = has == wanted or column_types(has) == column_types(wanted)
        return is_typed and self.partition_by(table) == stored(table).partition_by

    def require_shape(self, table: str) -> None:
        """Refuse to change what an earlier version wrote as the tables of today are changed.

        Raises:
            LakeError: The table has not got the columns and partitions of today yet.
        """
        if self.exists(table) and not self.has_shape(table):
            raise LakeError(
                table,
                "was written by an earlier version, with other columns or partitions",
                remedy="Run `clickstream materialize`, which mends that, and then this again.",
            )

    def partition_by(self, table: str) -> tuple[str, ...]:
        """Columns that the table's files are parted by; an earlier version had others."""
        if not self.exists(table):
            return stored(table).partition_by
        return tuple(self.opened(table).metadata().partition_columns)

    def row_count(self, table: str) -> int:
        """Rows of the newest snapshot, from the log alone."""
        return self.opened(table).count() if self.exists(table) else 0

    def scan(self, table: str, *, dates: Iterable[date] | None = None) -> pl.LazyFrame:
        """The newest snapshot as a Polars frame; empty with the right columns before the first."""
        return scan_files(table, self.files(table, dates=dates))

    # -- What it is worth ----------------------------------------------------------------------

    def broken(self, table: str) -> list[str]:
        """Files of the newest snapshot that are gone or not what was written, read anew."""
        return broken(self.path(table), self.files(table), anew=True)

    def broken_tables(self) -> dict[str, list[str]]:
        """Broken files of every table that has any."""
        found = {table: self.broken(table) for table in TABLES if self.exists(table)}
        return {table: files for table, files in found.items() if files}

    def require_whole(self) -> None:
        """Read every file of the lake anew.

        Raises:
            BrokenSealError: One is gone or not what was written.
        """
        for table, files in self.broken_tables().items():
            raise BrokenSealError(table, files)

    def unsealed_tables(self) -> dict[str, list[str]]:
        """Files that no seal can be compared with, of every table that has any."""
        found = {t: unsealed(self.path(t), self.files(t)) for t in TABLES if self.exists(t)}
        return {table: files for table, files in found.items() if files}

    def require_sound(self, table: str, files: Iterable[str] | None = None) -> None:
        """Compare files, all of the newest snapshot unless given, with their seals.

        What this process has written or compared already, and what still looks as it did then,
        is not read again.

        Raises:
            BrokenSealError: One of them is gone or not what was written.
        """
        if wrong := broken(self.path(table), self.files(table) if files is None else files):
            raise BrokenSealError(table, wrong)

    # -- Following a table ---------------------------------------------------------------------

    def consumed(self, table: str, upstream: str) -> int:
        """Version of ``upstream`` that the newest commit of ``table`` has taken in; -1 if none."""
        if not self.exists(table):
            return -1
        version = self.opened(table).transaction_version(upstream)
        return -1 if version is None else version

    def upstreams(self, table: str) -> dict[str, int]:
        """Version of every upstream that the newest commit of ``table`` has taken in, by name."""
        if not self.exists(table):
            return {}
        opened = self.opened(table)
        versions = {name: opened.transaction_version(name) for name in TABLES}
        return {name: version for name, version in versions.items() if version is not None}

    def changes(self, table: str, *, since: int) -> "Changes | None":
        """What commits after version ``since`` changed, or None if that is not known.

        Compactions change nothing and are left out. Not known (before the first commit, or the
        columns changed, or the log or an added file is gone) means: read the whole table.
        """
        newest = self.version(table)
        if since < 0 <= newest:
            return None
        added: set[str] = set()
        removed: set[str] = set()
        dates: set[date] = set()
        for version in range(since + 1, newest + 1):
            log = self.path(table) / "_delta_log" / f"{version:020d}.json"
            if not log.exists():
                return None
            for action in map(json.loads, log.read_text().splitlines()):
                if version and "metaData" in action:
                    return None  # files from before have other columns
                file = action.get("add") or action.get("remove")
                if file is None or not file["dataChange"]:
                    continue
                path = unquote(file["path"])
                (added if "add" in action else removed).add(str(self.path(table) / path))
                if found := _DATE_PART.search(path):
                    dates.add(date.fromisoformat(found[1]))
        # What came and went in between nobody who follows has seen; its rows would count twice.
        added, removed = added - removed, removed - added
        if any(not Path(file).exists() for file in added):
            return None
        return Changes(newest, sorted(added), sorted(removed), sorted(dates))

    # -- Writing -------------------------------------------------------------------------------

    def append(
        self,
        table: str,
        rows: Rows,
        *,
        consumed: Mapping[str, int] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> int:
        """Add rows in one atomic commit and return its version."""
        properties = commit(consumed, notes)
        if self.exists(table) and self.opened(table).schema() != delta_schema(table):
            return self._write(table, rows, "append", None, properties)  # which says what is wrong
        files = self._written(table, rows)
        if not files:
            empty = pl.DataFrame(schema=polars_schema(table))
            return self._write(table, empty, "append", None, properties)
        return self._committed(table, files, "append", properties)

    def overwrite(
        self,
        table: str,
        rows: Rows,
        *,
        where: str | None = None,
        consumed: Mapping[str, int] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> int:
        """Replace the table, or the rows that match ``where``, in one atomic commit.

        Where that is more than partition columns tell, files are written anew with the rows that
        do not match; they are compared with their seals before. Rows that do not match ``where``
        are refused.
        """
        properties = commit(consumed, notes)
        if not self.exists(table):
            return self._write(table, rows, "overwrite", None, properties)
        if where is None or names_partitions(table, where):
            return self._replaced(table, rows, where, properties)
        self.require_sound(table)
        return self._write(table, rows, "overwrite", where, properties)

    def overwrite_dates(
        self,
        table: str,
        rows: Rows,
        *,
        dates: Iterable[date],
        consumed: Mapping[str, int] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> int:
        """Replace whole date partitions in one atomic commit; rows of other dates are refused."""
        days = sorted(set(dates))
        column = stored(table).date_column
        if not days:
            empty = pl.DataFrame(schema=polars_schema(table))
            return self.append(table, empty, consumed=consumed, notes=notes)
        listed = ", ".join(f"'{day.isoformat()}'" for day in days)
        return self.overwrite(
            table, rows, where=f"{column} in ({listed})", consumed=consumed, notes=notes
        )

    def replace(
        self,
        table: str,
        files: Iterable[DataFile],
        *,
        consumed: Mapping[str, int] | None = None,
    ) -> int:
        """Replace the table with files of `write_parquet`, in one atomic commit.

        The files are moved, so they must lie on the same file system. What is written twice
        anyway, once to be spooled, is so written once.
        """
        listed = list(files)
        if not listed:
            empty = pl.DataFrame(schema=polars_schema(table))
            return self.overwrite(table, empty, consumed=consumed)
        return self._committed(table, listed, "overwrite", commit(consumed, None))

    def note(self, table: str, consumed: Mapping[str, int]) -> int:
        """Note what a table has taken in where that changed none of its rows; return its version.

        Nothing is committed where that is known already.
        """
        if all(self.consumed(table, name) == version for name, version in consumed.items()):
            return self.version(table)
        return self.append(table, pl.DataFrame(schema=polars_schema(table)), consumed=consumed)

    def delete(self, table: str, where: str, *, notes: Mapping[str, str] | None = None) -> int:
        """Delete rows and return how many; the old files stay until `vacuum`."""
        if not self.exists(table):
            return 0
        self.require_shape(table)
        self.require_sound(table)
        opened = take(self.path(table))
        metrics = opened.delete(
            where, commit_properties=commit(None, notes), writer_properties=WRITER
        )
        self._sealed(table, opened)
        return int(metrics["num_deleted_rows"] or 0)

    def update(self, table: str, updates: Mapping[str, str], where: str) -> int:
        """Set columns to SQL expressions where the predicate holds; return the rows changed."""
        if not self.exists(table):
            return 0
        self.require_shape(table)
        self.require_sound(table)
        opened = take(self.path(table))
        metrics = opened.update(updates=dict(updates), predicate=where, writer_properties=WRITER)
        self._sealed(table, opened)
        return int(metrics["num_updated_rows"] or 0)

    def merge(self, table: str, rows: pl.DataFrame, *, on: Sequence[str]) -> int:
        """Set the columns of ``rows`` where the columns ``on`` agree; return the rows changed.

        For many rows: `update` compares each row with each key that its predicate lists.
        """
        if not self.exists(table):
            return 0
        self.require_shape(table)
        self.require_sound(table)
        opened = take(self.path(table))
        metrics = (
            opened.merge(
                rows.to_arrow(),
                " AND ".join(f"held.{name} = given.{name}" for name in on),
                source_alias="given",
                target_alias="held",
                writer_properties=WRITER,
            )
            .when_matched_update({n: f"given.{n}" for n in rows.columns if n not in on})
            .execute()
        )
        self._sealed(table, opened)
        return int(metrics["num_target_rows_updated"] or 0)

    def compact(self, table: str) -> int:
        """Join small files partition by partition and return how many files went away."""
        if not self.exists(table):
            return 0
        self.require_sound(table)
        opened = take(self.path(table))
        metrics = opened.optimize.compact(writer_properties=WRITER)
        self._sealed(table, opened)
        return int(metrics["numFilesRemoved"]) - int(metrics["numFilesAdded"])

    def vacuum(self, table: str, *, keep: timedelta = timedelta(0)) -> list[str]:
        """Remove files that the newest snapshot does not hold; time travel ends here.

        Whole hours of ``keep`` spare what readers and the next refresh may still look at.
        Without it nothing is spared, as an erasure needs.

        ``full`` matters: a plain vacuum keeps files that no log names, such as those of a
        killed writer, and with them rows that were to be erased.
        """
        if not self.exists(table):
            return []
        opened = take(self.path(table))
        removed = opened.vacuum(
            retention_hours=keep // timedelta(hours=1),
            enforce_retention_duration=False,
            dry_run=False,
            full=True,
        )
        unseal(self.path(table), removed)
        return removed

    def _sealed(self, table: str, opened: DeltaTable) -> int:
        """Seal what a commit has added, and return its version."""
        seal(self.path(table), file_paths(opened))
        return keep(self.path(table), opened).version()

    def opened(self, table: str) -> DeltaTable:
        """The newest snapshot of a table, to be read only."""
        try:
            return snapshot(self.path(table))
        except TableNotFoundError:
            raise LakeError(
                table, "has not been written yet", remedy="Run `clickstream materialize`."
            ) from None
        except DeltaError:
            raise LakeError(
                table,
                f"its log in {self.path(table) / '_delta_log'} cannot be read",
                remedy="Restore the table's folder from a backup.",
            ) from None

    def _written(self, table: str, rows: Rows) -> list[DataFile]:
        """Write rows as data files, which no reader sees yet."""
        spec = stored(table)
        return write_files(
            _frames(table, rows),
            self.path(table),
            partition_by=spec.partition_by,
            sort_by=spec.sort_by,
        )

    def _replaced(
        self, table: str, rows: Rows, where: str | None, properties: CommitProperties
    ) -> int:
        """Put rows in place of the partitions that match a condition, or of all.

        As files of our own: the writer of delta-rs costs twice as much for small partitions.
        """
        self.require_shape(table)
        before = files_matching(table, self.files(table), where)
        files = self._written(table, rows)
        if len(files_matching(table, [str(file.path) for file in files], where)) < len(files):
            for file in files:
                file.path.unlink()
            raise LakeError(
                table,
                "rows to write are of other partitions than are replaced",
                remedy="Name the partitions of every row.",
            )
        folder, now_ms = self.path(table), int(time.time() * 1_000)
        removed = [RemoveAction(_below(folder, path), True, now_ms) for path in before]  # noqa: FBT003 - it takes no names
        return self._committed(table, files, "append", properties, removed=removed)

    def _committed(
        self,
        table: str,
        files: Iterable[DataFile],
        mode: Literal["append", "overwrite"],
        properties: CommitProperties,
        removed: Iterable[RemoveAction] = (),
    ) -> int:
        """Make files part of a table in one atomic commit, in place of those that are removed."""
        folder, schema = self.path(table), delta_schema(table)
        partition_by = list(stored(table).partition_by)
        moved = [add_action(file, folder) for file in files]
        if self.exists(table):
            opened = take(folder)
            opened.create_write_transaction(
                [*moved, *removed], mode, schema, partition_by, commit_properties=properties
            )
            opened.update_incremental()  # a transaction does not know what it did
        else:
            create_table_with_add_actions(
                str(folder), schema, moved, partition_by=partition_by, commit_properties=properties
            )
            opened = take(folder)
        return self._sealed(table, opened)

    def _write(
        self,
        table: str,
        rows: Rows,
        mode: Literal["append", "overwrite"],
        where: str | None,
        properties: CommitProperties,
    ) -> int:
        spec = stored(table)
        self.folder.mkdir(parents=True, exist_ok=True)
        data: Any = rows.to_arrow() if isinstance(rows, pl.DataFrame) else rows
        _check_columns(table, data.schema.names)
        self.require_shape(table)
        path = self.path(table)
        opened = take(path) if self.exists(table) else None
        write_deltalake(
            path if opened is None else opened,
            data,
            partition_by=list(spec.partition_by) or None,
            mode=mode,  # type: ignore[arg-type]  # its overloads list the modes one by one
            predicate=where,
            commit_properties=properties,
            writer_properties=WRITER,
        )
        return self._sealed(table, opened or take(path))


def column_types(schema: Schema) -> dict[str, str]:
    """Types of columns by name, in no order."""
    return {field.name: str(field.type) for field in schema.fields}


def _frames(table: str, rows: Rows) -> Iterator[pl.DataFrame]:
    """Rows with the columns and types of a table, frame by frame; empty frames are left out."""
    given = [rows] if isinstance(rows, pl.DataFrame | pa.Table) else rows
    schema = pl.Schema(polars_schema(table))
    for part in given:
        frame = part if isinstance(part, pl.DataFrame) else pl.DataFrame(pl.from_arrow(part))
        _check_columns(table, frame.columns)
        if frame.height:
            yield frame.cast(schema)


def _check_columns(table: str, names: Sequence[str]) -> None:
    expected = [*polars_schema(table)]
    if list(names) != expected:
        strange = sorted(set(names) ^ set(expected))
        raise LakeError(
            table,
            f"rows to write have other columns or another order than the contract {strange}",
            remedy="Select the columns of the contract.",
        )


def _below(folder: Path, file: str) -> str:
    """A file of a table as its log names it."""
    return quote(Path(file).relative_to(folder).as_posix(), safe="/=")


def commit(consumed: Mapping[str, int] | None, notes: Mapping[str, str] | None) -> CommitProperties:
    """What a commit says beside its rows: versions taken in, and notes for the history."""
    return CommitProperties(
        custom_metadata=dict(notes or {}),
        app_transactions=[Transaction(name, v) for name, v in (consumed or {}).items()],
        max_commit_retries=15,
    )


def scan_files(table: str, files: Sequence[str]) -> pl.LazyFrame:
    """Read data files of a table, with partition columns from their paths.

    Columns that files of an earlier version lack are null, and those that they had are left out.
    """
    schema = polars_schema(table)
    if not files:
        return pl.LazyFrame(schema=schema)
    names = [name for name in stored(table).partition_by if f"/{name}=" in files[0]]
    parts = {name: schema[name] for name in names}
    return pl.scan_parquet(
        list(files),
        hive_partitioning=bool(parts),
        hive_schema=parts or None,
        schema={name: kind for name, kind in schema.items() if name not in parts},
        missing_columns="insert",
        extra_columns="ignore",
    ).select(pl.col(name).cast(kind) for name, kind in schema.items())
