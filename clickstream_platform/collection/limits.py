"""Limits: how large, deep and many what arrives may be."""

import zlib

from clickstream_platform.collection.refusals import RefusedError

MAX_BODY_BYTES = 1_000_000
"""Bytes of a request's body as it comes."""

MAX_INFLATED_BYTES = 5_000_000
"""Bytes of a body after gzip is undone."""

MAX_EVENTS = 500
"""Events of one request."""

MAX_EVENT_BYTES = 65_536
"""Bytes of one event as a record; what row rules allow, too."""

MAX_DEPTH = 32
"""Objects and lists of an event inside each other, the event itself included."""

MAX_KEYS = 1_000
"""Keys of an event in all of its objects together."""

MAX_URL_BYTES = 16_384
"""Bytes of a query, where the event stands in the address."""

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31
_HOLDERS = frozenset({dict, list})


def inflated(body: bytes, encoding: str = "") -> bytes:
    """Undo gzip, known by its first bytes whatever the headers say.

    Args:
        body: Body of a request.
        encoding: Its Content-Encoding.

    Raises:
        RefusedError: It is compressed in another way, twice, not wholly, or grows past
            `MAX_INFLATED_BYTES`; no more than that is ever held.
    """
    if encoding not in {"", "identity", "gzip"}:
        reason = "encoding_unknown"
        raise RefusedError(reason)
    if not body.startswith(GZIP_MAGIC):
        return body
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = stream.decompress(body, MAX_INFLATED_BYTES + 1)
    except zlib.error:
        reason = "encoding_invalid"
        raise RefusedError(reason) from None
    if len(plain) > MAX_INFLATED_BYTES:
        reason = "inflated_too_large"
        raise RefusedError(reason)
    if not stream.eof or stream.unused_data:
        reason = "encoding_invalid"
        raise RefusedError(reason)
    if plain.startswith(GZIP_MAGIC):
        reason = "encoded_twice"
        raise RefusedError(reason)
    return plain


def excess(value: object) -> str | None:
    """Reason for which a decoded event exceeds a limit; None where it does not."""
    keys, depth = 0, 0
    level = [value]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return "event_too_deep"
        deeper: list[object] = []
        for item in level:
            if type(item) is dict:
                keys += len(item)
                deeper += [held for held in item.values() if type(held) in _HOLDERS]
            elif type(item) is list:
                deeper += [held for held in item if type(held) in _HOLDERS]
        level = deeper
        if keys > MAX_KEYS:
            return "event_has_too_many_keys"
    return None
