"""Sources as declarations: where files land, their format, and how fields become columns.

An adapter is one TOML file. The shipped ones lie in `sources/` beside this module; a file of the
same name in the user's `sources/` folder replaces one, a new name adds a source.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import duckdb
import sqlglot
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlglot import exp
from sqlglot.errors import SqlglotError

from clickstream_platform.definitions import checked, own_or_shipped, read_once, read_toml
from clickstream_platform.errors import ClickstreamError, DefinitionError
from clickstream_platform.events.columns import SNOWPLOW_JSON, fixed_columns, ga4_fields
from clickstream_platform.identity import identifier_rules
from clickstream_platform.settings import is_time_zone

SHIPPED = Path(__file__).parent / "sources"
"""Folder of the adapters that come with the platform."""

CANONICAL = "canonical"
"""Adapter of a landing folder that no adapter is named after."""

TEXT_FIELDS = (
    "event_id",
    "event_name",
    "app_id",
    "platform",
    "collection_source",
    "tracker_session_id",
    "ip_address",
    "user_agent",
    "country",
    "language",
    "page_url",
    "page_title",
    "referrer_url",
    "campaign_source",
    "campaign_medium",
    "campaign_name",
    "campaign_term",
    "campaign_content",
    "product_id",
    "order_id",
    "revenue",
    "currency",
    "engaged_time_ms",
    "consent_analytics",
    "consent_marketing",
    "consent_personalization",
    "is_synthetic",
    "properties",
    "entities",
    "bot_signals",
    "refusal",
)
TIME_FIELDS = ("occurred_at", "created_at", "sent_at", "received_at")
PERSON_FIELDS = ("visitor_id", "user_id")
FIELDS = (*PERSON_FIELDS, *TIME_FIELDS, *TEXT_FIELDS)
"""Everything that an adapter can map a record to."""

FURTHER = "identifier "
"""What the fields of further identifiers begin with, before their type."""

TimeFormat = str
"""`auto` (RFC 3339 or epoch digits), a name of `TIME_FORMATS`, or a strptime format."""

_FORBIDDEN = (exp.Subquery, exp.Select, exp.Table, exp.Command, exp.Star, exp.Window)
TIME_FORMATS = ("auto", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns")
"""Formats of instants that have a name."""

_PATH = re.compile(r"^[^.\"'\\]+(\.[^.\"'\\]+)*$")


class Section(BaseModel):
    """A part of a definition; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldRule(Section):
    """How one canonical field comes out of a record: a field, a constant, or an expression."""

    field: str | None = Field(None, description="Path in the record, with dots: `context.ip`.")
    fields: tuple[str, ...] = Field((), description="Paths; the first that holds a value is taken.")
    sql: str | None = Field(None, description="DuckDB expression over the record's fields.")
    value: str | None = Field(None, description="The same text for every record.")
    map: dict[str, str] = Field(default_factory=dict, description="Values renamed; others pass.")
    default: str | None = Field(None, description="Text where nothing else gives one.")
    format: TimeFormat = Field("auto", description="How an instant is written.")

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        given = [self.field is not None, bool(self.fields), self.sql is not None]
        if sum([*given, self.value is not None]) != 1:
            message = "needs exactly one of field, fields, sql and value"
            raise ValueError(message)
        try:
            paths = self.paths
        except SqlglotError as error:
            message = f"sql {str(error).splitlines()[0]}"
            raise ValueError(message) from None
        for path in paths:
            if not _PATH.match(path):
                message = f"is not a path: {path!r}; write names joined by dots. A column of CSV "
                message += "with such a name gets another one by columns, with skip_lines = 1"
                raise ValueError(message)
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths in the record that the rule reads."""
        if self.field is not None:
            return (self.field,)
        if self.fields:
            return self.fields
        return columns_of(self.sql) if self.sql is not None else ()

    def text_sql(self, *, tried: bool = False) -> str:
        """DuckDB expression for the field as text, over one column for each path.

        Args:
            tried: Null where ``sql`` fails, instead of an error.
        """
        if self.value is not None:
            text = quoted(self.value)
        elif self.sql is not None:
            text = f"CAST(({self.sql}) AS VARCHAR)"
            text = f"TRY({text})" if tried else text
        elif len(self.paths) == 1:
            text = named(self.paths[0])
        else:
            filled = [f"nullif({named(path)}, '')" for path in self.paths]
            text = f"coalesce({', '.join(filled)})"
        if self.map:
            cases = " ".join(f"WHEN {quoted(k)} THEN {quoted(v)}" for k, v in self.map.items())
            text = f"CASE {text} {cases} ELSE {text} END"
        return text if self.default is None else f"coalesce({text}, {quoted(self.default)})"


class Adapter(Section):
    """One source."""

    name: str = Field(pattern="^[a-z][a-z0-9_]{0,39}$", description="Name of its landing folder.")
    description: str = Field(description="What the source is, for people.")
    format: Literal["ndjson", "csv", "parquet", "combined_log", "snowplow_tsv", "ga4", "auto"] = (
        Field(description="How its files are written; gz is seen by itself.")
    )
    live: bool = Field(
        default=True,
        description="Events come as they happen; false for history, which is never late.",
    )
    lateness_horizon_days: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Oldest event it may still deliver; else the setting.",
    )
    time_zone: str = Field("UTC", description="Zone of instants that name none.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="Of CSV files.")
    quote: str = Field('"', max_length=1, description="Of CSV files; empty for none.")
    columns: tuple[str, ...] = Field((), description="Of CSV files; else their first line.")
    skip_lines: int = Field(0, ge=0, description="Lines before the data, where columns are given.")
    requires_identity: bool = Field(
        default=True, description="Refuse records without visitor and user."
    )
    redact: tuple[str, ...] = Field((), description="Paths of fields dropped before disk.")
    properties: tuple[str, ...] = Field(
        (), description="Fields kept as properties, where the source has no properties object."
    )
    fields: dict[str, FieldRule] = Field(description="The mapping, by canonical field.")
    identifiers: dict[str, FieldRule] = Field(
        default_factory=dict, description="Further identifiers of the person, by their type."
    )
    file: str = Field("", exclude=True, description="Where it was read from.")
    sha256: str = Field("", exclude=True, description="Digest of that file.")

    @model_validator(mode="before")
    @classmethod
    def _accept_short_rules(cls, data: object) -> object:
        if not isinstance(data, dict) or not isinstance(data.get("fields"), dict):
            return data
        # Noted at the collector's door and at landing, whatever the source.
        rules = {"fields": {"bot_signals": {"field": "bot_signals"}} | _rules(data["fields"])}
        if isinstance(data.get("identifiers"), dict):
            rules["identifiers"] = _rules(data["identifiers"])
        return data | rules

    @model_validator(mode="after")
    def _maps_known_fields(self) -> Self:
        if unknown := sorted(set(self.fields) - set(FIELDS)):
            message = f"unknown fields {unknown}{_meant(unknown[0], FIELDS)}; known: "
            message += ", ".join(FIELDS)
            raise ValueError(message)
        if self.properties and "properties" in self.fields:
            message = "properties are either mapped or listed, not both"
            raise ValueError(message)
        if len({name.lower() for name in self.columns if name}) != len(self.columns):
            message = "columns must name every column once; capitals do not count"
            raise ValueError(message)
        if self.skip_lines and not self.columns:
            message = "skip_lines needs columns: without them the first line names the columns"
            raise ValueError(message)
        if (
            self.delimiter in f"{self.quote}\r\n\0"
            or not self.quote.isascii()
            or self.quote == "\0"
        ):
            message = "delimiter and quote must differ, and neither ends a line; quote is ASCII"
            raise ValueError(message)
        if not is_time_zone(self.time_zone):
            message = f"{self.time_zone!r} is not a time zone"
            raise ValueError(message)
        return self

    def rule_sql(self, name: str, *, tried: bool = False) -> str:
        """DuckDB expression of a canonical field as text; NULL where it is not mapped."""
        if name == "properties" and self.properties:
            pairs = ", ".join(f"{quoted(path)}, {named(path)}" for path in self.properties)
            return f"CAST(json_object({pairs}) AS VARCHAR)"
        rule = self.rule(name)
        return "CAST(NULL AS VARCHAR)" if rule is None else rule.text_sql(tried=tried)

    def failed_sql(self, *names: str) -> str:
        """DuckDB expression of what is wrong with a record for which expressions of fields fail."""
        rules = {name: rule for name in names if (rule := self.rule(name)) and rule.sql}
        failed = ", ".join(
            f"CASE WHEN TRY(({rule.sql}) IS NULL) IS NULL THEN {quoted(name)} END"
            for name, rule in rules.items()
        )
        return f"'its sql fails for ' || nullif(concat_ws(', ', {failed or 'NULL'}), '')"

    @property
    def further(self) -> dict[str, str]:
        """Type of each field of a further identifier, in order."""
        return {f"{FURTHER}{name}": name for name in sorted(self.identifiers)}

    def rule(self, name: str) -> FieldRule | None:
        """How a field comes out of a record, a canonical one or one of `further`."""
        if name.startswith(FURTHER):
            return self.identifiers.get(name.removeprefix(FURTHER))
        return self.fields.get(name)

    def paths(self, *names: str) -> tuple[str, ...]:
        """Paths of the record that the given fields read."""
        found = {path for n in names if (rule := self.rule(n)) for path in rule.paths}
        if "properties" in names:
            found |= set(self.properties)
        return tuple(sorted(found))


def _rules(given: dict[str, object]) -> dict[str, object]:
    """Rules of fields, where a text alone is a path."""
    return {n: {"field": rule} if isinstance(rule, str) else rule for n, rule in given.items()}


class UnknownSourceError(ClickstreamError, LookupError):
    """No adapter has the name."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(
            f"no source is named {name!r}. Known: {', '.join(known)}. "
            "Add one as sources/<name>.toml in your definitions folder."
        )


