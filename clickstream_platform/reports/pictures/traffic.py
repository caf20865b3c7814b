"""Pictures of events and sessions: by day, by hour, by length and device."""

import altair as alt
import polars as pl

from clickstream_platform.reports.pictures.marks import (
    bars_of,
    color_of,
    day_axis,
    day_tip,
    height_of,
    number_axis,
    tip,
)
from clickstream_platform.reports.pictures.style import CATEGORICAL, Picture

WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def events_by_day(frame: pl.DataFrame) -> Picture:
    """Bars of events per day, people below and bots on top; the legend picks one."""
    picked = alt.selection_point(fields=["visitor_type"], bind="legend")
    kinds = ["People", "Bots"]
    bars: Picture = (
        alt.Chart(frame)
        .transform_calculate(order="datum.visitor_type === 'People' ? 0 : 1")
        .mark_bar(cornerRadiusEnd=1)
        .encode(
            x=day_axis(frame["day"]),
            y=alt.Y("events:Q", title=None, axis=number_axis(4, counts=frame["events"])),
            color=color_of("visitor_type", kinds, ["var(--c1)", "var(--rest)"]),
            order="order:Q",
            opacity=alt.condition(picked, alt.value(1), alt.value(0.15)),
            tooltip=[day_tip(), tip("visitor_type", "Who"), tip("events", "Events", ",")],
        )
        .add_params(picked)
    )
    return bars


def sessions_by_day(frame: pl.DataFrame) -> Picture:
    """Lines of sessions and people per day, with a rule that reads both."""
    long = frame.select("day", Sessions="sessions", People="people").unpivot(
        ["Sessions", "People"], index="day", variable_name="measure", value_name="number"
    )
    near = alt.selection_point(
        nearest=True, on="pointerover", clear="pointerout", fields=["day"], empty=False
    )
    base = alt.Chart(long)
    # A line through one day is nothing to see.
    lone = frame["day"].n_unique() == 1 and alt.OverlayMarkDef(filled=True, size=55)
    lines = base.mark_line(strokeWidth=2.2, strokeJoin="round", point=lone).encode(
        x=day_axis(frame["day"]),
        y=alt.Y("number:Q", title=None, axis=number_axis(4, counts=long["number"])),
        color=color_of("measure", ["Sessions", "People"], ["var(--c1)", "var(--c2)"]),
    )
    points = lines.mark_point(filled=True, size=55, opacity=1).transform_filter(near)
    rule = (
        base.transform_pivot("measure", value="number", groupby=["day"])
        .mark_rule(color="var(--muted)", strokeWidth=1)
        .encode(
            x=day_axis(frame["day"]),
            opacity=alt.condition(near, alt.value(0.6), alt.value(0)),
            tooltip=[day_tip(), tip("Sessions", "Sessions", ","), tip("People", "People", ",")],
        )
        .add_params(near)
    )
    return alt.layer(rule, lines, points)


def sessions_by_hour(frame: pl.DataFrame) -> Picture:
    """When in the week sessions start: the fuller the square, the more of them."""
    named = frame.with_columns(
        weekday=pl.col("weekday").replace_strict(
            dict(enumerate(WEEKDAYS, 1)), return_dtype=pl.String
        )
    )
    bars: Picture = (
        alt.Chart(named)
        .mark_rect(color="var(--c1)", cornerRadius=2, stroke="var(--surface)", strokeWidth=1)
        .encode(
            x=alt.X(
                "hour:O",
                title=None,
                scale=alt.Scale(domain=list(range(24))),
                axis=alt.Axis(
                    values=list(range(0, 24, 3)),
                    labelExpr="datum.value + ':00'",
                    labelOverlap="greedy",
                    labelAngle=0,
                    domain=False,
                ),
            ),
            y=alt.Y(
                "weekday:O",
                title=None,
                scale=alt.Scale(domain=WEEKDAYS),
                axis=alt.Axis(domain=False),
            ),
            opacity=alt.Opacity(
                "sessions:Q", legend=None, scale=alt.Scale(zero=True, range=[0.05, 1])
            ),
            tooltip=[
                tip("weekday", "Day"),
                tip("hour", "Hour"),
                tip("sessions", "Sessions", ","),
            ],
        )
    )
    return bars


def session_durations(frame: pl.DataFrame) -> Picture:
    """Bars of sessions by how long they last."""
    return bars_of(frame, "band", "sessions", color="var(--c3)")


def channel_shift(frame: pl.DataFrame) -> Picture:
    """What each channel gains or loses under other rules, in shares of sessions."""
    names = frame["policy"].unique(maintain_order=True).to_list()
    points: Picture = (
        alt.Chart(frame)
        .mark_point(filled=True, size=45, opacity=1)
        .encode(
            x=alt.X(
                "share_shift:Q",
                title="Share of sessions, against your rules",
                axis=alt.Axis(format="+.1%", tickCount=5),
            ),
            y=alt.Y("channel:N", title=None, axis=alt.Axis(labelLimit=200)),
            # Rules that agree would hide one another.
            yOffset=alt.YOffset("policy:N", sort=names),
            color=color_of("policy", names, CATEGORICAL),
            tooltip=[
                tip("policy", "Rules"),
                tip("channel", "Channel"),
                tip("sessions", "Sessions", ","),
                tip("sessions_share", "Share", ".1%"),
                tip("share_shift", "Shift", "+.2%"),
            ],
        )
        .properties(height=height_of(frame["channel"], 36))
    )
    return points


def sessions_by_device(frame: pl.DataFrame) -> Picture:
    """Bars of sessions by device, with bounce and conversion rate in the tip."""
    tips = [tip("bounce_rate", "Bounce rate", ".1%"), tip("conversion_rate", "Converted", ".1%")]
    return bars_of(frame, "device_type", "sessions", color="var(--c5)", tips=tips)
