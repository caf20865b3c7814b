"""Real clients, unchanged, against a real collector: each event lands once, fields right."""

import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from clickstream_platform.events import ingest_landing, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.services.collector import recover
from clickstream_platform_tests.events.door import landed
from clickstream_platform_tests.services.process import Zygote
from clickstream_platform_tests.services.wire import Door

SCRIPT = Path(__file__).parent / "clients.cjs"
EXPECTED_EVENTS = 9
PAGE = "https://shop.example/p/1?utm_source=news&email=%5Bemail%5D"


@pytest.fixture
def packages() -> str:
    """Where the clients lie, or a skip with its reason."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    default = cache / "clickstream-platform" / "node-clients"
    folder = Path(os.environ.get("CLICKSTREAM_NODE_CLIENTS") or default)
    if not list(folder.glob(".ready-*")):
        pytest.skip("the clients are not here: scripts/node_clients.sh installs them from npm")
    return str(folder / "node_modules")


def test_every_event_of_each_client_lands_once(door: Door, zygote: Zygote, packages: str) -> None:
    key = door.key("shop_live", "server", app_ids=("shop",)).key
    running = zygote.start(door.settings.data)
    node = [str(shutil.which("node")), str(SCRIPT), str(running.port), key]
    environment = os.environ | {"NODE_PATH": packages}
    done = subprocess.run(
        node, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    for _ in range(100):
        with urlopen(f"http://127.0.0.1:{running.port}/health") as answer:
            health = json.loads(answer.read())
        if health["records"] >= EXPECTED_EVENTS:
            break
        time.sleep(0.1)
    assert health["refusals"] == {}
    running.kill()
    recover(door.settings.landing)
    assert b"ann@example.com" not in door.disk
    assert b"ann%40example.com" not in door.disk

    files = [landed(door.settings, path) for path in door.sealed]
    ingest_landing(door.settings, now=datetime.now(UTC), files=files)
    refresh_events(door.settings)
    lake = Lake(door.settings.lake_folder)
    events = lake.scan("events").collect()
    users: dict[str, dict[str, dict[str, Any]]] = {}
    for row in events.to_dicts():
        users.setdefault(row["user_id"], {})[row["event_name"]] = row
    assert lake.scan("duplicate_events").collect().is_empty()
    assert lake.scan("quarantined_events").collect().is_empty()
    assert sorted(sorted(found) for found in users.values()) == [
        ["add_to_cart", "page_view", "product_view"],
        ["identify", "page_view", "product_view"],
        ["identify", "page_view", "purchase"],
    ]
    assert {row["collection_source"] for row in events.to_dicts()} == {"server"}
    pages = [found["page_view"] for found in users.values()]
    assert {(page["page_url"], page["campaign_source"]) for page in pages} == {(PAGE, "news")}
    order = next(found["purchase"] for found in users.values() if "purchase" in found)
    assert (order["order_id"], order["revenue"]) == ("o1", Decimal("19.9"))
    views = [found["product_view"] for found in users.values() if "product_view" in found]
    assert {json.loads(view["properties"])["sku"] for view in views} == {"S1"}
