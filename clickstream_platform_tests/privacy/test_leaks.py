"""Leaks: found wherever they are stored, masked in place, and gone from the past."""

import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.lake import Lake
from clickstream_platform.privacy import mend_leaks, scan_leaks
from clickstream_platform.privacy.leaks import text_columns
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform_tests.events.door import drop, event, take

LEAK = "https://shop.example.com/?mail=ann.leak%40example.com"
MASKED = "https://shop.example.com/?mail=%5Bemail%5D"

load_commands()


def leak(settings: Settings, table: str, column: str) -> None:
    """Store what minimisation would have masked, as rules of another day may have."""
    assert Lake(settings.lake_folder).update(table, {column: f"'{LEAK}'"}, "true") > 0


@pytest.fixture
def stored(settings: Settings) -> Settings:
    """Three sound events and one record that waits."""
    records = [event(0), event(1), event(2), event(3, occurred_at="yesterday")]
    take(settings, drop(settings, "a.ndjson", records))
    return settings


def test_nothing_is_found_where_nothing_leaked(stored: Settings) -> None:
    assert scan_leaks(stored).is_empty()
    versions = {table: Lake(stored.lake_folder).version(table) for table in TABLES}
    assert mend_leaks(stored).rows == {}
    assert versions == {table: Lake(stored.lake_folder).version(table) for table in TABLES}


def test_leaks_are_counted_by_table_column_and_kind(stored: Settings) -> None:
    leak(stored, "events", "referrer_url")
    leak(stored, "quarantined_events", "payload")
    assert scan_leaks(stored).rows() == [
        ("events", "referrer_url", "email", 3),
        ("quarantined_events", "payload", "email", 1),
    ]


def test_mended_rows_differ_in_the_leak_alone(stored: Settings) -> None:
    lake = Lake(stored.lake_folder)
    before = lake.scan("events").collect().sort("event_id")
    leak(stored, "events", "referrer_url")
    assert mend_leaks(stored).rows == {"events": 3}
    after = lake.scan("events").collect().sort("event_id")
    assert after["referrer_url"].to_list() == [MASKED] * 3
    assert after.drop("referrer_url").equals(before.drop("referrer_url"))
    assert scan_leaks(stored).is_empty()


def test_mending_twice_is_mending_once(stored: Settings) -> None:
    leak(stored, "events", "page_title")
    mend_leaks(stored)
    version = Lake(stored.lake_folder).version("events")
    assert mend_leaks(stored).rows == {}
    assert Lake(stored.lake_folder).version("events") == version


def test_no_file_of_the_lake_holds_the_leak_afterwards(stored: Settings) -> None:
    leak(stored, "events", "page_title")
    leak(stored, "raw_events", "payload")

    def holding() -> list[str]:
        found = []
        for path in stored.lake_folder.rglob("*"):
            if path.suffix == ".parquet" and "_delta_log" not in str(path):
                texts = pl.read_parquet(path, hive_partitioning=False).select(pl.col(pl.String))
                found += [path.name for row in texts.rows() if "ann.leak" in str(row)]
            elif path.is_file() and b"ann.leak" in path.read_bytes():
                found.append(path.name)
        return found

    assert any(name.endswith(".json") for name in holding())  # statistics tell it as well
    mend_leaks(stored)
    assert holding() == []


def test_tables_that_are_mended_are_loaded_neither_again_nor_twice(stored: Settings) -> None:
    leak(stored, "raw_events", "payload")
    mend_leaks(stored)
    take(stored, stored.landing / "web" / "a.ndjson")
    assert Lake(stored.lake_folder).row_count("events") == 3
    assert Lake(stored.lake_folder).row_count("raw_events") == 4


def test_query_keys_that_are_not_listed_are_leaks_under_an_allow_list(stored: Settings) -> None:
    url = "https://shop.example.com/?utm_source=news&q=shoes&page=2"
    Lake(stored.lake_folder).update("events", {"page_url": f"'{url}'"}, "true")
    assert scan_leaks(stored).is_empty()
    privacy = stored.privacy.model_copy(
        update={"query_keys": "allow", "allowed_query_keys": ("page",)}
    )
    strict = stored.model_copy(update={"privacy": privacy})
    found = scan_leaks(strict).filter(table="events", column="page_url")
    assert found.rows() == [("events", "page_url", "query", 3)]
    mend_leaks(strict)
    urls = Lake(stored.lake_folder).scan("events").collect()["page_url"].unique().to_list()
    assert urls == ["https://shop.example.com/?utm_source=news&page=2"]


def test_allow_list_is_kept_at_the_door(settings: Settings) -> None:
    privacy = settings.privacy.model_copy(
        update={"query_keys": "allow", "allowed_query_keys": ("page",)}
    )
    strict = settings.model_copy(update={"privacy": privacy})
    url = "https://shop.example.com/?utm_source=news&q=shoes&page=2"
    take(strict, drop(strict, "a.ndjson", [event(0, page_url=url), f"torn {url}"]))
    lake = Lake(strict.lake_folder)
    assert lake.scan("events").collect()["page_url"].to_list() == [
        "https://shop.example.com/?utm_source=news&page=2"
    ]
    assert "shoes" not in "".join(lake.scan("raw_events").collect()["payload"])


def test_every_text_that_was_sent_is_looked_at() -> None:
    assert {"page_url", "page_title", "properties", "entities"} <= {*text_columns("events")}
    assert "payload" in text_columns("raw_events")
    assert text_columns("segments") == []


def test_command_counts_and_mends_without_telling_values(stored: Settings) -> None:
    leak(stored, "events", "page_title")
    words = ["privacy", "scan", "--data", str(stored.data)]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 1
    assert re.search(r"events +page_title +email +3", found.stdout)
    assert "ann.leak" not in found.output
    mended = CliRunner().invoke(app, [*words, "--mend"])
    assert (mended.exit_code, "Masked in 3 rows" in mended.stdout) == (0, True)
    assert CliRunner().invoke(app, words).exit_code == 0


def test_landed_files_are_left_as_they_were_sent(stored: Settings) -> None:
    file = stored.landing / "web" / "a.ndjson"
    before = file.read_bytes()
    leak(stored, "events", "page_title")
    mend_leaks(stored)
    assert Path(file).read_bytes() == before
