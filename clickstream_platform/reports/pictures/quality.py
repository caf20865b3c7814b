"""Pictures of how far figures can be trusted: fates, reasons, lateness, consent."""

import altair as alt
import polars as pl

from clickstream_platform.reports.pictures.marks import (
    OTHER,
    color_of,
    day_axis,
    day_tip,
    height_of,
    number_axis,
    rank_colors,
    share_of_all,
    tip,
)
from clickstream_platform.reports.pictures.style import Picture

FATE_COLORS = {
    "loaded": "var(--good)",
    "quarantined": "var(--warn)",
    "duplicate": "var(--rest)",
    "suppressed": "var(--c5)",
    "too_late": "var(--bad)",
}

ANSWER_COLORS = {"granted": "var(--good)", "refused": "var(--bad)", "unknown": "var(--rest)"}


def ledger(frame: pl.DataFrame) -> Picture:
    """One bar per source: what became of its records, as shares."""
    long = frame.unpivot(
        list(FATE_COLORS), index=["source", "received"], variable_name="fate", value_name="records"
    ).filter(pl.col("received") > 0)
    shares = long.with_columns(
        share=pl.col("records") / pl.col("received"),
        order=pl.col("fate").replace_strict(
            {name: number for number, name in enumerate(FATE_COLORS)}, return_dtype=pl.Int64
        ),
        fate=pl.col("fate").str.replace("_", " "),
    )
    names = [name.replace("_", " ") for name in FATE_COLORS]
    bars: Picture = (
        alt.Chart(shares)
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("source:N", title=None, axis=alt.Axis(domain=False)),
            x=share_of_all(),
            color=color_of("fate", names, list(FATE_COLORS.values())),
            order="order:Q",
            tooltip=[
                tip("source", "Source"),
                tip("fate", "Fate"),
                tip("records", "Records", ","),
                tip("share", "Share of received", ".2%"),
            ],
        )
        .properties(height=height_of(shares["source"], 34))
    )
    return bars


def quarantine_reasons(frame: pl.DataFrame) -> Picture:
    """Broken rules by how many records break them, by source."""
    named = frame.with_columns(
        reason=pl.when(pl.col("field") == "")
        .then("code")
        .otherwise(pl.format("{} · {}", "code", "field"))
    )
    bars: Picture = (
        alt.Chart(named)
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y(
                "reason:N",
                title=None,
                sort=alt.EncodingSortField("records", op="sum", order="descending"),
                axis=alt.Axis(domain=False, labelLimit=260),
            ),
            x=alt.X("records:Q", title=None, axis=number_axis(counts=named["records"])),
            color=_source_colors(named),
            tooltip=[
                tip("source", "Source"),
                tip("code", "Rule"),
                tip("field", "Field"),
                tip("records", "Records", ","),
            ],
        )
        .properties(height=height_of(named["reason"], 25))
    )
    return bars


def late_by_day(frame: pl.DataFrame) -> Picture:
    """Late events by the day they arrived, by source."""
    bars: Picture = (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=1)
        .encode(
            x=day_axis(frame["day"]),
            y=alt.Y("events:Q", title=None, axis=number_axis(4, counts=frame["events"])),
            color=_source_colors(frame),
            tooltip=[day_tip(), tip("source", "Source"), tip("events", "Late events", ",")],
        )
    )
    return bars


def _source_colors(frame: pl.DataFrame) -> alt.Color:
    names = sorted(set(frame["source"]), key=lambda name: (name == OTHER, name))
    return color_of("source", names, rank_colors(names), columns=3)


def consent(frame: pl.DataFrame) -> Picture:
    """One bar per purpose: what people of the sessions answered, as shares."""
    named = frame.with_columns(
        purpose=pl.col("purpose").str.to_titlecase(),
        order=pl.col("answer").replace_strict(
            {name: number for number, name in enumerate(ANSWER_COLORS)}, return_dtype=pl.Int64
        ),
        share=pl.col("sessions") / pl.col("sessions").sum().over("purpose"),
    )
    bars: Picture = (
        alt.Chart(named)
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("purpose:N", title=None, axis=alt.Axis(domain=False)),
            x=share_of_all(),
            color=color_of("answer", list(ANSWER_COLORS), list(ANSWER_COLORS.values())),
            order="order:Q",
            tooltip=[
                tip("purpose", "Purpose"),
                tip("answer", "Answer"),
                tip("sessions", "Sessions", ","),
                tip("share", "Share", ".1%"),
            ],
        )
        .properties(height=height_of(named["purpose"], 40))
    )
    return bars
