"""Pictures of what comes of it: the funnel, what channels earn, and segments."""

import altair as alt
import polars as pl

from clickstream_platform.reports.pictures.marks import (
    bars_of,
    color_of,
    height_of,
    number_axis,
    rank_colors,
    tip,
)
from clickstream_platform.reports.pictures.style import Picture

STEPS = {
    "view_item": "Viewed an item",
    "add_to_cart": "Added to the cart",
    "begin_checkout": "Began the checkout",
    "purchase": "Purchased",
}

EVERY_DEVICE = "all"


def funnel(frame: pl.DataFrame) -> Picture:
    """People by step on the way to a purchase; the signal `device` picks one device."""
    device = alt.param(name="device", value=EVERY_DEVICE)
    labels = list(STEPS.values())
    named = frame.with_columns(
        step=pl.col("step_number").replace_strict(
            dict(enumerate(labels, 1)), return_dtype=pl.String
        )
    )
    base = (
        alt.Chart(named)
        .transform_filter(f"device === '{EVERY_DEVICE}' || datum.device_type === device")
        .transform_aggregate(people="sum(people)", groupby=["step", "step_number"])
        .transform_window(
            before="lag(people)",
            first="first_value(people)",
            frame=[None, None],
            sort=[alt.SortField("step_number")],
        )
        .transform_calculate(
            of_first="datum.first ? datum.people / datum.first : 0",
            of_before="datum.before ? datum.people / datum.before : null",
            label=(
                "format(datum.people, ',') + (datum.before ? '  ·  ' +"
                " format(datum.people / datum.before, '.0%') + ' of the step before' : '')"
            ),
        )
    )
    y = alt.Y("step:N", sort=labels, title=None, axis=alt.Axis(labelLimit=220))
    bars = base.mark_bar(color="var(--c1)", cornerRadiusEnd=3, height={"band": 0.72}).encode(
        x=alt.X("people:Q", title=None, axis=None, scale=alt.Scale(padding=0)),
        y=y,
        tooltip=[
            tip("step", "Step"),
            tip("people", "People", ","),
            tip("of_before", "Of the step before", ".1%"),
            tip("of_first", "Of the first step", ".1%"),
        ],
    )
    inside = "datum.of_first > 0.6"
    text = base.mark_text(
        fontSize=12.5,
        fontWeight=600,
        align=alt.ExprRef(f"{inside} ? 'right' : 'left'"),
        dx=alt.ExprRef(f"{inside} ? -10 : 10"),
        color=alt.ExprRef(f"{inside} ? 'var(--on-accent)' : 'var(--ink)'"),
    ).encode(x="people:Q", y=y, text="label:N")
    return alt.layer(bars, text).add_params(device).properties(height=52 * len(STEPS))


def model_shares(frame: pl.DataFrame, channels: list[str]) -> Picture:
    """One bar per attribution model, split by channel; a click on a channel keeps it lit."""
    picked = alt.selection_point(fields=["channel"], on="click", bind="legend")
    numbered = frame.with_columns(
        order=pl.col("channel").replace_strict(
            {name: number for number, name in enumerate(channels)}, return_dtype=pl.Int64
        )
    )
    bars: Picture = (
        alt.Chart(numbered)
        .transform_joinaggregate(total="sum(conversions)", groupby=["model"])
        .transform_calculate(share="datum.total ? datum.conversions / datum.total : 0")
        .mark_bar(height={"band": 0.75}, stroke="var(--surface)", strokeWidth=1)
        .encode(
            y=alt.Y("model:N", title=None, sort=None, axis=alt.Axis(domain=False, labelLimit=200)),
            x=alt.X("share:Q", title=None, axis=alt.Axis(format="%", tickCount=5)),
            color=color_of("channel", channels, rank_colors(channels), columns=4),
            order="order:Q",
            opacity=alt.condition(picked, alt.value(1), alt.value(0.15)),
            tooltip=[
                tip("model", "Model"),
                tip("channel", "Channel"),
                tip("share", "Share of conversions", ".1%"),
                tip("conversions", "Conversions", ",.1f"),
                tip("revenue", "Revenue", ",.2f"),
            ],
        )
        .add_params(picked)
        .properties(height=height_of(numbered["model"], 34))
    )
    return bars


def channel_credits(frame: pl.DataFrame, model: str, currency: str) -> Picture:
    """What channels earned under one model; signals `model` and `measure` pick what is shown."""
    tips = [
        tip("conversions", "Conversions", ",.1f"),
        tip("revenue", f"Revenue, {currency}", ",.2f"),
    ]
    base = (
        alt.Chart(frame)
        .transform_filter("datum.model === model")
        .transform_calculate(number="datum[measure]")
        .transform_calculate(label="format(datum.number, measure === 'revenue' ? ',.0f' : ',.1f')")
    )
    y = alt.Y(
        "channel:N", title=None, sort=alt.EncodingSortField("number", op="sum", order="descending")
    )
    bars = base.mark_bar(color="var(--c1)", cornerRadiusEnd=3, height={"band": 0.7}).encode(
        x=alt.X("number:Q", title=None, axis=number_axis()),
        y=y,
        tooltip=[tip("channel", "Channel"), *tips],
    )
    is_loss = "datum.number < 0"
    text = base.mark_text(
        align=alt.ExprRef(f"{is_loss} ? 'right' : 'left'"),
        dx=alt.ExprRef(f"{is_loss} ? -6 : 6"),
        color="var(--muted)",
    ).encode(x="number:Q", y=y, text="label:N")
    return (
        alt.layer(bars, text)
        .add_params(
            alt.param(name="model", value=model), alt.param(name="measure", value="conversions")
        )
        .properties(height=height_of(frame["channel"], 27))
    )


def segments(frame: pl.DataFrame) -> Picture:
    """Members of each segment, with who joined and departed in the tip."""
    tips = [
        tip("joined", "Joined in 7 days", ","),
        tip("departed", "Departed in 7 days", ","),
        tip("owner", "Owner"),
        tip("purpose", "Purpose"),
    ]
    return bars_of(frame, "segment", "members", color="var(--c4)", tips=tips)
