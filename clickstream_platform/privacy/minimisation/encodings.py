"""Readings of a text whose characters are encoded: by percent, entities, JSON escapes."""

import html
import json
import re
import unicodedata
from urllib.parse import unquote, unquote_to_bytes

WIDE = (
    r"\x{ff10}-\x{ff19}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{ff05}\x{ff0b}\x{ff1d}\x{ff20}\x{ff3f}"
    r"\x{fe62}\x{fe6a}\x{fe6b}\x{1d400}-\x{1d7ff}"
)
"""Letters, digits and signs of East Asian keyboards and of ornamental writing."""

INVISIBLE = r"\x{ad}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{feff}"
"""What takes no place on a screen, and hides a value from whoever compares characters."""

BETWEEN = (
    r"\x{a0}\x{2000}-\x{200a}\x{202f}\x{205f}\x{2010}-\x{2015}\x{2212}\x{3000}\x{3002}"
    r"\x{ff08}\x{ff09}\x{ff0d}-\x{ff0f}\x{ff61}"
)
"""Blanks, dashes, dots and brackets that may stand between digits in place of those of ASCII."""

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_FORM = re.compile(
    "[" + re.sub(r"\\x\{(\w+)\}", lambda at: chr(int(at[1], 16)), WIDE + INVISIBLE + BETWEEN) + "]"
)
_INVISIBLE_CATEGORY = "Cf"
_LOOK_ALIKES = {
    "\u2212": "-",
    "\u3002": ".",
    **{chr(dash): "-" for dash in range(0x2010, 0x2016)},
}


def decoded_once(text: str) -> str:
    """Another reading of a text, with every encoding undone once."""
    if "%" in text:
        text = unquote(text)
    if "&" in text and ";" in text:
        text = html.unescape(text)
    if "\\u" in text:
        text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return plainly_written(text)


def plainly_written(text: str) -> str:
    """A text as ASCII would write it: without wide forms, odd blanks or invisible characters."""
    return text if text.isascii() else _FORM.sub(_plain_form, text)


def _plain_form(match: re.Match[str]) -> str:
    if unicodedata.category(match.group()) == _INVISIBLE_CATEGORY:
        return ""
    form = unicodedata.normalize("NFKC", match.group())
    return _LOOK_ALIKES.get(form, form)


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
