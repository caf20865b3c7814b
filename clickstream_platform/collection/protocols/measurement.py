"""GA4's Measurement Protocol: ``/mp/collect``, and ``/debug/mp/collect`` which only judges.

``api_secret`` is the write key; ``measurement_id`` is kept as the application. Events carry no id,
so one is made of their content: the same request sent again is known again where it has a time.

Source:
    https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch, Protocol, Record
from clickstream_platform.collection.protocols.parsing import (
    events_of,
    number,
    object_of,
    only,
    parse_json,
    put,
    surroundings,
    text,
    whole,
)
from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.privacy import truncated_ip

PATHS = ("/mp/collect",)
DEBUG_PATHS = ("/debug/mp/collect",)

MAX_EVENTS = 25
MAX_PARAMS = 25
MAX_NAME = 40
MAX_VALUE = 100
MAX_USER_PROPERTIES = 25
MAX_USER_PROPERTY_NAME = 24
MAX_BACKDATED_US = 72 * 3_600_000_000
"""Oldest event that Google takes: three days, in microseconds. Ours is the lateness horizon."""

RESERVED_EVENTS = frozenset(
    [
        "ad_activeview",
        "ad_click",
        "ad_exposure",
        "ad_query",
        "ad_reward",
        "adunit_exposure",
        "app_clear_data",
        "app_exception",
        "app_install",
        "app_remove",
        "app_store_refund",
        "app_store_subscription_cancel",
        "app_store_subscription_convert",
        "app_store_subscription_renew",
        "app_update",
        "app_upgrade",
        "dynamic_link_app_open",
        "dynamic_link_app_update",
        "dynamic_link_first_open",
        "error",
        "firebase_campaign",
        "firebase_in_app_message_action",
        "firebase_in_app_message_dismiss",
        "firebase_in_app_message_impression",
        "first_open",
        "first_visit",
        "in_app_purchase",
        "notification_dismiss",
        "notification_foreground",
        "notification_open",
        "notification_receive",
        "notification_send",
        "os_update",
        "session_start",
        "user_engagement",
    ]
)
RESERVED_PREFIXES = ("_", "firebase_", "ga_", "google_", "gtag.")
_COUNTRY = re.compile(r"[A-Za-z]{2}", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LIFTED = {"session_id", "engagement_time_msec", "page_location", "page_title", "page_referrer"}


def key(arrival: Arrival, payload: object) -> str | None:
    """The write key: the API secret."""
    _ = payload
    return arrival.query.get("api_secret")


def decode(arrival: Arrival, payload: object) -> Batch:
    """Make records of a batch."""
    body = object_of(payload)
    shared = surroundings(arrival)
    consent = _consent(body)
    country = text(_object(body.get("user_location")).get("country_id")) or ""
    put(
        shared,
        visitor_id=text(body.get("client_id")) or text(body.get("app_instance_id")),
        user_id=text(body.get("user_id")),
        app_id=arrival.query.get("measurement_id") or arrival.query.get("firebase_app_id"),
        ip_address=truncated_ip(text(body.get("ip_override")) or ""),
        user_agent=text(body.get("user_agent"), 1024),
        country=country if _COUNTRY.fullmatch(country) else None,
        language=text(_object(body.get("device")).get("language"), 35),
        consent=consent or None,
    )
    batch = Batch()
    for index, event in enumerate(events_of(body, "events")):
        if not isinstance(event, dict):
            batch.reject(index, "event_invalid")
            continue
        record = shared | _record(event, body)
        if "event_name" in record:
            batch.records.append(record)
        else:
            batch.reject(index, "event_name_missing", record)
    return batch


def _record(event: Mapping[str, object], body: Mapping[str, object]) -> Record:
    params = _object(event.get("params"))
    happened = whole(event.get("timestamp_micros")) or whole(body.get("timestamp_micros"))
    record: Record = {}
    put(
        record,
        event_name=text(event.get("name")),
        # The sender swears by it: there is no time of sending to correct it with.
        occurred_at=happened,
        session_id=text(params.get("session_id")),
        engaged_time_ms=whole(params.get("engagement_time_msec")),
        page_url=text(params.get("page_location")),
        page_title=text(params.get("page_title")) or text(params.get("screen_name")),
        referrer_url=text(params.get("page_referrer")),
        campaign_source=text(params.get("source")),
        campaign_medium=text(params.get("medium")),
        campaign_name=text(params.get("campaign")),
        campaign_term=text(params.get("term")),
        campaign_content=text(params.get("content")),
        order_id=text(params.get("transaction_id")),
        product_id=only(params.get("items"), "item_id"),
    )
    if record.get("event_name") == "purchase":
        put(
            record,
            revenue=number(params.get("value")),
            currency=text(params.get("currency"), 8),
        )
    items = params.get("items")
    if isinstance(items, list):
        record["entities"] = items
    kept = {k: v for k, v in params.items() if k not in _LIFTED and k != "items"}
    if said := _user_properties(body):
        kept["user_properties"] = said
    put(record, properties=kept or None)
    return record


def _user_properties(body: Mapping[str, object]) -> dict[str, object]:
    """What is said of the user, without the wrapping around each value."""
    given = _object(body.get("user_properties"))
    values = {
        name: held.get("value") if isinstance(held, dict) else held for name, held in given.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def _consent(body: Mapping[str, object]) -> dict[str, object]:
    given = _object(body.get("consent"))
    words = {"GRANTED": True, "DENIED": False}
    named = {"marketing": "ad_user_data", "personalization": "ad_personalization"}
    found = {
        ours: words[str(given[theirs])]
        for ours, theirs in named.items()
        if str(given.get(theirs)) in words
    }
    if body.get("non_personalized_ads") is True:
        found["personalization"] = False
    return dict(found)


def answer(_: Arrival, batch: Batch) -> Answer:
    """Nothing, as Google does, unless nothing was taken."""
    if batch.rejected and not batch.records:
        return Answer(status=400, body=b'{"error":"%b"}' % batch.rejected[0].reason.encode())
    return Answer(status=204)


def unread(arrival: Arrival) -> object:
    """Leave the body to the verdict, which says what is wrong with it."""
    _ = arrival
    return None


def judge(arrival: Arrival, payload: object) -> Batch:
    """Take nothing: the validation server stores no events."""
    _ = arrival, payload
    return Batch()


def verdict(arrival: Arrival, _: Batch) -> Answer:
    """What is wrong with a batch, in the words of Google's validation server."""
    try:
        found = [*faults(object_of(parse_json(arrival)), now_us=arrival.received_us)]
    except RefusedError as refusal:
        found = [("", *UNREADABLE.get(refusal.reason, _UNPARSED))]
    messages = [
        {"fieldPath": path, "description": description, "validationCode": code}
        for path, description, code in found
    ]
    return Answer(status=200, body=msgspec.json.encode({"validationMessages": messages}))


