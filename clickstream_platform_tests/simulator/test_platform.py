"""The platform reads a simulation as it was meant: channels, and every line accounted for."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from clickstream_platform.attribution import Link, channel_of, load_channel_rules
from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import Settings
from clickstream_platform.simulator import load_shop, simulate, truth
from clickstream_platform.simulator.shop import SHIPPED, Traffic
from clickstream_platform_tests.events.door import fates, take
from clickstream_platform_tests.simulator.shops import WEEK


@pytest.mark.parametrize("way", load_shop().traffic, ids=lambda way: f"{way.channel}-{way.source}")
def test_channel_is_the_one_of_the_platforms_rules(way: Traffic) -> None:
    link = Link(
        source=way.source,
        medium=way.medium,
        campaign=way.campaign,
        click_id_type=way.click_id,
        referrer_host=urlsplit(way.referrer or "").hostname,
        landing_host=load_shop().host,
    )
    assert channel_of(link, load_channel_rules()) == way.channel


def test_every_line_is_accounted_for(settings: Settings) -> None:
    busy = replace(WEEK, days=3, duplicate_rate=0.05, conflict_rate=0.05, malformed_rate=0.05)
    summary = simulate(busy, settings.landing / "web")
    take(settings, *summary.files, now=busy.ends_at + timedelta(hours=1))
    ledger = fates(settings)
    assert ledger["received"] == summary.lines
    assert ledger["loaded"] == summary.events
    assert ledger["duplicate"] == summary.duplicates + summary.conflicts
    assert ledger["quarantined"] == summary.malformed > 0
    assert ledger["too_late"] == ledger["suppressed"] == 0


def test_sessions_are_found_in_spite_of_every_fault(
    settings: Settings, lake: Lake, tmp_path: Path
) -> None:
    # Where two persons share a device, only the simulator can tell them apart.
    shop = tmp_path / "shop.toml"
    text = SHIPPED.read_text()
    shop.write_text(text.replace("shared_device_share = 0.0286", "shared_device_share = 0"))
    chosen = replace(WEEK, shop=shop, late_rate=0.1, skewed_share=0.3, duplicate_rate=0.1)
    chosen = replace(chosen, malformed_rate=0)
    files = simulate(chosen, settings.landing / "web").files
    take(settings, *files, now=chosen.ends_at + timedelta(hours=1))
    refresh_identity(lake, settings)
    refresh_sessions(lake, settings)
    found = lake.scan("sessions").select("started_at", "events").collect().sort("started_at")
    true = truth(chosen).sessions.select("started_at", "events").sort("started_at")
    assert len(found) == len(true)
    assert sorted(found["events"]) == sorted(true["events"])
    # Corrected clocks are late by the latency of the network.
    errors = (found["started_at"] - true["started_at"]).dt.total_milliseconds()
    assert errors.is_between(0, 320).all()
