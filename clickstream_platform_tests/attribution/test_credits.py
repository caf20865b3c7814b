"""Credit by six models: worked by hand, published numbers, laws, edges, engines."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.attribution import (
    MODELS,
    NO_CONSENT,
    UNATTRIBUTED,
    attribution_credits,
    channel_report,
)
from clickstream_platform.errors import ParameterError
from clickstream_platform.lake import connect, polars_schema
from clickstream_platform.settings import LakeSettings
from clickstream_platform.tables.attribution import AttributionCredits
from clickstream_platform.tables.contracts import require
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import microseconds

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
MONTH = timedelta(days=30)
INSTANT = timedelta.resolution

Touch: TypeAlias = tuple[str, int, str, int]
"""Touchpoint, person, channel, microseconds."""
Conversion: TypeAlias = tuple[str, int, int, Decimal]
"""Conversion, person, microseconds, revenue."""
Credit: TypeAlias = dict[tuple[str, str, str | None], float]
"""Credit by model, conversion and touchpoint."""

ANN = 1
ANN_CONVERTS: list[Conversion] = [("c0", ANN, microseconds(NOON), Decimal(100))]


def path(*steps: tuple[str, timedelta], person: int = ANN) -> list[Touch]:
    """Touchpoints t0, t1, ... of one person, each a channel so long before noon."""
    return [
        (f"t{i}", person, channel, microseconds(NOON - age))
        for i, (channel, age) in enumerate(steps)
    ]


def touches_frame(touches: list[Touch], direct: str = "Direct") -> pl.DataFrame:
    schema = {
        "touchpoint_id": pl.String,
        "person_key": pl.Int64,
        "channel": pl.String,
        "touched_us": pl.Int64,
    }
    frame = pl.DataFrame(touches, schema=schema, orient="row")
    return frame.with_columns(campaign_name=pl.lit("spring"), is_direct=pl.col("channel") == direct)


def conversions_frame(rows: list[Conversion]) -> pl.DataFrame:
    schema: dict[str, pl.DataType] = {
        "conversion_id": pl.String(),
        "person_key": pl.Int64(),
        "converted_us": pl.Int64(),
        "revenue": pl.Decimal(18, 4),
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(
        conversion_date=pl.from_epoch("converted_us", "us").dt.date(),
        is_attributable=~pl.col("conversion_id").str.starts_with("refused"),
    )


BACKEND: list[Backend] = []


def duckdb() -> Backend:
    """One connection for all examples of all laws."""
    if not BACKEND:
        BACKEND.append(connect(LakeSettings()))
    return BACKEND[0]


@dataclass(frozen=True)
class Policy:
    lookback: timedelta = MONTH
    half_life: timedelta = WEEK
    ends_shares: tuple[float, float] = (0.4, 0.4)


def earned(
    touches: list[Touch],
    conversions: list[Conversion],
    policy: Policy = Policy(),
    *,
    direct: str = "Direct",
) -> pl.DataFrame:
    """Rows of `attribution_credits`, after checking the contract."""
    frames = {"t": touches_frame(touches, direct), "c": conversions_frame(conversions)}
    tables = {
        name: duckdb().create_table(name, frame.to_arrow(), temp=True, overwrite=True)
        for name, frame in frames.items()
    }
    table = attribution_credits(
        tables["t"],
        tables["c"],
        lookback=policy.lookback,
        half_life=policy.half_life,
        ends_shares=policy.ends_shares,
    )
    frame = table.to_polars().select(
        pl.col(name).cast(kind) for name, kind in polars_schema("attribution_credits").items()
    )
    return require(AttributionCredits, frame)


def by_touch(rows: pl.DataFrame, measure: str = "credit") -> Credit:
    columns = rows.select("model", "conversion_id", "touchpoint_id", measure)
    return {(model, c, t): value for model, c, t, value in columns.iter_rows()}


def of_model(rows: pl.DataFrame, model: str) -> dict[str | None, float]:
    kept = rows.filter(pl.col("model") == model)
    return dict(kept.select("touchpoint_id", "credit").iter_rows())


def test_six_models_split_one_path() -> None:
    # Ages 14, 7, 0 days: decay weights 1/4, 1/2, 1 of 7/4.
    walk = path(("Email", 14 * DAY), ("Paid Search", 7 * DAY), ("Direct", 0 * DAY))
    rows = earned(walk, ANN_CONVERTS)
    assert of_model(rows, "first") == {"t0": 1}
    assert of_model(rows, "last") == {"t2": 1}
    assert of_model(rows, "last_non_direct") == {"t1": 1}
    assert of_model(rows, "linear") == pytest.approx({"t0": 1 / 3, "t1": 1 / 3, "t2": 1 / 3})
    assert of_model(rows, "position") == pytest.approx({"t0": 0.4, "t1": 0.2, "t2": 0.4})
    assert of_model(rows, "time_decay") == pytest.approx({"t0": 1 / 7, "t1": 2 / 7, "t2": 4 / 7})
    assert by_touch(rows, "revenue")["time_decay", "c0", "t2"] == pytest.approx(400 / 7)


@pytest.mark.parametrize(
    ("length", "shares"),
    [(1, [1.0]), (2, [0.5, 0.5]), (3, [0.4, 0.2, 0.4]), (4, [0.4, 0.1, 0.1, 0.4])],
)
def test_position_gives_forty_twenty_forty(length: int, shares: list[float]) -> None:
    walk = path(*[("Email", (length - step) * DAY) for step in range(length)])
    got = of_model(earned(walk, ANN_CONVERTS), "position")
    assert list(dict(sorted(got.items(), key=str)).values()) == pytest.approx(shares)


def test_last_non_direct_is_the_last_where_all_are_direct() -> None:
    walk = path(("Direct", 2 * DAY), ("Direct", DAY))
    assert of_model(earned(walk, ANN_CONVERTS), "last_non_direct") == {"t1": 1}


def test_touches_of_one_instant_stand_in_order_of_their_ids() -> None:
    walk = path(("Email", DAY), ("Display", DAY))
    assert of_model(earned([*reversed(walk)], ANN_CONVERTS), "first") == {"t0": 1}


# -- Published numbers -------------------------------------------------------------------------

HAND_MODELS = {
    "first_touch": ("first", (0.4, 0.4)),
    "last_touch": ("last", (0.4, 0.4)),
    "last_non_A": ("last_non_direct", (0.4, 0.4)),
    "linear": ("linear", (0.4, 0.4)),
    "position_based_40_20_40": ("position", (0.4, 0.4)),
    "position_based_30_0_70": ("position", (0.3, 0.7)),
}


def test_published_paths(shared: Path) -> None:
    cases = json.loads((shared / "cases/attribution_paths/hand_cases.json").read_text())
    compared = 0
    for case in cases:
        expected = {"credit": case.get("expected", {}), "revenue": case.get("expected_revenue", {})}
        for measure, models in expected.items():
            for name in set(models) & set(HAND_MODELS):
                model, ends_shares = HAND_MODELS[name]
                assert channel_sums(case["paths"], model, measure, ends_shares) == pytest.approx(
                    models[name]
                ), (case["id"], name)
                compared += 1
    assert compared == 14


def channel_sums(
    paths: list[dict[str, object]], model: str, measure: str, ends_shares: tuple[float, float]
) -> dict[str, float]:
    """Sums by channel where each conversion of each path is a person of its own."""
    touches: list[Touch] = []
    conversions: list[Conversion] = []
    for row in paths:
        count, revenue = int(str(row["conversions"])), str(row.get("revenue", 0))
        channels = row["path"]
        assert isinstance(channels, list)
        for _ in range(count):
            person = len(conversions)
            conversions.append((f"c{person}", person, microseconds(NOON), Decimal(revenue)))
            touches += [
                (f"p{person}t{i:02}", person, str(channel), microseconds(NOON) - 60 + i)
                for i, channel in enumerate(channels)
            ]
    rows = earned(touches, conversions, Policy(ends_shares=ends_shares), direct="A")
    sums = rows.filter(pl.col("model") == model).group_by("channel").agg(pl.col(measure).sum())
    return dict(sums.iter_rows())


# -- Laws --------------------------------------------------------------------------------------

AGES = st.integers(0, 70 * 24).map(lambda hours: microseconds(NOON) - hours * 3_600_000_000)
TOUCHES = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["Direct", "Email", "Paid Search"]), AGES),
    max_size=14,
).map(lambda rows: [(f"t{i}", *row) for i, row in enumerate(rows)])
CONVERSIONS = st.lists(
    st.tuples(st.integers(0, 2), AGES, st.decimals(-1000, 10**9, places=4, allow_nan=False)),
    max_size=5,
).map(lambda rows: [(f"c{i}", *row) for i, row in enumerate(rows)])


@settings(max_examples=25)
@given(touches=TOUCHES, conversions=CONVERSIONS)
def test_credits_sum_to_conversions_and_revenue(
    touches: list[Touch], conversions: list[Conversion]
) -> None:
    rows = earned(touches, conversions)
    totals = {conversion: float(revenue) for conversion, _, _, revenue in conversions}
    sums: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for model, conversion, credit, revenue in rows.select(
        "model", "conversion_id", "credit", "revenue"
    ).iter_rows():
        sums[model, conversion].append((credit, revenue))
    assert set(sums) == {(model, conversion) for model in MODELS for conversion in totals}
    for (_, conversion), shares in sums.items():
        assert sum(credit for credit, _ in shares) == pytest.approx(1, abs=1e-9)
        assert math.fsum(revenue for _, revenue in shares) == totals[conversion]


@settings(max_examples=25)
@given(touches=TOUCHES, conversions=CONVERSIONS)
def test_agrees_with_a_loop_over_conversions(
    touches: list[Touch], conversions: list[Conversion]
) -> None:
    rows = earned(touches, conversions)
    expected = naive(touches, conversions)
    assert by_touch(rows) == pytest.approx(expected, abs=1e-9)
    totals = {conversion: float(revenue) for conversion, _, _, revenue in conversions}
    revenue = {key: share * totals[key[1]] for key, share in expected.items()}
    assert by_touch(rows, "revenue") == pytest.approx(revenue, rel=1e-9, abs=1e-6)


def naive(touches: list[Touch], conversions: list[Conversion]) -> Credit:
    expected: Credit = {}
    for conversion, person, at, _ in conversions:
        eligible = sorted(
            (us, touch, channel)
            for touch, whose, channel, us in touches
            if whose == person and 0 <= at - us <= MONTH // INSTANT
        )
        names: list[str | None] = [touch for _, touch, _ in eligible] or [None]
        named = [i for i, (_, _, channel) in enumerate(eligible) if channel != "Direct"]
        n = len(names)
        decay = [0.5 ** ((eligible[-1][0] - us) / (WEEK // INSTANT)) for us, _, _ in eligible]
        weights = {
            "first": [1.0, *[0.0] * (n - 1)],
            "last": [*[0.0] * (n - 1), 1.0],
            "last_non_direct": [float(i == (named or [n - 1])[-1]) for i in range(n)],
            "linear": [1 / n] * n,
            "position": [0.4, *[0.2 / max(n - 2, 1)] * (n - 2), 0.4] if n > 2 else [1 / n] * n,
            "time_decay": [weight / sum(decay) for weight in decay] or [1.0],
        }
        expected |= {
            (model, conversion, touch): share
            for model, shares in weights.items()
            for touch, share in zip(names, shares, strict=True)
            if share > 0
        }
    return expected


def test_long_path_sums_exactly_in_any_order() -> None:
    walk = path(*[("Email", number * DAY / 1_000) for number in range(3_000)])
    odd = [("c0", ANN, microseconds(NOON), Decimal("1234567.8901"))]
    for _, rows in earned(walk, odd).group_by("model"):
        for ordered in (rows, rows.reverse(), rows.sort("credit")):
            assert sum(ordered["credit"]) == 1
            assert sum(ordered["revenue"]) == 1234567.8901


def test_old_path_with_a_short_half_life_does_not_underflow() -> None:
    # 2 ** -28_800 is zero in floating point.
    rows = earned(path(("Email", 20 * DAY)), ANN_CONVERTS, Policy(half_life=DAY / 1_440))
    assert of_model(rows, "time_decay") == {"t0": 1.0}


# -- Edges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("age", "earner"),
    [
        pytest.param(0 * DAY, "t0", id="at the conversion"),
        pytest.param(MONTH, "t0", id="at the far end of the window"),
        pytest.param(MONTH + INSTANT, None, id="just outside the window"),
        pytest.param(-INSTANT, None, id="after the conversion"),
    ],
)
def test_lookback_window_includes_both_ends(age: timedelta, earner: str | None, model: str) -> None:
    rows = earned(path(("Email", age)), ANN_CONVERTS)
    assert of_model(rows, model) == {earner: 1.0}


def test_conversion_without_touchpoints_keeps_one_row_per_model() -> None:
    rows = earned([], ANN_CONVERTS)
    assert rows["channel"].to_list() == [UNATTRIBUTED] * len(MODELS)
    assert rows["touchpoint_id"].null_count() == len(MODELS)
    assert rows["revenue"].to_list() == [100.0] * len(MODELS)
    assert rows["conversion_date"].unique().to_list() == [date(2026, 3, 1)]


def test_touchpoints_of_somebody_else_earn_nothing() -> None:
    rows = earned(path(("Email", DAY), person=2), ANN_CONVERTS)
    assert rows["channel"].unique().to_list() == [UNATTRIBUTED]


def test_conversion_that_may_not_be_attributed_keeps_its_sum_and_names_the_reason() -> None:
    # Ann converts twice after one touch, once where she may not be credited: 1 + 1 conversions.
    refused: Conversion = ("refused0", ANN, microseconds(NOON), Decimal(7))
    rows = earned(path(("Email", DAY)), [*ANN_CONVERTS, refused])
    report = channel_report(rows).filter(pl.col("model") == "linear").drop("model")
    assert sorted(report.rows()) == [(NO_CONSENT, 1.0, 7.0), ("Email", 1.0, 100.0)]
    assert rows.filter(pl.col("channel") == NO_CONSENT)["touchpoint_id"].null_count() == len(MODELS)


@pytest.mark.parametrize("name", ["half_life", "lookback"])
def test_durations_must_be_longer_than_zero(name: str) -> None:
    policy = Policy(half_life=timedelta(0)) if name == "half_life" else Policy(timedelta(0))
    with pytest.raises(ParameterError, match=rf"^{name} must be longer than zero, got .*\. Try "):
        earned(path(("Email", DAY)), ANN_CONVERTS, policy)


@pytest.mark.parametrize("shares", [(-0.1, 0.5), (0.3, 0.0), (0.7, 0.4)])
def test_ends_are_shares_of_one_whole_and_the_last_earns(shares: tuple[float, float]) -> None:
    with pytest.raises(ParameterError, match=r"^ends_shares must be two shares of one whole"):
        earned(path(("Email", DAY)), ANN_CONVERTS, Policy(ends_shares=shares))


# -- Reports and engines -----------------------------------------------------------------------


def test_channel_report_adds_up_by_model_and_channel() -> None:
    walk = path(("Email", 3 * DAY), ("Paid Search", 2 * DAY), ("Email", DAY))
    report = channel_report(earned(walk, ANN_CONVERTS))
    linear = report.filter(pl.col("model") == "linear").drop("model")
    assert linear["channel"].to_list() == ["Email", "Paid Search"]
    assert linear["conversions"].to_list() == pytest.approx([2 / 3, 1 / 3])
    assert linear["revenue"].to_list() == pytest.approx([200 / 3, 100 / 3])
    assert report["model"].unique(maintain_order=True).to_list() == [*MODELS]


@pytest.mark.parametrize(
    "revenue", ["8388607.9999", "8388608", "-12345678901234.5678", "99999999999999.9999"]
)
def test_large_revenue_is_shared_without_a_rest(
    tmp_path: Path, duckdb_backend: Backend, revenue: str
) -> None:
    # Sums of floating point that are exact do not depend on an order that engines choose.
    touches = path(*(("Email", n * n * DAY / 7) for n in range(13)))
    frames = {
        "t": touches_frame(touches),
        "c": conversions_frame([("c0", ANN, microseconds(NOON), Decimal(revenue))]),
    }
    rows = run(
        duckdb_backend,
        tmp_path,
        frames,
        lambda t, c: attribution_credits(t, c, lookback=MONTH, half_life=WEEK),
    )
    for model in MODELS:
        shares = rows.filter(pl.col("model") == model)["revenue"].to_list()
        assert sum(map(Fraction, shares)) == Fraction(float(revenue)), model


@pytest.mark.spark
@pytest.mark.slow
def test_engines_agree(tmp_path: Path, duckdb_backend: Backend, spark_backend: SQLBackend) -> None:
    touches: list[Touch] = [
        (f"t{i}", i * 7 % 31, ["Direct", "Email", "Display"][i % 3], i**3 % 997 * 7_654_321_987)
        for i in range(400)
    ]
    conversions: list[Conversion] = [
        (
            f"{'refused' if i % 7 == 0 else 'c'}{i}",
            i * 5 % 37,
            i**2 % 991 * 7_654_321_987,
            Decimal(i**4 % 9973) / 100 * (-(10**11) if i % 9 == 0 else 1),
        )
        for i in range(60)
    ]
    frames = {"t": touches_frame(touches), "c": conversions_frame(conversions)}
    one, other = (
        run(
            engine,
            tmp_path,
            frames,
            lambda t, c: attribution_credits(t, c, lookback=MONTH, half_life=WEEK),
        ).sort("model", "conversion_id", "touchpoint_id")
        for engine in (duckdb_backend, spark_backend)
    )
    assert one.height > 600
    assert one.drop("credit", "revenue").equals(other.drop("credit", "revenue"))
    for measure in ("credit", "revenue"):
        found = pytest.approx(other[measure].to_list(), abs=1e-11, rel=1e-12)
        assert one[measure].to_list() == found
