"""The audit log of subject requests: every step, chained by hash, without any identifier.

Each entry is hashed together with the hash before it, so an entry that was edited, taken out or
moved breaks the chain. Cutting off the end breaks nothing inside the chain; therefore its length
and last hash are kept, signed, in a file of their own, and stand in every certificate.
"""

import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy.keys import Keys
from clickstream_platform.privacy.signing import canonical_json, is_signed, public_key, sign

AUDIT_SCHEMA = """
CREATE TABLE audit (number INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
"""

START = "0" * 64
"""Hash that stands before the first entry."""


class AuditEntry(NamedTuple):
    """One entry as it is stored."""

    number: int
    entry: str
    """What happened, as canonical JSON."""
    hash: str


class Head(NamedTuple):
    """Where the chain ends."""

    entries: int
    hash: str


class AuditError(ClickstreamError, ValueError):
    """The audit log was changed after it was written."""

    def __init__(self, number: int, reason: str) -> None:
        self.number = number
        super().__init__(
            f"Audit log of subject requests: entry {number} {reason}. The log was changed outside "
            "the platform; restore it from a backup and compare it with the certificates."
        )


def append_entry(
    connection: sqlite3.Connection,
    *,
    at: datetime,
    event: str,
    request_id: str,
    details: Mapping[str, object],
) -> Head:
    """Add an entry inside the open transaction and return the new head.

    Args:
        connection: Connection of the register.
        at: When it happened.
        event: What happened, such as ``registered``.
        request_id: Opaque identifier of the request.
        details: Counts and names of stores. Never anything of a person.
    """
    last = connection.execute("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")
    number, previous = last.fetchone() or (0, START)
    entry = canonical_json(
        {
            "number": number + 1,
            "at": at.isoformat(),
            "event": event,
            "request_id": request_id,
            "details": dict(details),
        }
    ).decode()
    digest = chained(previous, entry)
    connection.execute("INSERT INTO audit VALUES (?, ?, ?)", (number + 1, entry, digest))
    return Head(number + 1, digest)


def chained(previous: str, entry: str) -> str:
    """Hash of an entry, given the hash before it."""
    return hashlib.sha256(f"{previous}{entry}".encode()).hexdigest()


def verify_chain(entries: Sequence[AuditEntry], *, anchor: Head | None = None) -> Head:
    """Check every link of the chain and that it reaches what was anchored.

    Args:
        entries: The whole log, in order.
        anchor: A head known from elsewhere: the signed file, or a certificate.

    Returns:
        The head of the chain.

    Raises:
        AuditError: An entry was edited, taken out, moved or cut off.
    """
    previous = START
    for place, entry in enumerate(entries, 1):
        if entry.number != place or json.loads(entry.entry).get("number") != place:
            raise AuditError(place, "is missing or stands elsewhere")
        if chained(previous, entry.entry) != entry.hash:
            raise AuditError(place, "does not follow from the one before")
        previous = entry.hash
        if anchor and place == anchor.entries and previous != anchor.hash:
            raise AuditError(place, "is not the one that was signed")
    if anchor and len(entries) < anchor.entries:
        raise AuditError(len(entries) + 1, f"and what follows up to {anchor.entries} is cut off")
    return Head(len(entries), previous)


def write_anchor(file: Path, head: Head, keys: Keys) -> None:
    """Keep the head, signed, beside the log; a head behind the newest known one stays unwritten."""
    known = read_anchor(file, keys) if file.exists() else None
    if known and known.entries >= head.entries:
        return
    content = {"entries": head.entries, "head": head.hash}
    text = json.dumps(content | {"signature": sign(keys, content)}, indent=2)
    replace_file(file, text.encode())


def read_anchor(file: Path, keys: Keys) -> Head:
    """Read the signed head.

    Raises:
        AuditError: The file was changed or cannot be read.
    """
    try:
        held = json.loads(file.read_text())
        content = {"entries": held["entries"], "head": held["head"]}
        signature = str(held["signature"])
    except (OSError, ValueError, KeyError, TypeError):
        raise AuditError(0, f"is anchored in {file.name}, which cannot be read") from None
    if not is_signed(content, signature, key=public_key(keys)):
        raise AuditError(0, f"is anchored in {file.name}, whose signature is wrong")
    return Head(int(content["entries"]), str(content["head"]))


def replace_file(file: Path, content: bytes) -> None:
    """Put content in place of a file in one step, readable by its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(file)
