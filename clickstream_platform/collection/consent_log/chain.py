"""The chain of consent: every entry hashed with the hash before it, its head signed.

An entry that was edited, taken out or moved breaks the chain. Cutting off the end breaks nothing
inside it; therefore its length and last hash are signed and kept in a file of their own.

No entry holds an identifier. It holds a commitment, the hash of a random number and of who the
person is; the random number lies with the person's row of `consents`, and goes with it.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy import (
    Keys,
    canonical_json,
    chained,
    is_signed,
    public_key,
    replace_file,
    sign,
)
from clickstream_platform.settings import Settings

START = "0" * 64
"""Hash that stands before the first entry."""

CHAINED = (
    "commitment",
    "valid_from_at",
    "valid_until_at",
    "received_at",
    "consent_analytics",
    "consent_marketing",
    "consent_personalization",
    "consent_attribution",
    "is_opted_out",
    "source",
    "string_hash",
    "jurisdiction",
    "tcf_policy_version",
    "notice_version",
    "cmp_version",
    "rules_version",
)
"""What an entry says, beside its number."""


class Head(NamedTuple):
    """Where the chain ends."""

    entries: int = 0
    hash: str = START


class ConsentLogError(ClickstreamError, ValueError):
    """The consent log was changed after it was written."""

    def __init__(self, number: int, reason: str) -> None:
        self.number = number
        super().__init__(
            f"consent_log: entry {number} {reason}. The table was changed outside the platform; "
            "restore it from a backup, and find out who could write to it."
        )


def new_commitment(visitor_id: str | None, user_id: str | None, event_id: str) -> tuple[str, str]:
    """A commitment to who made a choice, and the random number that opens it."""
    nonce = secrets.token_hex(16)
    return commitment_of(nonce, visitor_id, user_id, event_id), nonce


def commitment_of(nonce: str, visitor_id: str | None, user_id: str | None, event_id: str) -> str:
    """The commitment that a random number opens."""
    return hashlib.sha256(canonical_json([nonce, visitor_id, user_id, event_id])).hexdigest()


def chain_entries(choices: pl.DataFrame, head: Head) -> pl.DataFrame:
    """Give choices their places in the chain, behind its head.

    Args:
        choices: Rows with the columns `CHAINED`, in the order in which they are to be chained.
        head: Where the chain ends so far.

    Returns:
        The rows with ``number``, ``previous_hash`` and ``entry_hash``.
    """
    numbers, before, after = [], [], []
    number, previous = head
    for row in choices.select(CHAINED).iter_rows(named=True):
        number += 1
        digest = chained(previous, entry_text(number, row))
        numbers.append(number)
        before.append(previous)
        after.append(digest)
        previous = digest
    return choices.select(
        pl.Series("number", numbers, dtype=pl.Int64),
        *CHAINED,
        pl.Series("previous_hash", before, dtype=pl.String),
        pl.Series("entry_hash", after, dtype=pl.String),
    )


def entry_text(number: int, row: Mapping[str, object]) -> str:
    """An entry as the text that is hashed."""
    values = {
        name: value.isoformat() if isinstance(value := row[name], datetime) else value
        for name in CHAINED
    }
    return canonical_json({"number": number} | values).decode()


def verify_entries(entries: Iterable[Mapping[str, object]], *, anchor: Head) -> Head:
    """Check every link of the chain, and that it reaches what was signed.

    Args:
        entries: The whole log in order of its numbers.
        anchor: The signed head.

    Returns:
        The head of the chain.

    Raises:
        ConsentLogError: An entry was edited, taken out, moved, added or cut off.
    """
    place, previous = 0, START
    for place, entry in enumerate(entries, 1):
        if entry["number"] != place:
            raise ConsentLogError(place, "is missing or stands elsewhere")
        if entry["previous_hash"] != previous:
            raise ConsentLogError(place, "does not follow from the one before")
        if chained(previous, entry_text(place, entry)) != entry["entry_hash"]:
            raise ConsentLogError(place, "does not say what it said when it was written")
        previous = str(entry["entry_hash"])
        if place == anchor.entries and previous != anchor.hash:
            raise ConsentLogError(place, "is not the one that was signed")
    if place < anchor.entries:
        raise ConsentLogError(place + 1, f"and what follows up to {anchor.entries} is cut off")
    return Head(place, previous)


def write_anchor(settings: Settings, head: Head) -> None:
    """Sign the head and keep it beside the lake."""
    keys = Keys(settings.state / "vault")
    content = {"log": "consent_log", "entries": head.entries, "head": head.hash}
    text = json.dumps(content | {"signature": sign(keys, content)}, indent=2)
    replace_file(anchor_file(settings), text.encode())


def read_anchor(settings: Settings) -> Head:
    """Read the signed head; an empty chain's before the first entry.

    Raises:
        ConsentLogError: The file was changed or cannot be read.
    """
    file = anchor_file(settings)
    if not file.exists():
        return Head()
    try:
        held = json.loads(file.read_text())
        content = {name: held[name] for name in ("log", "entries", "head")}
        signature = str(held["signature"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConsentLogError(0, f"is anchored in {file.name}, which cannot be read") from None
    if not is_signed(content, signature, key=public_key(Keys(settings.state / "vault"))):
        raise ConsentLogError(0, f"is anchored in {file.name}, whose signature is wrong")
    return Head(int(content["entries"]), str(content["head"]))


def anchor_file(settings: Settings) -> Path:
    """Where the signed head lies."""
    return settings.state / "consent" / "head.json"
