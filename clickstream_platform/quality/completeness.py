"""Completeness: the share of events that carry what events of their kind should."""

from datetime import date
from pathlib import Path
from typing import NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from clickstream_platform.definitions import checked, own_or_shipped, read_toml
from clickstream_platform.errors import DefinitionError
from clickstream_platform.lake import Lake, polars_schema

SHIPPED = Path(__file__).with_name("completeness.toml")
"""Expectations; a file of the same name among the user's own definitions replaces them."""


class Expectation(BaseModel):
    """What events of some kinds should carry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_names: tuple[str, ...] = Field(description="Kinds of event; empty for every kind.")
    except_names: tuple[str, ...] = Field((), description="Kinds that need not, where every.")
    any_of: tuple[str, ...] = Field(min_length=1, description="Columns of which one is enough.")
    share: float = Field(gt=0, le=1, description="Least share of events that carry it.")
    why: str = Field(description="What goes wrong without.")


class Completeness(NamedTuple):
    """How far events of one source carry what is expected."""

    source: str
    expectation: Expectation
    events: int
    complete: int

    @property
    def share(self) -> float:
        """Share of events that carry it, 0 to 1."""
        return self.complete / self.events

    @property
    def is_enough(self) -> bool:
        """Whether that reaches what is expected."""
        return self.share >= self.expectation.share


def load_expectations(definitions: Path | None) -> list[Expectation]:
    """Read the expectations: the user's own file, else the shipped one.

    Raises:
        DefinitionError: The file holds something that cannot be used.
    """
    file = own_or_shipped(SHIPPED, definitions)
    columns = polars_schema("events")
    expectations: list[Expectation] = []
    for number, entry in enumerate(read_toml(file).get("expected", [])):
        under = f"expected.{number}"
        found = checked(Expectation, entry, file, remedy="Mend it there.", under=under)
        if strange := set(found.any_of) - set(columns):
            key, reason = f"expected.{number}.any_of", f"events have no columns {sorted(strange)}"
            raise DefinitionError(file, key, reason, remedy="See docs/tables/events.md.")
        expectations.append(found)
    return expectations


def completeness(lake: Lake, expectations: list[Expectation], *, since: date) -> list[Completeness]:
    """Count the events that carry what is expected, by source.

    Args:
        lake: The lake.
        expectations: What is expected.
        since: First event date that is looked at.

    Returns:
        One entry per source and expectation that has any events, in the order of expectations.
    """
    dates = [day for day in lake.dates("events") if day >= since]
    counts = {f"events_{n}": _concerns(e).sum() for n, e in enumerate(expectations)}
    counts |= {
        f"complete_{n}": (_concerns(e) & _carries(e)).sum() for n, e in enumerate(expectations)
    }
    counted = (
        lake.scan("events", dates=dates)
        .filter(~pl.col("is_synthetic"), pl.col("collection_source") != "import")
        .group_by("source")
        .agg(**counts)
        .sort("source")
        .collect(engine="streaming")
    )
    return [
        Completeness(row["source"], e, row[f"events_{n}"], row[f"complete_{n}"])
        for n, e in enumerate(expectations)
        for row in counted.iter_rows(named=True)
        if row[f"events_{n}"]
    ]


def _concerns(expectation: Expectation) -> pl.Expr:
    if not expectation.event_names:
        return ~pl.col("event_name").is_in(expectation.except_names)
    return pl.col("event_name").is_in(expectation.event_names)


def _carries(expectation: Expectation) -> pl.Expr:
    return pl.any_horizontal(pl.col(name).is_not_null() for name in expectation.any_of)