def named(path: str) -> str:
    """The column that holds a path of the record."""
    return '"' + path.replace('"', '""') + '"'


def quoted(text: str) -> str:
    """A text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@lru_cache(maxsize=512)
def columns_of(expression: str) -> tuple[str, ...]:
    """Columns that a scalar expression reads.

    Raises:
        SqlglotError: It is not one scalar expression.
    """
    tree = sqlglot.parse_one(expression, dialect="duckdb")
    if isinstance(tree, _FORBIDDEN) or any(tree.find_all(*_FORBIDDEN)):
        message = f"is not one scalar expression: {expression}"
        raise SqlglotError(message)
    # Parameters of lambdas look like columns.
    bound = {str(p.this) for f in tree.find_all(exp.Lambda) for p in f.expressions}
    return tuple(sorted({c.name for c in tree.find_all(exp.Column)} - bound))


class Adapters(Mapping[str, Adapter]):
    """Adapters by name; whoever asks for one that cannot be used as written is told why."""

    def __init__(self, read: Mapping[str, Adapter | DefinitionError]) -> None:
        self._read = read

    def __getitem__(self, name: str) -> Adapter:
        found = self._read[name]
        if isinstance(found, DefinitionError):
            raise found.with_traceback(None)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._read

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)

    @property
    def sound(self) -> dict[str, Adapter]:
        """Those that can be used."""
        return {name: it for name, it in self._read.items() if isinstance(it, Adapter)}

    @property
    def faults(self) -> dict[str, DefinitionError]:
        """What is wrong with the others: their sources are stopped, and no others."""
        return {name: it for name, it in self._read.items() if isinstance(it, DefinitionError)}

    def stops(self, source: str) -> bool:
        """Whether a landing folder cannot be read: its adapter, or the canonical one, is wrong."""
        return (source if source in self else CANONICAL) in self.faults


def load_adapters(definitions: Path | None = None) -> Mapping[str, Adapter]:
    """Read every adapter, shipped and the user's, by name; a wrong one is a `DefinitionError`."""
    return dict(read_adapters(definitions))


