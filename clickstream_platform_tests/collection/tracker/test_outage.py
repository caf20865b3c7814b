"""The tracker in a real browser while its collector is killed, again and again, and comes back."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clickstream_platform.events import Ledger, ingest_landing, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.services.collector import recover
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.collection.clients.test_clients import free_port
from clickstream_platform_tests.collection.conftest import FOLDER
from clickstream_platform_tests.events.door import landed
from clickstream_platform_tests.services.process import Running, Zygote
from clickstream_platform_tests.services.wire import NOW, Door

HERE = Path(__file__).parent

pytestmark = pytest.mark.slow

KILLS = 4


class Outages:
    """A visit with outages: what the page tracked and was told, and what is on the disk after."""

    def __init__(self, door: Door, command: list[object]) -> None:
        self.door, self.port = door, free_port()
        self.zygote, self.running = Zygote(), list[Running]()
        self.kills = 0
        self.told: dict[str, Any] = {}
        with subprocess.Popen(  # noqa: S603 - our own words
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as browser:
            assert browser.stdin is not None
            assert browser.stdout is not None
            try:
                for line in browser.stdout:
                    said = json.loads(line)
                    if "ask" not in said:
                        self.told = said
                        break
                    browser.stdin.write(f"{json.dumps(self._do(said['ask']))}\n")
                    browser.stdin.flush()
            finally:
                browser.kill()
                for running in self.running:
                    running.kill()
                self.zygote.close()

    def _do(self, what: str) -> int:
        """Do what the browser's side asks for."""
        if what == "start":
            page = f"http://localhost:{self.port}"
            self.running.append(self.zygote.start(self.door.settings.data, origins=[page]))
            return self.running[-1].port
        if what == "kill":
            self.running.pop().kill()
            self.kills += 1
        return self.port

    def loaded(self) -> "Lake":
        """The lake, after everything was taken from the log of the killed collectors."""
        settings = self.door.settings
        recover(settings.landing)
        ingest_landing(
            settings, now=NOW, files=[landed(settings, path) for path in self.door.sealed]
        )
        refresh_events(settings)
        Ledger(settings.state).require_balance()
        return Lake(settings.lake_folder)


def test_every_event_arrives_once_through_kills_and_page_loads(
    node: str, chromium: str, tmp_path: Path
) -> None:
    door = Door(load_settings(tmp_path / "data"))
    outages = Outages(door, [node, HERE / "outage.mjs", FOLDER, chromium, door.key().key])
    told = outages.told
    assert told.get("errors") == [], "the page went to its end"
    assert outages.kills == KILLS
    lake = outages.loaded()
    events = lake.scan("events").collect()
    assert set(told["acknowledged"]) - set(events["event_id"]) == set(), "acknowledged and lost"
    carts = events.filter(events["event_name"] == "add_to_cart")
    assert sorted(carts["product_id"]) == sorted(told["tracked"]), "each event once"
    assert events["event_id"].is_unique().all()
    assert lake.scan("quarantined_events").collect().is_empty()
    assert not lake.scan("duplicate_events").collect()["is_conflict"].any()
