"""Finding a person in text: every way in which an identifier may be written, and where it ends.

An identifier that could hardly stand for anything else (an address, a UUID, a long mix of letters
and digits) is found wherever it stands, plain or encoded. A short or plain one (`123`, `ann`)
stands for much else; it counts only in the fields that hold identifiers.
"""

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

import polars as pl

from clickstream_platform.privacy.identifiers import canonical

ERASED = "[erased]"
"""What stands where an identifier stood, in text that stays."""

SHORTEST = 8
"""Characters below which an identifier is never found outside its fields."""

LONG_NUMBER = 12
"""Digits from which a number is an identifier rather than a price, an amount or a second."""

LONG_NAME = 16
"""Characters from which letters alone are an identifier rather than a word."""

CERTAIN = 20
"""Letters and digits of an identifier from which nobody else's begins with it, as of a UUID."""

SHORT = 2**16
"""Bytes up to which preparing a search for many words takes longer than searching for each."""

_ESCAPED_IN_JSON = ("<>&", "<>&='", "<>&'+`\"")
"""ASCII that JSON need not escape and some writers do: those of Go, of Gson, of .NET."""

_DIGITS = re.compile(r"\d")
_ESCAPE = re.compile(r"%[0-9A-F]{2}")
_JSON_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_PLAIN = re.compile(rb"[0-9A-Za-z]")
_PLAIN_BEFORE = re.compile(rb"[0-9A-Za-z]$")
_JOINED = re.compile(rb"[_-]?[0-9A-Za-z]")
_ESCAPE_BEFORE = re.compile(rb"(?:%(?:25)?[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[nrtbf])$")
_MAIL_BEFORE = re.compile(rb"[0-9A-Za-z._+-]$")
_MAIL_AFTER = re.compile(rb"[0-9A-Za-z-]|\.[0-9A-Za-z]")
_LONGEST_ESCAPE = 6


def is_distinctive(identifier: str) -> bool:
    """Whether an identifier may be searched for in any text, for nothing else reads like it."""
    text = canonical(identifier)
    if "@" in text:
        return True
    if text.isdigit():
        return len(text) >= LONG_NUMBER
    has_digit = _DIGITS.search(text) is not None
    return len(text) >= (SHORTEST if has_digit else LONG_NAME)


class Needles:
    """What to look for of one person.

    Args:
        identifiers: As the person, or the vault, writes them; plain ones are left to the fields.
        tokens: Pseudonyms and surrogates, which are found anywhere.
    """

    def __init__(self, identifiers: Iterable[str], tokens: Iterable[str] = ()) -> None:
        distinctive = sorted({each for each in identifiers if is_distinctive(each)})
        mails = written([each for each in distinctive if "@" in each])
        others = [each for each in distinctive if "@" not in each]
        certain = written([each for each in others if _is_certain(each)])
        plain = written([each for each in others if not _is_certain(each)])
        hidden = {form for each in distinctive for form in (*_based(each), *_hashed(each))}
        hidden |= set(tokens)
        told = mails | certain | plain
        self.forms = sorted({form.decode("latin-1") for form in told} | hidden)
        self._folded = {form.encode("latin-1").lower() for form in self.forms}
        self._searches = [
            _Search(mails, goes_on=_MAIL_AFTER, is_mail=True),
            _Search(certain, goes_on=_PLAIN),
            _Search(plain, goes_on=_JOINED),
            _Search({form.encode() for form in hidden}, is_bounded=False),
        ]

    def __bool__(self) -> bool:
        return bool(self.forms)

    def __repr__(self) -> str:
        return f"Needles({len(self.forms)} forms)"

    @property
    def texts(self) -> list[str]:
        """Forms as text rather than as bytes read as Latin-1."""
        return [form.encode("latin-1").decode("utf-8", "replace") for form in self.forms]

    def may_hold(self, texts: pl.Series) -> pl.Series:
        """Tell of each text (bytes read as Latin-1) whether it may hold one; fast, never misses."""
        if not self.forms:
            return pl.Series([False], dtype=pl.Boolean).new_from_index(0, len(texts))
        return texts.str.contains_any(self.forms, ascii_case_insensitive=True)

    def is_within(self, content: bytes) -> bool:
        """Whether a text of any length holds one; asks the quick question first."""
        if len(content) <= SHORT:
            folded = content.lower()
            may_hold = any(form in folded for form in self._folded)
        else:
            may_hold = bool(self.may_hold(pl.Series([content.decode("latin-1")])).any())
        return may_hold and self.is_in(content)

    def is_in(self, record: bytes) -> bool:
        """Whether a record holds one, as a whole and not as a part of something longer."""
        return any(search.spans(record) for search in self._searches)

    def redacted(self, text: bytes) -> bytes:
        """Write `ERASED` in place of each."""
        for search in self._searches:
            for start, end in reversed(search.spans(text)):
                text = text[:start] + ERASED.encode() + text[end:]
        return text


