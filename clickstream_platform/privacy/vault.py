"""The vault: random pseudonyms for identifiers of visitors and users.

The key under which an identifier is looked up is an HMAC; the identifier itself is kept only
encrypted, so that it can be revealed to a CRM that knows it, and looked up anew when the keys
rotate. Pseudonyms are random, hence rotation leaves them as they are.
"""

import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clickstream_platform.errors import ClickstreamError, ParameterError
from clickstream_platform.privacy.identifiers import (
    PREFIXES,
    SURROGATE_DIGITS,
    Digester,
    Namespace,
    canonical,
    check_namespace,
    distinct_texts,
    surrogate,
)
from clickstream_platform.privacy.keys import NONCE_BYTES, Keys, derive
from clickstream_platform.privacy.store import (
    CHUNK,
    make_store,
    open_store,
    transaction,
    truncate_log,
)

VAULT_FILE = "vault.sqlite"
"""Name of the vault's file in its folder."""

_SCHEMA = """
CREATE TABLE epochs (epoch INTEGER PRIMARY KEY, began_us INTEGER);
INSERT INTO epochs VALUES (1, NULL);
CREATE TABLE pseudonyms (
    lookup BLOB PRIMARY KEY,            -- HMAC of the canonical identifier
    surrogate INTEGER NOT NULL UNIQUE,  -- first 15 hex digits of the pseudonym
    rest TEXT NOT NULL,                 -- its other 17
    prefix TEXT NOT NULL,               -- namespace
    sealed BLOB NOT NULL                -- nonce and AES-256-GCM of the canonical identifier
) STRICT, WITHOUT ROWID;
CREATE TABLE reveals (
    revealed_us INTEGER NOT NULL, purpose TEXT NOT NULL, tokens INTEGER NOT NULL
) STRICT;
"""
_KEY_PREFIX = "vault-"
_ROTATED_AT_ONCE = 20_000
_UID_DIGITS = 32
FINGERPRINT_LETTERS = 24
"""Of 4 bits each, 96 in all: that two of a billion texts are alike has a chance of 6 in 10^12."""

_LETTERS = str.maketrans("0123456789", "ghijklmnop")
_SPLIT = 3 + SURROGATE_DIGITS
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class VaultUnavailableError(ClickstreamError, OSError):
    """The vault cannot be read, or cannot be written to now."""

    def __init__(self, file: Path, reason: str, *, remedy: str) -> None:
        self.file, self.reason = file, reason
        super().__init__(f"Vault {file} {reason}. {remedy}")


class _EpochKeys:
    """What one epoch of keys can do: digest for lookup, seal and open identifiers."""

    def __init__(self, key: bytes) -> None:
        self._digesters = {
            prefix: Digester(derive(key, f"lookup|{name}")) for name, prefix in PREFIXES.items()
        }
        self._cipher = AESGCM(derive(key, "seal"))

    def digests(self, prefix: str, identifiers: Sequence[str]) -> list[bytes]:
        return self._digesters[prefix].digests(identifiers)

    def seal(self, identifiers: Sequence[str], tokens: Sequence[str]) -> list[bytes]:
        nonces = secrets.token_bytes(NONCE_BYTES * len(tokens))
        encrypt = self._cipher.encrypt
        sealed = []
        for place, (identifier, token) in enumerate(zip(identifiers, tokens, strict=True)):
            nonce = nonces[place * NONCE_BYTES : (place + 1) * NONCE_BYTES]
            plain = identifier.encode("utf-8", "surrogatepass")
            sealed.append(nonce + encrypt(nonce, plain, token.encode()))
        return sealed

    def unseal(self, sealed: bytes, token: str) -> str:
        plain = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], token.encode())
        return plain.decode("utf-8", "surrogatepass")


