"""The ledger: which landed files were taken, and what became of each of their records.

Every record has exactly one fate, so for each batch
``received = loaded + quarantined + duplicate + suppressed + too_late``.
SQLite, because a sensor asks it every few seconds and must not load an engine for that.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clickstream_platform.errors import ClickstreamError

Progress = Callable[[str, int, int], None]
"""Told of long work: what is done, how far, out of how much."""

FATES = ("loaded", "quarantined", "duplicate", "suppressed", "too_late")
"""What can become of a record."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    batch_id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    arrived_at TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('landing', 'landed', 'loading', 'loaded', 'refused')),
    reason TEXT,
    received INTEGER NOT NULL DEFAULT 0,
    loaded INTEGER NOT NULL DEFAULT 0,
    quarantined INTEGER NOT NULL DEFAULT 0,
    duplicate INTEGER NOT NULL DEFAULT 0,
    suppressed INTEGER NOT NULL DEFAULT 0,
    too_late INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS batches_by_file ON batches (path, sha256);
CREATE INDEX IF NOT EXISTS batches_by_state ON batches (state);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS refusals (batch_id TEXT PRIMARY KEY, adapter_sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (source TEXT PRIMARY KEY, live_since TEXT);
"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One landed file, taken once."""

    batch_id: str
    source: str
    path: str
    """Path below the landing folder."""
    sha256: str
    bytes: int
    arrived_at: datetime


class LedgerError(ClickstreamError, ValueError):
    """The ledger does not add up."""

    def __init__(self, batches: list[str]) -> None:
        self.batches = batches
        shown = ", ".join(batches[:3])
        super().__init__(
            f"ledger: received is not the sum of fates in {len(batches):,} batches ({shown}). "
            "Run `clickstream materialize --full`, which counts anew from the tables."
        )


class LedgerUnreadableError(ClickstreamError, OSError):
    """The file of the ledger is not one, or cannot be used."""

    def __init__(self, file: Path, reason: str, *, remedy: str) -> None:
        self.file, self.reason = file, reason
        super().__init__(f"Ledger {file} {reason}. {remedy}")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Say of a ledger that SQLite cannot use which file it is, and what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LedgerUnreadableError(
            file,
            f"cannot be used ({error})",
            remedy="Try again when no other process uses it; check the disk and its rights.",
        ) from None
    except sqlite3.DatabaseError:
        raise LedgerUnreadableError(
            file, "is damaged", remedy="Restore it from a backup, with the lake of the same time."
        ) from None


def batch_of(source: str, path: str, sha256: str) -> str:
    """Identifier of a batch: the same file under the same path is the same batch."""
    digest = hashlib.sha256(f"{source}\x00{path}\x00{sha256}".encode()).hexdigest()
    return f"b_{digest[:24]}"


class Ledger:
    """The ledger of one data folder. Safe for several processes."""

    def __init__(self, state: Path) -> None:
        self.file = state / "ledger.db"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _readable(self.file), self._begun() as connection:
            yield connection

    @contextmanager
    def _begun(self) -> Iterator[sqlite3.Connection]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.file, timeout=30, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            connection.close()

    def _read(self, query: str, values: Iterable[object] = ()) -> list[dict[str, object]]:
        if not self.file.exists():
            return []
        with _readable(self.file):
            return self._rows(query, values)

    def _rows(self, query: str, values: Iterable[object]) -> list[dict[str, object]]:
        connection = sqlite3.connect(
            f"{self.file.absolute().as_uri()}?mode=ro", uri=True, timeout=30
        )
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, tuple(values))]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            connection.close()

    # -- Files ---------------------------------------------------------------------------------

    def known_files(self) -> dict[str, tuple[int, int]]:
        """Size and modification time of every file as it was when it was taken whole."""
        rows = self._read(
            "SELECT path, size, mtime_ns FROM files WHERE path NOT IN "
            "(SELECT path FROM batches WHERE state = 'landing')"
        )
        return {str(r["path"]): (int(str(r["size"])), int(str(r["mtime_ns"]))) for r in rows}

    def taken(self, source: str, path: str, sha256: str) -> dict[str, object] | None:
        """The batch that this content was taken as, under this path; what was refused was not.

        What lies there today may lack records that were erased from it since.
        """
        query = (
            "SELECT * FROM batches WHERE (path = ? AND sha256 = ? OR batch_id = ?) "
            "AND state NOT IN ('landing', 'refused')"
        )
        rows = self._read(query, (path, sha256, batch_of(source, path, sha256)))
        return rows[0] if rows else None

    def note_content(self, batch_id: str, *, sha256: str, size: int) -> None:
        """Note that what lies where a batch was taken from is as before an erasure."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE OR IGNORE batches SET sha256 = ?, bytes = ? WHERE batch_id = ?",
                (sha256, size, batch_id),
            )

    def note_file(self, path: str, *, size: int, mtime_ns: int, sha256: str) -> None:
        """Remember a file's look, so that it is not hashed again while it keeps it."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (path, size, mtime_ns, sha256)
            )

    # -- Batches -------------------------------------------------------------------------------

    def open(self, batch: Batch) -> None:
        """Note that a file is about to be taken; a batch left so by a crash is taken anew."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO batches"
                " (batch_id, source, path, sha256, bytes, arrived_at, state)"
                " VALUES (?, ?, ?, ?, ?, ?, 'landing')",
                (
                    batch.batch_id,
                    batch.source,
                    batch.path,
                    batch.sha256,
                    batch.bytes,
                    batch.arrived_at.isoformat(),
                ),
            )

    def land(self, batch_id: str, *, received: int, suppressed: int) -> None:
        """Record that a batch's records are in raw_events."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE batches SET state = 'landed', received = ?, suppressed = ?"
                " WHERE batch_id = ?",
                (received, suppressed, batch_id),
            )

    def refuse(self, batch_id: str, reason: str, *, adapter_sha256: str) -> None:
        """Record that a file could not be read at all, as the adapter was written."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE batches SET state = 'refused', reason = ? WHERE batch_id = ?",
                (reason, batch_id),
            )
            connection.execute(
                "INSERT OR REPLACE INTO refusals VALUES (?, ?)", (batch_id, adapter_sha256)
            )

    def refusals(self) -> dict[str, str | None]:
        """Refused files that are still what they were, and the SHA-256 of their adapter then."""
        noted = {
            row["batch_id"]: str(row["adapter_sha256"])
            for row in self._read("SELECT batch_id, adapter_sha256 FROM refusals")
        }
        # Apart, for ledgers of earlier versions, which noted none.
        refused = self._read(
            "SELECT batch_id, path FROM batches JOIN files USING (path, sha256) "
            "WHERE state = 'refused'"
        )
        return {str(row["path"]): noted.get(row["batch_id"]) for row in refused}

    def drop(self, batch_id: str) -> None:
        """Forget a batch whose file changed while it was read."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM batches WHERE batch_id = ?", (batch_id,))

    def in_state(self, *states: str) -> list[dict[str, object]]:
        """Batches in one of the states, in order of arrival."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT * FROM batches WHERE state IN ({marks}) ORDER BY arrived_at, batch_id"
        return self._read(query, states)

    def set_state(self, batch_ids: Iterable[str], state: str) -> None:
        """Move batches to a state."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE batches SET state = ? WHERE batch_id = ?",
                [(state, batch_id) for batch_id in batch_ids],
            )

    def count(self, fates: Mapping[str, Mapping[str, int]]) -> None:
        """Set what became of batches' records; fates that are not named keep their count."""
        with self._transaction() as connection:
            for batch_id, counts in fates.items():
                for fate, number in counts.items():
                    if fate not in FATES:
                        raise LedgerError([batch_id])
                    connection.execute(
                        f"UPDATE batches SET {fate} = ? WHERE batch_id = ?",
                        (number, batch_id),
                    )

    # -- Sources -------------------------------------------------------------------------------

    def live_since(self, source: str) -> datetime | None:
        """When the first file arrived in which the source delivered something that was young.

        A ledger of an earlier version does not know; there it is the source's first file.
        """
        noted = self._read("SELECT live_since FROM deliveries WHERE source = ?", (source,))
        if not noted:
            query = "SELECT min(arrived_at) AS live_since FROM batches WHERE source = ?"
            noted = self._read(f"{query} AND state = 'loaded'", (source,))
        (since,) = (row["live_since"] for row in noted) if noted else (None,)
        return None if since is None else datetime.fromisoformat(str(since))

    def has_history_only(self, source: str) -> bool:
        """Whether all that was loaded of a source was old when it arrived."""
        query = "SELECT 1 AS found FROM deliveries WHERE source = ? AND live_since IS NULL"
        return bool(self._read(query, (source,)))

    def note_delivery(self, source: str, *, live_since: datetime | None) -> None:
        """Note since when a source delivers what is young, or that it has not yet."""
        since = None if live_since is None else live_since.isoformat()
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO deliveries VALUES (?, ?)", (source, since))

    def forget_deliveries(self) -> None:
        """Hold every source for one that has not delivered anything young, until it is loaded."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO deliveries SELECT DISTINCT source, NULL FROM batches"
            )

    # -- Sums ----------------------------------------------------------------------------------

    def batches(self) -> list[dict[str, object]]:
        """Every batch, in order of arrival."""
        return self._read("SELECT * FROM batches ORDER BY arrived_at, batch_id")

    def totals(self) -> list[dict[str, object]]:
        """The ledger by source."""
        sums = ", ".join(f"sum({name}) AS {name}" for name in ("received", *FATES))
        return self._read(
            f"SELECT source, count(*) AS batches, {sums}, "
            "sum(state = 'refused') AS refused_files, max(arrived_at) AS last_arrived_at "
            "FROM batches GROUP BY source ORDER BY source"
        )

    def unbalanced(self) -> list[str]:
        """Loaded batches whose records do not each have one fate."""
        query = (
            f"SELECT batch_id FROM batches WHERE state = 'loaded' "
            f"AND received <> {' + '.join(FATES)} ORDER BY batch_id"
        )
        return [str(row["batch_id"]) for row in self._read(query)]

    def require_balance(self) -> None:
        """Raise `LedgerError` unless every loaded batch adds up."""
        if wrong := self.unbalanced():
            raise LedgerError(wrong)
