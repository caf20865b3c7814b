"""Rules on a real access log, judged by each other: it says of nobody whether it is a person."""

import gzip
import shutil
from pathlib import Path

import polars as pl

from clickstream_platform.collection.bot_behaviour import refresh_bot_behaviour
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import load_file

METHOD = Path(__file__).parents[3] / "docs/methods/bots.md"


def test_layers_agree_on_a_real_log(shared: Path, settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "apache_logs.log"
    with gzip.open(shared / "data/elastic_apache/apache_logs.gz") as packed, log.open("wb") as out:
        shutil.copyfileobj(packed, out)
    events = load_file(settings, log, "apache")
    lake = Lake(settings.lake_folder)
    refresh_bot_behaviour(lake, settings)

    signals = events["bot_signals"].fill_null("").str.split(",")
    by_agent = signals.list.set_intersection(
        ["headless", "http_client", "ai_crawler", "crawler", "declared_bot"]
    ).list.len() > 0  # fmt: skip
    page = METHOD.read_text(encoding="utf-8")
    for rule in ("crawler_range", "datacenter_range"):
        hits = signals.list.contains(rule)
        row = f"| `{rule}` | {hits.sum():,} events | {(hits & by_agent).sum():,} |"
        assert row in page, row
    # Whoever comes from a crawler's network says so, in every one of its requests.
    assert not (signals.list.contains("crawler_range") & ~by_agent).any()

    days = lake.scan("bot_behaviour").collect()
    for rule in ("sleepless", "no_engagement"):
        hits = days["bot_signals"].fill_null("").str.contains(rule)
        known = (hits & (days["event_score"] == 100)).sum()
        row = f"| `{rule}` | {hits.sum():,} days of visitors | {known:,} |"
        assert row in page, row
    assert set(pl.Series(days["bot_signals"].drop_nulls()).str.split(",").explode()) == {
        "sleepless",
        "no_engagement",
    }
