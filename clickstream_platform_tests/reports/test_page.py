"""The report: whole in one file, silent on the network, and safe with hostile data."""

import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from clickstream_platform.events import Ledger
from clickstream_platform.events.ledger import Batch
from clickstream_platform.lake import Lake
from clickstream_platform.reports import (
    channels_png,
    events_by_day_png,
    segments_png,
    session_durations_png,
    sessions_by_day_png,
    write_report,
)
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.frames import NOON, events_frame, sessions_frame
from clickstream_platform_tests.sessions.history import History, visit

NOW = NOON + timedelta(days=1)
HOSTILE = "/</script><script>alert(1)</script>"


def open_shop(settings: Settings) -> Lake:
    """A shop of two weeks, one session a day, whose landing page is hostile."""
    lake = Lake(settings.lake_folder)
    days = [NOON - timedelta(days=number) for number in range(14)]
    visits: list[dict[str, object]] = [
        {"session_key": n, "started_at": at, "landing_path": HOSTILE} for n, at in enumerate(days)
    ]
    lake.append(
        "events",
        events_frame([{"event_id": f"e{n}", "occurred_at": at} for n, at in enumerate(days)]),
    )
    lake.append("sessions", sessions_frame(visits))
    ledger = Ledger(settings.state)
    batch = Batch(batch_id="b", source="shop", path="p", sha256="s", bytes=1, arrived_at=NOON)
    ledger.open(batch)
    ledger.land("b", received=20, suppressed=1)
    ledger.count({"b": {"loaded": 14, "quarantined": 3, "duplicate": 2}})
    ledger.set_state(["b"], "loaded")
    return lake


@pytest.fixture
def shop(settings: Settings) -> Lake:
    """The shop, for a test that changes it."""
    return open_shop(settings)


