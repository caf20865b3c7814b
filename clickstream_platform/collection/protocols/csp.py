"""Reports of browsers about a Content-Security-Policy: what was blocked, where, and by which rule.

``POST /v1/csp?key=…``, in both ways of browsers: one ``{"csp-report": …}`` (``report-uri``), or a
list of ``{"type": "csp-violation", "body": …}`` (Reporting API). Kept are the page, the directive
and the origin of what was blocked; never a path, a sample of code or the policy itself. They land
under a source of their own: they are of pages, not of visitors.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch, Protocol, Record
from clickstream_platform.collection.limits import MAX_EVENTS
from clickstream_platform.collection.protocols.parsing import (
    parse_json,
    put,
    surroundings,
    text,
    whole,
)
from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.collection.tags import CSP_EVENT, CSP_SOURCE

PATHS = ("/v1/csp",)

VIOLATION = "csp-violation"
"""Type of report that is taken; others of the Reporting API are passed over."""

_DIRECTIVE = re.compile(r"[a-z][a-z-]{0,39}")
_KEYWORD = re.compile(r"[a-z][a-z0-9-]{0,39}")
_HOST = re.compile(r"[a-z0-9._\[\]:-]{1,255}")
_ORIGINS = frozenset({"http", "https", "ws", "wss"})
_OLDEST_MS = 24 * 3_600_000
"""Age beyond which a browser's word about the age of a report is not believed."""


def key(arrival: Arrival, payload: object) -> str | None:
    """The write key: a parameter, since browsers send no headers of ours."""
    _ = payload
    return arrival.query.get("key")


def decode(arrival: Arrival, payload: object) -> Batch:
    """Make a record of each violation."""
    batch = Batch()
    for index, report in enumerate(_reports(payload)):
        if not isinstance(report, dict):
            batch.reject(index, "event_invalid")
        elif report.get("type") == VIOLATION:
            record = _record(arrival, report)
            if record is None:
                batch.reject(index, "event_invalid", surroundings(arrival))
            else:
                batch.records.append(record)
    return batch


def _reports(payload: object) -> list[object]:
    """Reports of either way, as the Reporting API has them."""
    if isinstance(payload, list):
        if len(payload) > MAX_EVENTS:
            reason = "too_many_events"
            raise RefusedError(reason)
        return payload
    body = payload.get("csp-report") if isinstance(payload, dict) else None
    if not isinstance(body, dict):
        reason = "batch_invalid"
        raise RefusedError(reason)
    return [{"type": VIOLATION, "body": {_API_NAMES.get(k, k): v for k, v in body.items()}}]


_API_NAMES = {
    "document-uri": "documentURL",
    "blocked-uri": "blockedURL",
    "effective-directive": "effectiveDirective",
    "violated-directive": "violatedDirective",
    "source-file": "sourceFile",
    "line-number": "lineNumber",
    "status-code": "statusCode",
}
"""Fields of ``report-uri`` by those of the Reporting API."""


def _record(arrival: Arrival, report: Mapping[str, object]) -> Record | None:
    """The record of a violation; None where it says neither what nor by which directive."""
    body = report.get("body")
    if not isinstance(body, dict):
        return None
    said = text(body.get("effectiveDirective")) or text(body.get("violatedDirective")) or ""
    directive = said.split(" ", 1)[0].lower()
    blocked = origin_of(text(body.get("blockedURL")) or "")
    if blocked is None or not _DIRECTIVE.fullmatch(directive):
        return None
    record = surroundings(arrival)
    record["event_name"] = CSP_EVENT
    age_ms = whole(report.get("age"))
    if age_ms is not None and 0 <= age_ms <= _OLDEST_MS:
        record |= {"created_at": arrival.received_ms - age_ms, "sent_at": arrival.received_ms}
    put(
        record,
        page_url=text(body.get("documentURL")) or text(report.get("url")),
        referrer_url=text(body.get("referrer")),
    )
    properties: Record = {"directive": directive, "blocked_origin": blocked}
    disposition = body.get("disposition")
    put(
        properties,
        source_origin=origin_of(text(body.get("sourceFile")) or ""),
        line=whole(body.get("lineNumber")),
        status=whole(body.get("statusCode")),
        disposition=disposition if disposition in {"enforce", "report"} else None,
    )
    record["properties"] = properties
    return record


def origin_of(address: str) -> str | None:
    """Scheme and host of an address; the scheme alone, or a keyword such as ``inline``, as it is.

    Paths and queries may hold what is personal, and a policy is about origins.
    """
    try:
        parts = urlsplit(address.strip().lower())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme in _ORIGINS:
        if not host or not _HOST.fullmatch(host):
            return None
        return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    word = parts.scheme or address.strip().lower()
    return word if _KEYWORD.fullmatch(word) else None


def answer(_: Arrival, batch: Batch) -> Answer:
    """Nothing, which browsers do not read anyway."""
    return Answer(status=204 if batch.records or not batch.rejected else 400)


CSP = Protocol(
    name="csp",
    methods=frozenset({"POST"}),
    parse=parse_json,
    key=key,
    decode=decode,
    answer=answer,
    source=CSP_SOURCE,
)
