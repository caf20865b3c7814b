"""The suppression list: people who were erased or objected, known by keyed digests alone.

It is asked before rows are kept and before audiences are sent. It fails closed: when it cannot
be read nothing passes. Its key is its own, so rotating the vault's keys leaves it as it is.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy.identifiers import (
    Digester,
    Namespace,
    canonical,
    check_namespace,
    distinct_texts,
)
from clickstream_platform.privacy.keys import Keys, KeyUnavailableError, derive
from clickstream_platform.privacy.store import CHUNK, make_store, open_store, transaction

SUPPRESSION_FILE = "suppression.sqlite"
"""Name of the list's file in its folder."""

_KEY = "suppression"
_TOKENS = "token"
_SCHEMA = """
CREATE TABLE suppressed (
    digest BLOB PRIMARY KEY,  -- HMAC of the canonical identifier, or of the pseudonym
    request_id TEXT NOT NULL,
    suppressed_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class SuppressionUnavailableError(ClickstreamError, OSError):
    """The suppression list cannot be read, so nothing may pass."""

    def __init__(self, file: Path, reason: str) -> None:
        self.file, self.reason = file, reason
        super().__init__(
            f"Suppression list {file} {reason}. Nothing passes until it is back: restore it and "
            "its key from the same backup."
        )


class Suppression:
    """People whose data must not be kept or sent.

    Args:
        folder: Where its file and its key lie; made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / SUPPRESSION_FILE
        self._keys = Keys(folder)

    def __repr__(self) -> str:
        return f"Suppression({str(self.folder)!r})"

    def add(
        self, namespace: Namespace, identifiers: Iterable[str], *, request_id: str, now: datetime
    ) -> int:
        """Suppress people by their identifiers; blank ones are ignored, known ones stay.

        Args:
            namespace: Kind of identifier.
            identifiers: Raw identifiers, in any spelling that is canonically the same.
            request_id: Opaque identifier of the subject request behind it.
            now: Time of the entry.

        Returns:
            How many are new on the list.
        """
        check_namespace(namespace)
        forms = sorted({form for each in identifiers if (form := canonical(each))})
        return self._add(namespace, forms, request_id, now)

    def add_tokens(self, tokens: Iterable[str], *, request_id: str, now: datetime) -> int:
        """Suppress people by their pseudonyms, for what is stored under them already.

        Returns:
            How many are new on the list.
        """
        return self._add(_TOKENS, sorted({each for each in tokens if each}), request_id, now)

    def mask(self, namespace: Namespace, raw: pl.Series) -> pl.Series:
        """Tell of each identifier whether it is suppressed; null and blank ones are not."""
        check_namespace(namespace)
        return self._mask(namespace, raw)

    def mask_tokens(self, tokens: pl.Series) -> pl.Series:
        """Tell of each pseudonym whether it is suppressed; null ones are not."""
        return self._mask(_TOKENS, tokens)

    @property
    def is_empty(self) -> bool:
        """Whether nobody is suppressed."""
        with self._open() as connection:
            return _is_empty(connection)

    def requests(self, tokens: Iterable[str]) -> dict[str, str]:
        """The request behind each pseudonym that is suppressed; others are left out."""
        wanted = sorted(set(tokens))
        with self._open() as connection, transaction(connection, "DEFERRED"):
            digests = self._digester(connection, _TOKENS).digests(wanted)
            listed = _listed(connection, digests)
        found = zip(wanted, map(listed.get, digests), strict=True)
        return {token: request_id for token, request_id in found if request_id}

    def _add(self, label: str, forms: list[str], request_id: str, now: datetime) -> int:
        instant_us = (now - _EPOCH) // timedelta(microseconds=1)
        with self._open() as connection, transaction(connection):
            digests = self._digester(connection, label).digests(forms)
            before = connection.total_changes
            connection.executemany(
                "INSERT OR IGNORE INTO suppressed VALUES (?, ?, ?)",
                [(digest, request_id, instant_us) for digest in digests],
            )
            return connection.total_changes - before

    def _mask(self, label: str, raw: pl.Series) -> pl.Series:
        texts = distinct_texts(raw)
        with self._open() as connection, transaction(connection, "DEFERRED"):
            if _is_empty(connection):
                return pl.Series(raw.name, [False], dtype=pl.Boolean).new_from_index(0, len(raw))
            digests = self._digester(connection, label).digests(map(canonical, texts))
            listed = _listed(connection, digests)
        hits = [text for text, digest in zip(texts, digests, strict=True) if digest in listed]
        if not hits:
            return pl.Series(raw.name, [False], dtype=pl.Boolean).new_from_index(0, len(raw))
        return raw.is_in(pl.Series(hits, dtype=pl.String)).fill_null(value=False)

    def _digester(self, connection: sqlite3.Connection, label: str) -> Digester:
        key = self._keys.get(_KEY, create=_is_empty(connection))
        return Digester(derive(key, label))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self.file.exists() and self._keys.has(_KEY):
            raise SuppressionUnavailableError(self.file, "is missing, though its key exists")
        try:
            make_store(self.file, _SCHEMA)
            with open_store(self.file) as connection:
                yield connection
        except KeyUnavailableError as error:
            raise SuppressionUnavailableError(self.file, f"has no key ({error})") from None
        except (sqlite3.Error, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise SuppressionUnavailableError(self.file, f"cannot be read ({why})") from None


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM suppressed LIMIT 1").fetchone() is None


def _listed(connection: sqlite3.Connection, digests: Sequence[bytes]) -> dict[bytes, str]:
    """Those digests that are on the list, with the request behind each."""
    found: dict[bytes, str] = {}
    ordered = sorted(digests)
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        marks = ",".join("?" * len(chunk))
        found.update(
            connection.execute(
                f"SELECT digest, request_id FROM suppressed WHERE digest IN ({marks})",  # noqa: S608 - question marks
                chunk,
            )
        )
    return found
