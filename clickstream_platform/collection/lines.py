"""Lines: canonical records as framed NDJSON, minimised before they reach a disk.

A line is a JSON object whose first member is the CRC-32 of what follows it, so a line that a crash
has torn is told from a whole one by reading it, and the file is read as NDJSON as it is.
"""

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import polars as pl

from clickstream_platform.collection.arrivals import Record
from clickstream_platform.privacy import scrub_payloads

IDENTIFIERS = ("visitor_id", "user_id")
"""Fields that keep what the client sent: ingestion turns them into pseudonyms of the vault."""

FRAME = b'{"_crc":"%08x",%b'
"""How a line begins: the checksum of everything that follows the comma."""

_FRAME_BYTES = len(FRAME % (0, b""))
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Prepared(NamedTuple):
    """A record on its way to the log."""

    identifiers: bytes
    """JSON members that are not scrubbed, with a comma behind each."""
    rest: str
    """JSON object of all the others."""

    @property
    def holds_nul(self) -> bool:
        """Whether a text holds NUL, which not every engine can store; JSON bodies hold none."""
        encoded = self.identifiers.decode() + self.rest
        return "\\u0000" in encoded and _NUL.search(encoded) is not None

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return len(self.identifiers) + len(self.rest)


def prepared(record: Record) -> Prepared:
    """Encode a record, its identifiers apart; it loses them."""
    identifiers = b""
    event_id = record.get("event_id")
    if isinstance(event_id, str) and _UUID.fullmatch(event_id):
        # It is no secret, but its digits often look like a telephone number's.
        identifiers = b'"event_id":"%b",' % event_id.encode()
        del record["event_id"]
    for name in IDENTIFIERS:
        if (value := record.pop(name, None)) is not None:
            identifiers += b'"%b":%b,' % (name.encode(), _encode(value))
    return Prepared(identifiers, _encode(record).decode())


def minimised_lines(records: Sequence[Prepared]) -> list[bytes]:
    """Mask what is personal in records, and frame them as lines.

    All records of a commit are scrubbed at once: one search over the column passes most of them.
    """
    scrubbed = scrub_payloads(pl.Series([record.rest for record in records], dtype=pl.String))
    return [
        framed(record.identifiers + rest[1:].encode())
        for record, rest in zip(records, scrubbed, strict=True)
    ]


def framed(members: bytes) -> bytes:
    """A line around the members of an object, closing brace included."""
    return FRAME % (zlib.crc32(members), members) + b"\n"


def is_whole(line: bytes) -> bool:
    """Whether a line, without its end, is as it was written."""
    members = line[_FRAME_BYTES:]
    return line[:_FRAME_BYTES] == FRAME % (zlib.crc32(members), b"")
