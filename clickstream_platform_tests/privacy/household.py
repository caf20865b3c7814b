"""A small world for subject requests: Ann, Bob, their tablet and a passer-by, ingested for real."""

import gzip
import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from clickstream_platform.attribution import (
    refresh_conversions,
    refresh_credits,
    refresh_touchpoints,
)
from clickstream_platform.collection.bot_behaviour import refresh_bot_behaviour
from clickstream_platform.collection.consent_log import refresh_consents, refresh_person_consents
from clickstream_platform.events import ingest_landing, refresh_events
from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.privacy import Vault
from clickstream_platform.privacy.certificate import Certificate
from clickstream_platform.privacy.erasure import erase_subject
from clickstream_platform.privacy.register import register_request
from clickstream_platform.segments import refresh_scores, refresh_segments
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TODAY = NOON + timedelta(days=2)

ANN, ANN_PHONE = "Ann@Example.com", "00123"
BOB, BOB_LAPTOP = "bob-user-5512ab", "123"
TABLET = "tablet-9b1c44e0-kitchen"
PASSER_BY = "visitor-81aa02f7"

DERIVED: dict[str, Callable[[Lake, Settings, bool], object]] = {
    "identity_map": lambda lake, settings, full: refresh_identity(lake, settings, full=full),
    "consents": lambda lake, settings, _: refresh_consents(lake, settings),
    "person_consents": lambda lake, _, full: refresh_person_consents(lake, now=TODAY, full=full),
    "bot_behaviour": lambda lake, settings, full: refresh_bot_behaviour(lake, settings, full=full),
    "sessions": lambda lake, settings, full: refresh_sessions(lake, settings, full=full),
    "touchpoints": lambda lake, settings, full: refresh_touchpoints(lake, settings, full=full),
    "conversions": lambda lake, settings, full: refresh_conversions(lake, settings, full=full),
    "attribution_credits": lambda lake, settings, full: refresh_credits(lake, settings, full=full),
    "engagement_scores": lambda lake, settings, full: refresh_scores(lake, settings, full=full),
}
"""How each derived table is brought up to date, in order."""


def record(
    number: int, visitor: object = None, user: object = None, **more: object
) -> dict[str, object]:
    """One event as a tracker sends it, so many minutes after noon."""
    at = (NOON + timedelta(minutes=number)).isoformat()
    ids = {"visitor_id": visitor, "user_id": user}
    return {
        "event_id": f"event-{number}",
        "event_name": "page_view",
        "occurred_at": at,
        "received_at": at,
        "country": "US",
        "page_url": f"https://shop.example/p/{number}",
        **{name: value for name, value in ids.items() if value is not None},
        **more,
    }


def household() -> list[dict[str, object]]:
    """Ann on her phone and the tablet, Bob on his laptop and the tablet, a passer-by."""
    return [
        record(0, ANN_PHONE, page_url="https://shop.example/?utm_source=news&utm_medium=email"),
        record(1, ANN_PHONE, ANN.lower()),
        record(2, ANN_PHONE, ANN, event_name="purchase", revenue=10, currency="EUR", order_id="o1"),
        record(3, BOB_LAPTOP),
        record(4, BOB_LAPTOP, BOB, event_name="purchase", revenue=5, currency="EUR", order_id="o2"),
        record(5, TABLET, ANN.upper(), page_title="Cart"),
        record(6, TABLET, BOB),
        record(7, TABLET, page_title="Nobody signed in"),
        record(8, PASSER_BY),
        record(9, PASSER_BY, event_name="purchase", revenue="no number", order_id="o3"),
        record(10, ANN_PHONE, ANN, event_name="purchase", revenue="none", order_id="o4"),
    ]


def land(settings: Settings, name: str, content: bytes, *, source: str = "canonical") -> Path:
    """Put a file into landing that has been still for a while."""
    file = settings.landing / source / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    settle(file)
    return file


def settle(file: Path) -> None:
    """Make a file look as if it had been still for a minute."""
    then = file.stat().st_mtime - 60
    os.utime(file, (then, then))


def ndjson(records: Iterable[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in records)


def zipped(records: Iterable[dict[str, object]]) -> bytes:
    return gzip.compress(ndjson(records), mtime=0)


def materialize(settings: Settings, *, full: bool = False, now: datetime = TODAY) -> None:
    """Bring everything up to date, as `clickstream materialize` does."""
    lake = Lake(settings.lake_folder)
    for file in settings.landing.rglob("*"):
        if file.is_file():
            settle(file)
    ingest_landing(settings, now=now)
    refresh_events(settings, full=full)
    for refresh in DERIVED.values():
        refresh(lake, settings, full)
    if not full:
        refresh_segments(lake, settings, now=now)


def token(settings: Settings, namespace: str, raw: str) -> str:
    """Pseudonym of somebody whom the vault knows."""
    found = Vault(settings.state / "vault").find(namespace, raw)  # type: ignore[arg-type]  # one of two
    assert found
    return found


def contents(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
    """Rows of every table but the register's, in an order of their own."""
    lake = Lake(settings.lake_folder)
    found = {}
    for name in TABLES:
        if name in {"subject_requests", "segments", "segment_members"} or not lake.exists(name):
            continue
        columns = [c for c, kind in polars_schema(name).items() if not kind.is_nested()]
        rows = lake.scan(name).select(columns).collect().rows()
        found[name] = sorted(rows, key=repr)
    return found


def add_rows(lake: Lake, table: str, rows: list[dict[str, object]]) -> None:
    """Add rows to a table, with something harmless in the columns that are not given."""
    schema = polars_schema(table)
    frame = pl.DataFrame(
        [{name: row.get(name, _default(kind)) for name, kind in schema.items()} for row in rows],
        schema=schema,
        orient="row",
    )
    lake.append(table, frame)


def _default(kind: pl.DataType) -> object:
    if kind == pl.Date:
        return NOON.date()
    if kind.is_temporal():
        return NOON
    if kind == pl.Boolean:
        return False
    return 0 if kind.is_numeric() else ([] if kind.is_nested() else "x")


def erase(settings: Settings, *identifiers: tuple[str, str]) -> Certificate:
    """Have somebody erased."""
    return erase_subject(settings, asked(settings, *identifiers), now=TODAY)


def asked(settings: Settings, *identifiers: tuple[str, str]) -> str:
    """Register a request for erasure, and return its identifier."""
    return register_request(settings, request_type="erase", identifiers=identifiers, now=NOON)  # type: ignore[arg-type]  # literals
