"""PostHog's capture API: ``/batch/``, ``/e/``, ``/capture/``, and what its clients ask for first.

``distinct_id`` names the device until somebody logs in and the person afterwards; the client says
which by ``$is_identified`` or ``$user_id``, and a server's library knows persons only. Who gives
no time of sending is believed the time of the event, as PostHog does.

Newer libraries send to ``/i/v1/analytics/events``: the key is a bearer token, the time of sending
a header, and the answer tells the fate of each event; one that it leaves out is lost to them.

Source:
    https://posthog.com/docs/api/capture, the payloads of posthog-js 1.449 and posthog-node 5.70,
    and `capture_v1` of posthog-go and posthog-rs.
"""

import base64
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qs

import msgspec

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch, Protocol, Record
from clickstream_platform.collection.limits import MAX_EVENTS
from clickstream_platform.collection.protocols.parsing import (
    bearer,
    number,
    object_of,
    parse_json,
    plain_name,
    put,
    surroundings,
    text,
    whole,
)
from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.collection.strict_json import strict_json
from clickstream_platform.privacy import truncated_ip

PATHS = ("/batch", "/e", "/capture", "/i/v0/e", "/track", "/engage")
ANALYTICS_PATHS = ("/i/v1/analytics/events",)
SENT_AT_HEADER = "posthog-request-timestamp"
LIBRARY_HEADER = "posthog-sdk-info"
"""Name and version of a library that does not say them with each event."""

ALIASES = frozenset({"$create_alias", "$merge_dangerously"})
"""Events that join two ids; the second joins users, too."""

GROUP = "$groupidentify"

NAMES = {
    "$pageview": "page_view",
    "$pageleave": "page_leave",
    "$screen": "screen_view",
    "$identify": "identify",
    **dict.fromkeys(ALIASES, "alias"),
    GROUP: "group",
}
INTERACTIONS = {"click": "click", "submit": "form_submit", "change": "form_change"}
"""Names of what is captured by itself, by kind of interaction."""

NO_REFERRER = "$direct"
KEPT = (
    "$set",
    "$set_once",
    "$elements_chain",
    "$exception_type",
    "$feature_flag",
    "$feature_flag_response",
    "$groups",
    "$group_type",
    "$group_key",
    "$group_set",
)
"""Properties of the library that are kept beside the sender's own."""

BESIDE = ("$set", "$set_once", "$groups")
"""Properties that servers' libraries write beside the others instead of among them."""

SERVER_LIBRARIES = frozenset(
    {
        "posthog-dotnet",
        "posthog-elixir",
        "posthog-go",
        "posthog-java",
        "posthog-node",
        "posthog-php",
        "posthog-python",
        "posthog-ruby",
        "posthog-rs",
        "posthog-server",
    }
)
"""Libraries that run on servers; they often share one key with pages."""

APP_LIBRARIES = (
    "posthog-ios",
    "posthog-android",
    "posthog-react",
    "posthog-flutter",
    "posthog-unity",
)

FLAGS = msgspec.json.encode(
    {
        "config": {"enable_collect_everything": True},
        "toolbarParams": {},
        "isAuthenticated": False,
        "supportedCompression": ["gzip", "gzip-js"],
        "featureFlags": {},
        "featureFlagPayloads": {},
        "flags": {},
        "errorsWhileComputingFlags": False,
        "sessionRecording": False,
        "surveys": False,
        "heatmaps": False,
        "capturePerformance": False,
        "autocapture_opt_out": False,
    }
)
"""Answer to ``/decide`` and ``/flags``: no flags, no recording, events as usual."""


def stub_at(path: str) -> Answer | None:
    """What clients ask for at their start: flags, and a configuration as JSON or as a script."""
    if path in {"/decide", "/flags"}:
        return Answer(status=200, body=FLAGS)
    if path.startswith("/array/") and path.endswith("/config"):
        return Answer(status=200, body=FLAGS)
    if path.startswith("/array/") and path.endswith("/config.js"):
        return Answer(status=200, body=b"", content_type="text/javascript")
    return None


def parse(arrival: Arrival) -> object:
    """Decode a JSON body, also where a form carries it in base64, as older clients do."""
    if not arrival.body.startswith(b"data="):
        return parse_json(arrival)
    fields = parse_qs(arrival.body.decode("latin-1"))
    data = fields["data"][0] if "data" in fields else ""
    try:
        padded = data.replace(" ", "+") + "=" * (-len(data) % 4)
        return strict_json(base64.b64decode(padded, validate=True))
    except ValueError:  # not base64, or not even ASCII
        reason = "json_invalid"
        raise RefusedError(reason) from None