Fault = tuple[str, str, str]
"""Path of a field, what is wrong with it, and the code for that."""

_UNPARSED = ("Unable to parse Measurement Protocol JSON payload.", "VALUE_INVALID")
UNREADABLE = {
    "json_key_repeated": ("The same name was provided more than once.", "NAME_DUPLICATED"),
    "json_number_out_of_range": ("A number exceeds 64 bits.", "VALUE_OUT_OF_BOUNDS"),
}
"""What is wrong with a body that cannot be read, and the code for that, by reason of refusal."""


def faults(body: Mapping[str, object], *, now_us: int) -> Iterator[Fault]:
    """Everything that Google would hold against a batch."""
    if not text(body.get("client_id")) and not text(body.get("app_instance_id")):
        yield "client_id", "Measurement requires a client_id.", "VALUE_REQUIRED"
    happened = whole(body.get("timestamp_micros"))
    if happened is not None and not 0 <= now_us - happened <= MAX_BACKDATED_US:
        yield (
            "timestamp_micros",
            "Measurement timestamp_micros must lie within the last 72 hours.",
            "VALUE_OUT_OF_BOUNDS",
        )
    yield from _user_property_faults(_object(body.get("user_properties")))
    events = body.get("events")
    if not isinstance(events, list) or not events:
        yield "events", "Measurement requires at least one event.", "VALUE_REQUIRED"
        return
    if len(events) > MAX_EVENTS:
        yield "events", f"At most {MAX_EVENTS} events are allowed.", "EXCEEDED_MAX_ENTITIES"
    for index, event in enumerate(events):
        if isinstance(event, dict):
            yield from _event_faults(index, event)
        else:
            yield "events", f"Event at index: [{index}] is no object.", "VALUE_INVALID"


