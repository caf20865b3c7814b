"""CSV as text: what a file looks like, and its records where a fast reader would lose some.

A quote that is never closed makes one value of all that follows, and a fast reader leaves it out
without a word. A file is therefore looked at before it is read, and where it is not regular it is
read here, line by line: each line is a part of a record, or unreadable for a reason.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from itertools import chain, islice

import msgspec
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

MAX_RECORD_BYTES = 3 * 2**20
"""Longest record: one that is longer has a quote that was never meant to open a value."""


HEADER_BYTES = 2**16
"""Longest first line."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a file writes values."""

    delimiter: str
    quote: str
    """Empty for none."""

    def fields(self, text: str) -> list[str]:
        """Values of a text's first record; where its quotes are astray, `csv.Error` is raised."""
        if not self.quote or self.quote not in text:
            return re.split("[\r\n]", text, maxsplit=1)[0].split(self.delimiter)
        # Blanks before a quote that opens a value are no part of it.
        plain = self.quoted_values().sub(lambda found: found[0].lstrip(b" "), text.encode())
        reader = csv.reader(
            StringIO(plain.decode(), newline=""),
            delimiter=self.delimiter,
            quotechar=self.quote,
            strict=True,
        )
        return next(reader, [])

    def quoted_values(self) -> re.Pattern[bytes]:
        """What matches a quoted value: its ``end``, if it has one, and what is ``stray`` there."""
        return _quoted_values(self.delimiter, self.quote)


@lru_cache(maxsize=32)
def _quoted_values(delimiter: str, quote: str) -> re.Pattern[bytes]:
    between, mark = (re.escape(text.encode()) for text in (delimiter, quote))
    return re.compile(
        rb"(?:\A|(?<=[\r\n])|(?<=%(between)b)) *%(mark)b"
        rb"(?:[^%(mark)b]|%(mark)b%(mark)b)*+"
        rb"(?:(?P<end>%(mark)b)(?:(?= *(?:%(between)b|[\r\n]|\Z))|(?P<stray>.)))?"
        % {b"between": between, b"mark": mark},
        re.DOTALL,
    )


def header_of(text: bytes, form: Form) -> list[str]:
    """Names of the columns in the first line of a file; empty where it cannot be read."""
    try:
        found = form.fields(text[:HEADER_BYTES].decode("utf-8-sig", errors="replace"))
    except csv.Error:
        return []
    return [name.strip() for name in found]


def is_regular(pieces: Callable[[], Iterable[bytes]], form: Form) -> bool:
    """Whether every quote stands as it should, and every line ends in the same way."""
    return _is_plainly_regular(pieces(), form) or _is_regular(pieces(), form)


def _is_plainly_regular(pieces: Iterable[bytes], form: Form) -> bool:
    """Whether a file is regular at a glance: a quote within a bare value is not.

    Quotes open and close in turn, doubled ones too: one that opens stands behind a delimiter, the
    end of a line or a quote, one that closes before one of these.
    """
    around = np.frombuffer(f"{form.delimiter}{form.quote}\r\n".encode(), np.uint8)
    if len(form.delimiter.encode()) > 1:
        return False
    ends: set[bytes] = set()
    is_inside, before, held = 0, b"\n", b""
    for piece in chain(pieces, (b"\n",)):
        text = before + held + piece  # one byte more on each side than is judged
        data = np.frombuffer(text, np.uint8)
        seen = data[1:-1]
        quotes = np.flatnonzero(seen == ord(form.quote)) if form.quote else np.empty(0, np.int64)
        opening, closing = quotes[is_inside::2], quotes[1 - is_inside :: 2]
        if not (np.isin(data[opening], around).all() and np.isin(data[closing + 2], around).all()):
            return False
        for end in (b"\r\n", b"\n", b"\r"):
            ends |= {end} if _stands_outside(end, data, quotes, is_inside) else set()
        is_inside = (is_inside + len(quotes)) % 2
        before, held = text[-2:-1] or before, text[-1:]
    return not is_inside and len(ends) <= 1


def _stands_outside(end: bytes, data: Bytes, quotes: Integers, is_inside: int) -> bool:
    """Whether lines end so outside of quoted values; the first and last byte are not judged."""
    feeds, returns = data[1:-1] == ord("\n"), data[1:-1] == ord("\r")
    found = {
        b"\n": feeds & (data[:-2] != ord("\r")),
        b"\r\n": feeds & (data[:-2] == ord("\r")),
        b"\r": returns & (data[2:] != ord("\n")),
    }[end]
    within = np.searchsorted(quotes, np.flatnonzero(found))
    return bool(((within + is_inside) % 2 == 0).any())


