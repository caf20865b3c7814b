"""Blocked identifiers: values that trackers send for nobody, and that would merge everybody."""

from functools import lru_cache
from pathlib import Path

import polars as pl

from clickstream_platform.definitions import Definition, own_or_shipped, read_definition

DEFINITION = Path(__file__).with_name("blocked.toml")


class BlockedIds(Definition):
    """Which raw identifiers stand for nobody."""

    values: frozenset[str]
    patterns: tuple[str, ...] = ()

    def is_blocked(self, identifier: pl.Expr) -> pl.Expr:
        """True where a raw identifier stands for nobody; null where there is none."""
        bare = identifier.str.strip_chars().str.to_lowercase()
        found = bare.is_in(sorted(self.values))
        for pattern in self.patterns:
            found |= bare.str.contains(f"^(?:{pattern})$")
        return found


def load_blocked(file: Path) -> BlockedIds:
    """Read blocked identifiers.

    Args:
        file: A TOML file with ``values``, and ``patterns`` that match a whole identifier.

    A file that cannot be used as written is a `DefinitionError`.
    """
    remedy = "Keys are `values` and `patterns`, lists of text."
    return read_definition(BlockedIds, file, remedy=remedy)


@lru_cache(maxsize=8)
def blocked_ids(definitions: Path | None = None) -> BlockedIds:
    """The blocked identifiers: the user's own `identity/blocked.toml`, else the shipped ones."""
    return load_blocked(own_or_shipped(DEFINITION, definitions, folder="identity"))


BLOCKED_IDS = blocked_ids().values
"""The shipped values, trimmed and in lower case."""
