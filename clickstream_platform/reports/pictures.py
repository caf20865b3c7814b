"""The functions that draw: small frames of `figures` in, Vega-Lite pictures out.

Colours are names of CSS variables, so that one picture is right on light, dark and printed pages;
`png` puts the light ones in.
"""

import json
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt
import polars as pl

LIGHT = {
    "--ink": "#1b2430",
    "--muted": "#5a6675",
    "--grid": "#e3e7ec",
    "--surface": "#ffffff",
    "--c1": "#2f6fde",
    "--c2": "#e08a1e",
    "--c3": "#129a82",
    "--c4": "#b5489a",
    "--c5": "#7d5bd0",
    "--c6": "#c7502f",
    "--c7": "#4f86a8",
    "--c8": "#8a8f3c",
    "--rest": "#9aa5b1",
    "--good": "#129a82",
    "--warn": "#e08a1e",
    "--bad": "#c93a3a",
}
"""Colours of a light page; told apart by people who see few colours, and by lightness in print."""

DARK = {
    "--ink": "#e8edf3",
    "--muted": "#9eabba",
    "--grid": "#2c3642",
    "--surface": "#171e27",
    "--c1": "#6a9dff",
    "--c2": "#f2ad55",
    "--c3": "#3fc4aa",
    "--c4": "#dd7fc6",
    "--c5": "#a68bf0",
    "--c6": "#ee8465",
    "--c7": "#82b4d3",
    "--c8": "#bcc062",
    "--rest": "#6d7988",
    "--good": "#3fc4aa",
    "--warn": "#f2ad55",
    "--bad": "#f07474",
}
"""The same colours on a dark page."""

CATEGORICAL = [f"var(--c{number})" for number in range(1, 9)]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"

FATE_COLORS = {
    "loaded": "var(--good)",
    "quarantined": "var(--warn)",
    "duplicate": "var(--rest)",
    "suppressed": "var(--c5)",
    "too_late": "var(--bad)",
}
ANSWER_COLORS = {"granted": "var(--good)", "refused": "var(--bad)", "unknown": "var(--rest)"}
WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
STEPS = {
    "view_item": "Viewed an item",
    "add_to_cart": "Added to the cart",
    "begin_checkout": "Began the checkout",
    "purchase": "Purchased",
}
OTHER = "Other"
EVERY_DEVICE = "all"

_PNG = b"\x89PNG\r\n\x1a\n"

Picture: TypeAlias = alt.TopLevelMixin
"""What is drawn: one chart, or layers of it."""

Tips: TypeAlias = Sequence[alt.Tooltip]
"""Further lines of what is said when a pointer rests on a mark."""


def events_by_day(frame: pl.DataFrame) -> Picture:
    """Bars of events per day, people below and bots on top; the legend picks one."""
    picked = alt.selection_point(fields=["visitor_type"], bind="legend")
    kinds = ["People", "Bots"]
    bars: Picture = (
        alt.Chart(frame)
        .transform_calculate(order="datum.visitor_type === 'People' ? 0 : 1")
        .mark_bar(cornerRadiusEnd=1)
        .encode(
            x=_day(),
            y=alt.Y("events:Q", title=None, axis=_number_axis(4)),
            color=_color("visitor_type", kinds, ["var(--c1)", "var(--rest)"]),
            order="order:Q",
            opacity=alt.condition(picked, alt.value(1), alt.value(0.15)),
            tooltip=[_day_tip(), _tip("visitor_type", "Who"), _tip("events", "Events", ",")],
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
    lines = base.mark_line(strokeWidth=2.2, strokeJoin="round").encode(
        x=_day(),
        y=alt.Y("number:Q", title=None, axis=_number_axis(4)),
        color=_color("measure", ["Sessions", "People"], ["var(--c1)", "var(--c2)"]),
    )
    points = lines.mark_point(filled=True, size=55, opacity=1).transform_filter(near)
    rule = (
        base.transform_pivot("measure", value="number", groupby=["day"])
        .mark_rule(color="var(--muted)", strokeWidth=1)
        .encode(
            x=_day(),
            opacity=alt.condition(near, alt.value(0.6), alt.value(0)),
            tooltip=[_day_tip(), _tip("Sessions", "Sessions", ","), _tip("People", "People", ",")],
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
                    labelExpr="datum.value % 3 ? '' : datum.value + ':00'",
                    labelAngle=0,
                    domain=False,
                ),
            ),
            y=alt.Y("weekday:O", title=None, sort=WEEKDAYS, axis=alt.Axis(domain=False)),
            opacity=alt.Opacity("sessions:Q", legend=None, scale=alt.Scale(range=[0.05, 1])),
            tooltip=[
                _tip("weekday", "Day"),
                _tip("hour", "Hour"),
                _tip("sessions", "Sessions", ","),
            ],
        )
    )
    return bars


