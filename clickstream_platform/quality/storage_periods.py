"""Storage periods: how long rows are kept, and which are older."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from clickstream_platform.definitions import checked, own_or_shipped, read_toml
from clickstream_platform.errors import DefinitionError
from clickstream_platform.lake import Lake
from clickstream_platform.tables.catalog import TABLES

SHIPPED = Path(__file__).with_name("storage_periods.toml")
"""Periods; a file of the same name among the user's own definitions replaces them."""


class StoragePeriod(BaseModel):
    """How long rows of one table are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: int = Field(ge=1, description="Days that rows are kept.")
    why: str = Field(description="Why so long.")


class Overdue(NamedTuple):
    """Rows of one table that are older than their period."""

    table: str
    oldest: date
    rows: int


def load_storage_periods(definitions: Path | None) -> dict[str, StoragePeriod]:
    """Read the periods by table: the user's own file, else the shipped one.

    Raises:
        DefinitionError: The file holds something that cannot be used.
    """
    file = own_or_shipped(SHIPPED, definitions)
    periods: dict[str, StoragePeriod] = {}
    for table, entry in read_toml(file).items():
        if table not in TABLES or TABLES[table].date_column is None:
            dated = [name for name, stored in TABLES.items() if stored.date_column]
            raise DefinitionError(
                file, table, "is not a table with dates", remedy=f"One of {', '.join(dated)}."
            )
        periods[table] = checked(StoragePeriod, entry, file, remedy="Mend it there.", under=table)
    return periods


def overdue(lake: Lake, periods: dict[str, StoragePeriod], *, now: datetime) -> list[Overdue]:
    """Find rows that are older than their table's period; a row of exactly that age is not.

    Args:
        lake: The lake.
        periods: Period by table.
        now: Time to measure ages by.
    """
    found = []
    for table, period in periods.items():
        first = now.date() - timedelta(days=period.days)
        old = [day for day in lake.dates(table) if day < first]
        if old:
            rows = lake.scan(table, dates=old).select(pl.len()).collect().item()
            found.append(Overdue(table, min(old), int(rows)))
    return found
