"""What comes of it, and why: funnel, channels and segments."""

import itertools

import polars as pl

from clickstream_platform.reports import numbers, pictures
from clickstream_platform.reports.figures import fold
from clickstream_platform.reports.sections.parts import (
    NO_SESSIONS,
    SHOWN_BARS,
    Control,
    Figure,
    Section,
    Subject,
    figure,
    share_of,
    title_of,
)

SHOWN_CHANNELS = 7
"""Channels with a colour of their own; the rest are folded into one."""

MODELS = ("first", "last", "last_non_direct", "linear", "position", "time_decay")
"""Attribution models in the order they are shown; others follow by name."""


def funnel(subject: Subject) -> Section:
    """From an item seen to a purchase, person by person, in order."""
    frame = subject.frame("funnel")
    people = frame.group_by("step_number").agg(pl.col("people").sum()).sort("step_number")
    reached = people["people"].to_list() or [0]
    devices = (
        frame.group_by("device_type").agg(pl.col("people").sum()).sort("people", descending=True)
    )
    wide = frame.pivot("device_type", index="step_number", values="people").with_columns(
        step=pl.col("step_number").replace_strict(
            dict(enumerate(pictures.STEPS.values(), 1)), return_dtype=pl.String
        )
    )
    choices = [(pictures.EVERY_DEVICE, "All devices")]
    choices += [(name, name.capitalize()) for name in devices["device_type"]]
    empty = (
        ""
        if reached[0]
        else "No funnel yet: nobody viewed an item. The steps are the events "
        f"{', '.join(pictures.STEPS)}; map yours to these names in the source's adapter."
    )
    return Section(
        id="funnel",
        title="Funnel",
        lead="A person passes a step only after the one before, in any session of the period.",
        figures=[
            figure(
                "purchase-funnel",
                "From an item to a purchase",
                pictures.funnel(frame),
                takeaway=_funnel_words(reached),
                table=subject.table(
                    wide.select("step", *[name for name, _ in choices[1:]]) if reached[0] else wide
                ),
                controls=[Control(signal="device", legend="Device", choices=choices)],
                empty=empty,
                is_wide=True,
            )
        ],
    )


def channels(subject: Subject) -> Section:
    """What brought people, and what earned their conversions under each model."""
    earned, sessions = subject.frame("channel_credits"), subject.frame("channel_sessions")
    models = _ordered_models(earned["model"].unique().to_list())
    folded = fold(earned, "channel", by="conversions", keep=SHOWN_CHANNELS, into=pictures.OTHER)
    shown = folded.group_by("model", "channel").agg(pl.col("conversions", "revenue").sum())
    ranks = shown.group_by("channel").agg(pl.col("conversions").sum())
    is_other = pl.col("channel") == pictures.OTHER
    order = ranks.sort(is_other, "conversions", "channel", descending=[False, True, False])
    names = {model: title_of(model) for model in models}
    labelled = shown.with_columns(
        pl.col("model").replace_strict(names, default=None, return_dtype=pl.String)
    ).sort(
        pl.col("model").cast(pl.Enum(list(names.values()))), "conversions", descending=[False, True]
    )
    empty = (
        "No conversions yet: nothing to attribute. Purchases, sign-ups and leads count; "
        "`clickstream materialize` computes the credits."
        if earned.is_empty()
        else ""
    )
    measures = [
        ("conversions", "Conversions"),
        ("revenue", f"Revenue, {subject.settings.currency}"),
    ]
    wide = earned.pivot("model", index="channel", values="conversions", aggregate_function="sum")
    return Section(
        id="channels",
        title="Channels",
        lead="Each model splits the same conversions over the channels on the way to them, looking "
        f"back {subject.settings.attribution.lookback_days:g} days. Credits add up to the "
        "conversions in every model; where models disagree, only an experiment can tell.",
        figures=[
            figure(
                "model-shares",
                "The same conversions under each model",
                pictures.model_shares(labelled, order["channel"].to_list()),
                takeaway=_model_words(labelled),
                table=subject.table(
                    wide.select("channel", *models).fill_null(0.0) if models else wide, names
                ),
                empty=empty,
            ),
            figure(
                "channel-credits",
                "What each channel earned",
                pictures.channel_credits(
                    earned, models[0] if models else "", subject.settings.currency
                ),
                takeaway="Under the chosen model.",
                controls=[
                    Control(signal="model", legend="Model", choices=list(names.items())),
                    Control(signal="measure", legend="Measure", choices=measures),
                ],
                empty=empty,
            ),
            Figure(
                id="channel-sessions",
                title="What each channel brought",
                takeaway="Sessions by the channel that started them.",
                table=subject.table(sessions),
                empty=NO_SESSIONS if sessions.is_empty() else "",
                is_wide=True,
            ),
        ],
    )