def session_durations(frame: pl.DataFrame) -> Picture:
    """Bars of sessions by how long they last."""
    return _bars(frame, "band", "sessions", color="var(--c3)")


def sessions_by_device(frame: pl.DataFrame) -> Picture:
    """Bars of sessions by device, with bounce and conversion rate in the tip."""
    tips = [_tip("bounce_rate", "Bounce rate", ".1%"), _tip("conversion_rate", "Converted", ".1%")]
    return _bars(frame, "device_type", "sessions", color="var(--c5)", tips=tips)


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
            _tip("step", "Step"),
            _tip("people", "People", ","),
            _tip("of_before", "Of the step before", ".1%"),
            _tip("of_first", "Of the first step", ".1%"),
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
            color=_color("channel", channels, channel_colors(channels), columns=4),
            order="order:Q",
            opacity=alt.condition(picked, alt.value(1), alt.value(0.15)),
            tooltip=[
                _tip("model", "Model"),
                _tip("channel", "Channel"),
                _tip("share", "Share of conversions", ".1%"),
                _tip("conversions", "Conversions", ",.1f"),
                _tip("revenue", "Revenue", ",.2f"),
            ],
        )
        .add_params(picked)
        .properties(height=_height(numbered["model"], 34))
    )
    return bars


def channel_credits(frame: pl.DataFrame, model: str, currency: str) -> Picture:
    """What channels earned under one model; signals `model` and `measure` pick what is shown."""
    tips = [
        _tip("conversions", "Conversions", ",.1f"),
        _tip("revenue", f"Revenue, {currency}", ",.2f"),
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
        x=alt.X("number:Q", title=None, axis=_number_axis(5)),
        y=y,
        tooltip=[_tip("channel", "Channel"), *tips],
    )
    text = base.mark_text(align="left", dx=6, color="var(--muted)").encode(
        x="number:Q", y=y, text="label:N"
    )
    return (
        alt.layer(bars, text)
        .add_params(
            alt.param(name="model", value=model), alt.param(name="measure", value="conversions")
        )
        .properties(height=_height(frame["channel"], 27))
    )


def segments(frame: pl.DataFrame) -> Picture:
    """Members of each segment, with who joined and departed in the tip."""
    tips = [
        _tip("joined", "Joined in 7 days", ","),
        _tip("departed", "Departed in 7 days", ","),
        _tip("owner", "Owner"),
        _tip("purpose", "Purpose"),
    ]
    return _bars(frame, "segment", "members", color="var(--c4)", tips=tips)


