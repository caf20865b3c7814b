"""Segment's HTTP tracking API: ``/v1/batch``, and ``/v1/t|p|i|g|a|s`` for one call each.

Older libraries send their batches to ``/v1/import``. Who gives no time of sending is believed the
time of the event, as Segment does: calls without the library, and imports of history.

The names and fields are those of `events/sources/segment.toml`, which reads the same messages from
files; a test holds the two together.

Source:
    https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from collections.abc import Mapping
from dataclasses import replace

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch, Protocol, Record
from clickstream_platform.collection.protocols.parsing import (
    basic_user,
    bearer,
    events_of,
    number,
    object_of,
    parse_json,
    plain_name,
    put,
    surroundings,
    text,
)
from clickstream_platform.privacy import truncated_ip

CALLS = {
    "t": "track",
    "p": "page",
    "i": "identify",
    "g": "group",
    "a": "alias",
    "s": "screen",
    "track": "track",
    "page": "page",
    "identify": "identify",
    "group": "group",
    "alias": "alias",
    "screen": "screen",
}
"""Kind of message by the last part of its path."""

BEACON = "/beacon/v1/batch"
"""Batches that RudderStack's library sends while a page is left: the key is a parameter."""

PATHS = ("/v1/batch", "/v1/b", "/v1/import", BEACON, *(f"/v1/{name}" for name in CALLS))

ECOMMERCE = {
    "product viewed": "view_item",
    "product added": "add_to_cart",
    "product removed": "remove_from_cart",
    "checkout started": "begin_checkout",
    "order completed": "purchase",
    "order refunded": "refund",
    "products searched": "search",
    "signed up": "sign_up",
    "signed in": "login",
}
"""Canonical names of Segment's own ones, in lower case."""

BROWSER_LIBRARIES = {"analytics.js", "@segment/analytics-next"}

NO_REFERRER = "$direct"
"""What RudderStack's library writes for a page that nobody referred to."""


def key(arrival: Arrival, payload: object) -> str | None:
    """The write key: by basic authentication, in the body, as a parameter, or as a bearer token.

    The body comes before the token, which with OAuth is another one and stands beside the key.
    """
    given = payload.get("writeKey") if isinstance(payload, dict) else None
    return (
        basic_user(arrival)
        or (given if isinstance(given, str) else None)
        or arrival.query.get("writeKey")
        or bearer(arrival)
    )


def decode(arrival: Arrival, payload: object) -> Batch:
    """Make records of a batch, or of one call."""
    body = object_of(payload)
    shared = surroundings(arrival)
    of_server: Record | None = None
    kind = CALLS.get(arrival.path.rstrip("/").rsplit("/", 1)[-1])
    if kind is not None:
        messages: list[object] = [body | {"type": body.get("type") or kind}]
    else:
        messages = events_of(body, "batch")
    batch = Batch()
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            batch.reject(index, "event_invalid")
            continue
        if arrival.is_server or message.get("channel") == "server":
            # A server that holds a page's key is a server all the same.
            of_server = of_server or surroundings(replace(arrival, is_server=True))
            record = of_server | _record(message, body, is_server=True)
        else:
            record = shared | _record(message, body, is_server=False)
        if "event_name" in record:
            batch.records.append(record)
        else:
            batch.reject(index, "event_name_missing", record)
    return batch


