"""Sessions of real clickstreams, counted apart from the package."""

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import load_file


@pytest.mark.slow
def test_shop_has_its_sessions_at_half_an_hour(settings: Settings, shared: Path) -> None:
    for path in sorted((shared / "data" / "rees46_oct2019_head").glob("*.csv.gz")):
        events = load_file(settings, path, "shop")
    lake = Lake(settings.lake_folder)
    refresh_identity(lake, settings)
    refresh_sessions(lake, settings)
    of_visitor = events.sort("occurred_us").group_by("visitor_id").agg("occurred_us").to_dicts()
    gaps = [b - a for it in of_visitor for a, b in pairwise(it["occurred_us"])]
    expected = len(of_visitor) + sum(gap > 30 * 60 * 1_000_000 for gap in gaps)
    sessions = lake.scan("sessions").collect()
    assert sessions.height == expected == 4_518
    assert sessions["events"].sum() == events.height == 17_434
    bought = events.filter(pl.col("event_name") == "purchase")
    assert sessions["revenue"].sum() == bought["revenue"].sum()
    assert sessions["conversions"].sum() == bought.height
