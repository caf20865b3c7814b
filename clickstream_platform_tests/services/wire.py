"""Speaking to the collector in this process, as its clients do, over ASGI without a socket."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from clickstream_platform.collection.policy import Enrichment
from clickstream_platform.collection.write_keys import Kind, NewKey
from clickstream_platform.events import ingest_landing, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.services.collector import Collector, EventLog, write_keys
from clickstream_platform.services.collector.serve import bot_scoring
from clickstream_platform.settings import CollectorSettings, Settings
from clickstream_platform_tests.events.door import landed

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
"""When tests arrive; the recorded payloads are of the day before."""


@dataclass
class Door:
    """A collector over a data folder, with keys."""

    settings: Settings
    options: Mapping[str, Any] = field(default_factory=dict)
    now: datetime = NOW
    enrichments: tuple[Enrichment, ...] = ()
    scores_bots: bool = False
    """Off, for all that is sent here comes from a library that fetches pages."""

    def key(
        self,
        source: str = "web",
        kind: Kind = "browser",
        *,
        is_signed: bool = False,
        app_ids: tuple[str, ...] = (),
        adopted: str | None = None,
    ) -> NewKey:
        """Make a key."""
        return write_keys(self.settings).add(
            source, kind, now=NOW, is_signed=is_signed, app_ids=app_ids, adopted=adopted
        )

    def revoke(self, key_id: str) -> None:
        """Revoke a key."""
        write_keys(self.settings).revoke(key_id, now=NOW)

    def app(self) -> Collector:
        """A new collector."""
        section = CollectorSettings(**self.options)
        log = EventLog(
            self.settings.landing,
            seal_after_s=section.seal_after_s,
            seal_bytes=section.seal_mb * 1_000_000,
            pending_bytes=section.pending_mb * 1_000_000,
        )
        return Collector(
            section,
            log,
            write_keys(self.settings),
            enrichments=self._enrichments(),
            clock_ns=lambda: int(self.now.timestamp() * 1_000_000) * 1000,
        )

    def _enrichments(self) -> list[Enrichment]:
        scoring = [bot_scoring(self.settings)] if self.scores_bots else []
        return [*scoring, *self.enrichments]

    def send(self, *requests: httpx.Request) -> list[httpx.Response]:
        """Send requests to a fresh collector one after another, and let it seal what it took."""
        return asyncio.run(self._send(requests))

    async def _send(self, requests: tuple[httpx.Request, ...]) -> list[httpx.Response]:
        app = self.app()
        app.log.start()
        transport = httpx.ASGITransport(app=app, client=("203.0.113.77", 4711))
        try:
            async with httpx.AsyncClient(transport=transport) as client:
                return [await client.send(request) for request in requests]
        finally:
            await asyncio.to_thread(app.log.close)

    @property
    def sealed(self) -> list[Path]:
        """Files that the collector has handed to ingestion, oldest first."""
        return sorted(self.settings.landing.glob("*/collector-*.ndjson"))

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every record on the disk, refused ones too."""
        return [json.loads(line) for path in self.sealed for line in path.read_bytes().splitlines()]

    @property
    def taken(self) -> list[dict[str, Any]]:
        """Every record on the disk that was accepted."""
        return [record for record in self.records if "refusal" not in record]

    @property
    def reasons(self) -> list[str]:
        """Reasons of the refused records on the disk."""
        return [record["refusal"] for record in self.records if "refusal" in record]

    @property
    def disk(self) -> bytes:
        """Every byte below the data folder."""
        files = [path for path in self.settings.data.rglob("*") if path.is_file()]
        return b"\n".join(path.read_bytes() for path in files)


def post(path: str, body: object, **headers: str) -> httpx.Request:
    """A POST; what is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Request("POST", f"http://collect.example{path}", content=content, headers=named)


def get(path: str, parameters: Mapping[str, str] | None = None, **headers: str) -> httpx.Request:
    """A GET."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Request("GET", f"http://collect.example{path}", params=parameters, headers=named)


def event(number: int = 0, **fields: object) -> dict[str, object]:
    """An event of the compact protocol."""
    created_ms = int(NOW.timestamp() * 1000) - 5_000
    sound: dict[str, object] = {
        "id": f"e{number}",
        "name": "page_view",
        "created_at": created_ms + number,
        "visitor_id": "visitor-ann",
        "page_url": "https://shop.example/",
    }
    return {name: value for name, value in (sound | fields).items() if value is not None}


def batch(key: str, *events: object) -> dict[str, object]:
    """A batch of the compact protocol."""
    return {"key": key, "sent_at": int(NOW.timestamp() * 1000) - 1_000, "events": list(events)}


def loaded(door: Door, table: str = "events") -> pl.DataFrame:
    """Rows of a table after everything that was sealed is loaded."""
    files = [landed(door.settings, path) for path in door.sealed]
    ingest_landing(door.settings, now=NOW, files=files)
    refresh_events(door.settings)
    return Lake(door.settings.lake_folder).scan(table).collect()


def quarantine(door: Door) -> list[dict[str, Any]]:
    """Refused and broken records as they wait in the table."""
    return Lake(door.settings.lake_folder).scan("quarantined_events").collect().to_dicts()
