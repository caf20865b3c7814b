"""The compact protocol: our own tracker's, and the simplest for everybody else.

``POST /v1/events`` with ``{"key", "sent_at", "events": [{"id", "name", "created_at", …}]}``, times
in milliseconds since 1970. The content type does not matter, so a page may send it by
``sendBeacon`` without asking first.
"""

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch, Protocol, Record
from clickstream_platform.collection.protocols.parsing import (
    bearer,
    events_of,
    number,
    object_of,
    parse_json,
    put,
    surroundings,
    text,
    whole,
)

PATHS = ("/v1/events",)

TEXTS = {
    "id": "event_id",
    "name": "event_name",
    "visitor_id": "visitor_id",
    "user_id": "user_id",
    "session_id": "session_id",
    "page_url": "page_url",
    "page_title": "page_title",
    "referrer_url": "referrer_url",
    "app_id": "app_id",
    "platform": "platform",
    "language": "language",
    "country": "country",
    "product_id": "product_id",
    "order_id": "order_id",
    "currency": "currency",
}
"""Fields that hold text, and what they are called in a record."""

_FIELDS: dict[str, tuple[str, frozenset[type]]] = {
    **{name: (field, frozenset({str})) for name, field in TEXTS.items()},
    "created_at": ("created_at", frozenset({int, float})),
    "engaged_time_ms": ("engaged_time_ms", frozenset({int, float})),
    "revenue": ("revenue", frozenset({int, float})),
    "consent": ("consent", frozenset({dict})),
    "properties": ("properties", frozenset({dict})),
    "is_synthetic": ("is_synthetic", frozenset({bool})),
}
"""What each field is called in a record, and what its value may be."""

_NAMES = frozenset(_FIELDS)
_RENAMED = [(name, field) for name, (field, _) in _FIELDS.items() if name != field]

SHAPES = 1024
"""Names and types of events that are remembered: a site sends a few, again and again."""

_ALSO_PROPERTIES = frozenset({"product_id", "order_id", "revenue", "currency"})


def key(arrival: Arrival, payload: object) -> str | None:
    """The write key: in the body, or as a bearer token."""
    given = payload.get("key") if isinstance(payload, dict) else None
    return given if isinstance(given, str) else bearer(arrival)


def decode(arrival: Arrival, payload: object) -> Batch:
    """Make records of a batch; an event of a wrong shape is refused on its own."""
    batch = Batch()
    body = object_of(payload)
    sent_at = body.get("sent_at")
    shared = surroundings(arrival)
    if not isinstance(sent_at, str):
        put(shared, sent_at=whole(sent_at))
    for index, event in enumerate(events_of(body, "events")):
        record = dict(shared)
        if not isinstance(event, dict):
            batch.reject(index, "event_invalid")
        elif not (_copied_alike(event, record) or _copied(event, record)):
            batch.reject(index, "event_invalid", record)
        elif "event_name" not in record:
            batch.reject(index, "event_name_missing", record)
        else:
            if "properties" in record:
                _named_by_properties(record, record["properties"])
            batch.records.append(record)
    return batch


def _named_by_properties(record: Record, properties: object) -> None:
    """Fill what an event says among its properties alone, as pages do that know no columns."""
    if not isinstance(properties, dict) or _ALSO_PROPERTIES.isdisjoint(properties):
        return
    found: Record = {
        "product_id": text(properties.get("product_id")),
        "order_id": text(properties.get("order_id")),
    }
    if record["event_name"] == "purchase":
        found["revenue"] = number(properties.get("revenue"))
        found["currency"] = text(properties.get("currency"), 8)
    for name, value in found.items():
        if value is not None:
            record.setdefault(name, value)


def _copied_alike(event: Mapping[str, object], record: Record) -> bool:
    """Copy the fields of an event all at once, if its shape says that none needs a look."""
    # What has no id gets one of its content, in the order in which that was sent.
    if "id" not in event or not event.keys() <= _NAMES or not all(event.values()):
        return False
    if not _is_sound(*event, *map(type, event.values())):
        return False
    record.update(event)
    for name, field in _RENAMED:
        if name in record:
            record[field] = record.pop(name)
    return True


@lru_cache(maxsize=SHAPES)
def _is_sound(*shape: str | type) -> bool:
    """Whether the values of known fields are of their types as they are.

    Args:
        shape: Names of the fields, then the types of their values in the same order.
    """
    half = len(shape) // 2
    told = [_FIELDS[name] for name in shape[:half] if isinstance(name, str)]
    return all(
        kind in allowed and (kind is not float or field == "revenue")
        for kind, (field, allowed) in zip(shape[half:], told, strict=True)
    )


def _copied(event: Mapping[str, object], record: Record) -> bool:
    """Copy the known fields of an event into a record; whether all had the right type."""
    sound = True
    for name, value in event.items():
        known = _FIELDS.get(name)
        if known is None or value is None or value == "":
            continue
        field, kinds = known
        kind = type(value)
        if kind is float and field != "revenue":
            value = whole(value)  # noqa: PLW2901 - milliseconds
            kind = type(value)
        if kind in kinds:
            record[field] = value
        else:
            sound = False
    return sound


def answer(_: Arrival, batch: Batch) -> Answer:
    """Say how many were taken, and which were not and why."""
    rejected = [
        {"index": item.index, "id": item.event_id, "reason": item.reason} for item in batch.rejected
    ]
    body = msgspec.json.encode({"accepted": len(batch.records), "rejected": rejected})
    return Answer(status=200 if batch.records or not rejected else 400, body=body)


COMPACT = Protocol(
    name="compact",
    methods=frozenset({"POST"}),
    parse=parse_json,
    key=key,
    decode=decode,
    answer=answer,
)