def read_adapters(definitions: Path | None = None) -> Adapters:
    """Read every adapter, shipped and the user's; a wrong one is no matter of the others."""
    files = {file.stem: file for file in sorted(SHIPPED.glob("*.toml"))}
    if definitions is not None:
        files |= {file.stem: file for file in sorted((definitions / "sources").glob("*.toml"))}
    return Adapters({name: _tried(file, definitions) for name, file in sorted(files.items())})


def require_adapters(sources: Iterable[str], definitions: Path | None) -> None:
    """Refuse what is to be done of some sources while one of their adapters is wrong."""
    adapters = read_adapters(definitions)
    for source in sources:
        adapter_for(source, adapters)


def foreign_sources(definitions: Path | None = None) -> dict[str, str]:
    """Sources whose adapters do not read the platform's own records, and the format they read."""
    adapters = read_adapters(definitions)
    own = adapters[CANONICAL].fields["event_name"]
    return {
        name: adapter.format
        for name, adapter in adapters.sound.items()
        if adapter.fields.get("event_name") != own
    }


def adapter_file(source: str, definitions: Path | None = None) -> Path:
    """The file that says how a landing folder is read: the user's own, a shipped or the usual."""
    own = [definitions / "sources" / f"{source}.toml"] if definitions is not None else []
    usual = own_or_shipped(SHIPPED / f"{CANONICAL}.toml", definitions, folder="sources")
    return next((f for f in (*own, SHIPPED / f"{source}.toml") if f.exists()), usual)


