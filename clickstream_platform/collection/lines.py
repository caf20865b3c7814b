"""Lines: canonical records as framed NDJSON, minimised before they reach a disk.

A line is a JSON object whose first member is the CRC-32 of what follows it, so a line that a crash
has torn is told from a whole one by reading it, and the file is read as NDJSON as it is.
"""

import re
import zlib
from collections.abc import Sequence

import msgspec

from clickstream_platform.collection.arrivals import Record
from clickstream_platform.privacy import scrub_records

IDENTIFIERS = ("visitor_id", "user_id")
"""Fields that keep what the client sent: ingestion turns them into pseudonyms of the vault."""

FRAME = b'{"_crc":"%08x",'
"""How a line begins: the checksum of everything that follows the comma."""

FRAME_BYTES = len(FRAME % 0)

_BACKSLASH = ord("\\")

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_is_uuid = re.compile("-".join(f"[0-9a-f]{{{n}}}" for n in (8, 4, 4, 4, 12)), re.ASCII).fullmatch
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """A record on its way to the log."""

    identities: Record
    """Fields that are not scrubbed."""
    identifiers: bytes
    """The same as JSON members, with a comma behind each."""
    rest: bytes
    """JSON object of all the others."""

    @property
    def holds_nul(self) -> bool:
        """Whether a text holds NUL, which not every engine can store; JSON bodies hold none."""
        # One byte is found many times faster than six.
        if _BACKSLASH not in self.rest and _BACKSLASH not in self.identifiers:
            return False
        return _NUL.search(self.identifiers + self.rest) is not None


def prepared(record: Record) -> Prepared:
    """Encode a record, its identifiers apart; it loses them.

    Raises:
        RecursionError: It is nested too deeply to be encoded; it keeps them.
    """
    identities: Record = {}
    event_id = record.get("event_id")
    if isinstance(event_id, str) and _is_uuid(event_id):
        # It is no secret, but its digits often look like a telephone number's.
        identities["event_id"] = event_id
        del record["event_id"]
    for name in IDENTIFIERS:
        if (value := record.pop(name, None)) is not None:
            identities[name] = value
    try:
        identifiers = _encode(identities)[1:-1] + b"," if identities else b""
        return Prepared(identities, identifiers, _encode(record))
    except RecursionError:
        record |= identities
        raise


def minimised_lines(records: Sequence[Prepared]) -> bytes:
    """Mask what is personal in records, and frame them as lines."""
    scrubbed = scrub_records([record.rest for record in records])
    return b"".join(
        [
            framed(record.identifiers + rest[1:])
            for record, rest in zip(records, scrubbed, strict=True)
        ]
    )


def framed(members: bytes) -> bytes:
    """A line around the members of an object, closing brace included."""
    return FRAME % zlib.crc32(members) + members + b"\n"


def is_whole(line: bytes) -> bool:
    """Whether a line, without its end, is as it was written."""
    members = line[FRAME_BYTES:]
    return line[:FRAME_BYTES] == FRAME % zlib.crc32(members)
