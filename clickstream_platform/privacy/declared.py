"""Which fields of a source hold identifiers, as its adapter declares.

The declarations are read as data: the code that interprets them is above this package.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from clickstream_platform.settings import Settings

_CANONICAL = "canonical"


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the erasure must know of a source."""

    format: str = "auto"
    fields: tuple[tuple[str, str], ...] = ()
    """Namespace and path of each field that holds an identifier as it is."""
    delimiter: str = ","
    quote: str = '"'
    columns: tuple[str, ...] = ()
    """Names of columns of a CSV file that does not name them itself."""
    skip_lines: int = 0

    def paths(self, namespace: str) -> list[str]:
        """Paths of the fields of one namespace."""
        return [path for space, path in self.fields if space == namespace]


def declared(settings: Settings, source: str) -> Declared:
    """Read what the adapter of a landing folder declares; that of the canonical source if none."""
    for name in (source, _CANONICAL):
        for text in _texts(settings, name):
            return _read(tomllib.loads(text))
    return Declared()


def _texts(settings: Settings, name: str) -> Iterator[str]:
    own = settings.definitions / "sources" / f"{name}.toml" if settings.definitions else Path()
    if own.is_file():
        yield own.read_text(encoding="utf-8")
    shipped = files("clickstream_platform").joinpath("events", "sources", f"{name}.toml")
    if shipped.is_file():
        yield shipped.read_text(encoding="utf-8")


def _read(adapter: dict[str, object]) -> Declared:
    rules = adapter.get("fields")
    found: list[tuple[str, str]] = []
    for namespace in ("visitor", "user"):
        rule = rules.get(f"{namespace}_id") if isinstance(rules, dict) else None
        if isinstance(rule, str):
            found.append((namespace, rule))
        elif isinstance(rule, dict):
            paths = [rule["field"]] if "field" in rule else rule.get("fields", [])
            found.extend((namespace, str(path)) for path in paths)
    columns = adapter.get("columns")
    skipped = adapter.get("skip_lines")
    return Declared(
        format=str(adapter.get("format", "auto")),
        fields=tuple(found),
        delimiter=str(adapter.get("delimiter", ",")),
        quote=str(adapter.get("quote", '"')),
        columns=tuple(map(str, columns)) if isinstance(columns, list) else (),
        skip_lines=skipped if isinstance(skipped, int) else 0,
    )
