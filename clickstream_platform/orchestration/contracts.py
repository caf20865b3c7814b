"""What the contracts say, as data: read when the code location loads, which must load no engine.

`contracts.json` is printed from `clickstream_platform.tables` by
``python -m clickstream_platform.orchestration.contracts``; a test compares the two.
"""

import json
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

PRINTED = Path(__file__).with_name("contracts.json")
"""Name, grain and columns of every stored table."""

LINEAGE = Path(__file__).with_name("lineage.toml")
"""Columns that each column is made from."""


class Contract(NamedTuple):
    """One stored table, as its contract describes it."""

    description: str
    columns: dg.TableSchema
    lineage: dg.TableColumnLineage | None
    """None for a table that no table comes before."""


@lru_cache(maxsize=1)
def contracts() -> dict[str, Contract]:
    """Every stored table by name."""
    printed: dict[str, dict[str, Any]] = json.loads(PRINTED.read_text())
    origins = lineage()
    return {
        table: Contract(
            said["description"],
            _columns(said["columns"], said["grain"]),
            _column_lineage(origins[table]) if table in origins else None,
        )
        for table, said in printed.items()
    }


def lineage() -> dict[str, dict[str, list[str]]]:
    """Origins of each column as ``table.column``, by table and column."""
    return tomllib.loads(LINEAGE.read_text())


def _columns(columns: list[dict[str, Any]], grain: list[str]) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column["name"],
                column["type"],
                column["description"],
                constraints=dg.TableColumnConstraints(nullable=column["nullable"]),
            )
            for column in columns
        ],
        constraints=dg.TableConstraints(other=[f"one row per {', '.join(grain)}"]),
    )


def _column_lineage(origins: dict[str, list[str]]) -> dg.TableColumnLineage:
    parted = {name: [origin.split(".") for origin in found] for name, found in origins.items()}
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(dg.AssetKey(table), column) for table, column in found]
            for name, found in parted.items()
        }
    )


def printed() -> str:
    """Print the contracts: loads Pandera, so not for the code location."""
    import inspect

    from clickstream_platform.tables.catalog import TABLES
    from clickstream_platform.tables.pages import type_name

    tables: dict[str, object] = {}
    for name, table in TABLES.items():
        schema = table.contract.to_schema()
        tables[name] = {
            "description": (inspect.getdoc(table.contract) or "").replace("``", "`"),
            "grain": schema.unique or [],
            "columns": [
                {
                    "name": column_name,
                    "type": type_name(column.dtype.type),
                    "nullable": column.nullable,
                    "description": column.description,
                }
                for column_name, column in schema.columns.items()
            ],
        }
    return json.dumps(tables, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PRINTED.write_text(printed())
