"""What the decoders share: reading bodies, keys in headers, and what surrounds an event."""

import base64
import re

from clickstream_platform.collection.arrivals import Arrival, Record
from clickstream_platform.collection.limits import MAX_EVENTS
from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.collection.strict_json import MAX_INTEGER, strict_json

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_NUMBER = re.compile(r"-?\d{1,19}(?:\.\d{1,18})?", re.ASCII)
_HUMP = re.compile(r"([a-z0-9])([A-Z])")


def parse_json(arrival: Arrival) -> object:
    """Decode a JSON body."""
    if not arrival.body:
        reason = "body_missing"
        raise RefusedError(reason)
    return strict_json(arrival.body)


def object_of(payload: object) -> dict[str, object]:
    """The payload, which must be an object."""
    if not isinstance(payload, dict):
        reason = "batch_invalid"
        raise RefusedError(reason)
    return payload


def events_of(body: dict[str, object], name: str) -> list[object]:
    """The list of events of a batch, which must not be too long."""
    events = body.get(name)
    if not isinstance(events, list):
        reason = "batch_invalid"
        raise RefusedError(reason)
    if len(events) > MAX_EVENTS:
        reason = "too_many_events"
        raise RefusedError(reason)
    return events


def bearer(arrival: Arrival) -> str | None:
    """A key in the headers: ``Authorization: Bearer``, or ``X-Write-Key``."""
    scheme, _, token = arrival.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return arrival.headers.get("x-write-key")


def basic_user(arrival: Arrival) -> str | None:
    """The user name of basic authentication, in which some clients carry their key."""
    scheme, _, token = arrival.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(token, validate=True).decode().partition(":")[0] or None
    except ValueError:  # not base64, or no text in it
        return None


def surroundings(arrival: Arrival) -> Record:
    """What every event of a request shares: when and from where it came, and with what."""
    record: Record = {
        "received_at": arrival.received_us,
        "collection_source": "server" if arrival.is_server else "client",
    }
    headers = arrival.headers
    if not arrival.is_server:
        # A server's own address and agent say nothing about the person.
        if arrival.address:
            record["ip_address"] = arrival.address
        if agent := headers.get("user-agent"):
            record["user_agent"] = agent[:1024]
        if languages := headers.get("accept-language"):
            language = languages.split(",", 1)[0].split(";", 1)[0].strip()
            if language != "*":
                record["language"] = language[:35]
        record["platform"] = "web"
    else:
        record["platform"] = "server"
    return record


def text(value: object, longest: int = 8192) -> str | None:
    """A text or number as text; None for anything else and for what is empty."""
    if isinstance(value, str):
        return value[:longest] or None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None


def number(value: object) -> float | int | None:
    """A number, also where it stands as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return None


def only(items: object, name: str) -> str | None:
    """What a list's one object says under a name; None where there are several, or none."""
    if isinstance(items, list) and len(items) == 1 and isinstance(items[0], dict):
        return text(items[0].get(name))
    return None


def whole(value: object) -> int | None:
    """A number as a whole one, where 64 bits hold it; for milliseconds and the like."""
    found = number(value)
    return int(found) if found is not None and abs(found) <= MAX_INTEGER else None


def plain_name(name: str) -> str:
    """``Add To Cart`` and ``addToCart`` as ``add_to_cart``."""
    return _NOT_IN_NAMES.sub("_", _HUMP.sub(r"\1_\2", name).lower()).strip("_")


def put(record: Record, **fields: object) -> None:
    """Set the fields that have a value."""
    for name, value in fields.items():
        if value is not None:
            record[name] = value
