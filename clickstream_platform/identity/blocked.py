"""Blocked identifiers: values that trackers send for nobody, and that would merge everybody."""

import tomllib
from functools import lru_cache
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from clickstream_platform.errors import DefinitionError

DEFINITION = Path(__file__).with_name("blocked.toml")


class BlockedIds(BaseModel):
    """Which raw identifiers stand for nobody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    Raises:
        DefinitionError: The file cannot be used as written.
    """
    try:
        return BlockedIds.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(file, "syntax", str(error), remedy="It must be TOML.") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DefinitionError(
            file, key, first["msg"], remedy="Keys are `values` and `patterns`, lists of text."
        ) from None


@lru_cache(maxsize=8)
def blocked_ids(definitions: Path | None = None) -> BlockedIds:
    """The blocked identifiers: the user's own `identity/blocked.toml`, else the shipped ones."""
    own = definitions / "identity" / "blocked.toml" if definitions else None
    return load_blocked(own if own and own.exists() else DEFINITION)


BLOCKED_IDS = blocked_ids().values
"""The shipped values, trimmed and in lower case."""


def is_blocked(identifier: pl.Expr) -> pl.Expr:
    """True where a raw identifier stands for nobody, by the shipped rules."""
    return blocked_ids().is_blocked(identifier)
