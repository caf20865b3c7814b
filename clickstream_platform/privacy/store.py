"""SQLite files of the privacy stores: made whole or not at all, wiped as they are deleted from."""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

BUSY_TIMEOUT_S = 120.0
"""How long a process waits for another one's transaction; the longest is a key rotation."""

CHUNK = 1_000
"""Values looked up by one statement."""


def make_store(file: Path, schema: str) -> None:
    """Create a store unless it exists; of several processes one wins, and none sees half of it."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.stem}.{secrets.token_hex(8)}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("PRAGMA journal_mode = wal")
            connection.executescript(schema)
        try:
            os.link(draft, file)
        except FileExistsError:
            return
    finally:
        draft.unlink()


@contextmanager
def open_store(file: Path) -> Iterator[sqlite3.Connection]:
    """Open a store that exists, without an open transaction; deleted bytes are overwritten."""
    uri = f"{file.resolve().as_uri()}?mode=rw"
    with closing(
        sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    ) as connection:
        connection.execute("PRAGMA secure_delete = on")
        connection.execute("PRAGMA synchronous = full")
        connection.execute("PRAGMA temp_store = memory")
        connection.execute("PRAGMA cache_size = -65536")
        yield connection


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Commit what happens inside, or none of it."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def truncate_log(connection: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and empty it; False while others hold it open."""
    busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy
