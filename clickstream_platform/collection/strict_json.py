"""JSON, read so that every later reader reads the same: what is ambiguous is refused.

Parsers disagree on repeated keys, NaN, numbers beyond 64 bits, lone surrogates, NUL and byte
order marks. msgspec refuses most of them; what it lets pass is looked for here, cheaply where the
bytes show that there is nothing to find.
"""

import re
from itertools import chain

import msgspec

from clickstream_platform.collection.refusals import RefusedError

MAX_INTEGER = 2**63 - 1
"""Largest whole number that every engine of ours holds."""

_HOLDERS = frozenset({dict, list})
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_LONG_NUMBER = b"0" * 19
_ANY_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?', re.DOTALL)


def strict_json(body: bytes) -> object:
    """Decode a body.

    Raises:
        RefusedError: It is not JSON, or not the same JSON to everybody.
    """
    try:
        value = _decode(body)
    except msgspec.ValidationError:
        reason = "json_number_out_of_range"
        raise RefusedError(reason) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        reason = "json_invalid"
        raise RefusedError(reason) from None
    # Most clients write JSON as it is written here: then every key that stood there is still there.
    if _encode(value) != body and _keys(value) != sum(map(bool, _TEXT.findall(body))):
        reason = "json_key_repeated"
        raise RefusedError(reason)
    if b"\\" in body and b"\\u0000" in body and any("\0" in text for text in _texts(value)):
        reason = "json_text_with_nul"
        raise RefusedError(reason)
    if _LONG_NUMBER in body.translate(_ANY_DIGIT) and any(
        isinstance(leaf, int) and abs(leaf) > MAX_INTEGER for leaf in _leaves(value)
    ):
        reason = "json_number_out_of_range"
        raise RefusedError(reason)
    return value


def _keys(value: object) -> int:
    """Keys of all objects together."""
    count, waiting = 0, [value]
    for item in waiting:  # grows while it is read
        if type(item) is dict:
            count += len(item)
            waiting += [held for held in item.values() if type(held) in _HOLDERS]
        elif type(item) is list:
            waiting += [held for held in item if type(held) in _HOLDERS]
    return count


def _leaves(value: object) -> list[object]:
    """Whatever is neither object nor list, keys included."""
    found: list[object] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += chain(item.keys(), item.values())
        elif isinstance(item, list):
            waiting += item
        else:
            found.append(item)
    return found


def _texts(value: object) -> list[str]:
    return [leaf for leaf in _leaves(value) if isinstance(leaf, str)]