def _is_regular(pieces: Iterable[bytes], form: Form) -> bool:
    ends: set[bytes] = set()
    rest = b""
    for piece in pieces:
        outside, rest = _outside(rest + piece, form)
        if outside is None or len(rest) > MAX_RECORD_BYTES:
            return False
        ends |= _line_ends(outside)
    outside, rest = _outside(rest + b"\n", form)
    return outside is not None and not rest and len(ends | _line_ends(outside[:-1])) <= 1


def records(
    pieces: Iterable[bytes], names: Sequence[str], form: Form, *, skip_lines: int = 0
) -> Iterator[tuple[str, str | None]]:
    """Yield every record as a JSON object, or the line as it stands and why it is none.

    Args:
        pieces: Bytes of the file, in order.
        names: Names of the columns.
        form: How values are written.
        skip_lines: Lines before the first record.
    """
    lines = islice(_lines(pieces), skip_lines, None)
    again: deque[bytes] = deque()
    held: list[bytes] = []
    size = 0
    while True:
        line = again.popleft() if again else next(lines, None)
        if line is not None:
            held.append(line)
            size += len(line)
            # Doubled quotes close nothing.
            closes = len(held) == 1 or line.count(form.quote.encode()) % 2 == 1
            if size <= MAX_RECORD_BYTES and not (closes and _is_closed(b"".join(held), form)):
                continue
        if not held:
            return
        text, error = _record(b"".join(held), names, form)
        if error and len(held) > 1:
            # One quote too many does not make the lines behind it unreadable.
            text, error = _record(held[0], names, form)
            again.extendleft(reversed(held[1:]))
        held, size = [], 0
        if text:
            yield text, error


def _record(held: bytes, names: Sequence[str], form: Form) -> tuple[str, str | None]:
    """A record as a JSON object, or as it stands and why it is none."""
    line = held.rstrip(b"\r\n")
    text = line.decode(errors="replace")
    if not _is_closed(line, form):
        return text, "a quote in it is never closed"
    try:
        values = form.fields(line.decode())
    except UnicodeDecodeError:
        return text, "is not UTF-8"
    except csv.Error:
        return text, "unquoted value"
    if len(values) == len(names) + 1 and not values[-1]:
        values.pop()  # a delimiter at the end, as the fast reader takes it
    if len(values) != len(names):
        return text, "missing columns" if len(values) < len(names) else "too many columns"
    record = {name: value or None for name, value in zip(names, values, strict=True)}
    return msgspec.json.encode(record).decode(), None


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file with their ends."""
    rest = b""
    for piece in pieces:
        text = rest + piece
        cut = text.rfind(b"\n") + 1
        rest = text[cut:]
        yield from text[:cut].splitlines(keepends=True)
    yield from rest.splitlines(keepends=True)


def _quoted_in(text: bytes, form: Form) -> Iterator[re.Match[bytes]]:
    is_plain = not form.quote or form.quote.encode() not in text
    return iter(()) if is_plain else form.quoted_values().finditer(text)


def _is_closed(text: bytes, form: Form) -> bool:
    """Whether every quote that opens a value in a text is closed there."""
    return all(found["end"] for found in _quoted_in(text, form))


def _outside(text: bytes, form: Form) -> tuple[bytes | None, bytes]:
    """The whole lines of a text without their quoted values, and what follows the last line.

    There are none where something stands between a quoted value and the next delimiter.
    """
    parts: list[bytes] = []
    end = whole = 0
    for found in _quoted_in(text, form):
        if found["stray"]:
            return None, b""
        parts.append(text[end : found.start()])
        if cut := parts[-1].rfind(b"\n") + 1:
            whole = end + cut
        end = found.end()
    parts.append(text[end:])
    if cut := parts[-1].rfind(b"\n") + 1:
        whole = end + cut
    outside = b"".join(parts)
    return outside[: outside.rfind(b"\n") + 1], text[whole:]


def _line_ends(text: bytes) -> set[bytes]:
    pairs = text.count(b"\r\n")
    counts = {b"\r\n": pairs, b"\n": text.count(b"\n") - pairs, b"\r": text.count(b"\r") - pairs}
    return {end for end, count in counts.items() if count}
