"""The pixel: one event in the address of an image, for mails and pages without scripts.

``GET /v1/pixel.gif?key=…&name=…`` takes the text fields of the compact protocol as parameters;
``prop_x=y`` becomes the property ``x``. It has no times: it happened when it came.
"""

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch, Protocol, Record
from clickstream_platform.collection.protocols.compact import TEXTS
from clickstream_platform.collection.protocols.parsing import surroundings

PATHS = ("/v1/pixel.gif",)

GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
    b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
"""A transparent image of one pixel."""

_PROPERTY = "prop_"


def parse(arrival: Arrival) -> object:
    """The parameters."""
    return dict(arrival.query)


def key(arrival: Arrival, payload: object) -> str | None:
    """The write key: a parameter."""
    _ = payload
    return arrival.query.get("key")


def decode(arrival: Arrival, payload: object) -> Batch:
    """Make the record."""
    _ = payload
    query = arrival.query
    record: Record = surroundings(arrival)
    record |= {ours: query[theirs] for theirs, ours in TEXTS.items() if query.get(theirs)}
    properties = {
        name.removeprefix(_PROPERTY): value
        for name, value in query.items()
        if name.startswith(_PROPERTY)
    }
    if properties:
        record["properties"] = properties
    if "page_url" not in record and (page := arrival.headers.get("referer")):
        record["page_url"] = page
    batch = Batch()
    if "event_name" in record:
        batch.records.append(record)
    else:
        batch.reject(0, "event_name_missing", record)
    return batch


def answer(_: Arrival, batch: Batch) -> Answer:
    """The image."""
    if batch.rejected:
        return Answer(status=400, body=b'{"error":"%b"}' % batch.rejected[0].reason.encode())
    return Answer(status=200, body=GIF, content_type="image/gif")


PIXEL = Protocol(
    name="pixel",
    methods=frozenset({"GET"}),
    parse=parse,
    key=key,
    decode=decode,
    answer=answer,
)
