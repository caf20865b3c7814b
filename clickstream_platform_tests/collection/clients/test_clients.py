"""Trackers as their users load them, in a real browser, against a real collector.

Our own, Snowplow's, Segment's and PostHog's visit the same page, whose address holds an e-mail
address; what they say lands once, with the right fields, and the address reaches no file.
"""

import json
import signal
import socket
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clickstream_platform.events import Ledger, ingest_landing, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.collection.conftest import FOLDER
from clickstream_platform_tests.events.door import landed
from clickstream_platform_tests.services.process import Zygote
from clickstream_platform_tests.services.wire import Door

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow

SENT = {
    "own": {"add_to_cart": 1, "click": 1, "consent_update": 1, "page_ping": 1, "page_view": 1},
    "segment": {"add_to_cart": 1, "identify": 1, "page_view": 1},
    "snowplow": {"add": 1, "page_view": 1, "product_view": 1},
    "posthog": {"click": 1, "identify": 1, "page_leave": 1, "page_view": 1, "product_view": 1},
}
"""Events of each client's visit, by our names."""

PRODUCT = {"own": "add_to_cart", "segment": "add_to_cart", "posthog": "product_view"}
"""The event of each client that names product S1 in a field of ours."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Visit:
    """What the collector kept of the visit of every client."""

    def __init__(self, door: Door, page: str, strangers: list[str]) -> None:
        self.door, self.page, self.strangers = door, page, strangers
        files = [landed(door.settings, path) for path in door.sealed]
        ingest_landing(door.settings, now=datetime.now(UTC), files=files)
        refresh_events(door.settings)
        self.events = Lake(door.settings.lake_folder).scan("events").collect()

    def of(self, client: str) -> pl.DataFrame:
        """Events of one client."""
        return self.events.filter(pl.col("source") == f"{client}_live")


@pytest.fixture(scope="module")
def visit(node: str, chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    if not (HERE / "node_modules").exists():
        pytest.skip("The clients are not installed: scripts/npm_packages.sh installs them")
    data = tmp_path_factory.mktemp("clients") / "data"
    door = Door(load_settings(data))
    keys = {
        client: door.key(f"{client}_live", app_ids=("shop",) if client == "snowplow" else ()).key
        for client in SENT
    }
    port = free_port()
    page = f"http://localhost:{port}"
    zygote = Zygote()
    running = zygote.start(data, origins=[page], scores_bots=True)
    told: dict[str, Any] = {
        "collector": f"http://127.0.0.1:{running.port}",
        "port": port,
        "keys": keys,
    }
    done = subprocess.run(  # noqa: S603 - our own words
        [node, HERE / "visit.mjs", FOLDER, chromium],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    running.signal(signal.SIGTERM)
    running.wait_gone()
    zygote.close()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return Visit(door, page, json.loads(done.stdout)["strangers"])


@pytest.mark.parametrize("client", SENT)
def test_each_event_lands_once(visit: Visit, client: str) -> None:
    counts = Counter(visit.of(client)["event_name"].to_list())
    # Each ping says what passed since the one before; how many there are depends on the machine.
    assert min(counts["page_ping"], 1) == SENT[client].get("page_ping", 0)
    assert counts | {"page_ping": 1} == SENT[client] | {"page_ping": 1}
    assert visit.events["event_id"].is_unique().all()


@pytest.mark.parametrize("table", ["quarantined_events", "duplicate_events"])
def test_nothing_is_refused_or_doubled(visit: Visit, table: str) -> None:
    assert Lake(visit.door.settings.lake_folder).scan(table).collect().is_empty()
    Ledger(visit.door.settings.state).require_balance()


@pytest.mark.parametrize("client", SENT)
def test_fields_are_right(visit: Visit, client: str) -> None:
    events = visit.of(client)
    kept = "" if client == "own" else "&email=%5Bemail%5D"
    assert set(events["page_url"]) == {f"{visit.page}/{client}?utm_source=news{kept}"}
    assert set(events["campaign_source"]) == {"news"}
    assert set(events["collection_source"]) == {"client"}
    assert set(events["platform"]) == {"web"}
    assert set(events["ip_address"]) == {"127.0.0.0"}
    assert not events["is_bot"].any()
    # The browser is of a later version than its user agent says; no other rule takes it for odd.
    assert set(events["bot_signals"]) == {"client_hints_mismatch"}
    assert events["visitor_id"].n_unique() == 1
    assert events["visitor_id"].str.starts_with("pv_").all()
    views = events.filter(pl.col("event_name") == "page_view")
    assert views["page_title"].to_list() == ["Shop"]
    assert abs(events["clock_skew_ms"]).max() < 60_000  # type: ignore[operator]
    if client in PRODUCT:
        about = events.filter(pl.col("event_name") == PRODUCT[client])
        assert about["product_id"].to_list() == ["S1"]


def test_consent_and_engaged_time_of_our_own(visit: Visit) -> None:
    events = visit.of("own")
    assert events["consent_analytics"].all()
    assert not events["consent_marketing"].any()
    assert 2_000 <= events["engaged_time_ms"].sum() <= 60_000
    assert events["tracker_session_id"].n_unique() == 1


def test_one_user_is_one_pseudonym_whatever_the_client(visit: Visit) -> None:
    users = visit.events.drop_nulls("user_id").select("source", "user_id").unique()
    assert sorted(users["source"]) == sorted(f"{client}_live" for client in SENT)
    assert users["user_id"].n_unique() == 1


def test_email_address_reaches_no_file(visit: Visit) -> None:
    disk = visit.door.disk
    assert b"/own?utm_source=news" in disk
    for spelled in (b"ann@example", b"ann%40example", b"ann%2540example"):
        assert spelled not in disk


def test_clients_ask_nobody_but_the_collector(visit: Visit) -> None:
    assert visit.strangers == []
