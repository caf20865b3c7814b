"""Kinds of identifiers and how far they are trusted, read from `identifiers.toml`."""

import re
from pathlib import Path
from typing import Literal

import ibis
import ibis.expr.types as ir
from pydantic import Field, field_validator

from clickstream_platform.definitions import Definition, own_or_shipped, read_definition, read_once
from clickstream_platform.errors import ParameterError

DEFINITION = Path(__file__).with_name("identifiers.toml")

LOGIN = "user"
"""Type of the identifier that a login proves."""

VISITOR = "visitor"
"""Type of the identifier that a browser or app carries."""

TYPE = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What types are called."""

_ABROAD = re.compile(r"^(?:00)+")
_NO_DIGIT = re.compile(r"[^0-9]")


class IdentifierType(Definition):
    """One kind of identifier."""

    priority: int = Field(ge=1)
    """1 is the strongest."""
    limit: int = Field(ge=1)
    """Values that one other identifier, or one person, may have; 1 makes the type unique."""
    form: Literal["text", "lower", "digits"] = "text"
    """How values are written before they are compared."""

    def normalised(self, value: str) -> str:
        """A value in the one form under which it is compared; blank if nothing is left of it.

        ``text`` cuts outer blanks, ``lower`` folds case as well, ``digits`` keeps digits alone and
        takes a leading ``00`` for ``+``. Doing it twice changes nothing.
        """
        if self.form == "digits":
            return _ABROAD.sub("", _NO_DIGIT.sub("", value))
        return value.strip().lower() if self.form == "lower" else value.strip()


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
        if strange := sorted(name for name in types if not TYPE.fullmatch(name)):
            message = f"{strange[0]!r}: a type is called by small letters, digits and _"
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

    @property
    def ranks(self) -> dict[str, int]:
        """Place of each type from the strongest on; of two with one priority, by name."""
        order = sorted(self.types, key=lambda name: (self.types[name].priority, name))
        return {name: rank for rank, name in enumerate(order)}

    @property
    def further(self) -> list[str]:
        """Types beside visitor and user, which sources may declare."""
        return sorted(set(self.types) - {LOGIN, VISITOR})

    def written(self, name: str, value: str) -> str:
        """An identifier of a further type as the one text under which it is known: `type:value`.

        Raises:
            ParameterError: There is no such type, or nothing is left of the value in its form.
        """
        if name not in self.further:
            what, rule = "type", f"is one of {', '.join(self.further) or 'none'}"
            raise ParameterError(what, name, rule, instead=next(iter(self.further), LOGIN))
        if not (normal := self.types[name].normalised(value)):
            # What was given is personal, and is not told.
            rule = "must hold digits" if self.types[name].form == "digits" else "must not be blank"
            raise ParameterError(name, normal, rule, instead="4711")
        return f"{name}:{normal}"


def by_type(kind: ir.Column, values: dict[str, int]) -> ir.Value:
    """A number of each type; of a type that the rules do not name, as of the least trusted."""
    cases = [(kind == name, ibis.literal(value, "int64")) for name, value in values.items()]
    return ibis.cases(*cases, else_=ibis.literal(max(values.values()), "int64"))


def load_rules(file: Path) -> IdentifierRules:
    """Read the kinds of identifiers.

    Args:
        file: A TOML file with a table per type, and the limits of one person.

    A file that cannot be used as written is a `DefinitionError`.
    """
    remedy = "Each [types.NAME] has `priority` and `limit`, whole numbers from 1."
    return read_definition(IdentifierRules, file, remedy=remedy)


def identifier_rules(definitions: Path | None = None) -> IdentifierRules:
    """The rules: the user's own `identity/identifiers.toml`, else the shipped ones.

    Read once while the file does not change.
    """
    return _read_rules(own_or_shipped(DEFINITION, definitions, folder="identity"))


_read_rules = read_once(load_rules)
