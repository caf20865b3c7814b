"""Which fields of a source hold identifiers, as its adapter declares.

The declarations are read as data: the code that interprets them is above this package.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

from clickstream_platform.identity import IdentifierRules, identifier_rules
from clickstream_platform.privacy.identifiers import canonical
from clickstream_platform.settings import Settings

_CANONICAL = "canonical"
_SNOWPLOW = "snowplow_tsv"


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the erasure must know of a source."""

    format: str = "auto"
    fields: tuple[tuple[str, str], ...] = ()
    """Type and path of each field that holds an identifier as it is."""
    rules: IdentifierRules = field(default_factory=identifier_rules)
    """How values of each type are compared."""
    delimiter: str = ","
    quote: str = '"'
    columns: tuple[str, ...] = ()
    """Names of columns of a CSV file that does not name them itself."""
    skip_lines: int = 0

    def of_file(self, path: Path) -> "Declared":
        """The same for one file, whose name may say that it is tabbed."""
        is_tabbed = ".tsv" in map(str.lower, path.suffixes) and self.delimiter == ","
        return replace(self, delimiter="\t") if is_tabbed else self

    def is_table(self, path: Path) -> bool:
        """Whether a text file is read as CSV."""
        if self.format in {"auto", "ga4"}:
            return bool({".csv", ".tsv"} & {suffix.lower() for suffix in path.suffixes})
        return self.format == "csv"

    def paths(self, kind: str) -> list[str]:
        """Paths of the fields of one type of identifier."""
        return [path for each, path in self.fields if each == kind]

    @property
    def kinds(self) -> list[str]:
        """Types of identifiers that the source has, visitor and user among them in any case."""
        return ["visitor", "user", *self.further]

    @property
    def further(self) -> list[str]:
        """Types that the source has beside visitor and user."""
        return sorted({kind for kind, _ in self.fields} - {"visitor", "user"})

    def is_spelled_freely(self, kind: str) -> bool:
        """Whether values of a type may be written so that none of their texts is alike."""
        return bool(self.paths(kind)) and self.rules.types[kind].form == "digits"

    def normalised(self, kind: str, value: str) -> str:
        """A value as it is compared."""
        if kind in {"visitor", "user"}:
            return canonical(value)
        return canonical(self.rules.types[kind].normalised(value))


def declared(settings: Settings, source: str) -> Declared:
    """Read what the adapter of a landing folder declares; that of the canonical source if none."""
    for name in (source, _CANONICAL):
        for text in _texts(settings, name):
            return _read(tomllib.loads(text), identifier_rules(settings.definitions))
    return Declared()


def _texts(settings: Settings, name: str) -> Iterator[str]:
    own = settings.definitions / "sources" / f"{name}.toml" if settings.definitions else Path()
    if own.is_file():
        yield own.read_text(encoding="utf-8")
    shipped = files("clickstream_platform").joinpath("events", "sources", f"{name}.toml")
    if shipped.is_file():
        yield shipped.read_text(encoding="utf-8")


def _snowplow_columns() -> list[str]:
    listed = files("clickstream_platform").joinpath("events", "snowplow_fields.txt")
    return listed.read_text(encoding="utf-8").split()


def _read(adapter: dict[str, object], rules: IdentifierRules) -> Declared:
    fields, further = (adapter.get(name) for name in ("fields", "identifiers"))
    declared = [
        (kind, fields.get(f"{kind}_id") if isinstance(fields, dict) else None)
        for kind in ("visitor", "user")
    ]
    if isinstance(further, dict):
        declared += [(kind, rule) for kind, rule in further.items() if kind in rules.further]
    found: list[tuple[str, str]] = []
    for kind, rule in declared:
        if isinstance(rule, str):
            found.append((kind, rule))
        elif isinstance(rule, dict):
            paths = [rule["field"]] if "field" in rule else rule.get("fields", [])
            found.extend((kind, str(path)) for path in paths)
    if adapter.get("format") == _SNOWPLOW:  # a table whose columns nobody needs to name
        adapter = adapter | {"delimiter": "\t", "quote": "", "columns": _snowplow_columns()}
    columns = adapter.get("columns")
    skipped = adapter.get("skip_lines")
    return Declared(
        format=str(adapter.get("format", "auto")),
        fields=tuple(found),
        rules=rules,
        delimiter=str(adapter.get("delimiter", ",")),
        quote=str(adapter.get("quote", '"')),
        columns=tuple(map(str, columns)) if isinstance(columns, list) else (),
        skip_lines=skipped if isinstance(skipped, int) else 0,
    )
