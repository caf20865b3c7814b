"""Policy: what becomes of decoded records before they are logged, whatever their protocol."""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from itertools import count

import msgspec

from clickstream_platform.collection.arrivals import Arrival, Batch, Record
from clickstream_platform.collection.limits import MAX_DEPTH, MAX_EVENT_BYTES, MAX_KEYS, excess
from clickstream_platform.collection.lines import FRAME_BYTES, Prepared, prepared
from clickstream_platform.collection.refusals import Rejection
from clickstream_platform.collection.write_keys import WriteKey

Enrichment = Callable[[Record, Arrival], None]
"""Adds what is known at the door alone, such as a bot score, to a record."""

GLOBAL_PRIVACY_CONTROL = "sec-gpc"
"""Header by which a browser says that its user's data must not be sold or shared."""

TIMES = ("occurred_at", "created_at", "sent_at")
_NESTED = ("properties", "entities", "consent")
_NONE: AbstractSet[str] = frozenset()
"""Names of events that servers may not send."""
_LIST = ord("[")  # one byte is found many times faster than it is counted
_BULKY = {"event_too_large", "event_too_deep", "event_has_too_many_keys"}


def admitted(
    batch: Batch,
    arrival: Arrival,
    key: WriteKey,
    *,
    server_only: AbstractSet[str] = frozenset(),
    enrichments: Sequence[Enrichment] = (),
) -> list[Prepared]:
    """Judge the records of a batch, and encode those that are taken.

    A record that is refused moves to ``batch.rejected``. One without an id gets one, so that the
    same request sent again is known again.

    Args:
        batch: What a decoder made; its ``records`` become those that are taken.
        arrival: The request.
        key: Its write key.
        server_only: Names of events that browsers may not send.
        enrichments: Called with each record before it is encoded.
    """
    taken: list[Prepared] = []
    kept: list[Record] = []
    forbidden = server_only if key.kind == "browser" else _NONE
    controls_privacy = arrival.headers.get(GLOBAL_PRIVACY_CONTROL) == "1"
    # Where in the request a record stood: those that the decoder refused are no longer among them.
    gone = {rejection.index for rejection in batch.rejected}
    places = (place for place in count() if place not in gone)
    for index, (place, record) in enumerate(zip(places, batch.records, strict=False)):
        if forbidden and record.get("event_name") in forbidden:
            batch.reject(place, "event_is_server_only", record)
            continue
        try:
            _stamp(record, key.source, index, controls_privacy=controls_privacy)
            for enrich in enrichments:
                enrich(record, arrival)
            line = prepared(record)
        except RecursionError:
            batch.reject(place, "event_too_deep", record)
            continue
        if (reason := _fault(line, record)) is None:
            taken.append(line)
            kept.append(record)
        else:
            batch.reject(place, reason, record | line.identities)
    batch.records = kept
    return taken


def _fault(line: Prepared, record: Record) -> str | None:
    """Reason for which an encoded record is refused."""
    rest = line.rest
    # A key takes five bytes with its value, and a level a bracket: few records come near.
    brackets = rest.count(b"{") + (rest.count(b"[") if _LIST in rest else 0)
    is_small = len(rest) <= 5 * MAX_KEYS and brackets <= MAX_DEPTH
    if not is_small and (reason := excess(record)) is not None:
        return reason
    if len(rest) + len(line.identifiers) > MAX_EVENT_BYTES - FRAME_BYTES:
        return "event_too_large"
    return "event_invalid" if line.holds_nul else None


def refused(rejection: Rejection, arrival: Arrival, protocol: str) -> Prepared:
    """A refused event for the quarantine: what could be read of it, and why it was refused."""
    record = dict(rejection.record or {})
    if rejection.reason in _BULKY:
        for name in _NESTED:
            record.pop(name, None)
        record = {k: v[:1024] if isinstance(v, str) else v for k, v in record.items()}
    record["received_at"] = arrival.received_us
    record["refusal"] = rejection.reason
    record["protocol"] = protocol
    return prepared(record)


def refused_request(reason: str, arrival: Arrival, protocol: str, body_bytes: int) -> Prepared:
    """A request that was refused as a whole, for the quarantine; nothing of its body is kept."""
    return prepared(
        {
            "received_at": arrival.received_us,
            "refusal": reason,
            "protocol": protocol,
            "properties": {"body_bytes": body_bytes},
        }
    )


def _stamp(record: Record, source: str, index: int, *, controls_privacy: bool) -> None:
    """Give a record an id if it has none, and note Global Privacy Control."""
    consent = record.get("consent")
    said = consent if isinstance(consent, dict) else {}
    if controls_privacy or said.get("gpc") is True:
        record["consent"] = said | {"gpc": True, "marketing": False}
    if "event_id" in record:
        return
    if any(name in record for name in TIMES):
        content = {k: v for k, v in record.items() if k != "received_at"}
        encoded = msgspec.json.encode([source, index, content])
        record["event_id"] = "h_" + hashlib.blake2b(encoded, digest_size=16).hexdigest()
    else:
        # Neither id nor time: two real events look the same as one that was sent twice.
        record["event_id"] = "r_" + secrets.token_hex(16)
