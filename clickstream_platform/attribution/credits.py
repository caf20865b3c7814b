"""Credit: how each model splits a conversion over the touchpoints that led to it."""

from datetime import timedelta

import ibis
import ibis.expr.types as ir
import polars as pl
from ibis import _

from clickstream_platform.errors import ParameterError

MODELS = ("first", "last", "last_non_direct", "linear", "position", "time_decay")
"""Every model, by the name it has in `attribution_credits`."""

UNATTRIBUTED = "(unattributed)"
"""Channel of a conversion that no touchpoint precedes within the lookback window."""

NO_CONSENT = "(no consent)"
"""Channel of a conversion whose person does not allow that it is credited to anything."""

ENDS = 2
"""Touchpoints at the ends of a path; a path of no more has nothing between."""

ENDS_SHARES = (0.4, 0.4)
"""Credit of the first and of the last of three touchpoints or more in the position model."""

CREDIT_STEP = 2.0**-40
"""Credits are multiples of this, so that they add up to exactly 1 in any order; below 1e-12."""

REVENUE_STEP = 2.0**-30
"""Shares of revenue but the last are multiples of this; below 1e-9 of the reporting currency."""

LARGE = tuple(2.0**power for power in range(23, 48, 4))
"""Revenues from which on the step is sixteen times as large as before: so a revenue is never more
than 2^53 of its steps, of which floating point adds up as many exactly."""

MICROSECOND = timedelta(microseconds=1)

PATH = ibis.window(group_by=["person_key", "conversion_id"])
"""The eligible touchpoints of one conversion; by person first, since integers hash faster."""


def attribution_credits(
    touchpoints: ir.Table,
    conversions: ir.Table,
    *,
    lookback: timedelta,
    half_life: timedelta,
    ends_shares: tuple[float, float] = ENDS_SHARES,
) -> ir.Table:
    """Split each conversion over the touchpoints that led to it, by every model of `MODELS`.

    A touchpoint is eligible from ``lookback`` before the conversion up to the conversion itself,
    both included. The models: all to the first, or the last; to the last that is not direct, or
    the last where all are; the same to each; 40 % to the first and the last and 20 % to those
    between, one half each where there are two; and by age, halving per half-life.

    The credits of one conversion sum to exactly 1 in each model and their revenue to its revenue:
    all but the last share are rounded down to a step far below the table's tolerance, and the
    last touchpoint has the rest. A conversion that is not attributable has no eligible touchpoint.

    Args:
        touchpoints: Contract: `clickstream_platform.tables.attribution.Touchpoints`.
        conversions: Contract: `clickstream_platform.tables.attribution.Conversions`.
        lookback: Oldest age that earns credit.
        half_life: Age at which a touchpoint is worth half of a new one in the time-decay model.
        ends_shares: Credit of the first and of the last touchpoint in the position model; those
            between share the rest, and two alone share in this proportion.

    Returns:
        Contract: `clickstream_platform.tables.attribution.AttributionCredits`. A conversion
        without eligible touchpoints keeps one row per model, with channel `UNATTRIBUTED`, or
        `NO_CONSENT` where its person does not allow attribution.
        Touchpoints that earn nothing in a model have no row in it.

    Raises:
        ParameterError: ``half_life`` or ``lookback`` is not longer than zero, or ``ends_shares``
            are not shares of one whole, the last above 0.

    Source:
        First, last, linear and position as in Snowplow's attribution package; last non-direct and
        the half-life of 7 days as in Google Analytics before 2023.
    """
    for name, value in (("lookback", lookback), ("half_life", half_life)):
        if value <= timedelta(0):
            raise ParameterError(name, value, "must be longer than zero", instead="timedelta(7)")
    if min(ends_shares) < 0 or ends_shares[-1] == 0 or sum(ends_shares) > 1:
        # The last touchpoint has what rounding leaves: it cannot be one that earns nothing.
        name, rule = "ends_shares", "must be two shares of one whole, the last above 0"
        raise ParameterError(name, ends_shares, rule, instead=str(ENDS_SHARES))
    paths = eligible_paths(touchpoints, conversions, lookback=lookback)
    return _shared(_weighed(paths, half_life=half_life, ends_shares=ends_shares))


def eligible_paths(
    touchpoints: ir.Table, conversions: ir.Table, *, lookback: timedelta
) -> ir.Table:
    """List the eligible touchpoints of each conversion, numbered from 1 in order of time.

    Returns:
        One row per conversion and eligible touchpoint, or with null touchpoint where there is
        none: ``conversion_id``, ``person_key``, ``conversion_date``, ``is_attributable``,
        ``total`` (revenue), ``touchpoint_id``, ``channel``, ``campaign_name``, ``touched_us``,
        ``is_direct``, ``position`` and ``touches`` (of the path).
    """
    converted = conversions.select(
        "conversion_id",
        "person_key",
        "conversion_date",
        "converted_us",
        "is_attributable",
        path_key=ibis.ifelse(_.is_attributable, _.person_key, None),
        total=_.revenue.cast("float64"),
    )
    touched = touchpoints.select(
        "touchpoint_id",
        "channel",
        "campaign_name",
        "touched_us",
        "is_direct",
        touched_key="person_key",
    )
    pairs = converted.left_join(
        touched,
        [
            converted.path_key == touched.touched_key,
            touched.touched_us <= converted.converted_us,
            touched.touched_us >= converted.converted_us - lookback // MICROSECOND,
        ],
    )
    in_time = ibis.window(
        group_by=["person_key", "conversion_id"], order_by=["touched_us", "touchpoint_id"]
    )
    return pairs.drop("touched_key", "path_key", "converted_us").mutate(
        position=ibis.row_number().over(in_time) + 1,
        touches=_.count().over(PATH),
    )


