"""Erasing a person from the lake: found by DuckDB, deleted where found, gone from the past too."""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from deltalake.exceptions import CommitFailedError

from clickstream_platform.lake import Engine, Lake, connect, polars_schema, view
from clickstream_platform.lake.history import scrub_history
from clickstream_platform.privacy.files import sha256_of
from clickstream_platform.privacy.identifiers import surrogate
from clickstream_platform.privacy.needles import Needles
from clickstream_platform.privacy.subjects import (
    Replacement,
    Subject,
    among,
    own_rows,
    quoted,
    rows_to_delete,
    rows_to_unlink,
    tokens_of,
)
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES

PERSON_TABLES = tuple(name for name, table in TABLES.items() if table.person_columns)
"""Tables that hold people, upstream first."""

ARRIVALS = ("events", "quarantined_events", "duplicate_events")
"""Tables one of which holds each record that is kept."""

_TRIES = 6


@dataclass(frozen=True, kw_only=True)
class ErasedTable:
    """What an erasure did to one table."""

    table: str
    rows_found: int
    rows_removed: int
    rows_unlinked: int
    sha256_before: tuple[str, ...] = ()
    """Files that are gone."""
    sha256_after: tuple[str, ...] = ()
    """Files that were written in their place."""


def needles_of(subject: Subject) -> Needles:
    """What to look for of a person in text."""
    identifiers = [value for _, value in subject.values]
    return Needles(identifiers, [*subject.tokens, *tokens_of(subject)])


