"""Snowplow's tracker protocol: POST of a payload, and the pixel, with plain or base64 JSON.

Its clients carry no key. A key may therefore name application ids (``aid``) that stand for it; a
client that can be told more may send the key as its application id, or in a header.

Source:
    https://docs.snowplow.io/docs/fundamentals/canonical-event/snowplow-tracker-protocol/
"""

import base64
from collections.abc import Mapping
from dataclasses import replace

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch, Protocol, Record
from clickstream_platform.collection.limits import MAX_EVENTS
from clickstream_platform.collection.protocols.parsing import (
    bearer,
    events_of,
    number,
    object_of,
    only,
    parse_json,
    plain_name,
    put,
    surroundings,
    text,
    whole,
)
from clickstream_platform.collection.protocols.pixels import GIF
from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.collection.strict_json import strict_json
from clickstream_platform.privacy import truncated_ip

POST_PATHS = ("/com.snowplowanalytics.snowplow/tp2",)
PIXEL_PATHS = ("/i", "/ice.png")

EVENT_TYPES = {
    "pv": "page_view",
    "pp": "page_ping",
    "ue": "unstruct",
    "se": "struct",
    "ev": "struct",
    "tr": "transaction",
    "ti": "transaction_item",
    "ad": "ad_impression",
}
"""Type of event by its code on the wire; `ev` is what the oldest trackers wrote for `se`."""

NAMES = {"transaction": "purchase"}
"""Types that have another name here."""

PLATFORMS = {
    "web": "web",
    "mob": "app",
    "app": "app",
    "pc": "app",
    "tv": "app",
    "srv": "server",
    "cnsl": "app",
    "iot": "other",
    "headset": "app",
}

PING_MS = "10000"
"""Engaged time that one page ping stands for: the trackers' usual heartbeat, in milliseconds."""

ECOMMERCE_ACTION = "snowplow_ecommerce_action"
"""Event of the e-commerce plug-in; its ``type`` says what happened."""

ACTIONS = {"product_view": "view_item", "transaction": "purchase"}
"""Types of it that have another name here."""

TRANSACTION_ENTITY = ".ecommerce/transaction/"
REFUND_ENTITY = ".ecommerce/refund/"
PRODUCT_ENTITY = ".ecommerce/product/"

ANONYMOUS_HEADER = "sp-anonymous"
"""Header by which a tracker asks that the request itself say nothing of the person."""

SERVER = "srv"
"""Platform of trackers that run on servers; they often share one application id with pages."""

SESSION_ENTITY = "/client_session/"
"""Entity that holds the visitor and the session; they have fields of their own."""

_FIELDS = {
    "eid": "event_id",
    "aid": "app_id",
    "uid": "user_id",
    "sid": "session_id",
    "lang": "language",
    "url": "page_url",
    "page": "page_title",
    "refr": "referrer_url",
    "ua": "user_agent",
}
_STRUCTURED = {"se_ca": "category", "se_la": "label", "se_pr": "property", "se_va": "value"}
_TRANSACTION = {"tr_af": "affiliation", "tr_tx": "tax", "tr_sh": "shipping"}
_PING = {
    "pp_mix": "x_offset_min",
    "pp_max": "x_offset_max",
    "pp_miy": "y_offset_min",
    "pp_may": "y_offset_max",
}
_ITEM = {
    "ti_id": "order_id",
    "ti_sk": "sku",
    "ti_nm": "name",
    "ti_ca": "category",
    "ti_pr": "price",
    "ti_qu": "quantity",
    "ti_cu": "currency",
}


def key(arrival: Arrival, payload: object) -> str | None:
    """The write key of a header; else the application id of the first event."""
    if given := bearer(arrival):
        return given
    events = payload.get("data") if isinstance(payload, dict) else None
    first = events[0] if isinstance(events, list) and events else payload
    app_id = first.get("aid") if isinstance(first, dict) else None
    return app_id if isinstance(app_id, str) else None


def parse_query(arrival: Arrival) -> object:
    """The event of a pixel: its parameters."""
    return dict(arrival.query)


def decode(arrival: Arrival, payload: object) -> Batch:
    """Make records of a payload, or of the parameters of a pixel."""
    body = object_of(payload)
    events = events_of(body, "data") if arrival.body else [body]
    shared = _surroundings(arrival)
    of_server: Record | None = None
    referer = arrival.headers.get("referer")
    batch = Batch()
    for index, event in enumerate(events[:MAX_EVENTS]):
        if not isinstance(event, dict):
            batch.reject(index, "event_invalid")
            continue
        try:
            if arrival.is_server or event.get("p") == SERVER:
                of_server = of_server or surroundings(replace(arrival, is_server=True))
                record = of_server | _record(event)
                put(record, ip_address=truncated_ip(text(event.get("ip")) or ""))
            else:
                record = shared | _record(event)
            put(record, page_url=page_url(text(event.get("url")), referer))
        except RefusedError:
            batch.reject(index, "event_invalid", dict(shared))
            continue
        if "event_name" in record:
            batch.records.append(record)
        else:
            batch.reject(index, "event_name_missing", record)
    return batch


def _surroundings(arrival: Arrival) -> Record:
    """What events of a client share: without the address, if the client asks for that."""
    shared = surroundings(arrival)
    if ANONYMOUS_HEADER in arrival.headers:
        shared.pop("ip_address", None)
    return shared


def event_type(code: object) -> str | None:
    """Type of event that a code on the wire stands for; None where there is none such.

    Source:
        `EventEnrichments.extractEventType` of Snowplow's enrichment.
    """
    return EVENT_TYPES.get(code) if isinstance(code, str) else None


