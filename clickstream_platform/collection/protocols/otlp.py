"""OTLP over HTTP: events as log records of OpenTelemetry, in JSON or protobuf.

An event is a log record with an event name; attributes named by the semantic conventions become
fields, the others properties. The write key comes as a bearer token or in ``X-Write-Key``.

Source:
    https://opentelemetry.io/docs/specs/otlp/ 1.7 and the semantic conventions of August 2026.
"""

from collections.abc import Iterator, Mapping

import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch, Protocol, Record
from clickstream_platform.collection.protocols.parsing import (
    bearer,
    number,
    object_of,
    parse_json,
    put,
    surroundings,
    text,
    whole,
)
from clickstream_platform.collection.refusals import RefusedError

PATHS = ("/v1/logs",)
PROTOBUF = "application/x-protobuf"

RPC_CODES = {401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 429: 8, 500: 13, 503: 14}
"""Code of ``google.rpc.Status`` by HTTP status."""

INVALID_ARGUMENT = 3
"""Code of every other refusal: what was sent is at fault."""

MAX_LOG_RECORDS = 512
"""Log records of one request: as many as exporters send at once unless they are told otherwise."""

ATTRIBUTES = {
    "event_id": ("log.record.uid",),
    "visitor_id": ("enduser.pseudo.id", "app.installation.id", "device.id"),
    "user_id": ("user.id", "enduser.id"),
    "session_id": ("session.id",),
    "app_id": ("service.name",),
    "page_url": ("url.full",),
    "page_title": ("browser.document.title", "page.title", "app.screen.name"),
    "referrer_url": ("browser.document.referrer", "http.request.header.referer"),
    "user_agent": ("user_agent.original",),
    "language": ("browser.language",),
    "order_id": ("order.id",),
    "product_id": ("product.id",),
}
"""Attributes of which the first that is there fills a field."""

NAMES = {"browser.page_view": "page_view"}
"""Names of the semantic conventions that have another one here."""

PAGE = {"url": "page_url", "title": "page_title", "referrer": "referrer_url"}
"""What the body of a page view says of the page."""

OF_APPS = frozenset({"app.installation.id", "device.id", "app.screen.name", "app.screen.id"})
"""Attributes that apps have, and pages have not."""

_SEVEN_BITS, _MORE = 0x7F, 0x80
"""Of a byte of a length: how many bits count, and the one that says that a byte follows."""

_LIFTED = {name for names in ATTRIBUTES.values() for name in names} | {"event.name"}


def parse(arrival: Arrival) -> object:
    """Decode a body of either encoding into the shape that its JSON has."""
    if not _is_protobuf(arrival.headers):
        return parse_json(arrival)
    request = ExportLogsServiceRequest()
    try:
        request.ParseFromString(arrival.body)
        return MessageToDict(request)
    except (DecodeError, ValueError, RecursionError):
        reason = "batch_invalid"
        raise RefusedError(reason) from None


def key(arrival: Arrival, payload: object) -> str | None:
    """The write key of the headers."""
    _ = payload
    return bearer(arrival)


def decode(arrival: Arrival, payload: object) -> Batch:
    """Make records of all log records of a request."""
    shared = surroundings(arrival)
    logs = list(_log_records(object_of(payload)))
    if len(logs) > MAX_LOG_RECORDS:
        reason = "too_many_events"
        raise RefusedError(reason)
    batch = Batch()
    times = [time for _, log in logs if (time := _time_us(log)) is not None]
    for index, (resource, log) in enumerate(logs):
        record = shared | _record(resource, log, is_server=arrival.is_server)
        if "created_at" in record:
            # Exporters send right after the last record; that corrects the clock of the device.
            record["sent_at"] = max(times)
        if "event_name" in record:
            batch.records.append(record)
        else:
            batch.reject(index, "event_name_missing", record)
    return batch


def _log_records(
    body: Mapping[str, object],
) -> Iterator[tuple[dict[str, object], dict[str, object]]]:
    """Every log record with the attributes of its resource."""
    for resource_logs in _objects(body.get("resourceLogs")):
        resource = resource_logs.get("resource")
        attributes = _attributes(resource.get("attributes") if isinstance(resource, dict) else None)
        for scope_logs in _objects(resource_logs.get("scopeLogs")):
            for log in _objects(scope_logs.get("logRecords")):
                yield attributes, log