class _Search:
    """One pattern of many forms, longest first, with what may not stand around a match."""

    def __init__(
        self,
        forms: set[bytes],
        *,
        goes_on: re.Pattern[bytes] = _PLAIN,
        is_mail: bool = False,
        is_bounded: bool = True,
    ) -> None:
        listed = sorted(forms, key=lambda form: (-len(form), form))
        pattern = b"|".join(map(re.escape, listed))
        self._pattern = re.compile(pattern, re.IGNORECASE if is_mail else 0) if listed else None
        self._goes_on = goes_on
        self._is_cut = _MAIL_BEFORE if is_mail else _PLAIN_BEFORE
        self._is_bounded = is_bounded

    def spans(self, text: bytes) -> list[tuple[int, int]]:
        if self._pattern is None:
            return []
        return [
            match.span()
            for match in self._pattern.finditer(text)
            if not self._is_bounded or self._stands_alone(text, *match.span())
        ]

    def _stands_alone(self, text: bytes, start: int, end: int) -> bool:
        if self._goes_on.match(text[end : end + 2]):
            return False
        before = text[max(0, start - _LONGEST_ESCAPE) : start]
        return not self._is_cut.search(before) or _ESCAPE_BEFORE.search(before) is not None


def _is_certain(identifier: str) -> bool:
    """Whether a longer one that begins with it is made of it; `user-12-3` is not of `user-12`."""
    return sum(map(str.isalnum, canonical(identifier))) >= CERTAIN


def spellings(identifier: str) -> set[str]:
    """The same identifier as people and systems write it: case of addresses, Unicode forms."""
    texts = {identifier, identifier.strip(), canonical(identifier)}
    texts |= {unicodedata.normalize(form, text) for text in texts for form in ("NFC", "NFD")}
    if "@" in identifier:
        texts |= {form for text in texts for form in (text.lower(), text.upper(), text.title())}
    return {text for text in texts if text}


def written(identifiers: Iterable[str]) -> set[bytes]:
    """Spellings as bytes: plain, as CSV, JSON and URLs write them, percent-encoded twice, too."""
    forms: set[str] = set()
    for text in {spelling for each in identifiers for spelling in spellings(each)}:
        escaped = set(_in_json(text))
        once = {quote(text, safe=""), quote(text, safe="@"), quote_plus(text)}
        # Some write the digits of an escape small. The identifier keeps its case.
        once |= {_ESCAPE.sub(lambda escape: escape[0].lower(), form) for form in once}
        forms |= {text, text.replace('"', '""'), text.replace("/", "\\/"), *escaped, *once}
        forms |= {quote(form, safe="") for form in once}
    return {form.encode("utf-8", "surrogatepass") for form in forms}


def _in_json(text: str) -> Iterator[str]:
    """A text as JSON may write it, its escapes in small and in capital digits."""
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    for marks in ("", *_ESCAPED_IN_JSON):
        parts = [f"\\u{ord(c):04x}" if c in marks else json.dumps(c)[1:-1] for c in text]
        small = "".join(parts)
        yield small
        yield _JSON_ESCAPE.sub(lambda escape: f"\\u{escape[1].upper()}", small)


def _based(identifier: str) -> set[str]:
    """What stays the same of an identifier in base64, whatever stands before and after it."""
    found: set[str] = set()
    for text in {identifier, canonical(identifier)}:
        content = text.encode("utf-8", "surrogatepass")
        for offset in range(3):
            whole = base64.b64encode(b"\0" * offset + content).decode()
            # Characters that carry bits of a neighbour are left out at both ends.
            start = (offset * 8 + 5) // 6
            end = (offset + len(content)) * 8 // 6
            if end - start >= LONG_NUMBER - 2:
                found |= {whole[start:end], whole[start:end].translate(_URL_SAFE)}
    return found


_URL_SAFE = str.maketrans("+/", "-_")


def _hashed(identifier: str) -> set[str]:
    """Digests by which other systems know an identifier; they are personal data too."""
    texts = {identifier, identifier.strip(), canonical(identifier), canonical(identifier).lower()}
    return {
        hashlib.new(name, text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
        for text in texts
        for name in ("md5", "sha1", "sha256")
    }
