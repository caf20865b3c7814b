"""Kinds of identifiers and how far they are trusted, read from `identifiers.toml`."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field, field_validator

from clickstream_platform.definitions import Definition, own_or_shipped, read_definition

DEFINITION = Path(__file__).with_name("identifiers.toml")

LOGIN = "user"
"""Type of the identifier that a login proves."""

VISITOR = "visitor"
"""Type of the identifier that a browser or app carries."""


class IdentifierType(Definition):
    """One kind of identifier."""

    priority: int = Field(ge=1)
    """1 is the strongest."""
    limit: int = Field(ge=1)
    """Values that one other identifier, or one person, may have; 1 makes the type unique."""


class IdentifierRules(Definition):
    """Which identifiers there are, and when they merge nobody."""

    types: dict[str, IdentifierType]
    max_identifiers: int = Field(1_000, ge=2)
    """Identifiers of one person beyond which only logins hold."""
    max_links_per_hour: int = Field(20, ge=1)
    """New links of one identifier within an hour beyond which it merges nobody."""

    @field_validator("types")
    @classmethod
    def _must_have_both(cls, types: dict[str, IdentifierType]) -> dict[str, IdentifierType]:
        for name in (LOGIN, VISITOR):
            if name not in types:
                message = f"misses the type `{name}`"
                raise ValueError(message)
        if types[LOGIN].limit != 1:
            message = f"`{LOGIN}` must have limit 1: two known users are never merged"
            raise ValueError(message)
        if any(kind.priority <= types[LOGIN].priority for n, kind in types.items() if n != LOGIN):
            message = f"`{LOGIN}` must have the strongest priority: events carry users"
            raise ValueError(message)
        return types

    @property
    def limits(self) -> dict[str, int]:
        """Limit by type."""
        return {name: kind.limit for name, kind in self.types.items()}

    @property
    def priorities(self) -> dict[str, int]:
        """Priority by type."""
        return {name: kind.priority for name, kind in self.types.items()}


def load_rules(file: Path) -> IdentifierRules:
    """Read the kinds of identifiers.

    Args:
        file: A TOML file with a table per type, and the limits of one person.

    A file that cannot be used as written is a `DefinitionError`.
    """
    remedy = "Each [types.NAME] has `priority` and `limit`, whole numbers from 1."
    return read_definition(IdentifierRules, file, remedy=remedy)


@lru_cache(maxsize=8)
def identifier_rules(definitions: Path | None = None) -> IdentifierRules:
    """The rules: the user's own `identity/identifiers.toml`, else the shipped ones."""
    return load_rules(own_or_shipped(DEFINITION, definitions, folder="identity"))
