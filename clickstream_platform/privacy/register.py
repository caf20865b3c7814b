"""The register of subject requests: who asks is sealed, how far it is everybody may see.

A request is known by an opaque random identifier; run configurations, logs and file names carry
only that. Its steps are noted as they finish, so that a crash loses nothing and doubles nothing.
"""

import fcntl
import hmac
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import polars as pl
from deltalake.exceptions import CommitFailedError

from clickstream_platform.errors import ParameterError
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.privacy.audit import (
    AUDIT_SCHEMA,
    AuditEntry,
    Head,
    append_entry,
    read_anchor,
    verify_chain,
    write_anchor,
)
from clickstream_platform.privacy.identifiers import Namespace, canonical, check_namespace
from clickstream_platform.privacy.keys import Keys, derive
from clickstream_platform.privacy.requests import (
    NEXT,
    Identifiers,
    Outcome,
    RequestBusyError,
    RequestError,
    RequestType,
    Status,
    SubjectRequest,
    due_date,
)
from clickstream_platform.privacy.rewrites import REWRITES_SCHEMA, Rewrites
from clickstream_platform.privacy.store import (
    make_store,
    open_store,
    transaction,
    truncate_log,
)
from clickstream_platform.settings import Settings

_SCHEMA = (
    """
CREATE TABLE requests (
    request_id TEXT PRIMARY KEY,
    request_type TEXT NOT NULL,
    status TEXT NOT NULL,
    received_at TEXT NOT NULL,
    due_date TEXT NOT NULL,
    completed_at TEXT,
    rows_found INTEGER NOT NULL DEFAULT 0,
    rows_left INTEGER NOT NULL DEFAULT 0,
    certificate_sha256 TEXT,
    approved_at TEXT,
    identifiers BLOB,  -- sealed; gone once the request is answered
    subject BLOB       -- sealed: what the identifiers led to; gone likewise
) STRICT;
CREATE TABLE marks (
    mark TEXT NOT NULL, request_id TEXT NOT NULL, PRIMARY KEY (mark, request_id)
) STRICT;
CREATE TABLE steps (
    request_id TEXT NOT NULL, step TEXT NOT NULL, details TEXT NOT NULL,
    PRIMARY KEY (request_id, step)
) STRICT;
"""
    + REWRITES_SCHEMA
    + AUDIT_SCHEMA
)
_COLUMNS = (
    "request_id, request_type, status, received_at, due_date, completed_at, rows_found, "
    "rows_left, certificate_sha256"
)
_MIRROR_TRIES = 5


def register_request(
    settings: Settings, *, request_type: str, identifiers: Identifiers, now: datetime
) -> str:
    """Register a request and return its opaque identifier.

    Args:
        settings: Where everything lies.
        request_type: ``export`` or ``erase``.
        identifiers: What the person is known by; sealed, and never shown again.
        now: When the request arrived; the answer is due a calendar month later.
    """
    return Register(settings).add(request_type, identifiers, now)


