"""Files as erasure reads them: texts in blocks, gz or not, whole or torn; and their digests."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"

_BLOCK_BYTES = 2**24


def text_blocks(path: Path) -> Iterator[bytes]:
    """Yield the text of a file in blocks, decompressed; of a torn gz what can be read."""
    with path.open("rb") as file:
        is_zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not is_zipped:
            while block := file.read(_BLOCK_BYTES):
                yield block
            return
        stream = zlib.decompressobj(wbits=31)
        while data := file.read(_BLOCK_BYTES):
            while data:
                try:
                    yield stream.decompress(data)
                except zlib.error:
                    return
                data = stream.unused_data.lstrip(b"\0")
                if stream.eof:
                    stream = zlib.decompressobj(wbits=31)
        yield stream.flush()


def is_torn(path: Path) -> bool:
    """Whether a gz stream ends before its end."""
    with path.open("rb") as file:
        if file.read(2) != GZIP_MAGIC:
            return False
    try:
        with gzip.open(path) as stream:
            while stream.read(_BLOCK_BYTES):
                pass
    except (EOFError, OSError, zlib.error):
        return True
    return False


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; the last one may have none."""
    rest = b""
    for block in text_blocks(path):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Have the disk know which files a folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
