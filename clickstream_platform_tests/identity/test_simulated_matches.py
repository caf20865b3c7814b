"""Matches without a login in the simulated shop, against the truth."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.identity.clusters import score_matches
from clickstream_platform.identity.matching import match_records, match_rules
from clickstream_platform.simulator import Simulation, simulate, truth

SHOP = Simulation(
    start=date(2026, 3, 1), days=30, events=120_000, malformed_rate=0, is_compressed=False
)


def visitors(folder: Path) -> pl.DataFrame:
    """Who agreed to being recognised, by what most of their events say."""
    simulate(SHOP, folder)
    columns = ("visitor_id", "ip_address", "country", "language", "user_agent", "occurred_at")
    events = (
        pl.scan_ndjson(
            folder / "*.ndjson",
            schema=dict.fromkeys(columns, pl.String())
            | {"consent": pl.Struct({"personalization": pl.Boolean()})},
        )
        .filter(
            pl.col("consent").struct.field("personalization"), pl.col("user_agent").is_not_null()
        )
        .collect()
    )
    hour = pl.col("occurred_at").str.slice(11, 2).cast(pl.Int64, strict=False) // 8
    described = events.with_columns(
        network=pl.col("ip_address").str.replace(r"\.\d+$", ""), main_hour=hour.cast(pl.String)
    )
    common = ("network", "country", "language", "user_agent", "main_hour")
    return (
        described.group_by(record_id="visitor_id")
        .agg(pl.col(name).drop_nulls().mode().sort().first() for name in common)
        .with_columns(
            browser_name="user_agent",
            device_type=pl.col("user_agent").str.contains("Mobile").cast(pl.String),
            main_host=pl.lit("shop.example.com"),
            hosts=pl.lit(["shop.example.com"]),
        )
        .drop("user_agent")
        .sort("record_id")
    )


@pytest.mark.slow
def test_chances_are_those_of_the_truth(tmp_path: Path) -> None:
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    records = visitors(tmp_path)
    persons = dict(truth(SHOP).persons.select("visitor_id", "person").rows())
    known = {visitor: persons[visitor] for visitor in records["record_id"] if visitor in persons}
    pairs = match_records(records, match_rules(), least=0.5).pairs
    score = score_matches(pairs.select("left_id", "right_id").rows(), known)
    said = float(pairs.select(pl.col("match_probability").mean()).item())
    print(  # noqa: T201 - the report
        f"shop: {score.true_pairs} pairs of {records.height} visitors; from 0.5 on precision "
        f"{score.precision:.3f}, recall {score.recall:.3f}, said {said:.3f}"
    )
    # A network, a country and a language: no match is as sure as the threshold wants. Chances are
    # given too high, by no more than a fifth.
    assert pairs.filter(pl.col("match_probability") >= match_rules().threshold).is_empty()
    assert score.true_pairs > 50
    assert score.recall >= 0.6
    assert abs(said - score.precision) < 0.2
