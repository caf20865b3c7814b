"""Reading fields out of JSON records in DuckDB, each record parsed once."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import duckdb

from clickstream_platform.events.adapters import named, quoted


def open_duckdb(*, memory_limit: str = "2GB", spill: str = "") -> duckdb.DuckDBPyConnection:
    """Open DuckDB for one batch: in UTC, bounded, and without looking at Python's variables."""
    connection = duckdb.connect(
        config={
            "memory_limit": memory_limit,
            "temp_directory": spill,
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@contextmanager
def each_tried_alone(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Have every `TRY` catch what fails in it.

    DuckDB computes a part that two expressions share once and ahead of both, and so outside of the
    `TRY` around each of them: then the whole query fails.
    """
    connection.execute("SET disabled_optimizers = 'common_subexpressions'")
    try:
        yield
    finally:
        connection.execute("RESET disabled_optimizers")


def trimmed(column: str) -> str:
    """SQL for a text without blanks at its ends; null where nothing is left.

    `trim` looks at every character for blanks of Unicode; hardly any text needs that.
    """
    is_plain = (
        f"{column} >= '!' AND NOT suffix({column}, ' ') AND strlen({column}) = length({column})"
    )
    return f"CASE WHEN {is_plain} THEN {column} ELSE nullif(trim({column}), '') END"


class Extraction:
    """SQL that reads paths of a JSON record as text, all from one parse.

    Args:
        paths: Names joined by dots. A path below another path reads that one's text again.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = sorted(set(paths), key=lambda path: (path.count("."), path))
        tree: dict[str, object] = {}
        self._values: dict[str, str] = {}
        for path in self.paths:
            self._values[path] = self._plant(tree, path.split("."))
        self.structure = json.dumps(tree or {"-": "VARCHAR"})

    def _plant(self, tree: dict[str, object], parts: list[str]) -> str:
        """Add a path to the structure and return the SQL that reads it."""
        for depth, part in enumerate(parts[:-1]):
            below = tree.setdefault(part, {})
            if not isinstance(below, dict):
                rest = "$" + "".join(f'."{name}"' for name in parts[depth + 1 :])
                parent = "x." + ".".join(named(name) for name in parts[: depth + 1])
                return f"TRY(json_extract_string({parent}, {quoted(rest)}))"
            tree = below
        tree[parts[-1]] = "VARCHAR"
        return "x." + ".".join(named(name) for name in parts)

    @property
    def parsed(self) -> str:
        """SQL for the record parsed, as ``x``; null where it is no JSON."""
        return (
            f"CASE WHEN read_error IS NULL THEN "
            f"TRY(json_transform(payload, {quoted(self.structure)})) END"
        )

    def parsed_forms(self) -> tuple[str, str]:
        """SQL that is `parsed`, the fast form first: it fails where any record is no JSON.

        `TRY` evaluates a vector anew, row by row, for one row that fails. Where a fifth of the
        records is broken that costs as much again as reading all of them, and asking first whether
        they are JSON does not.
        """
        transform = f"json_transform(payload, {quoted(self.structure)})"
        return (
            f"CASE WHEN read_error IS NULL THEN {transform} END",
            f"CASE WHEN read_error IS NULL AND json_valid(payload) THEN TRY({transform}) END",
        )

    @property
    def columns(self) -> str:
        """SQL for one text column for each path, with a leading comma."""
        return "".join(f", {value} AS {named(path)}" for path, value in self._values.items())


_HALF = re.compile("[\ud800-\udfff]")


def compact(record: object) -> str:
    """A record as JSON text; half a surrogate pair stays an escape, for UTF-8 cannot hold it."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    if text.isascii() or not _HALF.search(text):
        return text
    return json.dumps(record, separators=(",", ":"))
