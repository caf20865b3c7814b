"""Reading business definitions: TOML of ours, and files of the same name in a user's folder."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from clickstream_platform.errors import DefinitionError


class Definition(BaseModel):
    """A table of a definition file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=BaseModel)


def own_or_shipped(
    shipped: Path, definitions: Path | None, *, folder: str = "", name: str | None = None
) -> Path:
    """The user's file where there is one, else the shipped one.

    Args:
        shipped: The file that comes with the platform.
        definitions: The user's folder of definitions, if there is one.
        folder: Folder in there.
        name: What the user's file is called, unless as the shipped one.
    """
    own = definitions / folder / (name or shipped.name) if definitions is not None else shipped
    return own if own.exists() else shipped


def read_definition(kind: type[Kind], file: Path, *, remedy: str, table: str | None = None) -> Kind:
    """Read one file, as a whole or as the one table that it is."""
    content = read_toml(file)
    return checked(kind, {table: content} if table else content, file, remedy=remedy, hidden=table)


def read_toml(file: Path) -> dict[str, Any]:
    """Read the tables of a file.

    Raises:
        DefinitionError: It is not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DefinitionError(file, "syntax", str(error), remedy="It must be TOML.") from None


def checked(  # noqa: PLR0913 - what is checked, and what an error says of it
    kind: type[Kind],
    content: object,
    file: Path,
    *,
    remedy: str,
    hidden: str | None = None,
    under: str = "",
    whole: str = "file",
) -> Kind:
    """Check what a file says.

    Args:
        kind: Model that says what may be there.
        content: Tables of the file, or a part of them.
        file: Named in an error.
        remedy: What to do about an error.
        hidden: A key of ``content`` that is not in the file, and so not named.
        under: Where in the file the content stands.
        whole: What is named where no single key is at fault.

    Raises:
        DefinitionError: It cannot be used as written; file and key are named.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [under, *(str(part) for part in first["loc"] if part != hidden)]
        key = ".".join(filter(None, parts)) or whole
        reason = first["msg"].removeprefix("Value error, ")
        raise DefinitionError(file, key, reason, remedy=remedy) from None