@dataclass
class LakePart:
    """One person's part of the lake.

    Args:
        settings: Where everything lies.
        subject: The person.
    """

    settings: Settings
    subject: Subject
    lake: Lake = field(init=False)

    def __post_init__(self) -> None:
        self.lake = Lake(self.settings.lake_folder)
        self._needles = needles_of(self.subject)
        self._backend = connect(self.settings.lake)

    # -- Finding -------------------------------------------------------------------------------

    def rows(self) -> dict[str, int]:
        """Rows by table that are the person's alone; tables without any are left out."""
        counts = {
            table: sum(count for *_, count in self._parts(table, own_rows(self.subject, table)))
            for table in PERSON_TABLES
        }
        return {table: count for table, count in counts.items() if count}

    def positions(self) -> dict[str, set[int]]:
        """Ordinals of the person's records by landed batch."""
        found: dict[str, set[int]] = {}
        if self.lake.exists("raw_events"):
            where = own_rows(self.subject, "raw_events")
            for batch_id, ordinal in self._ask(
                "raw_events",
                f"SELECT batch_id, ordinal FROM raw_events WHERE {where}",  # noqa: S608 - predicates of the catalog
            ):
                found.setdefault(batch_id, set()).add(ordinal)
        return found

    def unreadable(self, batch_ids: Sequence[str]) -> frozenset[str]:
        """Those of some batches that hold records which could not be read."""
        if not batch_ids or not self.lake.exists("raw_events"):
            return frozenset()
        listed = ", ".join(map(quoted, batch_ids))
        query = (
            "SELECT DISTINCT batch_id FROM raw_events "  # noqa: S608 - ids of our own
            f"WHERE read_error IS NOT NULL AND batch_id IN ({listed})"
        )
        return frozenset(str(batch_id) for (batch_id,) in self._ask("raw_events", query))

    def batches_to_reload(self) -> list[str]:
        """Batches of others whose events lost to one of the person's with the same identifier."""
        if not all(map(self.lake.exists, ("events", "duplicate_events"))):
            return []
        view(self._backend, self.lake, "events")
        query = (
            "SELECT DISTINCT batch_id FROM duplicate_events "  # noqa: S608 - predicates of the catalog
            "WHERE event_id IN (SELECT event_id FROM events "
            f"WHERE {own_rows(self.subject, 'events')}) "
            f"AND NOT coalesce({own_rows(self.subject, 'duplicate_events')}, false)"
        )
        return sorted(str(batch_id) for (batch_id,) in self._ask("duplicate_events", query))

    def share(self) -> tuple[int, int]:
        """Events of the person, and all events."""
        own = sum(count for *_, count in self._parts("events", own_rows(self.subject, "events")))
        return own, self.lake.row_count("events")

    # -- Erasing -------------------------------------------------------------------------------

    def erase(self) -> list[ErasedTable]:
        """Take the person out of every table, derived ones first."""
        return [
            self._erase_from(table) for table in reversed(PERSON_TABLES) if self.lake.exists(table)
        ]

    def _erase_from(self, table: str) -> ErasedTable:
        before = set(self.lake.files(table))
        found = sum(count for *_, count in self._parts(table, own_rows(self.subject, table)))
        removed = self._delete(table, rows_to_delete(self.subject, table))
        unlinked = sum(self._unlink(table, each.old, each.new) for each in self._renamed(table))
        if table == "identity_map":
            self._unshare()
        after = set(self.lake.files(table))
        gone = sorted(before - after)
        result = ErasedTable(
            table=table,
            rows_found=found,
            rows_removed=removed,
            rows_unlinked=unlinked,
            sha256_before=tuple(sha256_of(Path(file)) for file in gone),
            sha256_after=tuple(sha256_of(Path(file)) for file in sorted(after - before)),
        )
        self._end_time_travel(table)
        return result

    def redact(self, tables: Sequence[str]) -> list[ErasedTable]:
        """Redact the person in texts of rows that are other people's, table by table."""
        return [self._redact(table) for table in tables if table in TABLES]

    def _redact(self, table: str) -> ErasedTable:
        changed = 0
        for name, kind in polars_schema(table).items():
            if kind != pl.String or name in TABLES[table].partition_by:
                continue
            texts = (
                self.lake.scan(table)
                .select(name)
                .filter(
                    pl.col(name).str.contains_any(self._needles.texts, ascii_case_insensitive=True)
                )
            )
            found = texts.unique().collect(engine="streaming").to_series()
            for text in found:
                clean = self._needles.redacted(text.encode()).decode()
                if clean != text:
                    where = f"{name} = {quoted(text)}"
                    update = {name: quoted(clean)}
                    changed += _retried(
                        lambda where=where, update=update: self.lake.update(table, update, where)  # type: ignore[misc]  # bound now
                    )
        self._end_time_travel(table)
        return ErasedTable(table=table, rows_found=0, rows_removed=0, rows_unlinked=changed)

    def _end_time_travel(self, table: str) -> None:
        """Remove old snapshots, and what the log says of them; also those that others left."""
        held = {Path(file).resolve() for file in self.lake.files(table)}
        lying = {
            file.resolve()
            for file in self.lake.path(table).rglob("*.parquet")
            if "_delta_log" not in file.parts
        }
        if lying - held:
            _retried(lambda: self.lake.vacuum(table))
        scrub_history(self.lake, table, self._needles.is_within)

    def _delete(self, table: str, where: str) -> int:
        return sum(
            _retried(lambda part=part: self.lake.delete(table, part))  # type: ignore[misc]  # bound now
            for part in self._narrowed(table, where)
        )

    def _renamed(self, table: str) -> list[Replacement]:
        """Replacements of visitors that the table still holds."""
        columns = TABLES[table].person_columns
        wanted = [each.old for each in self.subject.replacements]
        if "visitor_id" not in columns or not wanted:
            return []
        query = f"SELECT DISTINCT visitor_id FROM {table} WHERE {among('visitor_id', wanted)}"  # noqa: S608 - pseudonyms
        held = {str(visitor) for (visitor,) in self._ask(table, query)}
        return [each for each in self.subject.replacements if each.old in held]

    def _unlink(self, table: str, old: str, new: str) -> int:
        columns = TABLES[table].contract.to_schema().columns
        updates = {"visitor_id": quoted(new)}
        if "visitor_key" in columns:
            updates["visitor_key"] = str(surrogate(new))
        if "payload" in columns:
            updates["payload"] = f"replace(payload, {quoted(old)}, {quoted(new)})"
        return sum(
            _retried(lambda part=part: self.lake.update(table, updates, part))  # type: ignore[misc]  # bound now
            for part in self._narrowed(table, rows_to_unlink(self.subject, table, old))
        )

    def _unshare(self) -> None:
        """Give a visitor that one user is left of to that user, as a full refresh would."""
        if not self.subject.shared:
            return
        where = among("visitor_id", self.subject.shared)
        left = self._ask(
            "identity_map",
            f"SELECT visitor_id FROM identity_map WHERE {where} "  # noqa: S608 - pseudonyms
            "GROUP BY visitor_id HAVING count(*) = 1 AND bool_or(is_shared)",
        )
        updates = {"is_shared": "false", "person_id": "user_id", "person_key": "user_key"}
        for (visitor,) in left:
            here = f"visitor_id = {quoted(str(visitor))}"
            _retried(lambda here=here: self.lake.update("identity_map", updates, here))  # type: ignore[misc]  # bound now

    def _narrowed(self, table: str, where: str) -> list[str]:
        """The predicate, with the partitions that hold such rows; nothing if there are none."""
        names = TABLES[table].partition_by
        parts = self._parts(table, where)
        if not parts:
            return []
        clauses = []
        for place, name in enumerate(names):
            values = sorted({part[place] for part in parts})
            shown = [quoted(v.isoformat()) if hasattr(v, "isoformat") else str(v) for v in values]
            clauses.append(f"{name} in ({', '.join(shown)})")
        return [" AND ".join([*clauses, where])]

    def _parts(self, table: str, where: str) -> list[tuple[Any, ...]]:
        """Partitions that hold rows of a predicate, each with their number."""
        if where == "false" or not self.lake.exists(table):
            return []
        names = "".join(f"{name}, " for name in TABLES[table].partition_by)
        query = f"SELECT {names}count(*) FROM {table} WHERE {where} GROUP BY ALL"  # noqa: S608 - predicates of the catalog
        return [row for row in self._ask(table, query) if row[-1]]

    def _ask(self, table: str, query: str) -> list[tuple[Any, ...]]:
        view(self._backend, self.lake, table)
        rows: list[tuple[Any, ...]] = self._backend.raw_sql(query).fetchall()
        return rows


