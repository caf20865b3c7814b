"""Blocked identifiers: values that trackers send for nobody, and that would merge everybody."""

from pathlib import Path

import polars as pl

from clickstream_platform.definitions import Definition, own_or_shipped, read_definition, read_once

DEFINITION = Path(__file__).with_name("blocked.toml")

QUOTES = ('"', "'")
"""What a value may stand between that was written as text twice."""


class BlockedIds(Definition):
    """Which raw identifiers stand for nobody."""

    values: frozenset[str]
    patterns: tuple[str, ...] = ()

    def is_blocked(self, identifier: pl.Expr) -> pl.Expr:
        """True where a raw identifier stands for nobody; null where there is none."""
        bare = identifier.str.normalize("NFKC").str.strip_chars()
        for quote in QUOTES:
            pair = (bare.str.len_chars() > 1) & bare.str.starts_with(quote)
            inner = bare.str.strip_prefix(quote).str.strip_suffix(quote).str.strip_chars()
            bare = pl.when(pair & bare.str.ends_with(quote)).then(inner).otherwise(bare)
        bare = bare.str.to_lowercase()
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


def blocked_ids(definitions: Path | None = None) -> BlockedIds:
    """The blocked identifiers: the user's own `identity/blocked.toml`, else the shipped ones.

    Read once while the file does not change.
    """
    return _read_blocked(own_or_shipped(DEFINITION, definitions, folder="identity"))


_read_blocked = read_once(load_blocked)


BLOCKED_IDS = blocked_ids().values
"""The shipped values, trimmed and in lower case."""