def _record(
    message: Mapping[str, object], body: Mapping[str, object], *, is_server: bool
) -> Record:
    context = _object(body.get("context")) | _object(message.get("context"))
    page = _object(context.get("page"))
    campaign = _object(context.get("campaign"))
    properties = _object(message.get("properties"))
    timestamp = text(message.get("timestamp"))
    created_at = text(message.get("originalTimestamp")) or timestamp
    sent_at = text(message.get("sentAt")) or text(body.get("sentAt"))
    referrer = text(page.get("referrer")) or text(properties.get("referrer"))
    record: Record = {}
    put(
        record,
        event_id=text(message.get("messageId")),
        event_name=_name(message),
        occurred_at=None if sent_at else timestamp or created_at,
        created_at=created_at,
        sent_at=sent_at,
        # An alias names who the user was before; with an anonymous id, too, that one is the device.
        visitor_id=text(message.get("anonymousId")) or text(message.get("previousId")),
        user_id=text(message.get("userId")),
        session_id=text(context.get("sessionId")),
        app_id=text(_object(context.get("app")).get("name")),
        platform=_platform(context, is_server=is_server),
        ip_address=truncated_ip(text(context.get("ip")) or "") if is_server else None,
        user_agent=text(context.get("userAgent"), 1024),
        language=text(context.get("locale"), 35),
        page_url=text(page.get("url")) or text(properties.get("url")),
        page_title=(
            text(page.get("title")) or text(properties.get("title")) or text(message.get("name"))
        ),
        referrer_url=None if referrer == NO_REFERRER else referrer,
        campaign_source=text(campaign.get("source")),
        campaign_medium=text(campaign.get("medium")),
        campaign_name=text(campaign.get("name")),
        campaign_term=text(campaign.get("term")),
        campaign_content=text(campaign.get("content")),
        product_id=text(properties.get("product_id")) or text(properties.get("sku")),
        order_id=text(properties.get("order_id")),
        properties=_properties(message, context, properties) or None,
    )
    _put_consent(record, context)
    if record.get("event_name") == "purchase":
        revenue = number(properties.get("revenue"))
        put(
            record,
            revenue=number(properties.get("total")) if revenue is None else revenue,
            currency=text(properties.get("currency"), 8),
        )
    return record


def _properties(
    message: Mapping[str, object], context: Mapping[str, object], properties: dict[str, object]
) -> dict[str, object]:
    """Properties of what happened, or traits of whom it is about; a group by its id.

    RudderStack's libraries put the traits of an ``identify`` into its context.
    """
    kind = message.get("type")
    if kind == "group" and (group_id := text(message.get("groupId"))):
        return _object(message.get("traits")) | {"group_id": group_id}
    traits = _object(message.get("traits"))
    if kind == "identify":
        traits = traits or _object(context.get("traits"))
    return properties or traits


def _name(message: Mapping[str, object]) -> str | None:
    kind, event = message.get("type"), message.get("event")
    if kind == "page":
        return "page_view"
    if kind == "screen":
        return "screen_view"
    if kind == "track":
        name = event if isinstance(event, str) else ""
        return ECOMMERCE.get(name.lower()) or plain_name(name) or None
    return kind if isinstance(kind, str) and kind in {"identify", "group", "alias"} else None


def _platform(context: Mapping[str, object], *, is_server: bool) -> str:
    if str(_object(context.get("library")).get("name")) in BROWSER_LIBRARIES:
        return "web"
    if _object(context.get("device")).get("type") is not None:
        return "app"
    return "server" if is_server else "web"


def _put_consent(record: Record, context: Mapping[str, object]) -> None:
    given = _object(_object(context.get("consent")).get("categoryPreferences"))
    named = {"analytics": "Analytics", "marketing": "Advertising", "personalization": "Functional"}
    consent = {ours: given[theirs] for ours, theirs in named.items() if theirs in given}
    if consent:
        record["consent"] = consent


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def answer(_: Arrival, batch: Batch) -> Answer:
    """Say what the client expects; a batch of which nothing was taken is an error."""
    if batch.rejected and not batch.records:
        return Answer(
            status=400,
            body=b'{"success":false,"error":"%b"}' % batch.rejected[0].reason.encode(),
        )
    return Answer(status=200, body=b'{"success":true}')


SEGMENT = Protocol(
    name="segment",
    methods=frozenset({"POST"}),
    parse=parse_json,
    key=key,
    decode=decode,
    answer=answer,
)