def cluster_sizes(frame: pl.DataFrame) -> Picture:
    """People by how many identifiers they have, on a scale that shows the few large ones."""
    bars: Picture = (
        alt.Chart(frame)
        .mark_bar(color="var(--c3)", cornerRadiusEnd=3)
        .encode(
            x=alt.X("identifiers:N", title="Identifiers", sort=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y(
                "people:Q",
                title="People, log scale",
                scale=alt.Scale(type="symlog"),
                axis=_number_axis(4),
            ),
            tooltip=[_tip("identifiers", "Identifiers"), _tip("people", "People", ",")],
        )
        .properties(height=220, width="container")
    )
    return bars


UNDONE_COLORS = {
    "merged": "var(--good)",
    "shared": "var(--warn)",
    "storm": "var(--c6)",
    "conflict": "var(--bad)",
    "oversize": "var(--c4)",
    "decision": "var(--rest)",
}
"""What became of a link."""

KIND_ORDER = ("visitor", "crm", "phone", "email", "user")
"""Kinds of identifiers from left to right, weakest first; others come first of all."""


def person_graph(merges: pl.DataFrame) -> Picture:
    """Identifiers of one person and the links between them, by what became of each link.

    Args:
        merges: Rows of `identity_merges`. Kinds are columns, weakest left; names are the first
            characters of pseudonyms.
    """
    ends = pl.concat(
        [
            merges.select(kind="identifier_type", id="identifier_id", at="valid_from_at"),
            merges.select(kind="other_type", id="other_id", at="valid_from_at"),
        ]
    )
    places = {kind: place for place, kind in enumerate(KIND_ORDER)}
    nodes = (
        ends.group_by("kind", "id")
        .agg(first_at=pl.col("at").min())
        .sort("kind", "first_at", "id")
        .with_columns(
            x=pl.col("kind").replace_strict(places, default=-1, return_dtype=pl.Int64),
            y=(pl.int_range(pl.len()) + 0.5).over("kind") / pl.len().over("kind"),
            name=pl.col("id").str.slice(0, 9),
        )
    )
    at = nodes.select("id", "x", "y")
    links = (
        merges.select("identifier_id", "other_id", "cause", "valid_from_at", "undone_by")
        .join(at.rename({"id": "identifier_id"}), on="identifier_id")
        .join(at.rename({"id": "other_id", "x": "x2", "y": "y2"}), on="other_id")
        .with_columns(outcome=pl.col("undone_by").fill_null("merged"))
    )
    outcomes = [name for name in UNDONE_COLORS if name in set(links["outcome"])]
    wide = alt.Scale(padding=40, zero=False)
    x = alt.X("x:Q", axis=None, scale=wide)
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, 1]))
    lines = (
        alt.Chart(links)
        .mark_rule(strokeWidth=2)
        .encode(
            x=x,
            y=y,
            x2="x2:Q",
            y2="y2:Q",
            color=alt.Color(
                "outcome:N",
                scale=alt.Scale(domain=outcomes, range=[UNDONE_COLORS[name] for name in outcomes]),
                legend=alt.Legend(
                    title=None, orient="top", symbolType="stroke", symbolStrokeWidth=3, columns=6
                ),
            ),
            strokeDash=alt.condition(
                "datum.outcome == 'merged'", alt.value([1, 0]), alt.value([5, 4])
            ),
            tooltip=[
                _tip("cause", "By"),
                _tip("outcome", "Outcome"),
                alt.Tooltip("valid_from_at:T", title="Since", format="%Y-%m-%d %H:%M"),
            ],
        )
    )
    base = alt.Chart(nodes).encode(x=x, y=y)
    tips = [
        _tip("kind", "Kind"),
        _tip("id", "Pseudonym"),
        alt.Tooltip("first_at:T", title="Since", format="%Y-%m-%d"),
    ]
    points = base.mark_circle(size=220, opacity=1).encode(
        color=alt.condition(
            "datum.kind == 'user'", alt.value("var(--c1)"), alt.value("var(--muted)")
        ),
        tooltip=tips,
    )
    words = base.mark_text(dy=-15, color="var(--ink)").encode(text="name:N")
    layered: Picture = alt.layer(lines, points, words).properties(
        width=520, height=46 * max(3, *nodes.group_by("kind").len()["len"])
    )
    return layered


def match_waterfall(pair: Mapping[str, object]) -> Picture:
    """How a match without a login came about: what each comparison said for and against it.

    Args:
        pair: One row of `Matches.pairs`. Weights are bits: one more doubles the odds.
    """
    steps = [("before comparing", _bits(pair["prior_weight"]))]
    steps += [
        (name.removeprefix("weight_").replace("_", " "), _bits(value))
        for name, value in pair.items()
        if name.startswith("weight_")
    ]
    total, rows = 0.0, []
    for number, (label, bits) in enumerate(steps):
        side = "for" if bits >= 0 else "against"
        rows.append((number, label, total, total + bits, bits, side))
        total += bits
    rows.append((len(rows), "together", 0.0, total, total, "together"))
    schema = ["order", "step", "from_bits", "to_bits", "bits", "side"]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    sides = {"for": "var(--good)", "against": "var(--bad)", "together": "var(--c1)"}
    bars: Picture = (
        alt.Chart(frame)
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("step:N", title=None, sort=alt.SortField("order")),
            x=alt.X("from_bits:Q", title="Match weight, bits"),
            x2="to_bits:Q",
            color=_color("side", list(sides), list(sides.values())),
            tooltip=[_tip("step", "Comparison"), _tip("bits", "Bits", "+.2f")],
        )
        .properties(height=26 * frame.height, width=520)
    )
    return bars