def key(arrival: Arrival, payload: object) -> str | None:
    """The write key: ``api_key`` or ``token`` of the body or of its first event."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if isinstance(payload, dict):
        properties = payload.get("properties")
        places = (payload, properties if isinstance(properties, dict) else {})
        for place in places:
            for name in ("api_key", "token"):
                if isinstance(given := place.get(name), str):
                    return given
    return arrival.query.get("api_key") or bearer(arrival)


def decode(arrival: Arrival, payload: object) -> Batch:
    """Make records of a batch, of a bare list, or of one event."""
    if isinstance(payload, list):
        body: dict[str, object] = {}
        events: list[object] = payload
    else:
        body = object_of(payload)
        held = body.get("batch")
        events = held if isinstance(held, list) else [body]
    if len(events) > MAX_EVENTS:
        reason = "too_many_events"
        raise RefusedError(reason)
    sent_at = (
        text(body.get("sent_at"))
        or text(body.get("sentAt"))
        or arrival.headers.get(SENT_AT_HEADER)
        or whole(arrival.query.get("_"))
    )
    # A server that holds a page's key is a server all the same.
    shared = {kind: surroundings(replace(arrival, is_server=kind)) for kind in (False, True)}
    batch = Batch()
    for index, event in enumerate(events):
        if not isinstance(event, dict):
            batch.reject(index, "event_invalid")
            continue
        is_server = arrival.is_server or _is_of_a_server(_properties(event), arrival)
        record = shared[is_server] | _record(event, arrival, is_server=is_server)
        put(record, sent_at=sent_at)
        if sent_at is None or _is_sure_of_its_time(event):
            put(record, occurred_at=record.get("created_at"))
        if "event_name" in record:
            batch.records.append(record)
        else:
            batch.reject(index, "event_name_missing", record)
    return batch


def _record(event: Mapping[str, object], arrival: Arrival, *, is_server: bool) -> Record:
    properties = _properties(event)
    record: Record = {}
    referrer = text(properties.get("$referrer"))
    put(
        record,
        event_id=(
            text(event.get("uuid"))
            or text(event.get("messageId"))
            or text(properties.get("$insert_id"))
        ),
        event_name=_name(event, properties),
        created_at=_created_at(event, properties, arrival),
        session_id=text(properties.get("$session_id")) or text(event.get("session_id")),
        app_id=text(properties.get("$app_name")),
        platform="server" if is_server else _platform(_library(properties, arrival)),
        ip_address=truncated_ip(text(properties.get("$ip")) or "") if is_server else None,
        user_agent=text(properties.get("$raw_user_agent"), 1024),
        language=(
            text(properties.get("$browser_language"), 35) or text(properties.get("$locale"), 35)
        ),
        page_url=text(properties.get("$current_url")),
        page_title=(
            text(properties.get("title"))
            or text(properties.get("$title"))
            or text(properties.get("$screen_name"))
        ),
        referrer_url=None if referrer == NO_REFERRER else referrer,
        product_id=text(properties.get("product_id")) or text(properties.get("sku")),
        order_id=text(properties.get("order_id")),
    )
    if record.get("event_name") == "purchase":
        put(
            record,
            revenue=number(properties.get("revenue")),
            currency=text(properties.get("currency"), 8),
        )
    record |= _people(event, properties, is_server=is_server)
    is_alias = text(event.get("event")) in ALIASES
    own = {
        name: value
        for name, value in properties.items()
        if value is not None
        and ((name in KEPT and value != {}) or _is_own(name))
        and not (is_alias and name == "alias")
    }
    if kind := _exception_type(properties.get("$exception_list")):
        own.setdefault("$exception_type", kind)
    put(record, properties=own or None)
    return record


def _exception_type(chain: object) -> str | None:
    """Type of the exception that newer libraries put first in a list of all that caused it."""
    first = chain[0] if isinstance(chain, list) and chain else None
    return text(first.get("type")) if isinstance(first, dict) else None


def _properties(event: Mapping[str, object]) -> dict[str, object]:
    """Properties of an event, with those that stand beside them."""
    given = event.get("properties")
    beside = {name: event[name] for name in BESIDE if name in event}
    return beside | given if isinstance(given, dict) else beside


def _library(properties: Mapping[str, object], arrival: Arrival) -> str:
    """Name of the library that sends an event; empty where nobody says it."""
    named = arrival.headers.get(LIBRARY_HEADER, "").partition("/")[0]
    return text(properties.get("$lib")) or named


def _is_of_a_server(properties: Mapping[str, object], arrival: Arrival) -> bool:
    said = properties.get("$is_server")
    return said if isinstance(said, bool) else _library(properties, arrival) in SERVER_LIBRARIES


def _is_sure_of_its_time(event: Mapping[str, object]) -> bool:
    """Whether the sender asks that its clock be believed."""
    options = event.get("options")
    asked = options.get("disable_skew_correction") if isinstance(options, dict) else None
    return asked is True or _properties(event).get("$ignore_sent_at") is True


def _is_personless(event: Mapping[str, object], properties: Mapping[str, object]) -> bool:
    """Whether the sender asks that no person be made of an event."""
    options = event.get("options")
    asked = options.get("process_person_profile") if isinstance(options, dict) else None
    return asked is False or properties.get("$process_person_profile") is False


def _is_own(name: str) -> bool:
    """Whether the sender set a property, not the library; and it is none of its identifiers."""
    return not name.startswith("$") and name not in {"distinct_id", "token", "title"}


def _people(
    event: Mapping[str, object], properties: Mapping[str, object], *, is_server: bool
) -> dict[str, object]:
    distinct = text(event.get("distinct_id")) or text(properties.get("distinct_id"))
    device = text(properties.get("$device_id"))
    person = text(properties.get("$user_id"))
    # Of a user it is what they were called before, as the device; of a device, who its user is.
    alias = text(properties.get("alias")) if text(event.get("event")) in ALIASES else None
    alias = None if alias == distinct else alias
    found: dict[str, object] = {}
    if event.get("event") == "$identify" and not is_server:
        before = text(properties.get("$anon_distinct_id")) or device
        put(found, visitor_id=before, user_id=person or distinct)
    elif event.get("event") == GROUP and (is_server or "$is_identified" not in properties):
        # It is about a group: libraries make its id up, of the group's name or at random.
        put(found, visitor_id=device, user_id=person)
    elif is_server and _is_personless(event, properties):
        put(found, visitor_id=device or distinct, user_id=person)
    elif is_server or properties.get("$is_identified") is True or person:
        put(found, visitor_id=alias or device, user_id=person or distinct)
    else:
        put(found, visitor_id=device or distinct, user_id=alias)
    return found


def _name(event: Mapping[str, object], properties: Mapping[str, object]) -> str | None:
    name = event.get("event")
    if not isinstance(name, str):
        return None
    if name == "$autocapture":
        return INTERACTIONS.get(str(properties.get("$event_type")), "interaction")
    return NAMES.get(name) or plain_name(name) or None


def _created_at(
    event: Mapping[str, object], properties: Mapping[str, object], arrival: Arrival
) -> object:
    if stamp := text(event.get("timestamp")):
        return stamp
    offset = whole(event.get("offset"))
    if offset is not None and offset >= 0:
        return arrival.received_ms - offset
    seconds = number(properties.get("$time"))
    return None if seconds is None else whole(seconds * 1000)


def _platform(library: str) -> str:
    return "app" if library.startswith(APP_LIBRARIES) else "web"


def answer(_: Arrival, batch: Batch) -> Answer:
    """Say what the client expects."""
    if batch.rejected and not batch.records:
        return Answer(
            status=400, body=b'{"status":0,"error":"%b"}' % batch.rejected[0].reason.encode()
        )
    return Answer(status=200, body=b'{"status":1}')


def answer_each(arrival: Arrival, batch: Batch) -> Answer:
    """Say of each event whether it was taken; a batch of which nothing was is an error."""
    if batch.rejected and not batch.records:
        return Answer(status=400, body=b'{"error":"%b"}' % batch.rejected[0].reason.encode())
    refused = {item.event_id: item.reason for item in batch.rejected}
    events = object_of(strict_json(arrival.body)).get("batch")
    results = {}
    for event in events if isinstance(events, list) else []:
        uuid = event.get("uuid") if isinstance(event, dict) else None
        if isinstance(uuid, str):
            reason = refused.get(uuid)
            results[uuid] = {"result": "drop", "details": reason} if reason else {"result": "ok"}
    return Answer(status=200, body=msgspec.json.encode({"results": results}))


POSTHOG = Protocol(
    name="posthog",
    methods=frozenset({"POST"}),
    parse=parse,
    key=key,
    decode=decode,
    answer=answer,
)

POSTHOG_ANALYTICS = Protocol(
    name="posthog",
    methods=frozenset({"POST"}),
    parse=parse,
    key=key,
    decode=decode,
    answer=answer_each,
)
