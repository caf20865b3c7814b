"""What pictures are made of: axes, tips, colours by name, and bars with their number."""

from collections.abc import Sequence
from datetime import date
from typing import TypeAlias

import altair as alt
import polars as pl

from clickstream_platform.reports.pictures.style import CATEGORICAL, Picture

Tips: TypeAlias = Sequence[alt.Tooltip]
"""Further lines of what is said when a pointer rests on a mark."""


OTHER = "Other"
"""Name of what is folded together."""


def rank_colors(names: list[str]) -> list[str]:
    """A colour for each name by its rank; what is folded together is grey."""
    return [
        "var(--rest)" if name == OTHER else CATEGORICAL[number % len(CATEGORICAL)]
        for number, name in enumerate(names)
    ]


def bars_of(
    frame: pl.DataFrame, label: str, number: str, *, color: str, tips: Tips = ()
) -> Picture:
    """One bar per row, in the order of the rows, with its number at its end."""
    # By a number: an order by names writes each into an expression, where some end it.
    base = alt.Chart(frame.with_row_index("place"))
    named = tip(label, label.replace("_", " ").capitalize())
    counted = tip(number, number.capitalize(), ",")
    order = alt.EncodingSortField("place", op="min")
    y = alt.Y(f"{label}:N", title=None, sort=order, axis=alt.Axis(labelLimit=200))
    bars = base.mark_bar(color=color, cornerRadiusEnd=3, height={"band": 0.7}).encode(
        x=alt.X(f"{number}:Q", title=None, axis=number_axis(counts=frame[number])),
        y=y,
        tooltip=[named, counted, *tips],
    )
    text = base.mark_text(align="left", dx=6, color="var(--muted)").encode(
        x=f"{number}:Q", y=y, text=alt.Text(f"{number}:Q", format=",")
    )
    return alt.layer(bars, text).properties(height=height_of(frame[label], 29))


def height_of(labels: pl.Series, each: int) -> int:
    """Height of a picture with so many pixels for each label."""
    # In pixels: steps of a scale and the width of the place do not go together.
    return each * max(1, labels.n_unique())


FEW_DAYS = 10
"""Days of which each has its label."""

YEAR_DAYS = 366
"""Days beyond which a date without its year is not one day."""


def day_axis(days: pl.Series) -> alt.X:
    """Days from left to right: each named while they are few, with the year where there are two."""
    first, last = days.min(), days.max()
    span = (last - first).days + 1 if isinstance(first, date) and isinstance(last, date) else 0
    axis = alt.Axis(grid=False, labelOverlap="greedy", format="%-d %b", tickCount="week")
    if span > YEAR_DAYS:
        axis = alt.Axis(grid=False, labelOverlap="greedy", format="%b %Y", tickCount="month")
    elif span <= FEW_DAYS:
        named = [alt.DateTime(year=it.year, month=it.month, date=it.day) for it in days.unique()]
        axis = alt.Axis(grid=False, labelOverlap="greedy", format="%-d %b", values=named)
    return alt.X("yearmonthdate(day):T", title=None, axis=axis)


NUMBER = (
    "abs(datum.value) < 1 ? format(datum.value, '~g') : "
    "replace(replace(format(datum.value, '~s'), 'G', 'bn'), 'T', 'tn')"
)
"""Label of a tick: 0.2, 5, 1.5k, 2M, 3bn. The unit of 0.2 would be m, which reads as a million."""


def number_axis(ticks: int = 5, *, counts: pl.Series | None = None) -> alt.Axis:
    """An axis of numbers, each in its own unit, with about so many ticks; of counts, whole ones."""
    # `tickMinStep` lets 0.5 pass; no more ticks than the largest count has none between two.
    if counts is not None and isinstance(largest := counts.max(), int):
        ticks = max(1, min(ticks, largest))
    # A format of the axis would write every label in one unit: 0k, 0.5k, 1k.
    return alt.Axis(labelExpr=NUMBER, tickCount=ticks)


def symlog_axis() -> alt.Axis:
    """An axis of numbers on a scale of symlog, which on its own takes few ticks, and high ones."""
    return alt.Axis(labelExpr=NUMBER, values=[0, *(10**power for power in range(10))])


def share_of_all() -> alt.X:
    """Shares from left to right that add up to a whole."""
    axis = alt.Axis(format="%", tickCount=5)
    return alt.X("share:Q", title=None, axis=axis, scale={"domain": [0, 1]})


def day_tip() -> alt.Tooltip:
    """The day, in words."""
    return alt.Tooltip("day:T", title="Day", format="%A, %-d %B %Y")


def tip(field: str, title: str, format_: str | None = None) -> alt.Tooltip:
    """One line of what is said when a pointer rests on a mark; a number where a format is given."""
    if format_ is None:
        return alt.Tooltip(f"{field}:N", title=title)
    return alt.Tooltip(f"{field}:Q", title=title, format=format_)


def color_of(field: str, domain: list[str], colors: list[str], *, columns: int = 0) -> alt.Color:
    """A colour for each name, with a legend above."""
    legend = alt.Legend(title=None, orient="top", symbolType="square", columns=columns)
    scale = alt.Scale(domain=domain, range=colors[: len(domain)])
    return alt.Color(f"{field}:N", legend=legend, scale=scale)
