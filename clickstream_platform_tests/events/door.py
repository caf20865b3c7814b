"""Dropping files and bringing the events tables up to date, as every test here does."""

import gzip
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from clickstream_platform.events import Ledger, ingest_files, ingest_landing, refresh_events
from clickstream_platform.events.landed import LandedFile
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.events import (
    DuplicateEvents,
    Events,
    QuarantinedEvents,
    RawEvents,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""Arrival time of what tests drop."""

HOUR = timedelta(hours=1)

CONTRACTS = {
    "raw_events": RawEvents,
    "events": Events,
    "quarantined_events": QuarantinedEvents,
    "duplicate_events": DuplicateEvents,
}


def event(number: int = 0, **fields: object) -> dict[str, object]:
    """A sound canonical record; fields replace or add, None leaves one out."""
    record: dict[str, object] = {
        "event_id": f"e{number}",
        "event_name": "page_view",
        "created_at": (NOW - HOUR).isoformat(),
        "sent_at": (NOW - HOUR).isoformat(),
        "received_at": (NOW - HOUR).isoformat(),
        "visitor_id": "visitor-ann",
        "page_url": "https://shop.example.com/",
    }
    record |= fields
    return {name: value for name, value in record.items() if value is not None}


def drop(settings: Settings, name: str, records: Iterable[object], source: str = "web") -> Path:
    """Put a file of JSON records (or of lines as they are) into landing."""
    path = settings.landing / source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in records]
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


def landed(settings: Settings, path: Path) -> LandedFile:
    """A dropped file as the sensor sees it, without waiting for it to settle."""
    look = path.stat()
    relative = str(path.relative_to(settings.landing))
    return LandedFile(
        path=path,
        source=relative.split("/", maxsplit=1)[0],
        relative=relative,
        size=look.st_size,
        mtime_ns=look.st_mtime_ns,
    )


def take(settings: Settings, *paths: Path, now: datetime = NOW) -> None:
    """Take dropped files and load their events."""
    ingest_landing(settings, now=now, files=[landed(settings, path) for path in paths])
    refresh_events(settings)


def load(settings: Settings, records: Iterable[object], *, source: str = "web") -> pl.DataFrame:
    """Drop, take and load records, and return the events of the lake in order of their ids."""
    number = len(Ledger(settings.state).batches())
    take(settings, drop(settings, f"{number}.ndjson", records, source))
    return events(settings)


def load_file(settings: Settings, path: Path, source: str) -> pl.DataFrame:
    """Take and load a file from elsewhere, and return the events of its source."""
    ingest_files(settings, [path], source, now=NOW)
    refresh_events(settings)
    return events(settings).filter(pl.col("source") == source)


def events(settings: Settings) -> pl.DataFrame:
    """The events of the lake in order of their ids."""
    return Lake(settings.lake_folder).scan("events").sort("event_id").collect()


def quarantined(settings: Settings) -> dict[int, list[str]]:
    """Codes of the rules that each waiting record breaks, by its place in its batch."""
    rows = Lake(settings.lake_folder).scan("quarantined_events").sort("ordinal").collect()
    return {row["ordinal"]: [v["code"] for v in row["violations"]] for row in rows.to_dicts()}


def fates(settings: Settings, source: str = "web") -> Mapping[str, object]:
    """The ledger's line of a source."""
    return next(row for row in Ledger(settings.state).totals() if row["source"] == source)


def keep_promises(settings: Settings) -> None:
    """Every table keeps its contract and every record has one fate."""
    lake = Lake(settings.lake_folder)
    for table, contract in CONTRACTS.items():
        require(contract, lake.scan(table).collect())
    Ledger(settings.state).require_balance()
