"""The reference pages of the stored tables, printed from their contracts and the catalog."""

import inspect
import sys
from pathlib import Path

import polars as pl
from pandera.api.polars.components import Column

from clickstream_platform.tables.catalog import TABLES, StoredTable

HEADING = "<!-- Printed from clickstream_platform/tables by `make docs`; edit the contract. -->"


def page(table: StoredTable) -> str:
    """Print one table: what a row is, how it is stored, its columns and its rules."""
    schema = table.contract.to_schema()
    about = inspect.getdoc(table.contract) or ""
    lines = [HEADING, f"# {table.name}", "", about, ""]
    lines += ["| column | type | null | meaning |", "| --- | --- | --- | --- |"]
    lines += [_row(name, column) for name, column in schema.columns.items()]
    if rules := [check.name for check in schema.checks or [] if check.name]:
        lines += ["", "Rules about the table:", "", *(f"- {rule}" for rule in rules)]
    lines += ["", "Stored as a Delta table in `lake/" + table.name + "`. " + _storage(table)]
    return "\n".join(lines) + "\n"


def index() -> str:
    """Print the list of all tables, each with the first line of its contract."""
    lines = [
        HEADING,
        "# Tables",
        "",
        "| table | one row per | what it holds |",
        "| --- | --- | --- |",
    ]
    for table in TABLES.values():
        schema = table.contract.to_schema()
        grain = ", ".join(schema.unique or [])
        first = (inspect.getdoc(table.contract) or "").splitlines()[0]
        lines.append(f"| [{table.name}]({table.name}.md) | {grain} | {first} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Every page by file name."""
    return {"README.md": index()} | {f"{table.name}.md": page(table) for table in TABLES.values()}


def write_pages(folder: Path) -> None:
    """Write every page below a folder, and remove pages of tables that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in set(folder.glob("*.md")) - {folder / name for name in pages()}:
        old.unlink()
    for name, text in pages().items():
        (folder / name).write_text(text)


def _row(name: str, column: Column) -> str:
    allowed = [
        f"`{value}`"
        for check in column.checks
        if check.name == "isin"
        for value in check.statistics["allowed_values"]
    ]
    values = f" One of {', '.join(allowed)}." if allowed else ""
    null = "yes" if column.nullable else ""
    return f"| `{name}` | {type_name(column.dtype.type)} | {null} | {column.description}{values} |"


def type_name(kind: pl.DataType) -> str:
    """Name of a type as people read it."""
    if isinstance(kind, pl.List):
        return f"list of {type_name(kind.inner)}"  # type: ignore[arg-type]  # an instance here
    if isinstance(kind, pl.Struct):
        return "struct(" + ", ".join(field.name for field in kind.fields) + ")"
    if isinstance(kind, pl.Datetime):
        return "instant, UTC"
    return str(kind).lower()


def _use(table: StoredTable) -> str:
    if table.processing is not None:
        allowed = f"it, and {table.asks_besides}" if table.asks_besides else "it"
        return (
            f" In use for `{table.processing}` of "
            f"[purposes.toml](../guide/consent.md): only rows of people who allow {allowed}."
        )
    return f" Held whatever people chose, for {table.held_for}." if table.held_for else ""


def _storage(table: StoredTable) -> str:
    parts = [
        (f"partitioned by {_listed(table.partition_by)}", table.partition_by),
        (f"sorted by {_listed(table.sort_by)} within a file", table.sort_by),
        (f"erasure finds a person by {_listed(table.person_columns)}", table.person_columns),
    ]
    said = "; ".join(words for words, columns in parts if columns)
    said = f"{said[0].upper()}{said[1:]}." if said else "It holds nothing of a person."
    return said + _use(table)


def _listed(columns: tuple[str, ...]) -> str:
    return ", ".join(f"`{column}`" for column in columns)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