def _event_faults(index: int, event: Mapping[str, object]) -> Iterator[Fault]:
    at = f"Event at index: [{index}]"
    name = text(event.get("name")) or ""
    params = _object(event.get("params"))
    yield from _name_faults(at, name)
    yield from _param_faults(at, params)
    if name == "purchase" and params.get("value") is not None and not params.get("currency"):
        yield "events.params.currency", f"{at} has a value without currency.", "VALUE_REQUIRED"


def _name_faults(at: str, name: str) -> Iterator[Fault]:
    if not name:
        yield "events", f"{at} has no name.", "VALUE_REQUIRED"
    elif name in RESERVED_EVENTS or name.startswith(RESERVED_PREFIXES[1:]):
        yield "events", f"{at} has a reserved name.", "NAME_RESERVED"
    elif not _NAME.fullmatch(name):
        yield (
            "events",
            f"{at} has an invalid name. Names must start with an alphabetic character.",
            "NAME_INVALID",
        )
    elif len(name) > MAX_NAME:
        yield "events", f"{at} has a name longer than {MAX_NAME}.", "NAME_INVALID"


def _param_faults(at: str, params: Mapping[str, object]) -> Iterator[Fault]:
    if len(params) > MAX_PARAMS:
        yield "events.params", f"{at} has more than {MAX_PARAMS} params.", "EXCEEDED_MAX_ENTITIES"
    for param, value in params.items():
        where = f"events.params.{param[:MAX_NAME]}" if _NAME.fullmatch(param) else "events.params"
        if param.startswith(RESERVED_PREFIXES):
            yield where, f"{at} has a param with a reserved name.", "NAME_RESERVED"
        elif not _NAME.fullmatch(param) or len(param) > MAX_NAME:
            yield where, f"{at} has a param with an invalid name.", "NAME_INVALID"
        if isinstance(value, str) and len(value) > MAX_VALUE and param not in _LIFTED:
            yield where, f"{at} has a value longer than {MAX_VALUE}.", "VALUE_INVALID"


def _user_property_faults(properties: Mapping[str, object]) -> Iterator[Fault]:
    if len(properties) > MAX_USER_PROPERTIES:
        yield (
            "user_properties",
            f"At most {MAX_USER_PROPERTIES} user properties are allowed.",
            "EXCEEDED_MAX_ENTITIES",
        )
    for name in properties:
        if name.startswith(RESERVED_PREFIXES):
            yield "user_properties", "A user property has a reserved name.", "NAME_RESERVED"
        elif not _NAME.fullmatch(name) or len(name) > MAX_USER_PROPERTY_NAME:
            yield "user_properties", "A user property has an invalid name.", "NAME_INVALID"


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


MEASUREMENT = Protocol(
    name="measurement",
    methods=frozenset({"POST"}),
    parse=parse_json,
    key=key,
    decode=decode,
    answer=answer,
)

MEASUREMENT_DEBUG = Protocol(
    name="measurement",
    methods=frozenset({"POST"}),
    parse=unread,
    key=key,
    decode=judge,
    answer=verdict,
)