class Vault:
    """Pseudonyms of one platform; several processes may use it at once.

    Args:
        folder: Where its file and its keys lie; made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / VAULT_FILE
        self._keys = Keys(folder)
        self._epochs: dict[int, _EpochKeys] = {}

    def __repr__(self) -> str:
        return f"Vault({str(self.folder)!r})"

    def tokens(
        self, namespace: Namespace, raw: pl.Series, *, keep_tokens: bool = False
    ) -> pl.Series:
        """Replace identifiers by pseudonyms, made at random when an identifier is first seen.

        Args:
            namespace: Kind of identifier.
            raw: Identifiers as text; null and blank ones give null.
            keep_tokens: Let pseudonyms of the vault pass as they are, for a replay of what has
                been pseudonymised before; those it no longer knows belong to people who were
                erased, and give null. Leave it off wherever outsiders may write, or they could
                pass for somebody else.

        Returns:
            Pseudonyms, aligned with ``raw`` and of its name.
        """
        check_namespace(namespace)
        texts = distinct_texts(raw)
        known: dict[str, str | None] = {}
        if keep_tokens:
            claimed = [text for text in texts if surrogate(text) is not None]
            with self._open() as connection:
                held = self._sealed(connection, claimed)
            known = {token: token if token in held else None for token in claimed}
            texts = [text for text in texts if text not in known]
        forms = [canonical(text) for text in texts]
        identifiers = [form for form in dict.fromkeys(forms) if form]
        made = self._found_or_made(PREFIXES[namespace], identifiers) if identifiers else {}
        known |= {text: made.get(form) for text, form in zip(texts, forms, strict=True)}
        return _mapped(raw, known)

    def fingerprints(self, texts: pl.Series) -> pl.Series:
        """Keyed hashes in letters alone, for what must stay distinct and need not come back.

        Nothing is stored, and equal texts have equal fingerprints for as long as the key lives.
        """
        if texts.is_empty():
            return texts.cast(pl.String)
        digests = Digester(self._keys.get("fingerprints")).digests(texts)
        letters = [digest.hex()[:FINGERPRINT_LETTERS].translate(_LETTERS) for digest in digests]
        return pl.Series(texts.name, [f"pf_{word}" for word in letters], dtype=pl.String)

    def find(self, namespace: Namespace, raw: str) -> str | None:
        """Pseudonym of one identifier, or None if it was never seen; makes none."""
        check_namespace(namespace)
        prefix, identifier = PREFIXES[namespace], canonical(raw)
        with self._open() as connection, transaction(connection, "DEFERRED"):
            (digest,) = self._epoch_keys(connection).digests(prefix, [identifier])
            return _stored(connection, prefix, [digest]).get(digest)

    def reveal(self, tokens: pl.Series, *, purpose: str, now: datetime) -> pl.Series:
        """Decrypt the identifiers behind pseudonyms; each call is entered into the access log.

        Args:
            tokens: Pseudonyms; those that the vault does not hold give null.
            purpose: Why, such as ``crm``; entered into the log with the number of pseudonyms.
            now: Time of the call.

        Returns:
            Identifiers in canonical form, aligned with ``tokens`` and of its name.

        Raises:
            ParameterError: ``purpose`` is blank.
        """
        if not purpose.strip():
            name = "purpose"
            raise ParameterError(name, purpose, "must say why", instead="'crm'")
        wanted = distinct_texts(tokens)
        with self._open() as connection:
            with transaction(connection):
                sealed = self._sealed(connection, wanted)
                keys = self._epoch_keys(connection)
                connection.execute(
                    "INSERT INTO reveals VALUES (?, ?, ?)", (_us(now), purpose, len(sealed))
                )
            try:
                found = {token: keys.unseal(each, token) for token, each in sealed.items()}
            except InvalidTag:
                raise VaultUnavailableError(
                    self.file,
                    "does not match its keys",
                    remedy="Restore the vault and its keys from the same backup.",
                ) from None
        return _mapped(tokens, found)

    def held(self) -> Iterator[str]:
        """Every pseudonym."""
        with self._open() as connection:
            yield from (token for token, _ in _everything(connection))

    def reveals(self) -> pl.DataFrame:
        """The access log: ``revealed_at``, ``purpose``, ``tokens`` (their number), oldest first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT revealed_us, purpose, tokens FROM reveals ORDER BY rowid"
            ).fetchall()
        instant = pl.Datetime("us", "UTC")
        schema = {"revealed_at": pl.Int64, "purpose": pl.String, "tokens": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row").cast({"revealed_at": instant})

    def forget(self, tokens: pl.Series) -> int:
        """Delete pseudonyms and what they stood for, to the last byte of the vault's files.

        The same identifier seen again gets another pseudonym, which nothing joins to the old.
        If another process holds the vault open for minutes, `VaultUnavailableError` says that
        old bytes remain in its log; the rows are gone all the same, and calling again wipes it.

        Returns:
            How many were held.
        """
        wanted = distinct_texts(tokens)
        with self._open() as connection:
            with transaction(connection):
                held = [(surrogate(token),) for token in self._sealed(connection, wanted)]
                connection.executemany("DELETE FROM pseudonyms WHERE surrogate = ?", held)
            self._wipe_log(connection)
        return len(held)

    def rotate(self, now: datetime) -> int:
        """Look every identifier up under a new key from now on, and destroy the old key.

        Pseudonyms stay, so joins do. It is one transaction: a crash leaves the old epoch whole,
        and the next call starts anew. Other processes wait meanwhile.

        Returns:
            The new epoch.
        """
        with self._open() as connection:
            with transaction(connection):
                old_epoch = _current_epoch(connection)
                epoch = old_epoch + 1
                old = self._epoch_keys(connection)
                new = _EpochKeys(self._keys.get(_key_name(epoch)))
                for token, sealed in _everything(connection):
                    identifier = old.unseal(sealed, token)
                    connection.execute(
                        "UPDATE pseudonyms SET lookup = ?, sealed = ? WHERE surrogate = ?",
                        (
                            new.digests(token[:3], [identifier])[0],
                            new.seal([identifier], [token])[0],
                            surrogate(token),
                        ),
                    )
                connection.execute("INSERT INTO epochs VALUES (?, ?)", (epoch, _us(now)))
            self._destroy_old_keys(epoch)
            self._wipe_log(connection)
        return epoch

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self.file.exists() and any(map(_is_key_name, self._keys.names())):
            raise VaultUnavailableError(
                self.file,
                "is missing, though its keys exist",
                remedy="Restore it from a backup; a new one would give everybody a new pseudonym.",
            )
        try:
            make_store(self.file, _SCHEMA)
            with open_store(self.file) as connection:
                yield connection
        except sqlite3.OperationalError as error:
            raise VaultUnavailableError(
                self.file,
                f"cannot be used ({error})",
                remedy="Try again when no other process uses it; check the disk and its rights.",
            ) from None
        except sqlite3.DatabaseError:
            raise VaultUnavailableError(
                self.file, "is damaged", remedy="Restore it and its keys from a backup."
            ) from None

    def _epoch_keys(self, connection: sqlite3.Connection) -> _EpochKeys:
        """Keys of the current epoch, as the open transaction sees it."""
        epoch = _current_epoch(connection)
        if epoch not in self._epochs:
            is_empty = connection.execute("SELECT 1 FROM pseudonyms LIMIT 1").fetchone() is None
            key = self._keys.get(_key_name(epoch), create=is_empty)
            self._destroy_old_keys(epoch)
            self._epochs = {epoch: _EpochKeys(key)}
        return self._epochs[epoch]

    def _destroy_old_keys(self, epoch: int) -> None:
        """Finish a rotation; also one that a crash cut off before it got here."""
        if epoch > 1:
            self._keys.destroy(_key_name(epoch - 1))

    def _found_or_made(self, prefix: str, identifiers: list[str]) -> dict[str, str]:
        """Pseudonym of each canonical identifier."""
        with self._open() as connection:
            with transaction(connection, "DEFERRED"):
                keys = self._epoch_keys(connection)
                digests = keys.digests(prefix, identifiers)
                found = _stored(connection, prefix, digests)
            if len(found) < len(digests):
                # Another process may have made some of them since, or rotated the keys.
                with transaction(connection):
                    if (current := self._epoch_keys(connection)) is not keys:
                        keys, digests = current, current.digests(prefix, identifiers)
                        found = {}
                    missing = [digest for digest in digests if digest not in found]
                    found |= _stored(connection, prefix, missing)
                    wanted = dict(zip(digests, identifiers, strict=True))
                    for digest in found:
                        del wanted[digest]
                    found |= _made(connection, keys, prefix, wanted)
        return {
            identifier: found[digest]
            for digest, identifier in zip(digests, identifiers, strict=True)
        }

    def _sealed(self, connection: sqlite3.Connection, tokens: Sequence[str]) -> dict[str, bytes]:
        """What is sealed under each pseudonym that the vault holds."""
        wanted = {key: token for token in tokens if (key := surrogate(token)) is not None}
        rows = _in_chunks(
            connection,
            "SELECT prefix || printf('%015x', surrogate) || rest, sealed FROM pseudonyms "
            "WHERE surrogate IN ",
            list(wanted),
        )
        asked = set(tokens)
        return {token: sealed for token, sealed in rows if token in asked}

    def _wipe_log(self, connection: sqlite3.Connection) -> None:
        if not truncate_log(connection):
            raise VaultUnavailableError(
                self.file,
                "is held open by another process, so its log still holds old bytes",
                remedy="Call again when that process is done; nothing else is left to do.",
            )


def _made(
    connection: sqlite3.Connection, keys: _EpochKeys, prefix: str, wanted: dict[bytes, str]
) -> dict[bytes, str]:
    """Make a pseudonym for each identifier; drawn again if a surrogate is taken."""
    made: dict[bytes, str] = {}
    while wanted:
        digests = sorted(wanted)
        digits = secrets.token_hex(len(digests) * _UID_DIGITS // 2)
        tokens = [
            prefix + digits[place : place + _UID_DIGITS]
            for place in range(0, len(digits), _UID_DIGITS)
        ]
        sealed = keys.seal([wanted[digest] for digest in digests], tokens)
        before = connection.total_changes
        connection.executemany(
            "INSERT OR IGNORE INTO pseudonyms VALUES (?, ?, ?, ?, ?)",
            [
                (digest, int(token[3:_SPLIT], 16), token[_SPLIT:], prefix, each)
                for digest, token, each in zip(digests, tokens, sealed, strict=True)
            ],
        )
        if connection.total_changes - before == len(digests):
            made |= zip(digests, tokens, strict=True)
        else:
            made |= _stored(connection, prefix, digests)
        wanted = {digest: each for digest, each in wanted.items() if digest not in made}
    return made


def _stored(
    connection: sqlite3.Connection, prefix: str, digests: Sequence[bytes]
) -> dict[bytes, str]:
    """Pseudonym of each digest that is stored."""
    rows = _in_chunks(
        connection,
        "SELECT lookup, surrogate, rest FROM pseudonyms WHERE lookup IN ",
        sorted(digests),
    )
    return {digest: f"{prefix}{key:015x}{rest}" for digest, key, rest in rows}


def _everything(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    """Every pseudonym and what is sealed under it, while rows are being rewritten."""
    last = -1
    while rows := connection.execute(
        "SELECT surrogate, prefix || printf('%015x', surrogate) || rest, sealed FROM pseudonyms "
        "WHERE surrogate > ? ORDER BY surrogate LIMIT ?",
        (last, _ROTATED_AT_ONCE),
    ).fetchall():
        yield from ((token, sealed) for _, token, sealed in rows)
        last = rows[-1][0]


def _in_chunks(
    connection: sqlite3.Connection, query: str, values: Sequence[bytes] | Sequence[int]
) -> Iterator[tuple[Any, ...]]:
    """Rows of a query that ends in ``IN``, for many values; sorted ones read pages in order."""
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        marks = ",".join("?" * len(chunk))
        yield from connection.execute(f"{query}({marks})", chunk).fetchall()


def _current_epoch(connection: sqlite3.Connection) -> int:
    epoch: int = connection.execute("SELECT max(epoch) FROM epochs").fetchone()[0]
    return epoch


def _key_name(epoch: int) -> str:
    return f"{_KEY_PREFIX}{epoch}"


def _is_key_name(name: str) -> bool:
    return name.startswith(_KEY_PREFIX)


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _mapped(column: pl.Series, values: Mapping[str, str | None]) -> pl.Series:
    """The column with each text replaced by its value; null where there is none."""
    if not values:
        return pl.Series(column.name, [None] * len(column), dtype=pl.String)
    texts = pl.Series(values.keys(), dtype=pl.String)
    found = pl.Series(values.values(), dtype=pl.String)
    return column.replace_strict(texts, found, default=None, return_dtype=pl.String)
