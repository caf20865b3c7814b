"""Reading the definitions of this package: TOML of ours, under files of the same name of a user."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from clickstream_platform.errors import DefinitionError

SHIPPED = Path(__file__).parent
"""Folder of the definitions that come with the platform."""


class Definition(BaseModel):
    """A table of a definition file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=Definition)


def read(kind: type[Kind], file: Path, *, table: str | None = None) -> Kind:
    """Read one file, as a whole or as the one table that it is; errors name file and key."""
    try:
        content = tomllib.loads(file.read_text())
        return kind.model_validate({table: content} if table else content)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(file, "syntax", str(error), remedy="It must be TOML.") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part != table) or "file"
        raise DefinitionError(
            file, key, first["msg"], remedy=f"See {SHIPPED / file.name} for the form."
        ) from None


def own_or_shipped(name: str, definitions: Path | None) -> Path:
    """The user's file of a name where there is one, else the shipped one."""
    own = definitions / name if definitions is not None else SHIPPED / name
    return own if own.exists() else SHIPPED / name
