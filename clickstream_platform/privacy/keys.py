"""Keys of the privacy stores: one random key per purpose, each wrapped by one master key.

The master key is made on first use (a file that only its owner may read), or comes from
`CLICKSTREAM_VAULT_KEY`. Every other key is random, stored only wrapped, and can be destroyed on
its own: what it protected is then noise.
"""

import base64
import binascii
import hmac
import os
import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy.files import sync_folder

MASTER_VARIABLE = "CLICKSTREAM_VAULT_KEY"
"""Environment variable that may hold the master key: 32 bytes as hex or base64."""

KEY_BYTES = 32
"""Length of every key: 256 bits."""

NONCE_BYTES = 12
"""Length of a nonce of AES-GCM, drawn anew for every message."""

MASTER = "master"
"""Name of the key that wraps the others."""

_NAME = re.compile(r"[a-z][a-z0-9-]*")


class KeyUnavailableError(ClickstreamError, LookupError):
    """A key is missing, malformed or does not open what it should."""

    def __init__(self, name: str, reason: str, *, remedy: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"Key {name} {reason}. {remedy}")


class SealedDataError(ClickstreamError, ValueError):
    """Sealed bytes were changed, cut, sealed under another key, or belong to another context."""

    def __init__(self, context: str) -> None:
        self.context = context
        super().__init__(
            f"Sealed data of {context} cannot be opened: it was changed, or sealed with another "
            "key or for another context. Restore it together with its key folder."
        )


class Keys:
    """The keys below one folder; safe to use from several processes at once.

    Args:
        folder: Folder of the privacy stores; keys lie in its folder `keys`, one file each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "keys"
        self._open: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Keys({str(self.folder.parent)!r})"

    def has(self, name: str) -> bool:
        """Tell whether the key exists."""
        return self._file(name).exists()

    def names(self) -> list[str]:
        """List the keys that exist."""
        return sorted(file.stem for file in self.folder.glob("*.key") if file.stem != MASTER)

    def get(self, name: str, *, create: bool = True) -> bytes:
        """Return a key, made at random on first use.

        Args:
            name: Purpose of the key, such as ``vault-1``.
            create: Whether a missing key is made; else it is an error.

        Raises:
            KeyUnavailableError: It is missing, or the master key does not open it.
        """
        if (known := self._open.get(name)) is not None:
            return known
        file = self._file(name)
        if not file.exists():
            if not create:
                raise KeyUnavailableError(
                    name, "is missing", remedy=f"Restore {file} from a backup of the keys."
                )
            wrapped = _seal(self._master(), secrets.token_bytes(KEY_BYTES), name)
            _write_once(file, base64.b64encode(wrapped))
        self._open[name] = self._unwrap(name, file)
        return self._open[name]

    def destroy(self, name: str) -> None:
        """Forget a key for ever; destroying it twice is harmless."""
        self._open.pop(name, None)
        file = self._file(name)
        try:
            with file.open("r+b") as handle:
                handle.write(bytes(file.stat().st_size))
                handle.flush()
                os.fsync(handle.fileno())
            file.unlink()
        except FileNotFoundError:
            return
        sync_folder(file.parent)

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt bytes so that only `unseal` with the same context opens them (AES-256-GCM).

        Args:
            plain: What to protect.
            context: What it belongs to, such as ``request|<request_id>``; not secret.
        """
        return _seal(self.get("sealing"), plain, context)

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` made.

        Raises:
            SealedDataError: It was changed, or sealed with another key or context.
        """
        key = self.get("sealing", create=False)
        try:
            return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError):
            raise SealedDataError(context) from None

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KeyUnavailableError(
                name, "is not lower-case letters, digits and dashes", remedy="Rename it."
            )
        return self.folder / f"{name}.key"

    def _unwrap(self, name: str, file: Path) -> bytes:
        try:
            wrapped = base64.b64decode(file.read_bytes(), validate=True)
            return AESGCM(self._master()).decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], name.encode()
            )
        except (InvalidTag, ValueError, OSError):
            raise KeyUnavailableError(
                name,
                "cannot be opened by the master key",
                remedy=f"Set {MASTER_VARIABLE} to the value it was made with, or unset it if "
                f"the key in {self.folder} was used.",
            ) from None

    def _master(self) -> bytes:
        if given := os.environ.get(MASTER_VARIABLE, "").strip():
            return _parse_master(given)
        file = self.folder / f"{MASTER}.key"
        if not file.exists():
            # Another process may make the master key, then others, between the two looks.
            if any(self.folder.glob("*.key")) and not file.exists():
                raise KeyUnavailableError(
                    MASTER,
                    "is missing, though keys that it wraps exist",
                    remedy=f"Restore {file}, or set {MASTER_VARIABLE}.",
                )
            _write_once(file, secrets.token_hex(KEY_BYTES).encode())
        return _parse_master(file.read_text().strip())


def derive(key: bytes, label: str) -> bytes:
    """Derive the key of one use from the key of a purpose; uses cannot be told from each other."""
    return hmac.digest(key, label.encode(), "sha256")


def _parse_master(text: str) -> bytes:
    """Read 32 bytes written as hex or base64."""
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnavailableError(
            MASTER,
            "is not 32 bytes written as hex or base64",
            remedy="Restore it from a backup; only for a new data folder make one with "
            f"`openssl rand -hex 32` and put it into {MASTER_VARIABLE}.",
        )
    return key


def _seal(key: bytes, plain: bytes, context: str) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def _write_once(file: Path, content: bytes) -> None:
    """Create a file whole or not at all; the first of several writers wins."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_suffix(f".{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    sync_folder(file.parent)