def sha256_of_adapter(file: Path) -> str:
    """SHA-256 of an adapter as it is written now."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def adapter_for(source: str, adapters: Mapping[str, Adapter]) -> Adapter:
    """The adapter of a landing folder: its own, or the canonical one under its name."""
    if source in adapters:
        return adapters[source]
    return adapters[CANONICAL].model_copy(update={"name": source})


def _tried(file: Path, definitions: Path | None) -> Adapter | DefinitionError:
    try:
        read = _read(file)
        types = identifier_rules(definitions).further
        return read if isinstance(read, DefinitionError) else _typed(read, file, types)
    except DefinitionError as error:
        return error
    except OSError as error:
        return DefinitionError(file, "file", str(error.strerror), remedy="It must be readable.")


@read_once
def _read(file: Path) -> Adapter | DefinitionError:
    try:
        return _written(file)
    except DefinitionError as error:
        return error


def _written(file: Path) -> Adapter:
    sha256 = sha256_of_adapter(file)  # first: if it is edited meanwhile, files are tried again
    content = {"name": file.stem, **read_toml(file), "file": str(file), "sha256": sha256}
    remedy = "See docs/guide/sources.md for what an adapter says."
    adapter = checked(Adapter, content, file, remedy=remedy)
    if adapter.name != file.stem:
        raise DefinitionError(
            file, "name", f"is {adapter.name!r}", remedy=f"Name it {file.stem!r} as its file."
        )
    if file.parent != SHIPPED:
        _check_computable(adapter, file)
        _check_columns(adapter, file)
    return adapter


def _typed(adapter: Adapter, file: Path, types: Collection[str]) -> Adapter:
    known = {name: rule for name, rule in adapter.identifiers.items() if name in types}
    if strange := sorted(adapter.identifiers.keys() - known):
        if file.parent == SHIPPED:  # the user's own rules do without the type
            return adapter.model_copy(update={"identifiers": known})
        raise DefinitionError(
            file,
            f"identifiers.{strange[0]}",
            f"is no type of identifier; known: {', '.join(types)}",
            remedy=_TYPE_REMEDY,
        )
    return adapter


def _check_computable(adapter: Adapter, file: Path) -> None:
    """Refuse expressions and formats that the engine could apply to no record.

    Raises:
        DefinitionError: There is one; file and key are named.
    """
    rules = {f"fields.{name}": rule for name, rule in adapter.fields.items()}
    rules |= {f"identifiers.{name}": rule for name, rule in adapter.identifiers.items()}
    asked = [
        (f"{key}.{part}", sql, remedy)
        for key, rule in rules.items()
        for part, sql, remedy in (
            ("sql", _probe(rule), _SQL_REMEDY),
            ("format", _format_probe(rule.format), _FORMAT_REMEDY),
        )
        if sql
    ]
    if not asked:
        return
    with duckdb.connect(config=_OFFLINE) as connection:
        for key, sql, remedy in asked:
            try:
                connection.execute(f"EXPLAIN {sql}")
            except duckdb.Error as error:
                reason = str(error).splitlines()[0]
                raise DefinitionError(file, key, reason, remedy=remedy) from None


def _check_columns(adapter: Adapter, file: Path) -> None:
    """Refuse paths to columns that no record of the source has, where all of them are known.

    Of GA4's export, to which Google adds fields, only those are known for wrong that are nearly
    one of the known ones.

    Raises:
        DefinitionError: There is one; file and key are named.
    """
    known = adapter.columns if adapter.format == "csv" else fixed_columns(adapter.format)
    if not known and adapter.format != "ga4":
        return
    read = {f"fields.{name}": rule.paths for name, rule in adapter.fields.items()}
    read |= {f"identifiers.{name}": rule.paths for name, rule in adapter.identifiers.items()}
    read |= {"properties": adapter.properties, "redact": adapter.redact}
    read["fields.bot_signals"] = ()  # noted at landing
    for key, paths in read.items():
        for path in paths:
            if adapter.format == "ga4":
                meant = _meant_of_ga4(path)
            elif path in known or _is_inside(path, adapter.format):
                meant = ""
            else:
                meant = _meant(path, known) or " "
            if meant:
                of = "columns" if adapter.format == "csv" else f"the columns of {adapter.format}"
                reason = f"reads {path!r}, which is none of {of}{meant.rstrip()}"
                remedy = "Name a column as it is written there, capitals too."
                raise DefinitionError(file, key, reason, remedy=remedy)


def _is_inside(path: str, form: str) -> bool:
    """Whether a path leads into a column that holds objects."""
    return form == "snowplow_tsv" and path.split(".", 1)[0] in SNOWPLOW_JSON


def _meant_of_ga4(path: str) -> str:
    """What a path nearly is, of the fields beside it; nothing where it is one, or like none."""
    if path in ga4_fields():
        return ""
    parent, dot, name = path.rpartition(".")
    if parent and (meant := _meant_of_ga4(parent)):
        return meant
    beside = [
        other.removeprefix(parent + dot)
        for other in ga4_fields()
        if other.rpartition(".")[0] == parent
    ]
    return _meant(name, beside, likeness=0.8)


def _meant(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=likeness)
    return f" (did you mean {close[0]}?)" if close else ""


def _probe(rule: FieldRule) -> str | None:
    """SQL that fails where a rule's expression can be applied to no record."""
    if rule.sql is None:
        return None
    columns = "".join(f", CAST(NULL AS VARCHAR) AS {named(path)}" for path in rule.paths)
    # `TRY` takes no expression over many records, and none that is another one every time.
    return f"SELECT {rule.text_sql(tried=True)} FROM (SELECT 1 AS one{columns})"


def _format_probe(form: TimeFormat) -> str | None:
    if form in TIME_FORMATS:
        return None
    # Where nothing stands for a part of the time, it is a misspelt name.
    return f"SELECT try_strptime('', {quoted(form if '%' in form else '')})"


_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}

_SQL_REMEDY = (
    "It is an expression of DuckDB over texts of one record: cast what is a number, as in "
    "CAST(cents AS BIGINT), and write paths with dots and reserved words in double quotes."
)
_FORMAT_REMEDY = f"Write {', '.join(TIME_FORMATS)}, or a format of strptime such as %d.%m.%Y %H:%M."
_TYPE_REMEDY = (
    "Use one of them, or add the type to identity/identifiers.toml in your definitions folder; "
    "visitor and user are `visitor_id` and `user_id` under [fields]."
)
