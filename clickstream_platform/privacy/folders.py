"""Erasing a person from the folders beside the lake: outbox, exports, reports, Dagster."""

import csv
import gzip
import json
import sqlite3
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from clickstream_platform.privacy.audit import replace_file
from clickstream_platform.privacy.files import GZIP_MAGIC, sha256_of, text_blocks
from clickstream_platform.privacy.identifiers import canonical
from clickstream_platform.privacy.landed import RewrittenFile
from clickstream_platform.privacy.needles import Needles, is_distinctive
from clickstream_platform.privacy.subjects import Subject
from clickstream_platform.settings import Settings

SQLITE_MAGIC = b"SQLite format 3\0"
DUCKDB_MAGIC = b"DUCK"
DUCKDB_MAGIC_AT = 8
ZIP_MAGIC = b"PK\x03\x04"

_ID_KEYS = {"id", "user_id", "external_user_id"}
"""Keys under which a CRM's batch names a person."""


def erase_from_outbox(
    settings: Settings, subject: Subject, needles: Needles
) -> list[RewrittenFile]:
    """Take the person's records out of files that were written for a CRM."""
    keys = frozenset(_ID_KEYS | {settings.crm.id_property})
    plain = frozenset(canonical(raw) for _, raw in subject.values if not is_distinctive(raw))
    batches = _Batches(needles, keys, plain)
    found = []
    for file in _files(settings.outbox):
        text = b"".join(text_blocks(file))
        clean, removed = batches.without(text)
        if removed:
            found.append(_exchanged("outbox", file, clean, removed))
    return found


def delete_exports(
    settings: Settings, request_ids: Iterable[str], needles: Needles
) -> list[RewrittenFile]:
    """Delete exports of the person: those the register knows, and any that hold the person."""
    named = {f"{request_id}.zip" for request_id in request_ids}
    return [
        _deleted("exports", file)
        for file in _files(settings.exports)
        if file.name in named or _may_hold(file, needles)
    ]


def delete_reports(settings: Settings, needles: Needles) -> list[RewrittenFile]:
    """Delete reports that hold the person; they are drawn anew from what remains."""
    return [
        _deleted("reports", file) for file in _files(settings.reports) if _may_hold(file, needles)
    ]


def delete_databases(settings: Settings, needles: Needles) -> list[RewrittenFile]:
    """Delete DuckDB files that hold the person: results, built anew from the lake.

    Deleting rows in DuckDB leaves their bytes in the file; nothing less than the file helps.
    """
    found = []
    for file in _files(settings.data):
        head = _head(file, DUCKDB_MAGIC_AT + len(DUCKDB_MAGIC))
        if head[DUCKDB_MAGIC_AT:] == DUCKDB_MAGIC and _database_holds(file, needles):
            found.append(_deleted("databases", file))
            file.with_name(file.name + ".wal").unlink(missing_ok=True)
    return found


def redact_dagster(settings: Settings, needles: Needles) -> list[RewrittenFile]:
    """Redact the person in the orchestrator's storage: runs, events, logs of runs.

    Nothing there should name anybody, for run configurations carry opaque identifiers; what a
    library printed or an exception quoted may.
    """
    found = []
    for file in _files(settings.state / "dagster"):
        with suppress(FileNotFoundError):  # a run has ended meanwhile
            if (redacted := _redact_stored(file, needles)) is not None:
                found.append(redacted)
    return found


def _redact_stored(file: Path, needles: Needles) -> RewrittenFile | None:
    """Redact one file of the orchestrator; None if it does not hold the person."""
    if file.name.endswith(("-wal", "-shm")):  # read with its database; comes and goes with readers
        return None
    if _head(file, len(SQLITE_MAGIC)) == SQLITE_MAGIC:
        before = sha256_of(file)
        if not (cells := _redact_sqlite(file, needles)):
            return None
        after = sha256_of(file)
        return RewrittenFile(
            store="dagster", records=cells, sha256_before=before, sha256_after=after
        )
    if not _may_hold(file, needles):
        return None
    content = file.read_bytes()
    clean = needles.redacted(content)
    return None if clean == content else _exchanged("dagster", file, clean, 1)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file()) if folder.exists() else []


def _head(file: Path, length: int) -> bytes:
    """First bytes of a file; none of one that is gone since it was listed."""
    with suppress(FileNotFoundError), file.open("rb") as handle:
        return handle.read(length)
    return b""


def _may_hold(file: Path, needles: Needles) -> bool:
    with file.open("rb") as handle:
        is_zip = handle.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    if is_zip:
        with zipfile.ZipFile(file) as archive:
            return any(needles.is_in(archive.read(name)) for name in archive.namelist())
    return any(needles.is_within(block) for block in text_blocks(file))


