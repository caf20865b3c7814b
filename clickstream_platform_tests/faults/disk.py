"""A disk that changes what was written to it."""

from pathlib import Path


def flip(file: str | Path, *, at: float = 0.5) -> None:
    """Turn over one bit, somewhere between the ends of a file."""
    path = Path(file)
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 4
    path.write_bytes(content)