def page_url(said: str | None, referer: str | None) -> str | None:
    """Page that an event happened on: the one its tracker says, else that of the request's header.

    Source:
        `PageEnrichments.extractPageUri` of Snowplow's enrichment.
    """
    return said or referer or None


def _record(event: Mapping[str, object]) -> Record:
    record: Record = {}
    for theirs, ours in _FIELDS.items():
        if (value := text(event.get(theirs))) is not None:
            record[ours] = value
    entities = _entities(event)
    session = next((e for e in entities if SESSION_ENTITY in str(e.get("schema"))), {})
    held = _object(session.get("data"))
    entities = [entity for entity in entities if entity is not session]
    kind = event_type(event.get("e"))
    put(
        record,
        # The network's id comes last: it changes with every request of a client without cookies.
        visitor_id=(
            text(event.get("duid"))
            or text(held.get("userId"))
            or text(event.get("tnuid"))
            or text(event.get("nuid"))
        ),
        session_id=text(event.get("sid")) or text(held.get("sessionId")),
        created_at=whole(event.get("dtm")),
        sent_at=whole(event.get("stm")),
        occurred_at=whole(event.get("ttm")),
        platform=PLATFORMS.get(str(event.get("p")), "web"),
        entities=entities or None,
    )
    if kind == "unstruct":
        schema, properties = _self_describing(event)
        put(record, event_name=schema, properties=properties or None)
        if schema == ECOMMERCE_ACTION:
            _put_action(record, entities, text(properties.get("type")))
        elif schema == "screen_view":
            put(record, page_title=text(properties.get("name")))
    elif kind == "struct":
        put(record, event_name=plain_name(text(event.get("se_ac")) or "") or None)
        record["properties"] = _picked(event, _STRUCTURED)
    else:
        put(record, event_name=NAMES.get(kind, kind) if kind else None)
    _put_commerce(record, event, kind)
    return record


def _put_action(record: Record, entities: list[dict[str, object]], action: str | None) -> None:
    """Name an event of the e-commerce plug-in by its type, with what its entities say."""
    name = ACTIONS.get(action, plain_name(action)) if action else None
    put(record, event_name=name or None, product_id=only(_of(entities, PRODUCT_ENTITY), "id"))
    orders = _of(entities, TRANSACTION_ENTITY) or _of(entities, REFUND_ENTITY)
    put(record, order_id=only(orders, "transaction_id"))
    if name == "purchase" and len(orders) == 1:
        put(
            record,
            revenue=number(orders[0].get("revenue")),
            currency=text(orders[0].get("currency"), 8),
        )


def _of(entities: list[dict[str, object]], schema: str) -> list[dict[str, object]]:
    """Data of the entities of one schema."""
    return [
        _object(entity.get("data")) for entity in entities if schema in str(entity.get("schema"))
    ]


def _put_commerce(record: Record, event: Mapping[str, object], kind: str | None) -> None:
    if kind == "transaction":
        put(
            record,
            order_id=text(event.get("tr_id")),
            revenue=number(event.get("tr_tt")),
            currency=text(event.get("tr_cu"), 8),
            properties=_picked(event, _TRANSACTION) or None,
        )
    elif kind == "transaction_item":
        put(record, order_id=text(event.get("ti_id")), product_id=text(event.get("ti_sk")))
        record["properties"] = _picked(event, _ITEM)
    elif kind == "page_ping":
        record["engaged_time_ms"] = PING_MS
        put(record, properties=_picked(event, _PING) or None)


def _self_describing(event: Mapping[str, object]) -> tuple[str | None, dict[str, object]]:
    """Name and properties of an event that brings its own schema."""
    outer = _object(_json(event, "ue_pr", "ue_px"))
    inner = _object(outer.get("data"))
    parts = str(inner.get("schema", "")).split("/")
    name = plain_name(parts[1]) if len(parts) > 1 else None
    return name or None, _object(inner.get("data"))


def _entities(event: Mapping[str, object]) -> list[dict[str, object]]:
    items = _object(_json(event, "co", "cx")).get("data")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _json(event: Mapping[str, object], plain: str, encoded: str) -> object:
    """JSON that stands as text under one name, or in base64 for URLs under another."""
    if isinstance(value := event.get(plain), str):
        return strict_json(value.encode())
    if isinstance(value := event.get(encoded), str):
        try:
            padded = value + "=" * (-len(value) % 4)
            return strict_json(base64.b64decode(padded, altchars=b"-_", validate=True))
        except ValueError:  # not base64, or not even ASCII
            reason = "event_invalid"
            raise RefusedError(reason) from None
    return None


def _picked(event: Mapping[str, object], names: Mapping[str, str]) -> dict[str, object]:
    return {ours: event[theirs] for theirs, ours in names.items() if event.get(theirs) is not None}


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def answer_post(_: Arrival, batch: Batch) -> Answer:
    """Say what the trackers expect."""
    if batch.rejected and not batch.records:
        return Answer(status=400, body=b'{"error":"%b"}' % batch.rejected[0].reason.encode())
    return Answer(status=200, body=b"ok", content_type="text/plain")


def answer_pixel(_: Arrival, batch: Batch) -> Answer:
    """A transparent pixel."""
    if batch.rejected:
        return Answer(status=400, body=b'{"error":"%b"}' % batch.rejected[0].reason.encode())
    return Answer(status=200, body=GIF, content_type="image/gif")


SNOWPLOW = Protocol(
    name="snowplow",
    methods=frozenset({"POST"}),
    parse=parse_json,
    key=key,
    decode=decode,
    answer=answer_post,
)

SNOWPLOW_PIXEL = Protocol(
    name="snowplow",
    methods=frozenset({"GET"}),
    parse=parse_query,
    key=key,
    decode=decode,
    answer=answer_pixel,
)