def _retried(write: Callable[[], Any]) -> int:
    """Write, again if another writer was faster."""
    for attempt in range(_TRIES):
        try:
            done = write()
        except CommitFailedError:
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
        else:
            return done if isinstance(done, int) else 0
    return 0


def recount_ledger(settings: Settings, lake: Lake, batch_ids: Sequence[str]) -> None:
    """Count erased records of some batches as suppressed: each record keeps exactly one fate.

    The counts come from the tables, so that counting twice is counting once.
    """
    file = settings.state / "ledger.db"
    if not batch_ids or not file.exists():
        return
    backend = connect(settings.lake)
    listed = ", ".join(map(quoted, batch_ids))
    raw = _counts(lake, backend, "raw_events", "'raw'", listed)
    fates: dict[tuple[str, str], int] = {}
    for table in ARRIVALS:
        fate = {"events": "'loaded'", "duplicate_events": "'duplicate'"}.get(table, "fate")
        fates |= _counts(lake, backend, table, fate, listed)
    with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for batch_id in batch_ids:
            connection.execute(
                "UPDATE batches SET suppressed = received - ? "
                "WHERE batch_id = ? AND state IN ('landed', 'loading', 'loaded')",
                (raw.get((batch_id, "raw"), 0), batch_id),
            )
            for name in ("loaded", "quarantined", "duplicate", "too_late"):
                connection.execute(
                    f"UPDATE batches SET {name} = ? WHERE batch_id = ? AND state = 'loaded'",  # noqa: S608 - one of four names
                    (fates.get((batch_id, name), 0), batch_id),
                )
        connection.execute("COMMIT")


def reload_batches(settings: Settings, batch_ids: Sequence[str]) -> None:
    """Have batches loaded again by the next refresh, as after a crash."""
    file = settings.state / "ledger.db"
    if batch_ids and file.exists():
        with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
            connection.executemany(
                "UPDATE batches SET state = 'loading' WHERE batch_id = ? AND state = 'loaded'",
                [(batch_id,) for batch_id in batch_ids],
            )


def _counts(
    lake: Lake, backend: Engine, table: str, fate: str, listed: str
) -> Mapping[tuple[str, str], int]:
    if not lake.exists(table):
        return {}
    view(backend, lake, table)
    rows = backend.raw_sql(
        f"SELECT batch_id, {fate}, count(*) FROM {table} WHERE batch_id IN ({listed}) GROUP BY ALL"  # noqa: S608 - ids of our own
    ).fetchall()
    return {(batch_id, name): count for batch_id, name, count in rows}
