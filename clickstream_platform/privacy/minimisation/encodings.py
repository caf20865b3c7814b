"""Readings of a text whose characters are encoded: by percent, entities, JSON escapes."""

import html
import json
import re
import unicodedata
from urllib.parse import unquote, unquote_to_bytes

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


def decoded_once(text: str) -> str:
    """Another reading of a text, with every encoding undone once."""
    if "%" in text:
        text = unquote(text)
    if "&" in text and ";" in text:
        text = html.unescape(text)
    if "\\u" in text:
        text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def unquoted_plus(value: str) -> str:
    """`urllib.parse.unquote_plus`, but faster where nothing or only ASCII is encoded."""
    value = value.replace("+", " ")
    if "%" not in value:
        return value
    return unquote_to_bytes(value).decode("utf-8", "replace") if value.isascii() else unquote(value)


def unescaped(body: str) -> str:
    """What the inside of a JSON text says; itself where it is none."""
    try:
        text: str = json.loads(f'"{body}"', strict=False)
    except ValueError:
        return body
    return text


def is_json(text: str) -> bool:
    """Whether a text is JSON that can be read."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