def _record(
    resource: Mapping[str, object], log: Mapping[str, object], *, is_server: bool
) -> Record:
    attributes = _attributes(log.get("attributes"))
    everything = {**resource, **attributes}
    record: Record = {}
    for field, names in ATTRIBUTES.items():
        found = next((value for n in names if (value := text(everything.get(n)))), None)
        put(record, **{field: found})
    name = text(log.get("eventName")) or text(attributes.get("event.name"))
    put(
        record,
        event_name=NAMES.get(name, name.replace(".", "_")) if name else None,
        created_at=_time_us(log),
        platform="app" if not is_server and OF_APPS & everything.keys() else None,
    )
    if record.get("event_name") == "purchase":
        put(
            record,
            revenue=number(attributes.get("revenue")),
            currency=text(attributes.get("currency"), 8),
        )
    properties = {k: v for k, v in attributes.items() if k not in _LIFTED}
    body = _value(log.get("body"))
    if isinstance(body, dict):
        properties |= body
        if record.get("event_name") == "page_view":
            for theirs, ours in PAGE.items():
                if said := text(properties.pop(theirs, None)):
                    record.setdefault(ours, said)
    elif body is not None:
        properties["body"] = body
    put(record, properties=properties or None)
    return record


def _time_us(log: Mapping[str, object]) -> int | None:
    nanoseconds = whole(log.get("timeUnixNano")) or whole(log.get("observedTimeUnixNano"))
    return nanoseconds // 1000 if nanoseconds else None


def _attributes(value: object) -> dict[str, object]:
    pairs = ((pair.get("key"), pair.get("value")) for pair in _objects(value))
    return {name: _value(held) for name, held in pairs if isinstance(name, str)}


def _value(value: object) -> object:
    """An ``AnyValue`` as the value it wraps."""
    if not isinstance(value, dict) or not value:
        return None
    kind, held = next(iter(value.items()))
    if kind == "arrayValue":
        return [_value(item) for item in _objects(_member(held, "values"))]
    if kind == "kvlistValue":
        # The protocol's own example of an event leaves out ``values``.
        return _attributes(held if isinstance(held, list) else _member(held, "values"))
    if kind == "intValue":
        return whole(held)
    return held if isinstance(held, (str, bool, int, float)) else None


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _objects(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_protobuf(headers: Mapping[str, str]) -> bool:
    """Whether a body is protobuf; capitals do not count in types of media."""
    return headers.get("content-type", "").lower().startswith(PROTOBUF)


def answer(arrival: Arrival, batch: Batch) -> Answer:
    """Say how many were refused, in the encoding of the request."""
    reason = batch.rejected[0].reason if batch.rejected else ""
    if batch.rejected and not batch.records:
        return refuse(arrival.headers, 400, reason)
    if _is_protobuf(arrival.headers):
        response = ExportLogsServiceResponse()
        if batch.rejected:
            response.partial_success.rejected_log_records = len(batch.rejected)
            response.partial_success.error_message = reason
        return Answer(status=200, body=response.SerializeToString(), content_type=PROTOBUF)
    partial = {"rejectedLogRecords": str(len(batch.rejected)), "errorMessage": reason}
    body = {"partialSuccess": partial} if batch.rejected else {}
    return Answer(status=200, body=msgspec.json.encode(body))


def refuse(headers: Mapping[str, str], status: int, message: str) -> Answer:
    """A ``google.rpc.Status``, as every refusal must carry, in the encoding of the request."""
    code = RPC_CODES.get(status, INVALID_ARGUMENT)
    if _is_protobuf(headers):
        return Answer(status=status, body=_status(code, message), content_type=PROTOBUF)
    return Answer(status=status, body=msgspec.json.encode({"code": code, "message": message}))


def _status(code: int, message: str) -> bytes:
    """A ``google.rpc.Status`` on the wire: field 1 is a small number, field 2 a text."""
    encoded = message.encode()
    length, size = len(encoded), b""
    while length > _SEVEN_BITS:
        size += bytes([length & _SEVEN_BITS | _MORE])
        length >>= 7
    return bytes([0x08, code, 0x12]) + size + bytes([length]) + encoded


OTLP = Protocol(
    name="otlp",
    methods=frozenset({"POST"}),
    parse=parse,
    key=key,
    decode=decode,
    answer=answer,
    refuse=refuse,
    max_events=MAX_LOG_RECORDS,
)
