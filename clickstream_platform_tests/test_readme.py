"""What the README shows works as shown."""

import json
import re
from pathlib import Path

import pytest

from clickstream_platform.cli.pages import page
from clickstream_platform.events import Ledger, ingest_files, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.frames import NOON

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LONG_AGO = 100_000


def block(language: str) -> str:
    """The first block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def test_canonical_event_is_loaded(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "data")
    settings = settings.model_copy(update={"lateness_horizon_days": LONG_AGO})
    file = tmp_path / "visits.ndjson"
    file.write_text(block("json"))
    ingest_files(settings, [file], "web_shop", now=NOON)
    refresh_events(settings)
    row = Lake(settings.lake_folder).scan("events").collect().row(0, named=True)
    assert (row["event_name"], row["campaign_source"]) == ("page_view", "news")
    assert row["consent_analytics"] is True


def test_adapter_of_the_till_reads_its_receipts(tmp_path: Path) -> None:
    definitions = tmp_path / "definitions"
    (definitions / "sources").mkdir(parents=True)
    (definitions / "sources" / "till.toml").write_text(block("toml"))
    settings = load_settings(tmp_path / "data")
    settings = settings.model_copy(
        update={"definitions": definitions, "lateness_horizon_days": LONG_AGO}
    )
    file = tmp_path / "receipts.csv"
    file.write_text(
        'printed,loyalty_card,receipt,total,store\n01.03.2026 13:00,card-1,r-1,"12,50",Mitte\n'
    )
    ingest_files(settings, [file], "till", now=NOON)
    refresh_events(settings)
    assert Ledger(settings.state).totals()[0]["quarantined"] == 0
    row = Lake(settings.lake_folder).scan("events").collect().row(0, named=True)
    assert row["occurred_at"] == NOON
    assert (row["event_name"], float(row["revenue"])) == ("purchase", 12.5)
    assert json.loads(row["properties"]) == {"store": "Mitte"}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_commands_that_are_named_exist() -> None:
    known = set(re.findall(r"^## clickstream (\w+)", page(), re.MULTILINE))
    named = set(re.findall(r"^clickstream (\w+)", README, re.MULTILINE))
    assert named - known == set()


def test_sample_is_small(tmp_path: Path) -> None:
    sample = ROOT / "data" / "sample" / "shop.ndjson.gz"
    assert sample.stat().st_size <= 100_000
    settings = load_settings(tmp_path / "data")
    settings = settings.model_copy(update={"lateness_horizon_days": LONG_AGO})
    ingest_files(settings, [sample], "sample", now=NOON)
    refresh_events(settings)
    loaded = Lake(settings.lake_folder).row_count("events")
    assert loaded > 900
