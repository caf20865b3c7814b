"""Signatures of the privacy stores: Ed25519, with a key that never leaves its folder."""

import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clickstream_platform.privacy.keys import Keys

_KEY = "certificates"


def canonical_json(value: object) -> bytes:
    """Write a value as the one JSON text that hashes and signatures are made of."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii")


def sign(keys: Keys, content: Mapping[str, object]) -> str:
    """Sign content with the platform's key, made at random on first use; hexadecimal."""
    return _private(keys).sign(canonical_json(content)).hex()


def public_key(keys: Keys) -> str:
    """The key that anybody may check signatures with; hexadecimal."""
    return _private(keys).public_key().public_bytes_raw().hex()


def is_signed(content: Mapping[str, object], signature: str, *, key: str) -> bool:
    """Whether a signature was made over exactly this content, by the owner of the key."""
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(signature), canonical_json(content))
    except (InvalidSignature, ValueError):
        return False
    return True


def _private(keys: Keys) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(keys.get(_KEY))
