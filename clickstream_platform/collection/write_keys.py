"""Write keys: who may send events to which source.

A key only lets its holder add events; none lets anybody read. It is kept as a digest, so the file
of keys gives none away. Browser keys are public by nature: they are held to the origins that the
settings allow, and cannot send what is for servers only. A server key may demand that each request
is signed.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.errors import ClickstreamError, DefinitionError, ParameterError
from clickstream_platform.privacy import Keys

Kind = Literal["browser", "server"]

KEYS_FILE = "write_keys.json"
"""Name of the file of keys in the state folder of the collector."""

SIGNATURE_AGE_S = 300
"""How far the timestamp of a signed request may be off, in seconds."""

_SOURCE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OURS = re.compile(r"cs_(?:browser|server)_([0-9a-f]{32})([0-9a-f]{8})")
_SHORTEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteKey:
    """A key as it is stored."""

    key_id: str
    source: str
    kind: Kind
    digest: str
    """SHA-256 of the key, in hexadecimal."""
    created_at: str
    revoked_at: str | None = None
    is_signed: bool = False
    app_ids: tuple[str, ...] = ()
    """Application ids of trackers that know no keys (Snowplow), which stand for this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key as it is told once, and never again."""

    stored: WriteKey
    key: str
    signing_secret: str | None = None


class UnknownKeyError(ClickstreamError, LookupError):
    """No key has the id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"no write key is named {key_id!r}; `clickstream keys list` shows them.")


