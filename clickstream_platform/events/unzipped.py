"""Unzipped: the bytes of a landed file in pieces, whether it is gz or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from isal import isal_zlib
from isal.igzip_lib import IsalError

PIECE_BYTES = 4 * 2**20
"""Text split at once: memory that is used again costs half of what new memory does."""

READ_BYTES = 2**18
GZIP_MAGIC = b"\x1f\x8b"
TORN = "the gz stream ends early"
"""What is wrong with a file of which `TornGzipError` is raised."""


class TornGzipError(Exception):
    """A gz stream ended early or broke; ``rest`` is the text that came out before."""

    def __init__(self, rest: bytes) -> None:
        self.rest = rest
        super().__init__()


def is_zipped(path: Path) -> bool:
    """Whether a file is gz by its first bytes, whatever its name."""
    with path.open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def pieces(path: Path) -> Iterator[bytes]:
    """Yield the text of a file in pieces, decompressed where it is gz.

    Where the stream is no whole one, `TornGzipError` is raised.
    """
    with path.open("rb") as file:
        if is_zipped(path):
            yield from _inflated(file)
        else:
            while piece := file.read(PIECE_BYTES):
                yield piece


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    stream = isal_zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    inside = True
    while data := file.read(READ_BYTES):
        while data:
            try:
                parts.append(stream.decompress(data))
            except IsalError:  # type: ignore[misc]  # its stubs call it a class of nothing
                raise TornGzipError(b"".join(parts)) from None
            inside, data = not stream.eof, stream.unused_data
            if stream.eof:
                # Files may hold several members, and padding behind the last one.
                stream = isal_zlib.decompressobj(wbits=31)
                data = data if data.startswith(GZIP_MAGIC) else b""
            if sum(map(len, parts)) >= PIECE_BYTES:
                yield b"".join(parts)
                parts = []
    if inside:
        raise TornGzipError(b"".join(parts))
    yield b"".join(parts)
