"""Small tables with every column of their contract, built from the few that a test is about."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl

from clickstream_platform.lake import polars_schema
from clickstream_platform.settings import LakeSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""Event time of a row that does not say."""

BUCKETS = LakeSettings().buckets


def instant(us: int) -> datetime:
    """The moment so many microseconds after 1970-01-01 UTC."""
    return EPOCH + timedelta(microseconds=us)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970-01-01 UTC."""
    return (at - EPOCH) // timedelta(microseconds=1)


def surrogate(identifier: str) -> int:
    """60 bits of an identifier: of the pseudonym itself, else of its MD5."""
    is_pseudonym = identifier[:3] in {"pv_", "pu_", "pi_"} and len(identifier) == 35
    hexadecimal = identifier[3:] if is_pseudonym else hashlib.md5(identifier.encode()).hexdigest()  # noqa: S324 - a surrogate, not a secret
    return int(hexadecimal[:15], 16)


def events_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Events from the columns that matter; the rest has defaults.

    Time is `occurred_at` or `occurred_us`; keys, date and bucket follow from ids and time unless
    given. A row without a time is at noon of 2026-03-01; the first row without an
    `event_id` is "e0".
    """
    return _frame("events", [_event(row, number) for number, row in enumerate(rows)])


def _event(row: dict[str, object], number: int) -> dict[str, object]:
    at = _instant_of(row)
    event_id = str(row.get("event_id", f"e{number}"))
    ids = {name: row.get(f"{name}_id") for name in ("visitor", "user")}
    keys = {name: None if value is None else surrogate(str(value)) for name, value in ids.items()}
    keys = {name: row.get(f"{name}_key", key) for name, key in keys.items()}  # type: ignore[misc]  # rows hold objects
    bucket = next((key for key in keys.values() if key is not None), 0)
    return {
        "event_id": event_id,
        "event_key": surrogate(event_id),
        "event_name": "page_view",
        "occurred_us": microseconds(at),
        "event_date": at.date(),
        "received_at": at,
        "clock_skew_ms": 0,
        "is_late": False,
        "source": "canonical",
        "batch_id": "b0",
        "ordinal": number,
        "collection_source": "client",
        "visitor_key": keys["visitor"],
        "user_key": keys["user"],
        "bucket": bucket % BUCKETS,
        "is_bot": False,
        "bot_score": 0,
        "is_synthetic": False,
    } | (row | {"occurred_at": at})


def _instant_of(row: dict[str, object]) -> datetime:
    at = row.get("occurred_at")
    if isinstance(at, datetime):
        return at
    us = row.get("occurred_us")
    return instant(us) if isinstance(us, int) else NOON


def identity_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Identity map rows: `visitor_id` and `user_id` must be given, the rest has defaults."""
    return _frame("identity_map", [_link(row) for row in rows])


def _link(row: dict[str, object]) -> dict[str, object]:
    visitor, user = str(row["visitor_id"]), str(row["user_id"])
    person = str(row.get("person_id", user))
    return {
        "visitor_key": surrogate(visitor),
        "user_key": surrogate(user),
        "person_id": person,
        "person_key": surrogate(person),
        "is_shared": False,
        "evidence_event_id": "e0",
        "valid_from_at": NOON,
        "recorded_at": NOON,
    } | row


def sessions_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    """Sessions from the columns that matter; one event of one minute unless said otherwise.

    They are in the US, where who never chose may be measured.
    """
    return _frame("sessions", [_session(row, number) for number, row in enumerate(rows)])


def _session(row: dict[str, object], number: int) -> dict[str, object]:
    person = str(row.get("person_id", "ann"))
    person_key = row.get("person_key", surrogate(person))
    key = row.get("session_key", surrogate(f"e{number}"))
    start = row.get("started_at", NOON)
    end = row.get("ended_at", start)
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        message = "started_at and ended_at are datetimes"
        raise TypeError(message)
    is_engaged = bool(row.get("is_engaged", not row.get("is_bounce", True)))
    return {
        "session_id": f"s_{person_key}_{key}",
        "session_key": key,
        "person_id": person,
        "person_key": person_key,
        "visitor_id": person,
        "source": "canonical",
        "started_at": start,
        "ended_at": end,
        "session_date": start.date(),
        "bucket": person_key % BUCKETS if isinstance(person_key, int) else 0,
        "duration_s": (end - start).total_seconds(),
        "cut_reason": "first",
        "events": 1,
        "page_views": 1,
        "is_engaged": is_engaged,
        "is_bounce": not is_engaged,
        "channel": "Direct",
        "country": "US",
        "conversions": 0,
        "revenue": Decimal(0),
        "engagement_points": 0.0,
        "is_bot": False,
    } | row


def person_consents_frame(choices: Mapping[str, str]) -> pl.DataFrame:
    """What people consent to now, by name: measurement, then attribution, as y, n or -."""
    meaning = {"y": True, "n": False, "-": None}
    return _frame(
        "person_consents",
        [
            {
                "person_id": person,
                "person_key": surrogate(person),
                "consent_analytics": meaning[said[0]],
                "consent_attribution": meaning[said[1]],
            }
            for person, said in choices.items()
        ],
    )


def _frame(table: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    schema = polars_schema(table)
    if strange := {name for row in rows for name in row} - set(schema):
        message = f"{table} has no columns {sorted(strange)}"
        raise KeyError(message)
    return pl.DataFrame(
        [{name: row.get(name) for name in schema} for row in rows], schema=schema, orient="row"
    )


def day(offset: int = 0) -> date:
    """Date so many days after 2026-03-01."""
    return (NOON + timedelta(days=offset)).date()