class WriteKeys:
    """The keys of one data folder.

    Args:
        folder: State folder of the collector.
        vault: Folder of the privacy stores, whose keys protect the signing secrets.
        foreign: Sources whose adapters read files of another format, and that format: what the
            collector logs is not for them.
    """

    def __init__(
        self, folder: Path, vault: Path, *, foreign: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._foreign = foreign
        self._file = folder / KEYS_FILE
        self._keys = Keys(vault)
        self._read_ns = -1
        self._by_digest: dict[str, WriteKey] = {}
        self._by_app: dict[str, WriteKey] = {}

    def add(  # noqa: PLR0913 - all that a key is
        self,
        source: str,
        kind: Kind,
        *,
        now: datetime,
        is_signed: bool = False,
        app_ids: tuple[str, ...] = (),
        adopted: str | None = None,
    ) -> NewKey:
        """Make a key, or adopt one that clients carry already.

        Args:
            source: Landing folder that its events go to.
            kind: ``browser`` or ``server``.
            now: Time of making.
            is_signed: Whether requests must be signed; server keys only.
            app_ids: Application ids that stand for the key.
            adopted: A key of another product that clients hold.

        Raises:
            ParameterError: The source is no plain name or has an adapter of another format, a
                browser key is to be signed, the adopted key is too short or known.
        """
        _check_source(source, self._foreign)
        if is_signed and kind == "browser":
            name = "is_signed"
            raise ParameterError(name, value=True, rule="is for server keys", instead="False")
        key = adopted or _made(kind)
        if len(key) < _SHORTEST:
            name = "adopted"
            raise ParameterError(name, "…", "is shorter than 8 characters", instead="a longer key")
        stored = WriteKey(
            key_id=f"wk_{secrets.token_hex(4)}",
            source=source,
            kind=kind,
            digest=_digest(key),
            created_at=now.isoformat(timespec="seconds"),
            is_signed=is_signed,
            app_ids=app_ids,
        )
        known = self.all()
        if any(other.digest == stored.digest for other in known):
            name = "adopted"
            raise ParameterError(name, "…", "is known already", instead="another key")
        self._write([*known, stored])
        return NewKey(
            stored=stored,
            key=key,
            signing_secret=self.signing_secret(stored) if is_signed else None,
        )

    def revoke(self, key_id: str, *, now: datetime) -> WriteKey:
        """Refuse a key from now on; collectors that run notice within a second.

        Raises:
            UnknownKeyError: No key has the id.
        """
        keys = self.all()
        for place, key in enumerate(keys):
            if key.key_id == key_id:
                keys[place] = replace(key, revoked_at=now.isoformat(timespec="seconds"))
                self._write(keys)
                return keys[place]
        raise UnknownKeyError(key_id)

    def all(self) -> list[WriteKey]:
        """Every key, revoked ones too, in order of making.

        Raises:
            DefinitionError: The file of keys is damaged.
        """
        if not self._file.exists():
            return []
        try:
            rows = json.loads(self._file.read_text(encoding="utf-8"))
            return [WriteKey(**row | {"app_ids": tuple(row["app_ids"])}) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise DefinitionError(
                self._file, "keys", type(error).__name__, remedy="Restore it from a backup."
            ) from None

    def refresh(self) -> None:
        """Read the file anew if it changed."""
        try:
            changed_ns = self._file.stat().st_mtime_ns
        except FileNotFoundError:
            changed_ns = 0
        if changed_ns == self._read_ns:
            return
        keys = self.all()
        self._by_digest = {key.digest: key for key in keys}
        self._by_app = {app: key for key in keys if not key.revoked_at for app in key.app_ids}
        self._read_ns = changed_ns

    def find(self, key: str | None) -> WriteKey:
        """Look a key up; call `refresh` before, now and then.

        Raises:
            RefusedError: It is missing, unknown or revoked.
        """
        if not key:
            reason = "key_missing"
            raise RefusedError(reason)
        ours = _OURS.fullmatch(key)
        if ours and f"{zlib.crc32(ours[1].encode()):08x}" != ours[2]:
            reason = "key_invalid"
            raise RefusedError(reason)
        found = self._by_digest.get(_digest(key)) or self._by_app.get(key)
        if found is None:
            reason = "key_invalid"
            raise RefusedError(reason)
        if found.revoked_at:
            reason = "key_revoked"
            raise RefusedError(reason)
        return found

    def signing_secret(self, key: WriteKey) -> str:
        """The secret of a signed key: derived, so that none is stored."""
        master = self._keys.get("collector")
        return hmac.new(master, f"sign|{key.digest}".encode(), hashlib.sha256).hexdigest()

    def check_signature(
        self, key: WriteKey, headers: Mapping[str, str], body: bytes, *, now_s: float
    ) -> None:
        """Check the signature of a request over its timestamp and its body as it came.

        Raises:
            RefusedError: A header is missing, the time is off, or the body is not what was signed.
        """
        stamp = headers.get("x-clickstream-timestamp", "")
        given = headers.get("x-clickstream-signature", "")
        if not stamp or not given:
            reason = "signature_missing"
            raise RefusedError(reason)
        expected = signature(self.signing_secret(key), stamp, body)
        if not hmac.compare_digest(expected.encode(), given.encode()):
            reason = "signature_invalid"
            raise RefusedError(reason)
        if not stamp.isascii() or not stamp.isdigit() or abs(now_s - int(stamp)) > SIGNATURE_AGE_S:
            reason = "signature_expired"
            raise RefusedError(reason)

    def _write(self, keys: list[WriteKey]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(f".{KEYS_FILE}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump([asdict(key) for key in keys], file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._file)


def signature(secret: str, stamp: str, body: bytes) -> str:
    """What a signed request carries: ``v1=`` and HMAC-SHA256 of ``<timestamp>.<body>``."""
    message = stamp.encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _made(kind: Kind) -> str:
    """A new key: what it is, 128 random bits, and a checksum that finds typing errors."""
    body = secrets.token_hex(16)
    return f"cs_{kind}_{body}{zlib.crc32(body.encode()):08x}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _check_source(source: str, foreign: Mapping[str, str]) -> None:
    if not _SOURCE.fullmatch(source):
        name = "source"
        raise ParameterError(
            name,
            source,
            "must be lower-case letters, digits and _, a letter first",
            instead="'web'",
        )
    if (format_name := foreign.get(source)) is not None:
        name = "source"
        raise ParameterError(
            name, source, f"has an adapter of {format_name} files", instead=f"'{source}_live'"
        )
