"""Words and hosts as the rules compare them."""

import re

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


def fold(value: str | None) -> str:
    """Lower case without space around it; empty for what counts as not set."""
    folded = (value or "").lower().strip(SPACE)
    return "" if folded in UNSET else folded


def fold_host(value: str | None) -> str:
    """The same of a host, without the dot that stands for the root."""
    return re.sub(ROOT, "", fold(value))


def part_of(pattern: str, host: str) -> str:
    """The part of a host that `SITE` or `BRAND` picks, or nothing."""
    found = re.search(pattern, host)
    return found[1] if found else ""