class Register:
    """The register of one data folder; several processes may use it at once.

    Args:
        settings: Where everything lies.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.file = settings.state / "requests.db"
        self.anchor = settings.state / "requests.head.json"
        self.keys = Keys(settings.state / "vault")
        self.rewrites = Rewrites(self._open)

    def __repr__(self) -> str:
        return f"Register({str(self.file)!r})"

    # -- Requests ------------------------------------------------------------------------------

    def add(self, request_type: str, identifiers: Identifiers, now: datetime) -> str:
        """Register a request and return its opaque identifier; see `register_request`.

        Raises:
            ParameterError: The type does not exist.
            RequestError: No identifier is given.
        """
        if request_type not in {"export", "erase"}:
            name, rule = "request_type", "must be 'export' or 'erase'"
            raise ParameterError(name, request_type, rule, instead="'export'")
        for namespace, _ in identifiers:
            check_namespace(namespace)
        given = [[namespace, text] for namespace, text in identifiers if canonical(text)]
        request_id = f"req_{secrets.token_hex(12)}"
        if not given:
            reason = "names nobody: every identifier is blank"
            raise RequestError(
                request_id,
                reason,
                remedy="Give at least one, such as --user or --visitor.",
            )
        sealed = self.keys.seal(json.dumps(given).encode(), f"request|{request_id}")
        due = due_date(now.astimezone(self.settings.zone).date())
        with self._open() as connection, transaction(connection):
            connection.execute(
                "INSERT INTO requests (request_id, request_type, status, received_at, due_date, "
                "identifiers) VALUES (?, ?, 'received', ?, ?, ?)",
                (request_id, request_type, now.isoformat(), due.isoformat(), sealed),
            )
            head = append_entry(
                connection,
                at=now,
                event="registered",
                request_id=request_id,
                details={"type": request_type, "identifiers": len(given)},
            )
        write_anchor(self.anchor, head, self.keys)
        self.mirror()
        return request_id

    def get(self, request_id: str) -> SubjectRequest:
        """Read one request.

        Raises:
            RequestError: There is none of that identifier.
        """
        found = self._rows("WHERE request_id = ?", (request_id,))
        if not found:
            raise RequestError(
                request_id,
                "is not in the register",
                remedy="`clickstream subject list` names all; a request is registered first.",
            )
        return found[0]

    def requests(self) -> list[SubjectRequest]:
        """Every request, oldest first."""
        return self._rows("ORDER BY received_at, request_id", ())

    def move(
        self,
        request_id: str,
        status: Status,
        *,
        now: datetime,
        details: Mapping[str, object] | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        """Move a request to another state, in the register, the audit log and the lake.

        Raises:
            RequestError: That state may not follow the present one.
        """
        before = self.get(request_id).status
        if status not in NEXT[before]:
            raise RequestError(
                request_id,
                f"is {before} and cannot become {status}",
                remedy="Register a new one." if before == "completed" else "Start it first.",
            )
        done = now.isoformat() if status == "completed" else None
        result = outcome or Outcome()
        with self._open() as connection, transaction(connection):
            connection.execute(
                "UPDATE requests SET status = ?, completed_at = ?, "
                "rows_found = coalesce(?, rows_found), rows_left = coalesce(?, rows_left), "
                "certificate_sha256 = coalesce(?, certificate_sha256) WHERE request_id = ?",
                (status, done, *result, request_id),
            )
            head = append_entry(
                connection, at=now, event=status, request_id=request_id, details=details or {}
            )
        write_anchor(self.anchor, head, self.keys)
        self.mirror()

    def approve(self, request_id: str, *, now: datetime) -> None:
        """Allow an erasure to remove more than the share at which it stops."""
        self.get(request_id)
        with self._open() as connection, transaction(connection):
            connection.execute(
                "UPDATE requests SET approved_at = ? WHERE request_id = ?",
                (now.isoformat(), request_id),
            )
            head = append_entry(
                connection, at=now, event="approved", request_id=request_id, details={}
            )
        write_anchor(self.anchor, head, self.keys)

    def is_approved(self, request_id: str) -> bool:
        """Whether somebody allowed the erasure to be as large as it is."""
        query = "SELECT approved_at FROM requests WHERE request_id = ?"
        return self._one(query, request_id) is not None

    # -- What is sealed ------------------------------------------------------------------------

    def identifiers(self, request_id: str) -> list[tuple[Namespace, str]]:
        """Open what the person is known by.

        Raises:
            RequestError: The request is answered, and its identifiers are gone.
        """
        sealed = self._one("SELECT identifiers FROM requests WHERE request_id = ?", request_id)
        if not isinstance(sealed, bytes):
            raise RequestError(
                request_id,
                "is answered; its identifiers are gone",
                remedy="Register a new one.",
            )
        held = json.loads(self.keys.unseal(sealed, f"request|{request_id}"))
        return [(namespace, text) for namespace, text in held]

    def keep_subject(self, request_id: str, subject: Mapping[str, object]) -> None:
        """Seal what the identifiers led to, for a run that goes on after a crash."""
        sealed = self.keys.seal(json.dumps(subject).encode(), f"subject|{request_id}")
        with self._open() as connection, transaction(connection):
            connection.execute(
                "UPDATE requests SET subject = ? WHERE request_id = ?", (sealed, request_id)
            )

    def subject(self, request_id: str) -> dict[str, object] | None:
        """Open what the identifiers led to, if that was kept."""
        sealed = self._one("SELECT subject FROM requests WHERE request_id = ?", request_id)
        if not isinstance(sealed, bytes):
            return None
        held: dict[str, object] = json.loads(self.keys.unseal(sealed, f"subject|{request_id}"))
        return held

    def forget(self, request_id: str, *, keep_marks: bool) -> None:
        """Delete the sealed identifiers of an answered request, to the last byte.

        Args:
            request_id: The request.
            keep_marks: Keep the keyed digests by which a later erasure finds an export.
        """
        with self._open() as connection:
            with transaction(connection):
                connection.execute(
                    "UPDATE requests SET identifiers = NULL, subject = NULL WHERE request_id = ?",
                    (request_id,),
                )
                if not keep_marks:
                    connection.execute("DELETE FROM marks WHERE request_id = ?", (request_id,))
            truncate_log(connection)

    # -- Steps ---------------------------------------------------------------------------------

    def note(
        self,
        request_id: str,
        step: str,
        details: Mapping[str, object],
        *,
        now: datetime,
        summary: Mapping[str, object] | None = None,
    ) -> None:
        """Note a finished step for a later run, and in the audit log; noting it again replaces.

        Args:
            request_id: The request.
            step: What was done.
            details: What a later run needs to know of it.
            now: When it was done.
            summary: What the audit log says; the details unless given.
        """
        said = details if summary is None else summary
        with self._open() as connection, transaction(connection):
            connection.execute(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?)",
                (request_id, step, json.dumps(details)),
            )
            head = append_entry(connection, at=now, event=step, request_id=request_id, details=said)
        write_anchor(self.anchor, head, self.keys)

    def steps(self, request_id: str) -> dict[str, dict[str, Any]]:
        """What was noted, by step."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT step, details FROM steps WHERE request_id = ? ORDER BY rowid", (request_id,)
            ).fetchall()
        return {step: json.loads(details) for step, details in rows}

    # -- One at a time -------------------------------------------------------------------------

    def mark(self, namespace: str, text: str) -> str:
        """Keyed digest of an identifier or pseudonym: equal for equal people, else meaningless."""
        key = derive(self.keys.get("audit"), namespace)
        return hmac.digest(key, canonical(text).encode("utf-8", "surrogatepass"), "sha256").hex()

    @contextmanager
    def working(self, request_id: str) -> Iterator[None]:
        """Hold a request, so that no other process works on it; freed when the process dies.

        Raises:
            RequestBusyError: Another process holds it.
        """
        descriptor = self._lock(request_id)
        if descriptor is None:
            raise RequestBusyError(
                request_id, "is being worked on", remedy="Wait until that run has ended."
            )
        try:
            yield
        finally:
            os.close(descriptor)

    def claim(self, request_id: str, marks: Iterable[str]) -> None:
        """Claim a person for a request that is held; refused while another one is at work."""
        wanted = sorted(set(marks))
        with self._open() as connection, transaction(connection):
            for mark in wanted:
                others = connection.execute(
                    "SELECT request_id FROM marks JOIN requests USING (request_id) "
                    "WHERE mark = ? AND request_id <> ? AND status = 'in_progress'",
                    (mark, request_id),
                ).fetchall()
                for (other,) in others:
                    self._refuse_if_held(request_id, other)
            connection.executemany(
                "INSERT OR IGNORE INTO marks VALUES (?, ?)", [(mark, request_id) for mark in wanted]
            )

    def requests_of(self, marks: Iterable[str], request_type: RequestType) -> list[str]:
        """Requests of one type that were claimed for a person."""
        wanted = sorted(set(marks))
        listed = ",".join("?" * len(wanted))
        with self._open() as connection:
            query = (
                "SELECT DISTINCT request_id FROM marks JOIN requests USING (request_id) "  # noqa: S608 - question marks
                f"WHERE request_type = ? AND mark IN ({listed}) ORDER BY 1"
            )
            rows = connection.execute(query, (request_type, *wanted)).fetchall()
        return [request_id for (request_id,) in rows]

    def _refuse_if_held(self, request_id: str, other: str) -> None:
        descriptor = self._lock(other)
        if descriptor is None:
            raise RequestBusyError(
                request_id,
                f"is of the same person as {other}, which is being worked on",
                remedy="Wait until that run has ended.",
            )
        os.close(descriptor)

    def _lock(self, request_id: str) -> int | None:
        folder = self.settings.state / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / f"{request_id}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    # -- Audit log and mirror ------------------------------------------------------------------

    def audit(self) -> list[AuditEntry]:
        """The whole audit log, in order."""
        with self._open() as connection:
            rows = connection.execute("SELECT number, entry, hash FROM audit ORDER BY number")
            return [AuditEntry(*row) for row in rows]

    def verify_audit(self) -> Head:
        """Check the audit log against itself and against its signed head; `AuditError` if not."""
        entries = self.audit()
        anchor = read_anchor(self.anchor, self.keys) if entries or self.anchor.exists() else None
        return verify_chain(entries, anchor=anchor)

    def mirror(self) -> None:
        """Bring the table `subject_requests` up to the register."""
        lake = Lake(self.settings.lake_folder)
        for attempt in range(_MIRROR_TRIES):
            rows = [vars(request) for request in self.requests()]
            frame = pl.DataFrame(rows, schema=polars_schema("subject_requests"), orient="row")
            try:
                lake.overwrite("subject_requests", frame)
            except CommitFailedError:
                time.sleep(0.05 * 2**attempt)
            else:
                return

    def _rows(self, clause: str, values: Sequence[str]) -> list[SubjectRequest]:
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM requests {clause}",  # noqa: S608 - clauses of this class
                values,
            ).fetchall()
        return [
            SubjectRequest(
                request_id=row[0],
                request_type=row[1],
                status=row[2],
                received_at=datetime.fromisoformat(row[3]),
                due_date=date.fromisoformat(row[4]),
                completed_at=datetime.fromisoformat(row[5]) if row[5] else None,
                rows_found=row[6],
                rows_left=row[7],
                certificate_sha256=row[8],
            )
            for row in rows
        ]

    def _one(self, query: str, request_id: str) -> object:
        self.get(request_id)
        with self._open() as connection:
            found: object = connection.execute(query, (request_id,)).fetchone()[0]
        return found

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        make_store(self.file, _SCHEMA)
        with open_store(self.file) as connection:
            yield connection
