"""The fit: what comes out has the distributions that were measured on real clickstreams."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from clickstream_platform.simulator import load_shop, truth
from clickstream_platform.simulator.behaviour import Name
from clickstream_platform.simulator.lines import CHUNK, slots_of
from clickstream_platform.simulator.world import HOUR_MS, world_of
from clickstream_platform_tests.simulator.shops import WEEK

FORTNIGHT = replace(WEEK.without_faults(), days=16, persons=12_000, bot_share=0.1)
"""As long as the news clicks that were fitted."""


@pytest.fixture(scope="module")
def measured(shared: Path) -> dict[str, Any]:
    """Distributions fitted on real clickstreams."""
    figures: dict[str, Any] = json.loads((shared / "data" / "simulator.json").read_text())
    return figures


@pytest.fixture(scope="module")
def happened() -> dict[str, pl.DataFrame]:
    """Visits of people, and their events without pings, in order."""
    world = world_of(FORTNIGHT)
    offsets = np.array([country.utc_offset_h for country in world.shop.country])
    visits, events = [], []
    for number, slot in enumerate(slots_of(world, chunk=CHUNK)):
        by = slot.visitors
        local_ms = by["start_ms"] + offsets[by["country"]] * HOUR_MS
        names = ("start_ms", "size", "number", "is_bot", "outcome", "ordinal", "consent")
        visits.append(
            pl.DataFrame({name: np.ascontiguousarray(by[name]) for name in names})
            .with_row_index("visit")
            .with_columns(slot=number, hour=pl.Series(local_ms // HOUR_MS % 24).cast(pl.Int8))
        )
        fields = ("visit", "time_ms", "name")
        events.append(
            pl.DataFrame({name: np.ascontiguousarray(slot.events[name]) for name in fields})
            .with_columns(pl.col("visit").cast(pl.UInt32), slot=number)
            .join(visits[-1].select("visit", "is_bot"), on="visit")
        )
    return {"visits": pl.concat(visits), "events": pl.concat(events)}


def of_people(table: pl.DataFrame) -> pl.DataFrame:
    """Rows of people."""
    return table.filter(~pl.col("is_bot"))


def test_shop_states_the_numbers_that_were_fitted(measured: dict[str, Any]) -> None:
    shop = load_shop()
    per_person, size = measured["sessions_per_user_in_16_days"], measured["events_per_session"]
    assert shop.sessions_per_person.exponent == per_person["s"]
    assert shop.sessions_per_person.cutoff == per_person["lambda"]
    assert shop.events_per_session.exponent == size["ecommerce"]["s"]
    assert shop.events_per_session.cutoff == size["ecommerce"]["lambda"]
    assert shop.events_per_session.person_sd == size["user_effect"]["sd_log"]
    gap = measured["intra_session_gap_s"]["ecommerce"]["lognormal_trunc1800"]
    assert (shop.gap_s.mu, shop.gap_s.sigma) == (gap["mu"], gap["sigma"])
    assert list(shop.timing.hour_of_day) == measured["hour_of_day_local"]
    assert shop.items.exponent == measured["items"]["zipf_exponent_top2000"]
    clock = {share for _, share in shop.faults.clock_off_s}
    late = measured["lateness"]
    assert {late["client_clock_ahead_gt5s"], late["client_clock_ahead_gt_645s"], 0.001} == clock
    assert FORTNIGHT.__class__.late_rate == late["other_day"]


def test_sessions_per_person_have_the_quantiles_of_the_news(
    happened: dict[str, pl.DataFrame],
) -> None:
    # Real: 2, 4, 7, 10 and 18 at 50, 75, 90, 95 and 99 %, mean 3.25, 41.9 % come once.
    visits = of_people(happened["visits"]).group_by("number").len()["len"]
    quantiles = [visits.quantile(q) for q in (0.5, 0.75, 0.9, 0.95, 0.99)]
    assert quantiles == pytest.approx([2, 4, 7, 10, 18], abs=1)
    assert visits.mean() == pytest.approx(3.25, rel=0.05)
    assert (visits == 1).mean() == pytest.approx(0.419, abs=0.02)


def test_events_per_session_have_the_mean_of_the_shop(happened: dict[str, pl.DataFrame]) -> None:
    # Real: mean 3.44, 40.8 % of a single event.
    sizes = of_people(happened["visits"])["size"]
    assert sizes.mean() == pytest.approx(3.44, rel=0.05)
    assert (sizes == 1).mean() == pytest.approx(0.408, abs=0.02)


def test_gaps_have_the_quantiles_of_the_shop(
    happened: dict[str, pl.DataFrame], measured: dict[str, Any]
) -> None:
    steps = of_people(happened["events"]).filter(pl.col("name") != int(Name.PAGE_PING))
    gaps = (
        steps.sort("slot", "visit", "time_ms")
        .select(pl.col("time_ms").diff().over("slot", "visit") / 1000)["time_ms"]
        .drop_nulls()
    )
    fitted = measured["intra_session_gap_s"]["ecommerce"]
    assert gaps.median() == pytest.approx(fitted["median"], rel=0.03)
    assert gaps.quantile(0.95) == pytest.approx(fitted["p95"], rel=0.05)
    assert float(gaps.to_numpy().max()) <= 1790


def test_hours_are_those_of_the_visitors_day(
    happened: dict[str, pl.DataFrame], measured: dict[str, Any]
) -> None:
    hours = np.bincount(of_people(happened["visits"])["hour"].to_numpy(), minlength=24)
    # Hours around the preferred one smooth the curve a little.
    assert hours / hours.sum() == pytest.approx(measured["hour_of_day_local"], abs=0.008)


def test_time_between_sessions_is_near_the_quantiles_of_the_news(
    happened: dict[str, pl.DataFrame], measured: dict[str, Any]
) -> None:
    # The recipe itself is 9 to 25 % off, as simulator.json says; only the rarest gaps, where
    # sessions of one day crowd, are further from the real ones.
    starts = of_people(happened["visits"]).sort("number", "start_ms")
    gaps = starts.select(pl.col("start_ms").diff().over("number") / HOUR_MS)[
        "start_ms"
    ].drop_nulls()
    real = measured["inter_session_gap_h"]
    for quantile in ("0.25", "0.5", "0.75", "0.95"):
        expected = real["quantiles"][quantile]
        assert gaps.quantile(float(quantile)) == pytest.approx(expected, rel=0.25)
    near = np.abs((gaps.to_numpy() + 12) % 24 - 12) < 2
    assert near.mean() == pytest.approx(real["share_within_2h_of_24h_multiple"], abs=0.03)


def test_weekend_is_quieter(happened: dict[str, pl.DataFrame]) -> None:
    day = of_people(happened["visits"])["start_ms"] // (24 * HOUR_MS)
    counts = np.bincount(day.to_numpy(), minlength=16)[:14].reshape(2, 7).sum(axis=0)
    weights = load_shop().timing.weekday
    assert counts / counts.sum() == pytest.approx(np.array(weights) / sum(weights), abs=0.02)


def test_purchases_are_at_the_share_of_the_shop(happened: dict[str, pl.DataFrame]) -> None:
    events, visits = happened["events"], of_people(happened["visits"])
    purchases = (events["name"] == int(Name.PURCHASE)).sum()
    assert purchases / len(visits) == pytest.approx(load_shop().funnel.purchase_share, rel=0.1)


def test_bots_make_their_share_of_the_events(happened: dict[str, pl.DataFrame]) -> None:
    assert happened["events"]["is_bot"].mean() == pytest.approx(FORTNIGHT.bot_share, abs=0.01)


def test_consents_are_at_their_shares(happened: dict[str, pl.DataFrame]) -> None:
    first = of_people(happened["visits"]).filter(pl.col("ordinal") == 0)["consent"]
    shares = [choice.share for choice in load_shop().consent.choice]
    counts = np.bincount(first.to_numpy(), minlength=len(shares))
    assert counts / len(first) == pytest.approx(shares, abs=0.015)


def test_clocks_are_off_as_often_as_measured() -> None:
    known = truth(replace(WEEK, persons=12_000)).persons.filter(pl.col("bot_kind").is_null())
    off_s = known["clock_off_ms"].abs() / 1000
    for seconds, share in load_shop().faults.clock_off_s:
        assert (off_s >= seconds * 0.999).mean() == pytest.approx(share, rel=0.25, abs=0.001)
