"""Reading and writing the bits of consent strings: bounded, and never past their end."""

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Set
from datetime import UTC, datetime, timedelta

from clickstream_platform.collection.consent.errors import refuse

MAX_CHARACTERS = 16_384
"""Longest string that is read; the longest real ones are a tenth of it."""

DECISECOND = timedelta(milliseconds=100)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_ID = 65_535
"""Largest vendor: ids have 16 bits."""

_FIBONACCI = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181, 6765,
              10946, 17711, 28657, 46368)  # fmt: skip
"""Weights of the bits of a number in Fibonacci code, up to the largest id."""

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")
_ONES = re.compile("1+")


class Ids(Set[int]):
    """A set of ids as sorted, disjoint ranges.

    A range costs the same whatever its width, so that a short hostile string cannot ask for a
    large amount of memory.
    """

    __slots__ = ("_starts", "ranges")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        merged: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        self.ranges = tuple(merged)
        self._starts = [first for first, _ in merged]

    @classmethod
    def of(cls, ids: Iterable[int]) -> "Ids":
        """A set of single ids."""
        return cls((each, each) for each in ids)

    @classmethod
    def _from_iterable(cls, it: Iterable[int]) -> "Ids":  # type: ignore[override]  # of ids alone
        return cls.of(it)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int):
            return False
        place = bisect_right(self._starts, value) - 1
        return place >= 0 and value <= self.ranges[place][1]

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __eq__(self, other: object) -> bool:
        return self.ranges == other.ranges if isinstance(other, Ids) else Set.__eq__(self, other)

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"Ids({list(self.ranges)!r})"


class BitReader:
    """Reads fields from the bits of one segment, in order.

    Args:
        text: The segment, in the URL-safe alphabet and without padding.

    Raises:
        ConsentStringError: It has other characters. Every method raises it where the segment ends
            too soon.
    """

    def __init__(self, text: str) -> None:
        if not _ALPHABET.fullmatch(text) or not text.isascii():
            refuse("a segment", "has characters outside the alphabet")
        try:
            whole = base64.b64decode(text + "A" * (-len(text) % 4), altchars=b"-_")
        except (binascii.Error, ValueError):
            refuse("a segment", "is not base 64")
        self.bits = f"{int.from_bytes(whole):0{8 * len(whole)}b}"[: 6 * len(text)] if text else ""
        self.position = 0

    @property
    def left(self) -> int:
        """Bits that have not been read."""
        return len(self.bits) - self.position

    def take(self, width: int, field: str) -> str:
        """The next bits as text."""
        end = self.position + width
        if end > len(self.bits):
            refuse(field, "lies past the end")
        taken = self.bits[self.position : end]
        self.position = end
        return taken

    def integer(self, width: int, field: str) -> int:
        """An unsigned number."""
        return int(self.take(width, field), 2)

    def flag(self, field: str) -> bool:
        """One bit."""
        return self.take(1, field) == "1"

    def letters(self, field: str) -> str:
        """Two letters of six bits, counted from A."""
        return "".join(chr(65 + self.integer(6, field)) for _ in range(2))

    def instant(self, field: str) -> datetime:
        """An instant in tenths of a second since 1970."""
        return EPOCH + self.integer(36, field) * DECISECOND

    def bitfield(self, width: int, field: str) -> Ids:
        """Ids whose bit is set; the first bit is id 1."""
        return Ids(
            (found.start() + 1, found.end()) for found in _ONES.finditer(self.take(width, field))
        )

    def fixed_ranges(self, field: str) -> Ids:
        """Twelve bits for the number of entries, then ids and ranges of ids of 16 bits each."""
        ranges: list[tuple[int, int]] = []
        for _ in range(self.integer(12, field)):
            is_range = self.flag(field)
            first = self.integer(16, field)
            last = self.integer(16, field) if is_range else first
            if last < first:
                refuse(field, "has a range that ends before it starts")
            ranges.append((first, last))
        return Ids(ranges)

    def fibonacci(self, field: str) -> int:
        """A number in Fibonacci code, which ends at the first two ones in a row."""
        end = self.bits.find("11", self.position)
        if end < 0:
            refuse(field, "lies past the end")
        code = self.take(end + 2 - self.position, field)[:-1]
        if len(code) > len(_FIBONACCI):
            refuse(field, "is larger than any id")
        return sum(weight for weight, bit in zip(_FIBONACCI, code, strict=False) if bit == "1")

    def fibonacci_ranges(self, field: str) -> Ids:
        """Like `fixed_ranges`, with every number as its distance from the one before."""
        ranges: list[tuple[int, int]] = []
        last = 0
        for _ in range(self.integer(12, field)):
            is_range = self.flag(field)
            first = last + self.fibonacci(field)
            last = first + self.fibonacci(field) if is_range else first
            if last > MAX_ID:
                refuse(field, "is larger than any id")
            ranges.append((first, last))
        return Ids(ranges)

    def vendors(self, field: str, *, fibonacci: bool = False) -> Ids:
        """Vendor ids: the largest one, then either a bit for each or ranges, whichever is short."""
        largest = self.integer(16, field)
        if not self.flag(field):
            return self.bitfield(largest, field)
        return self.up_to(
            largest, self.fibonacci_ranges(field) if fibonacci else self.fixed_ranges(field), field
        )

    @staticmethod
    def up_to(largest: int, ids: Ids, field: str) -> Ids:
        """The ids, unless one is larger than the largest is said to be."""
        if ids.ranges and ids.ranges[-1][1] > largest:
            refuse(field, "has an id that is larger than the largest of them")
        return ids


