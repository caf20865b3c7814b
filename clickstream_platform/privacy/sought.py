"""What the residual scan seeks: every form in which an identifier or a pseudonym may be written.

The scan's own, apart from `needles`, by which the erasure finds the same: what one of the two does
not know of, the other tells.
"""

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from urllib.parse import quote

_UNGUESSED = 20  # letters and digits from which no other identifier goes on with a hyphen
_SHORTEST, _LONG_NUMBER, _LONG_NAME = 8, 12, 16


@dataclass(frozen=True)
class Sought:
    """Every form of a person, for each way of looking."""

    bounded: tuple[str, ...]
    """Forms that count where they stand alone."""
    anywhere: tuple[str, ...]
    """Forms so long and random that they count anywhere."""
    numbers: tuple[int, ...]
    """Surrogates."""

    @staticmethod
    def of(identifiers: Sequence[tuple[str, str]], tokens: Sequence[str]) -> "Sought":
        """Build the forms of identifiers and pseudonyms."""
        plain = {raw for _, raw in identifiers if stands_for_itself(raw)}
        bounded = {form for raw in plain for form in _plain_forms(raw)}
        anywhere = {form for raw in plain for form in (*_base64_forms(raw), *_digests(raw))}
        digits = [match[1] for token in tokens if (match := _TOKEN.match(token))]
        numbers = [int(part[:15], 16) for part in digits]
        anywhere |= {part[:15] for part in digits} | {str(n) for n in numbers if n > 10**11}
        return Sought(tuple(sorted(bounded)), tuple(sorted(anywhere)), tuple(numbers))

    def count(self, text: str) -> int:
        """Count findings in a text of bytes read as Latin-1."""
        found = 0
        for form in self.anywhere:
            found += text.count(form)
        for form in self.bounded:
            found += sum(_stands_alone(text, *m.span()) for m in _pattern(form).finditer(text))
        return found

    @property
    def forms(self) -> list[str]:
        """All forms, for a quick look."""
        return [*self.bounded, *self.anywhere]

    @cached_property
    def folded(self) -> frozenset[str]:
        """All forms, for a quick look that minds no case."""
        return frozenset(map(str.lower, self.forms))


_TOKEN = re.compile(r"p[vui]_([0-9a-f]{32})$")
_ESCAPES = re.compile(r"(?:%(?:25)?[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[nrtbf])$")


@lru_cache(maxsize=4096)
def _pattern(form: str) -> re.Pattern[str]:
    is_mail = "@" in form or "%40" in form.lower() or "%2540" in form or "\\u0040" in form
    return re.compile(re.escape(form), re.IGNORECASE if is_mail else 0)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a form is not the middle of a longer word; in an address, of a longer address."""
    lead, tail = text[max(0, start - 6) : start], text[end : end + 2]
    is_mail = re.search(r"@|%(?:25)?40", text[start:end]) is not None
    inner = r"[0-9A-Za-z._+-]$" if is_mail else r"[0-9A-Za-z]$"
    outer = r"[0-9A-Za-z-]|\.[0-9A-Za-z]" if is_mail else r"[0-9A-Za-z]"
    if not is_mail and sum(map(str.isalnum, text[start:end])) < _UNGUESSED:
        outer = r"[_-]?[0-9A-Za-z]"  # user-12-3 is somebody else than user-12
    if re.match(outer, tail):
        return False
    return not re.search(inner, lead) or _ESCAPES.search(lead) is not None


def stands_for_itself(raw: str) -> bool:
    """Whether nothing but the identifier reads like it; others are sought in fields alone."""
    text = unicodedata.normalize("NFKC", raw).strip()
    if "@" in text:
        return True
    if text.isdigit():
        return len(text) >= _LONG_NUMBER
    return len(text) >= (_SHORTEST if any(map(str.isdigit, text)) else _LONG_NAME)


def _plain_forms(raw: str) -> Iterator[str]:
    texts = {raw, raw.strip()}
    if "@" in raw:  # elsewhere another case is another account
        texts |= {raw.lower(), raw.strip().lower(), raw.casefold(), raw.upper()}
    for form in ("NFC", "NFD", "NFKC"):
        texts |= {unicodedata.normalize(form, text) for text in list(texts)}
    for text in texts:
        once = quote(text, safe="")
        small = re.sub("%..", lambda escape: escape[0].lower(), once)
        encoded = (text, once, small, quote(once, safe=""), quote(small, safe=""))
        escaped = _json_forms(text)
        for written in (*encoded, *escaped, text.replace('"', '""')):
            yield written.encode("utf-8", "surrogatepass").decode("latin-1")


def _json_forms(text: str) -> set[str]:
    """How writers of JSON write a text: plain, with escapes, and the marks that some escape too."""
    found = {json.dumps(text, ensure_ascii=False)[1:-1]}
    for marks in ("", "<>&", "<>&='", "<>&'+`\""):  # Go, Gson, .NET
        small = json.dumps(text)[1:-1]
        for mark in marks:
            small = small.replace(json.dumps(mark)[1:-1], f"\\u{ord(mark):04x}")
        found |= {small, re.sub(r"\\u[0-9a-f]{4}", lambda e: "\\u" + e[0][2:].upper(), small)}
    return found


def _base64_forms(raw: str) -> Iterator[str]:
    for text in {raw, raw.strip(), *([raw.strip().lower()] if "@" in raw else ())}:
        content = text.encode("utf-8", "surrogatepass")
        for shift in range(3):
            cut = content[(3 - shift) % 3 :]
            whole = base64.b64encode(cut[: len(cut) // 3 * 3]).decode()
            if len(whole) >= _LONG_NUMBER - 2:
                yield whole
                yield whole.replace("+", "-").replace("/", "_")


def _digests(raw: str) -> Iterator[str]:
    for text in {raw, raw.strip(), raw.lower(), raw.strip().lower()}:
        content = text.encode("utf-8", "surrogatepass")
        for name in ("md5", "sha1", "sha256"):
            yield hashlib.new(name, content, usedforsecurity=False).hexdigest()
