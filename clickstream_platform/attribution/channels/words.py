"""Words and hosts as the rules compare them."""

import re
from functools import lru_cache

SPACE = " \t\n\r"
"""What is stripped around a value."""

UNSET = ("", "(none)", "(not set)")
"""What analytics tools write where nothing is set."""

_SUFFIX = r"(?:(?:ac|co|com|edu|go|gov|ne|net|or|org)\.[a-z][a-z]|[^.]*[^.0-9][^.]*)"
"""Never digits alone: an IP address has neither site nor brand."""

ROOT = r"\.$"
"""The dot that a host may end with: www.example.com. is www.example.com."""

SITE = rf"([^.]+\.{_SUFFIX})$"
"""The part of a host below its public suffix: example.co.uk of shop.example.co.uk."""

BRAND = rf"([^.]+)\.{_SUFFIX}$"
"""The first word of that: example."""


LAST_SIGMA, SIGMA = "\u03c2", "\u03c3"
"""One letter, which only some engines write in another way at the end of a word."""

_MARK = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|[.$]", re.DOTALL)
"""What stands together in a pattern: a class, an escape, or a mark that `portable` writes anew."""


@lru_cache(maxsize=512)
def portable(pattern: str, *, end: str = r"\z") -> str:
    r"""A pattern as RE2 reads it, written so that Java and Python read it in the same way.

    Left to themselves they find an end before the last line break, too, and Java takes five
    characters for line breaks.

    Args:
        pattern: The pattern.
        end: How the end of a text is written: ``\z``, but for Python, which writes ``\Z``.
    """
    written = {".": r"[^\n]", "$": end}
    folded = pattern.replace(LAST_SIGMA, SIGMA)
    return _MARK.sub(lambda found: written.get(found[0], found[0]), folded)


def search(pattern: str, value: str) -> re.Match[str] | None:
    r"""Find a pattern in a value as engines do, whose classes (``\w``) are those of ASCII."""
    return re.search(portable(pattern, end=r"\Z"), value, re.ASCII)


def fold(value: str | None) -> str:
    """Lower case without space around it; empty for what counts as not set."""
    folded = (value or "").lower().replace(LAST_SIGMA, SIGMA).strip(SPACE)
    return "" if folded in UNSET else folded


def fold_host(value: str | None) -> str:
    """The same of a host, without the dot that stands for the root."""
    return fold(value).removesuffix(".")


def part_of(pattern: str, host: str) -> str:
    """The part of a host that `SITE` or `BRAND` picks, or nothing."""
    found = search(pattern, host)
    return found[1] if found else ""
