"""Pictures of who is who: sizes of people, the links of one, and why two match."""

from collections.abc import Mapping

import altair as alt
import polars as pl

from clickstream_platform.reports.pictures.marks import color_of, symlog_axis, tip
from clickstream_platform.reports.pictures.style import Picture


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
                axis=symlog_axis(),
            ),
            tooltip=[tip("identifiers", "Identifiers"), tip("people", "People", ",")],
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

UNKNOWN = -1
"""Level of a comparison that one of the two says nothing about."""

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
            name=pl.col("id").str.replace(r"^(p\w_\w{6})\w+$", "$1"),
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
                tip("cause", "By"),
                tip("outcome", "Outcome"),
                alt.Tooltip("valid_from_at:T", title="Since", format="%Y-%m-%d %H:%M"),
            ],
        )
    )
    base = alt.Chart(nodes).encode(x=x, y=y)
    tips = [
        tip("kind", "Kind"),
        tip("id", "Pseudonym"),
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
        width=520, height=46 * max([3, *nodes.group_by("kind").len()["len"]])
    )
    return layered


def match_waterfall(pair: Mapping[str, object]) -> Picture:
    """How a match without a login came about: what each comparison said for and against it.

    Args:
        pair: One row of `Matches.pairs`. Weights are bits: one more doubles the odds. What one of
            the two does not tell is named as unknown, and weighs nothing.
    """
    steps = [("before comparing", _bits(pair["prior_weight"]))]
    steps += [
        (_step(name.removeprefix("weight_"), pair), _bits(value))
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
            color=color_of("side", list(sides), list(sides.values())),
            tooltip=[tip("step", "Comparison"), tip("bits", "Bits", "+.2f")],
        )
        .properties(height=26 * frame.height, width=520)
    )
    return bars


def _step(column: str, pair: Mapping[str, object]) -> str:
    label = column.replace("_", " ")
    return f"{label} (unknown)" if pair.get(f"agrees_{column}") == UNKNOWN else label


def _bits(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