class BitWriter:
    """Writes what `BitReader` reads; its methods have the same names."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def integer(self, value: int, width: int) -> "BitWriter":
        """An unsigned number."""
        self.parts.append(f"{value:0{width}b}")
        return self

    def flag(self, *, value: bool) -> "BitWriter":
        """One bit."""
        self.parts.append("1" if value else "0")
        return self

    def letters(self, text: str) -> "BitWriter":
        """Two letters."""
        for letter in text:
            self.integer(ord(letter) - 65, 6)
        return self

    def instant(self, at: datetime) -> "BitWriter":
        """An instant, cut off to tenths of a second."""
        return self.integer((at - EPOCH) // DECISECOND, 36)

    def bitfield(self, ids: Iterable[int], width: int) -> "BitWriter":
        """A bit for each id up to ``width``."""
        bits = ["0"] * width
        for each in ids:
            bits[each - 1] = "1"
        self.parts.append("".join(bits))
        return self

    def fixed_ranges(self, ids: Ids) -> "BitWriter":
        """Ids as ranges of 16 bits."""
        self.integer(len(ids.ranges), 12)
        for first, last in ids.ranges:
            self.flag(value=last > first).integer(first, 16)
            if last > first:
                self.integer(last, 16)
        return self

    def fibonacci_ranges(self, ids: Ids) -> "BitWriter":
        """Ids as distances in Fibonacci code."""
        self.integer(len(ids.ranges), 12)
        before = 0
        for first, last in ids.ranges:
            self.flag(value=last > first)
            self.parts.append(fibonacci_code(first - before))
            if last > first:
                self.parts.append(fibonacci_code(last - first))
            before = last
        return self

    def vendors(self, ids: Ids) -> "BitWriter":
        """Vendor ids, in the shorter of the two ways."""
        largest = ids.ranges[-1][1] if ids.ranges else 0
        ranges = 12 + sum(17 if first == last else 33 for first, last in ids.ranges)
        self.integer(largest, 16).flag(value=ranges < largest)
        return self.fixed_ranges(ids) if ranges < largest else self.bitfield(ids, largest)

    @property
    def text(self) -> str:
        """The segment."""
        bits = "".join(self.parts)
        size = -(-len(bits) // 6)
        whole = f"{bits:0<{8 * -(-6 * size // 8)}}"
        encoded = base64.urlsafe_b64encode(int(whole or "0", 2).to_bytes(len(whole) // 8))
        return encoded.decode()[:size]


def fibonacci_code(number: int) -> str:
    """A positive number in Fibonacci code."""
    weights = [1, 2]
    while weights[-1] <= number:
        weights.append(weights[-1] + weights[-2])
    bits = []
    for weight in reversed(weights[:-1]):
        bits.append("1" if weight <= number else "0")
        number -= weight if weight <= number else 0
    return "".join(reversed(bits)).rstrip("0") + "1"


def split_segments(text: str, separator: str, what: str) -> list[str]:
    """Cut a string at a separator, unless it is empty or too long."""
    if not text:
        refuse(what, "is empty")
    if len(text) > MAX_CHARACTERS:
        refuse(what, f"has more than {MAX_CHARACTERS:,} characters")
    return text.split(separator)
