"""Identifiers and their pseudonyms: canonical form, keyed digests, tokens, surrogates."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Literal, get_args

import polars as pl

from clickstream_platform.errors import ParameterError

Namespace = Literal["visitor", "user", "other"]
"""Kind of identifier; equal text in two namespaces is two unrelated identifiers.

Identifiers of `other` are written with their type, as `email:ann@example.org`.
"""

PREFIXES: dict[str, str] = {"visitor": "pv_", "user": "pu_", "other": "pi_"}
"""What the pseudonyms of each namespace start with."""

TOKEN = r"^p[vui]_[0-9a-f]{32}$"  # noqa: S105 - a pattern, not a secret
"""Form of a pseudonym: prefix, then 128 random bits as hex."""

SURROGATE_DIGITS = 15
"""Hex digits of a pseudonym that make its surrogate: 60 bits, a non-negative int64."""

DIGEST_BYTES = 16
"""Bytes kept of an HMAC-SHA256: with 10 million identifiers two meet once in 10^24 tries."""

_BLOCK = 64


def check_namespace(namespace: str) -> None:
    """Refuse a namespace that does not exist.

    Raises:
        ParameterError: It is none of `Namespace`.
    """
    if namespace not in get_args(Namespace):
        name, rule = "namespace", "must be 'visitor', 'user' or 'other'"
        raise ParameterError(name, namespace, rule, instead="'visitor'")


def canonical(identifier: str) -> str:
    """Bring an identifier to the one form under which it is looked up.

    Unicode is normalised (NFKC) and outer blanks are cut. Case is folded in what contains an
    ``@``, for mail systems ignore it; elsewhere ``Ann`` and ``ann`` may be two accounts. Digits
    stay text: ``00123`` is not ``123``. Blank comes back empty. Doing it twice changes nothing.
    """
    text = identifier if identifier.isascii() else unicodedata.normalize("NFKC", identifier)
    text = text.strip()
    if "@" not in text:
        return text
    folded = text.casefold()
    return folded if folded.isascii() else unicodedata.normalize("NFKC", folded).strip()


def distinct_texts(column: pl.Series) -> list[str]:
    """List the distinct texts of a column, without null.

    Raises:
        ParameterError: The column holds something other than text.
    """
    if column.dtype == pl.Null:
        return []
    if column.dtype != pl.String:
        name, rule = "identifiers", "must be a column of text, for numbers lose zeros and digits"
        raise ParameterError(name, column.dtype, rule, instead="column.cast(pl.String)")
    return column.drop_nulls().unique().to_list()


class Digester:
    """HMAC-SHA256 of many texts under one key, cut to `DIGEST_BYTES`.

    The two padded key blocks are hashed once and their states copied, which is eight times as
    fast as `hmac.digest` for each text.
    """

    def __init__(self, key: bytes) -> None:
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def __repr__(self) -> str:
        return "Digester(…)"

    def digests(self, texts: Iterable[str]) -> list[bytes]:
        """Digest each text, in order."""
        inner, outer = self._inner, self._outer
        found = []
        for text in texts:
            message = inner.copy()
            message.update(text.encode("utf-8", "surrogatepass"))
            digest = outer.copy()
            digest.update(message.digest())
            found.append(digest.digest()[:DIGEST_BYTES])
        return found


def surrogates(column: str) -> pl.Expr:
    """Int64 surrogate of each pseudonym in a column; null where there is none.

    The vault keeps surrogates unique, so they join as well as pseudonyms do, at an eighth of
    the bytes.
    """
    token = pl.col(column)
    digits = token.str.slice(3, SURROGATE_DIGITS)
    return pl.when(token.str.contains(TOKEN)).then(
        digits.str.to_integer(base=16, dtype=pl.Int64, strict=False)
    )


def surrogate(token: str) -> int | None:
    """Surrogate of one pseudonym, or None if the text is not one."""
    return int(token[3 : 3 + SURROGATE_DIGITS], 16) if re.match(TOKEN, token) else None