def segments(subject: Subject) -> Section:
    """Who is in which segment, and who came and went."""
    frame = subject.figures.frame("segments", now=subject.now)
    live = frame.filter(~pl.col("is_expired"))
    largest = live.row(0, named=True) if not live.is_empty() else None
    words = (
        f"Largest: {largest['segment']}, {numbers.counted(largest['members'], 'person', 'people')}."
        if largest
        else ""
    )
    empty = (
        "No segments yet: they are rules in TOML files, evaluated by `clickstream materialize`."
        if frame.is_empty()
        else ""
    )
    return Section(
        id="segments",
        title="Segments",
        lead="Rules over what people did; each has an owner, a purpose and a last day.",
        figures=[
            figure(
                "segment-sizes",
                "Members",
                pictures.segments(frame.head(SHOWN_BARS)),
                takeaway=words,
                empty=empty,
                is_wide=True,
            ),
            Figure(
                id="segment-catalogue",
                title="Catalogue",
                takeaway="Joined and departed are those of the last seven days.",
                table=subject.table(frame.drop("evaluated_at")),
                empty=empty,
                is_wide=True,
            ),
        ],
    )


def _funnel_words(reached: list[int]) -> str:
    if not reached[0]:
        return ""
    steps = list(pictures.STEPS.values())
    kept = [share_of(after, before) for before, after in itertools.pairwise(reached)]
    worst = kept.index(min(kept))
    viewers = numbers.counted(reached[0], "person", "people")
    words = (
        f"{numbers.share(share_of(reached[-1], reached[0]))} of the {viewers} "
        "who viewed an item purchased."
    )
    if reached[-1] == reached[0]:
        return words
    return f"{words} Most are lost between “{steps[worst]}” and “{steps[worst + 1]}”."


def _model_words(shown: pl.DataFrame) -> str:
    if shown.is_empty():
        return ""
    shares = shown.with_columns(
        share=pl.col("conversions") / pl.col("conversions").sum().over("model")
    ).filter(pl.col("channel") != pictures.OTHER)
    spread = shares.group_by("channel").agg(
        low=pl.col("share").min(),
        high=pl.col("share").max(),
        least=pl.col("model").sort_by("share", "model").first(),
        most=pl.col("model").sort_by("share", "model").last(),
    )
    if spread.is_empty():
        return ""
    top = spread.sort(pl.col("high") - pl.col("low"), "channel", descending=[True, False]).row(
        0, named=True
    )
    if numbers.share(top["low"]) == numbers.share(top["high"]):
        return "Every model gives each channel the same. Click a channel to follow it."
    return (
        f"Models disagree most on {top['channel']}: {numbers.share(top['low'])} of conversions "
        f"({top['least'].lower()}) to {numbers.share(top['high'])} ({top['most'].lower()}). "
        "Click a channel to follow it."
    )


def _ordered_models(found: list[str]) -> list[str]:
    known = [model for model in MODELS if model in found]
    return known + sorted(set(found) - set(known))
