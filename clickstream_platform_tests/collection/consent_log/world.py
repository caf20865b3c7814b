"""Ann and Bob making choices, in events of a lake."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from clickstream_platform.collection.consent import COLUMNS
from clickstream_platform.collection.consent_log import refresh_consents
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.settings import Settings
from clickstream_platform.tables.consent import ConsentLog, Consents
from clickstream_platform.tables.contracts import require
from clickstream_platform_tests.frames import events_frame, surrogate

START = datetime(2026, 6, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

Row = dict[str, object]


def pseudonym(prefix: str, name: str) -> str:
    return f"{prefix}_{surrogate(name):015x}".ljust(35, "0")


ANN, BOB = pseudonym("pu", "ann@example.com"), pseudonym("pu", "bob@example.com")
PHONE, LAPTOP = pseudonym("pv", "phone"), pseudonym("pv", "laptop")


def event(
    minute: int,
    visitor: str | None = PHONE,
    user: str | None = None,
    *,
    says: str = "",
    **more: object,
) -> Row:
    """An event so many minutes after the start, in Germany.

    It says of analytics, marketing and profiles: y, n, or - for nothing.
    """
    meaning = {"y": True, "n": False, "-": None}
    answers = [meaning[answer] for answer in says.ljust(3, "-")]
    return {
        "event_id": f"e{minute}",
        "occurred_at": START + minute * MINUTE,
        "received_at": START + minute * MINUTE,
        "visitor_id": visitor,
        "user_id": user,
        "country": "DE",
        **dict(zip(COLUMNS, answers, strict=True)),
    } | more


def arrive(lake: Lake, settings: Settings, rows: Sequence[Row]) -> None:
    """Let events arrive as one batch, and record the choices in them."""
    lake.append("events", events_frame(list(rows)))
    refresh_consents(lake, settings)
    require(Consents, lake.scan("consents").collect())
    require(ConsentLog, lake.scan("consent_log").collect())


def choices(lake: Lake) -> list[tuple[object, ...]]:
    """What is recorded, but for what is random, in order of time."""
    random = {"commitment", "nonce"}
    columns = [name for name in polars_schema("consents") if name not in random]
    return sorted(lake.scan("consents").select(columns).collect().rows(), key=repr)


def tamper(lake: Lake, table: str, frame: pl.DataFrame) -> None:
    """Write a table as somebody would who should not."""
    lake.overwrite(table, frame.select(polars_schema(table).keys()))


def split(rows: Sequence[Row], parts: Iterable[int]) -> list[list[Row]]:
    """Cut rows into batches: row i goes into batch ``parts[i]``."""
    batches: dict[int, list[Row]] = {}
    for row, part in zip(rows, parts, strict=True):
        batches.setdefault(part, []).append(row)
    return [batches[part] for part in sorted(batches)]
