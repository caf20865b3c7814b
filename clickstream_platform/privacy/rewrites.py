"""Landed files that erasures rewrite: which records they lack since, and which are on their way."""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from clickstream_platform.privacy.store import transaction

REWRITES_SCHEMA = """
CREATE TABLE rewrites (
    path TEXT PRIMARY KEY, old_sha256 TEXT NOT NULL, new_sha256 TEXT NOT NULL
) STRICT;
CREATE TABLE removed (
    sha256 TEXT NOT NULL, ordinal INTEGER NOT NULL, PRIMARY KEY (sha256, ordinal)
) STRICT, WITHOUT ROWID;
"""


class Rewrites:
    """Notes about rewritten files, kept in the file of the register.

    Args:
        opened: Opens a connection to that file.
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        self._open = opened

    def keep_removed(self, sha256: str, ordinals: Iterable[int]) -> None:
        """Remember which records a rewritten file lacks, so that the rest keep their number."""
        with self._open() as connection, transaction(connection):
            connection.executemany(
                "INSERT OR IGNORE INTO removed VALUES (?, ?)", [(sha256, n) for n in ordinals]
            )

    def removed(self, sha256: str) -> list[int]:
        """Ordinals of the records that a file of this content lacks, by earlier erasures."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT ordinal FROM removed WHERE sha256 = ? ORDER BY ordinal", (sha256,)
            ).fetchall()
        return [ordinal for (ordinal,) in rows]

    def begin(self, path: str, old: str, new: str) -> None:
        """Remember that a landed file is about to be exchanged, until the ledger knows it."""
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO rewrites VALUES (?, ?, ?)", (path, old, new))

    def end(self, path: str) -> None:
        """Forget an exchange that the ledger knows of."""
        with self._open() as connection:
            connection.execute("DELETE FROM rewrites WHERE path = ?", (path,))

    def unfinished(self) -> list[tuple[str, str, str]]:
        """Exchanges that a crash cut off: path, old and new digest."""
        with self._open() as connection:
            return [tuple(row) for row in connection.execute("SELECT * FROM rewrites")]