def _bits(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


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
            x=alt.X(
                "share:Q",
                title=None,
                axis=alt.Axis(format="%", tickCount=5),
                scale={"domain": [0, 1]},
            ),
            color=_color("fate", names, list(FATE_COLORS.values())),
            order="order:Q",
            tooltip=[
                _tip("source", "Source"),
                _tip("fate", "Fate"),
                _tip("records", "Records", ","),
                _tip("share", "Share of received", ".2%"),
            ],
        )
        .properties(height=_height(shares["source"], 34))
    )
    return bars


def quarantine_reasons(frame: pl.DataFrame) -> Picture:
    """Broken rules by how many records break them, by source."""
    named = frame.with_columns(
        reason=pl.when(pl.col("field") == "")
        .then("code")
        .otherwise(pl.format("{} · {}", "code", "field"))
    )
    order = named.group_by("reason").agg(pl.col("records").sum()).sort("records", descending=True)
    sources = sorted(set(named["source"]))
    bars: Picture = (
        alt.Chart(named)
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y(
                "reason:N",
                title=None,
                sort=order["reason"].to_list(),
                axis=alt.Axis(domain=False, labelLimit=260),
            ),
            x=alt.X("records:Q", title=None, axis=_number_axis(5)),
            color=_color("source", sources, CATEGORICAL),
            tooltip=[
                _tip("source", "Source"),
                _tip("code", "Rule"),
                _tip("field", "Field"),
                _tip("records", "Records", ","),
            ],
        )
        .properties(height=_height(named["reason"], 25))
    )
    return bars


def late_by_day(frame: pl.DataFrame) -> Picture:
    """Late events by the day they arrived, by source."""
    bars: Picture = (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=1)
        .encode(
            x=_day(),
            y=alt.Y("events:Q", title=None, axis=_number_axis(4)),
            color=_color("source", sorted(set(frame["source"])), CATEGORICAL),
            tooltip=[_day_tip(), _tip("source", "Source"), _tip("events", "Late events", ",")],
        )
    )
    return bars


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
            x=alt.X(
                "share:Q",
                title=None,
                axis=alt.Axis(format="%", tickCount=5),
                scale={"domain": [0, 1]},
            ),
            color=_color("answer", list(ANSWER_COLORS), list(ANSWER_COLORS.values())),
            order="order:Q",
            tooltip=[
                _tip("purpose", "Purpose"),
                _tip("answer", "Answer"),
                _tip("sessions", "Sessions", ","),
                _tip("share", "Share", ".1%"),
            ],
        )
        .properties(height=_height(named["purpose"], 40))
    )
    return bars


def channel_colors(channels: list[str]) -> list[str]:
    """A colour for each channel by its rank; what is folded together is grey."""
    return [
        "var(--rest)" if name == OTHER else CATEGORICAL[number % len(CATEGORICAL)]
        for number, name in enumerate(channels)
    ]


def specification(picture: Picture, *, description: str) -> dict[str, Any]:
    """The picture as Vega-Lite for a page: as wide as its place, described for those who listen."""
    spec: dict[str, Any] = picture.to_dict()
    height = {} if "height" in spec else {"height": 220}
    about = {"width": "container", "description": description, "config": _config()}
    return spec | height | about


