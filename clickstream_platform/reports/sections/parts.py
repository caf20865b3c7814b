"""What sections are made of: figures on one subject, as words, pictures and tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from clickstream_platform.reports import numbers, pictures
from clickstream_platform.reports.figures import Figures, Period
from clickstream_platform.settings import Settings

NO_SESSIONS = (
    "No sessions of people in this period: `clickstream materialize` computes them from events."
)
NO_RECORDS = (
    "Nothing was received yet: drop files into a source's landing folder, or "
    "`clickstream ingest FILE --source NAME`."
)


SHOWN_BARS = 20
"""Largest sources and segments that are drawn; all of them are in the table."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Head of a column."""

    title: str
    kind: str
    """`is-number`, `is-short` for what may not wrap, or empty."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures as text, in rows."""

    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, kw_only=True)
class Control:
    """Buttons of which one is chosen; the choice is a signal of the picture."""

    signal: str
    legend: str
    choices: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture, what to see in it, and the figures behind it."""

    id: str
    title: str
    takeaway: str = ""
    picture: str = ""
    """Vega-Lite, safe inside a script element; empty for a table alone."""
    table: Table = field(default_factory=Table)
    controls: Sequence[Control] = ()
    empty: str = ""
    """What to say, and to do, where there is nothing to show."""
    is_wide: bool = False
    is_open: bool = False
    """Show the figures below the picture from the start."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Figures on one subject."""

    id: str
    title: str
    lead: str
    figures: Sequence[Figure]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One headline number."""

    title: str
    number: str
    note: str
    unit: str = ""
    line: str = ""
    """Path of a line through its days, in a box of 100 by 28."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a section is about: figures of one period, and how to write them."""

    figures: Figures
    period: Period
    settings: Settings
    now: datetime

    def frame(self, name: str, **parameters: object) -> pl.DataFrame:
        """Answer a query that knows the period."""
        return self.figures.frame(name, self.period, **parameters)

    def table(self, frame: pl.DataFrame, titles: Mapping[str, str] | None = None) -> Table:
        """Write a frame as text, its columns named as a reader would."""
        heads = [
            Column(title=(titles or {}).get(name, title_of(name)), kind=_kind(kind))
            for name, kind in frame.schema.items()
        ]
        rows = [
            [
                numbers.cell(name, value, self.settings.zone)
                for name, value in zip(frame.columns, row, strict=True)
            ]
            for row in frame.iter_rows()
        ]
        return Table(columns=heads, rows=rows)


def figure(id_: str, title: str, picture: pictures.Picture, **rest: object) -> Figure:
    """A figure with a picture."""
    description = f"{title}. {rest.get('takeaway', '')}".strip()
    spec = json.dumps(pictures.specification(picture, description=description), default=str)
    # A page name or a channel may hold markup: inside a script element only `<` is dangerous.
    safe = spec.replace("<", "\\u003c")
    return Figure(id=id_, title=title, picture=safe, **rest)  # type: ignore[arg-type]  # fields of Figure


def title_of(name: str) -> str:
    """A name of a column or model as a reader would write it."""
    words = name
    for unsaid in ("_at", "_type", "_s"):
        words = words.removesuffix(unsaid)
    words = words.replace("_", " ")
    return words.replace("non direct", "non-direct").capitalize()


def total(values: pl.Series) -> float:
    """Sum of a column of numbers; zero for an empty one."""
    return float(values.sum())


def share_of(part: float, whole: float) -> float:
    """A part of a whole, 0 to 1; zero where there is no whole."""
    return part / whole if whole else 0.0


def _kind(kind: pl.DataType) -> str:
    if kind.is_numeric():
        return "is-number"
    return "is-short" if kind.is_temporal() else ""