def _deleted(store: str, file: Path) -> RewrittenFile:
    before = sha256_of(file)
    file.unlink()
    return RewrittenFile(store=store, records=1, sha256_before=before, sha256_after=None)


def _exchanged(store: str, file: Path, clean: bytes, records: int) -> RewrittenFile:
    before = sha256_of(file)
    mode = file.stat().st_mode & 0o777
    with file.open("rb") as handle:
        is_zipped = handle.read(2) == GZIP_MAGIC
    replace_file(file, gzip.compress(clean, mtime=0) if is_zipped else clean)
    file.chmod(mode)
    return RewrittenFile(
        store=store, records=records, sha256_before=before, sha256_after=sha256_of(file)
    )


# -- Batches of a CRM ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Batches:
    """What is about the person in what was written for a CRM."""

    needles: Needles
    keys: frozenset[str]
    plain: frozenset[str]

    def without(self, text: bytes) -> tuple[bytes, int]:
        """A file without the person's records, and how many: of one document, or of lines."""
        with suppress(ValueError):
            kept, removed = self._pruned(json.loads(text))
            return (json.dumps(kept, indent=2).encode() + b"\n" if removed else text), removed
        lines = text.splitlines(keepends=True)
        kept_lines = [line for line in lines if not self._names_in_line(line)]
        return b"".join(kept_lines), len(lines) - len(kept_lines)

    def _names_in_line(self, line: bytes) -> bool:
        with suppress(ValueError):
            return self._pruned([json.loads(line)])[1] > 0
        row = next(csv.reader([line.decode("utf-8", "replace")]), [])
        cells = set(map(canonical, row))
        return self.needles.is_in(line) or bool(cells & self.plain)

    def _pruned(self, value: object, key: str = "") -> tuple[object, int]:
        """A value without items of lists that are about the person, and how many went."""
        if isinstance(value, dict):
            pairs = {name: self._pruned(item, name) for name, item in value.items()}
            kept = {name: item for name, (item, _) in pairs.items()}
            return kept, sum(count for _, count in pairs.values())
        if isinstance(value, list):
            others = [self._pruned(item, key) for item in value if not self._is_about(item, key)]
            gone = len(value) - len(others)
            return [item for item, _ in others], gone + sum(count for _, count in others)
        return (None, 1) if self._is_about(value, key) else (value, 0)

    def _is_about(self, value: object, key: str) -> bool:
        """Whether a value names the person itself, not only in a list of several below it."""
        if isinstance(value, dict):
            return any(self._is_about(item, name) for name, item in value.items())
        if value is None or isinstance(value, list | bool):
            return False
        text = str(value)
        return self.needles.is_in(text.encode()) or (
            key in self.keys and canonical(text) in self.plain
        )


# -- Databases -------------------------------------------------------------------------------------


def _database_holds(file: Path, needles: Needles) -> bool:
    with duckdb.connect(str(file), read_only=True) as connection:
        names = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
        ).fetchall()
        for schema, table in names:
            rows = connection.execute(
                f'SELECT CAST(to_json(t) AS VARCHAR) FROM "{schema}"."{table}" t'  # noqa: S608 - names of the file itself
            ).to_arrow_table()
            texts = pl.DataFrame(pl.from_arrow(rows)).to_series()
            if needles.may_hold(texts).any():
                return True
    return False


def _redact_sqlite(file: Path, needles: Needles) -> int:
    """Redact every cell of a SQLite file and wipe what stood there; return how many cells."""
    cells = 0
    with closing(sqlite3.connect(file, timeout=30)) as connection:
        connection.execute("PRAGMA secure_delete = on")
        for table, columns in _tables(connection):
            for column in columns:
                cells += _redact_column(connection, table, column, needles)
        connection.commit()
        if cells:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return cells


def _redact_column(
    connection: sqlite3.Connection, table: str, column: str, needles: Needles
) -> int:
    rows = connection.execute(
        f'SELECT rowid, "{column}" FROM "{table}" '  # noqa: S608 - names of the file itself
        f"WHERE typeof(\"{column}\") IN ('text', 'blob')"
    ).fetchall()
    changed: list[tuple[Any, int]] = []
    for rowid, value in rows:
        content = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        clean = needles.redacted(content)
        if clean != content:
            changed.append((clean if isinstance(value, bytes) else clean.decode(), rowid))
    connection.executemany(
        f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?',  # noqa: S608 - names of the file itself
        changed,
    )
    return len(changed)


def _tables(connection: sqlite3.Connection) -> list[tuple[str, Sequence[str]]]:
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
        "AND upper(sql) NOT LIKE '%WITHOUT ROWID%'"
    ).fetchall()
    return [
        (name, [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')])
        for (name,) in names
    ]