def png(picture: Picture, *, title: str, width: int = 560, height: int = 170) -> bytes:
    """The picture as a small PNG on white, for places that run no scripts."""
    import vl_convert  # noqa: PLC0415 - 50 MB that only pictures for the orchestrator need

    spec: dict[str, Any] = picture.to_dict()
    size = {"width": width} | ({} if "height" in spec else {"height": height})
    text = json.dumps(spec | size | {"title": title, "background": "#ffffff", "config": _config()})
    colors = LIGHT | {"--on-accent": "#ffffff"}
    plain = re.sub(r"var\((--[a-z0-9-]+)\)", lambda found: colors[found[1]], text)
    return _packed(vl_convert.vegalite_to_png(plain, scale=1.25))


def _packed(image: bytes) -> bytes:
    """The same PNG, its pixels compressed as far as zlib can: a quarter of the bytes."""
    chunks: list[tuple[bytes, bytes]] = []
    place = len(_PNG)
    while place < len(image):
        (length,) = struct.unpack_from(">I", image, place)
        kind, content = image[place + 4 : place + 8], image[place + 8 : place + 8 + length]
        chunks.append((kind, content))
        place += 12 + length
    pixels = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    packed = [
        *[chunk for chunk in chunks if chunk[0] not in {b"IDAT", b"IEND"}],
        (b"IDAT", zlib.compress(pixels, 9)),
        (b"IEND", b""),
    ]
    return _PNG + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in packed
    )


def _bars(frame: pl.DataFrame, label: str, number: str, *, color: str, tips: Tips = ()) -> Picture:
    """One bar per row, in the order of the rows, with its number at its end."""
    base = alt.Chart(frame)
    named = _tip(label, label.replace("_", " ").capitalize())
    counted = _tip(number, number.capitalize(), ",")
    y = alt.Y(f"{label}:N", title=None, sort=frame[label].to_list(), axis=alt.Axis(labelLimit=200))
    bars = base.mark_bar(color=color, cornerRadiusEnd=3, height={"band": 0.7}).encode(
        x=alt.X(f"{number}:Q", title=None, axis=_number_axis(5)),
        y=y,
        tooltip=[named, counted, *tips],
    )
    text = base.mark_text(align="left", dx=6, color="var(--muted)").encode(
        x=f"{number}:Q", y=y, text=alt.Text(f"{number}:Q", format=",")
    )
    return alt.layer(bars, text).properties(height=_height(frame[label], 29))


def _height(labels: pl.Series, each: int) -> int:
    # In pixels: steps of a scale and the width of the place do not go together.
    return each * max(1, labels.n_unique())


def _day() -> alt.X:
    axis = alt.Axis(format="%-d %b", grid=False, tickCount="week", labelOverlap="greedy")
    return alt.X("yearmonthdate(day):T", title=None, axis=axis)


def _number_axis(ticks: int) -> alt.Axis:
    # A format of the axis would write every label in one unit: 0k, 0.5k, 1k.
    return alt.Axis(labelExpr="format(datum.value, '~s')", tickCount=ticks)


def _day_tip() -> alt.Tooltip:
    return alt.Tooltip("day:T", title="Day", format="%A, %-d %B %Y")


def _tip(field: str, title: str, format_: str | None = None) -> alt.Tooltip:
    if format_ is None:
        return alt.Tooltip(f"{field}:N", title=title)
    return alt.Tooltip(f"{field}:Q", title=title, format=format_)


def _color(field: str, domain: list[str], colors: list[str], *, columns: int = 0) -> alt.Color:
    legend = alt.Legend(title=None, orient="top", symbolType="square", columns=columns)
    scale = alt.Scale(domain=domain, range=colors[: len(domain)])
    return alt.Color(f"{field}:N", legend=legend, scale=scale)


def _config() -> dict[str, Any]:
    axis = {
        "labelColor": "var(--muted)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--grid)",
        "tickColor": "var(--grid)",
        "ticks": False,
        "labelPadding": 6,
        "labelFontSize": 12,
    }
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "axisY": {"domain": False},
        "axisQuantitative": {"domain": False},
        "legend": {
            "labelColor": "var(--ink)",
            "labelFontSize": 12,
            "symbolStrokeWidth": 0,
            "offset": 8,
            "labelLimit": 180,
        },
        "text": {"color": "var(--ink)", "fontSize": 12},
        "title": {"anchor": "start", "color": "var(--ink)", "fontSize": 14, "offset": 10},
    }