class Written(NamedTuple):
    """A report that was written once, for tests that read it."""

    page: Path
    settings: Settings


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report of the shop."""
    settings = load_settings(tmp_path_factory.mktemp("shop") / "data")
    return Written(write_report(open_shop(settings), settings, now=NOW), settings)


def text_of(page: Path) -> str:
    """What stands in the page, without its scripts and styles."""
    inner = re.sub(r"<(script|style)\b.*?</\1>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", inner).split())


def test_page_holds_every_section_and_the_figures(written: Written) -> None:
    page = written.page
    assert page == written.settings.reports / "clickstream_report.html"
    text = text_of(page)
    for title in ("Traffic", "Funnel", "Channels", "Segments", "Data quality", "Consent"):
        assert title in text
    assert "16 February 2026 to 1 March 2026" in text
    assert "14 of 20 records (70.0 %) are in the tables" in text
    assert page.stat().st_size <= 4_000_000


def test_page_compares_presets_over_the_last_days(settings: Settings) -> None:
    history = History(settings)
    old = visit("old", "ann", -30 * 24 * 60)
    history.add(old, visit("a1", "ann", 0), visit("a2", "ann", 10, campaign_medium="email"))
    history.refresh()
    text = text_of(write_report(history.lake, settings, now=NOW))
    # Ours cuts on a campaign, GA4 does not; the session of a month ago is in neither.
    assert "Other rules make 50.0 % to 100.0 % of your sessions." in text
    assert "Farthest: Direct gains 50.0 points under ga4." in text


def test_page_draws_the_person_with_the_most_links_without_a_pseudonym(
    shop: Lake, settings: Settings
) -> None:
    history = History(settings)
    visitors = [f"pv_{number}" + "0" * 31 for number in range(1, 4)]
    history.add(*(visit(it, it, 1, user_id="pu_" + "a" * 32) for it in visitors))
    history.refresh()
    page = write_report(shop, settings, now=NOW).read_text()
    assert "visitor 3" in page
    assert not [it for it in visitors if it[:9] in page]
    assert "pu_aaaaaa" not in page


def test_page_loads_nothing(written: Written) -> None:
    page = written.page.read_text()
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r"<(?:link|img|iframe|object|base)\b", body) == []
    assert re.findall(r"\bsrc=|@import|url\(", body) == []
    assert "default-src 'none'" in page


def test_hostile_page_name_stays_text(written: Written) -> None:
    page = written.page.read_text()
    assert "alert(1)" in page
    assert "<script>alert" not in page


def test_pictures_are_json_that_ends_no_script(written: Written) -> None:
    page = written.page.read_text()
    found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert len(found) >= 4
    assert all(json.loads(spec)["description"] for spec in found)


def test_page_of_an_empty_lake_says_how_to_begin(lake: Lake, settings: Settings) -> None:
    assert "No events yet" in text_of(write_report(lake, settings, now=NOW))


def test_sections_without_figures_say_so(written: Written) -> None:
    text = text_of(written.page)
    for words in ("No funnel yet", "No conversions yet", "No segments yet", "Nothing waits in"):
        assert words in text


def test_bot_rules_are_shown_beside_what_they_match(shop: Lake, settings: Settings) -> None:
    assert "No event of this period matches a rule" in text_of(
        write_report(shop, settings, now=NOW)
    )
    known: dict[str, object] = {"visitor_id": "robot", "bot_signals": "headless_hint,<b>"}
    shop.append("events", events_frame([known | {"event_id": "robot"}]))
    page = write_report(shop, settings, now=NOW)
    assert "headless_hint automation enforce 1 1 1" in text_of(page)
    assert "<b>" not in page.read_text()


def test_page_of_one_day_names_it_once(lake: Lake, settings: Settings) -> None:
    lake.append("events", events_frame([{"event_id": "e", "occurred_at": NOON}]))
    lake.append("sessions", sessions_frame([{"started_at": NOON}]))
    text = text_of(write_report(lake, settings, now=NOW))
    assert "1 March 2026 to" not in text
    assert "1 day of" in text
    assert "with 1 session." in text
    assert "The events of the last 1 day as" in text


def test_page_tells_of_no_stay_where_all_bounce(written: Written) -> None:
    text = text_of(written.page)
    assert "100.0 % have one event; all bounce." in text
    assert "others stay" not in text


def test_funnel_that_loses_nobody_names_no_loss(settings: Settings) -> None:
    history = History(settings)
    steps = ("view_item", "add_to_cart", "begin_checkout", "purchase")
    events = [
        visit(step, "ann", at, event_name=step, country="US") for at, step in enumerate(steps)
    ]
    history.add(*events)
    history.refresh()
    text = text_of(write_report(history.lake, settings, now=NOW))
    assert "100.0 % of the 1 person who viewed an item purchased." in text
    assert "Most are lost" not in text


def test_page_is_written_in_another_time_zone_and_currency(shop: Lake, settings: Settings) -> None:
    tokyo = settings.model_copy(update={"time_zone": "Asia/Tokyo", "currency": "JPY"})
    text = text_of(write_report(shop, tokyo, now=NOW))
    assert "canonical 14 2026-03-01 21:00 1 d" in text
    assert "0.00 JPY" in text


def test_page_tells_no_path(written: Written) -> None:
    assert str(written.settings.lake_folder.parent) not in written.page.read_text()


def test_page_without_events_tells_of_records_that_were_refused(
    lake: Lake, settings: Settings
) -> None:
    ledger = Ledger(settings.state)
    ledger.open(Batch(batch_id="b", source="shop", path="p", sha256="s", bytes=1, arrived_at=NOON))
    ledger.land("b", received=40, suppressed=0)
    text = text_of(write_report(lake, settings, now=NOW))
    assert "40 records were received, and none is an event" in text
    assert "Drop files" not in text


def test_table_of_channels_under_other_rules_holds_shares(settings: Settings) -> None:
    history = History(settings)
    history.add(visit("a1", "ann", 0), visit("b1", "bob", 0, campaign_medium="email"))
    history.refresh()
    text = text_of(write_report(history.lake, settings, now=NOW))
    assert "Email 50.0 % 50.0 % 50.0 % 50.0 % 50.0 %" in text


def test_page_is_replaced_whole(written: Written) -> None:
    settings = written.settings
    write_report(Lake(settings.lake_folder), settings, now=NOW)
    assert [file.name for file in settings.reports.iterdir()] == [written.page.name]


def test_page_goes_where_it_is_asked_to(shop: Lake, settings: Settings, tmp_path: Path) -> None:
    wanted = tmp_path / "out" / "march.html"
    assert write_report(shop, settings, now=NOW, path=wanted) == wanted
    assert wanted.exists()


def test_images_are_small_and_absent_where_nothing_is_shown(shop: Lake, settings: Settings) -> None:
    drawn = [events_by_day_png(shop, settings), sessions_by_day_png(shop, settings)]
    assert all(image is not None and len(image) < 60_000 for image in drawn)
    assert session_durations_png(shop, settings) is not None
    assert channels_png(shop, settings) is None
    assert segments_png(shop) is None


@pytest.mark.slow
def test_browser_draws_every_picture_without_complaint(written: Written, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed: scripts/system_packages.sh installs it")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += [
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=8000",
        "--enable-logging=stderr",
    ]
    done = subprocess.run(  # noqa: S603 - our own words
        [chromium, *flags, "--dump-dom", written.page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    pictures = done.stdout.count('class="picture')
    assert pictures >= 4
    assert len(re.findall(r'<svg[^>]* class="marks"', done.stdout)) == pictures
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
