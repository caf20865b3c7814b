"""A disk that changes files: nothing is loaded of them, and what can be is made anew."""

import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from clickstream_platform.cli.care import examine
from clickstream_platform.events import Ledger, refresh_events
from clickstream_platform.lake import BrokenSealError, Lake
from clickstream_platform.lake.schemas import stored
from clickstream_platform.orchestration import mend, rebuild
from clickstream_platform.orchestration.stages import STAGES, Work, bring_up_to_date
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.events.door import drop, event
from clickstream_platform_tests.faults.disk import flip
from clickstream_platform_tests.orchestration.served import prepare

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DERIVED = (
    "events",
    "identity_map",
    "person_consents",
    "sessions",
    "touchpoints",
    "attribution_credits",
)


def refresh(settings: Settings, now: datetime = NOW) -> None:
    """Take what has landed and bring every table up to date."""
    for stage in STAGES:
        bring_up_to_date(stage, Work(settings=settings, now=now))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people who visit and buy, in every table."""
    data = prepare(tmp_path_factory.mktemp("whole"))
    consent = {"analytics": True, "marketing": True}
    records: list[object] = [
        event(n, visitor_id=f"v{n % 2}", user_id=f"user{n % 2}", consent=consent) for n in range(8)
    ]
    records += [event(8, event_name="purchase", visitor_id="v1", order_id="o-1", revenue=5)]
    settings = load_settings(data)
    file = drop(settings, "a.ndjson", [*records, event(9, event_name=None)])
    os.utime(file, (file.stat().st_mtime - 60,) * 2)
    refresh(settings)
    return data


@pytest.fixture
def settings(whole: Path, tmp_path: Path) -> Settings:
    """A copy of it, of its own."""
    return load_settings(shutil.copytree(whole, tmp_path / "data"))


def contents(settings: Settings) -> dict[str, Any]:
    """Rows of derived tables, in an order of their own."""
    lake = Lake(settings.lake_folder)
    tables = ("raw_events", "quarantined_events", "conversions", *DERIVED)
    return {name: sorted(map(repr, lake.scan(name).collect().to_dicts())) for name in tables}


@pytest.mark.parametrize("table", ["raw_events", *DERIVED])
def test_broken_table_is_named_and_made_anew(settings: Settings, table: str) -> None:
    lake, before = Lake(settings.lake_folder), contents(settings)
    flip(lake.files(table)[0])
    check = next(check for check in examine(settings.data) if check.name == "files")
    assert check.level == "fail"
    assert re.match(rf"not what was written: {table}: 1, .*\.parquet$", check.found)
    mended = mend(settings)
    assert table in mended.rebuilt
    assert mended.lost == lake.broken_tables() == {}
    refresh(settings)
    assert contents(settings) == before
    Ledger(settings.state).require_balance()


@pytest.mark.parametrize("table", [t for s in STAGES if s.is_derived for t in s.tables])
def test_table_of_an_earlier_version_is_made_anew(settings: Settings, table: str) -> None:
    lake, before = Lake(settings.lake_folder), contents(settings)
    rows = lake.scan(table).collect()
    shutil.rmtree(lake.path(table))
    parts = [*stored(table).partition_by]
    last = next(name for name in reversed(rows.columns) if name not in parts)
    write_deltalake(lake.path(table), rows.drop(last).to_arrow(), partition_by=parts)
    refresh(settings)
    assert contents(settings) == before
    assert lake.scan(table).collect().sort(pl.all()).equals(rows.sort(pl.all()))


def test_events_of_an_earlier_version_are_widened(settings: Settings) -> None:
    lake, before = Lake(settings.lake_folder), contents(settings)
    for table in ("raw_events", "events"):
        rows = lake.scan(table).collect()
        # Columns that hold nothing here: what is derived stays the same without them.
        empty = [name for name in rows.columns if rows[name].null_count() == rows.height]
        shutil.rmtree(lake.path(table))
        rows = rows.drop(empty[:3])
        write_deltalake(
            lake.path(table), rows.to_arrow(), partition_by=[*stored(table).partition_by]
        )
    refresh(settings)
    assert contents(settings) == before
    # One that is new, and one that the old rows have.
    file = drop(settings, "b.ndjson", [event(20, visitor_id="v1"), event(3)])
    os.utime(file, (file.stat().st_mtime - 60,) * 2)
    refresh(settings)
    assert lake.row_count("events") == len(before["events"]) + 1
    assert lake.row_count("duplicate_events") == 1
    assert lake.row_count("session_events") == lake.row_count("events")
    Ledger(settings.state).require_balance()


def test_broken_raw_events_are_not_loaded(settings: Settings) -> None:
    flip(Lake(settings.lake_folder).files("raw_events")[0])
    with pytest.raises(BrokenSealError, match=r"^raw_events: 1 of its files .*arrival_date="):
        refresh_events(settings, hours=[NOW])


def test_what_cannot_be_made_twice_is_left_and_named(settings: Settings) -> None:
    lake = Lake(settings.lake_folder)
    flip(lake.files("crm_syncs")[0])
    mended = mend(settings)
    assert mended.rebuilt == ()
    assert [*mended.lost] == ["crm_syncs"]
    with pytest.raises(BrokenSealError, match=r"^crm_syncs: .* restore the rest from a backup"):
        lake.update("crm_syncs", {"status": "'failed'"}, "true")


def test_raw_events_without_their_landed_file_are_left_as_they_are(settings: Settings) -> None:
    lake = Lake(settings.lake_folder)
    flip(lake.files("raw_events")[0])
    (settings.landing / "web" / "a.ndjson").unlink()
    mended = mend(settings)
    assert (mended.rebuilt, [*mended.lost]) == ((), ["raw_events"])


def test_making_everything_anew_changes_nothing(settings: Settings) -> None:
    before = contents(settings)
    rebuild(settings)
    refresh(settings, NOW + timedelta(0))
    assert contents(settings) == before
