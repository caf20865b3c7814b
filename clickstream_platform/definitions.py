"""Reading business definitions: TOML of ours, and files of the same name in a user's folder."""

import tomllib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from clickstream_platform.errors import DefinitionError


class Definition(BaseModel):
    """A table of a definition file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=BaseModel)
Read = TypeVar("Read")


WORDS = {
    "dict_type": "must be a table, such as { key = value }",
    "extra_forbidden": "is no key here",
    "missing": "is missing",
    "model_type": "must be a table, such as { key = value }",
    "tuple_type": "must be a list",
}
"""Faults that Pydantic tells in words of Python, in words of TOML."""


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


def read_once(read: Callable[[Path], Read]) -> Callable[[Path], Read]:
    """Have a reader of files keep what a file says for as long as the file is the same one.

    Processes live on while people edit definitions; inode, size and time tell that one was.
    """

    @lru_cache(maxsize=64)
    def kept(file: Path, _look: tuple[int, int, int]) -> Read:
        return read(file)

    @wraps(read)
    def current(file: Path) -> Read:
        look = file.stat()
        return kept(file, (look.st_ino, look.st_size, look.st_mtime_ns))

    return current


def read_toml(file: Path) -> dict[str, Any]:
    """Read the tables of a file; a byte order mark, as some editors write it, is passed over.

    Raises:
        DefinitionError: It is not TOML, or more than can be read.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except RecursionError:
        reason = "brackets within each other without end"
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        reason = str(error)
    raise DefinitionError(file, "syntax", reason, remedy="It must be TOML.")


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
        place, reason = fault_of(error, kind)
        parts = [under, *(str(part) for part in place if part != hidden)]
        key = ".".join(filter(None, parts)) or whole
        raise DefinitionError(file, key, reason, remedy=remedy) from None


def fault_of(error: ValidationError, kind: type[BaseModel]) -> tuple[tuple[int | str, ...], str]:
    """Place and reason of one fault: a key that is misspelt rather than that it is missing."""
    faults = error.errors()
    for fault in faults:
        if fault["type"] == "extra_forbidden":
            *within, name = fault["loc"]
            if close := get_close_matches(str(name), _keys(kind, within), n=1):
                return fault["loc"], f"is no key here (did you mean {close[0]}?)"
    first = faults[0]
    return first["loc"], WORDS.get(first["type"], first["msg"].removeprefix("Value error, "))


def _keys(kind: type[BaseModel], place: Sequence[int | str]) -> set[str]:
    """Keys that may stand at a place; numbers and names of the user's own are passed over."""
    models = _models(kind)
    for part in place:
        if fields := [_fields(model)[part] for model in models if part in _fields(model)]:
            models = [inner for field in fields for inner in _models(field.annotation)]
    return {str(name) for model in models for name in _fields(model)}


def _models(annotation: object) -> list[type[BaseModel]]:
    """Models within a type, such as `dict[str, Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _fields(model: type[BaseModel]) -> dict[int | str, FieldInfo]:
    """Fields of a model by what a file calls them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