SHARING = ("linear", "position_based", "time_decay")
"""Models in which every touchpoint has a share, by the name of its weight."""


def _weighed(
    paths: ir.Table, *, half_life: timedelta, ends_shares: tuple[float, float]
) -> ir.Table:
    """Add what each touchpoint weighs in the models that share, and which one is chosen."""
    # Ages count from the last touchpoint rather than from the conversion. The common factor
    # cancels out, and a path whose touchpoints are all old does not underflow to 0 / 0.
    paths = paths.mutate(
        age_us=(_.touched_us.max().over(PATH) - _.touched_us).fill_null(0).cast("float64"),
        chosen=(~_.is_direct).ifelse(_.position, 0).max().over(PATH),
    )
    decay = ibis.literal(2.0) ** (-(paths.age_us / (half_life // MICROSECOND)))
    # Whole steps add up to the same sum in any order, on any engine.
    paths = paths.mutate(decay=_whole(decay, CREDIT_STEP))
    first, last = ends_shares
    return paths.mutate(
        chosen=(_.chosen > 0).ifelse(_.chosen, _.touches),
        linear=1.0 / _.touches,
        position_based=ibis.cases(
            (_.touches == 1, 1.0),
            ((_.touches == ENDS) & (_.position == 1), first / (first + last)),
            (_.touches == ENDS, last / (first + last)),
            (_.position == 1, first),
            (_.position == _.touches, last),
            else_=(1.0 - first - last) / (_.touches - ENDS),
        ),
        time_decay=_.decay / _.decay.sum().over(PATH),
    )


def _shared(weighed: ir.Table) -> ir.Table:
    """Turn weights into shares that add up, one row per model."""
    whole_credits = {f"{name}_credit": _whole(weighed[name], CREDIT_STEP) for name in SHARING}
    steps = weighed.mutate(**whole_credits)
    size = steps.total.abs()
    larger = ((size >= least, REVENUE_STEP * 16.0 ** (n + 1)) for n, least in enumerate(LARGE))
    steps = steps.mutate(revenue_step=ibis.cases(*reversed([*larger]), else_=REVENUE_STEP))
    whole_revenues = {
        f"{name}_revenue": _whole(steps.total * steps[f"{name}_credit"], steps.revenue_step)
        for name in SHARING
    }
    steps = steps.mutate(**whole_revenues)
    wholes = {"credit": ibis.literal(1.0), "revenue": steps.total}
    shares = steps.mutate(
        **{
            f"{name}_{measure}": _with_rest(steps, f"{name}_{measure}", whole)
            for name in SHARING
            for measure, whole in wholes.items()
        }
    )
    by_model = shares.mutate(model=ibis.array([*MODELS]).unnest())
    is_chosen = {
        "first": by_model.position == 1,
        "last": by_model.position == by_model.touches,
        "last_non_direct": by_model.position == by_model.chosen,
    }

    def of_model(measure: str, whole: ir.NumericValue) -> ir.NumericValue:
        return ibis.cases(
            *((by_model.model == name, it.ifelse(whole, 0.0)) for name, it in is_chosen.items()),
            (by_model.model == "linear", by_model[f"linear_{measure}"]),
            (by_model.model == "position", by_model[f"position_based_{measure}"]),
            else_=by_model[f"time_decay_{measure}"],
        )

    return by_model.select(
        "model",
        "conversion_id",
        "touchpoint_id",
        "person_key",
        "conversion_date",
        channel=_.channel.fill_null(ibis.ifelse(_.is_attributable, UNATTRIBUTED, NO_CONSENT)),
        campaign_name=_.campaign_name,
        credit=of_model("credit", ibis.literal(1.0)),
        revenue=of_model("revenue", by_model.total),
    ).filter(_.credit > 0)


def _whole(value: ir.NumericValue, step: float | ir.NumericValue) -> ir.NumericValue:
    # Not `floor`: engines turn a floor into an integer, which may overflow.
    return value - value % step


def _with_rest(steps: ir.Table, name: str, whole: ir.NumericValue) -> ir.NumericValue:
    """The share of each touchpoint; the last one has what the others leave of the whole."""
    others = steps[name].sum().over(PATH) - steps[name]
    return (steps.position == steps.touches).ifelse(whole - others, steps[name])


def channel_report(earned: pl.DataFrame) -> pl.DataFrame:
    """Add up conversions and revenue by model and channel.

    Args:
        earned: Rows of `attribution_credits`, with ``model``, ``channel``, ``credit`` and
            ``revenue``.

    Returns:
        ``model``, ``channel``, ``conversions``, ``revenue``; models in the order of `MODELS`, the
        channel with most conversions first. Grain: model, channel.
    """
    order = pl.col("model").replace_strict(
        {name: number for number, name in enumerate(MODELS)}, default=len(MODELS)
    )
    return (
        earned.group_by("model", "channel")
        .agg(conversions=pl.col("credit").sum(), revenue=pl.col("revenue").sum())
        .sort(order, -pl.col("conversions"), "channel")
    )
