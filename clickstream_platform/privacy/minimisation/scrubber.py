"""Scrubbing one text: find what is personal, however it is encoded, and mask it."""

import base64
import json
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

from clickstream_platform.privacy.minimisation.addresses import truncated_ip
from clickstream_platform.privacy.minimisation.encodings import (
    decoded_once,
    is_json,
    plainly_written,
    unescaped,
    unquoted_plus,
)
from clickstream_platform.privacy.minimisation.keyed import (
    announced,
    announces,
    plain_key,
)
from clickstream_platform.privacy.minimisation.patterns import (
    EMAIL,
    HARMLESS,
    NUMBER_RULES,
    NUMBERS,
    SERVICE_TOKEN,
    WORD_RULES,
    Rule,
    is_card,
)
from clickstream_platform.privacy.minimisation.suspicion import (
    BASE64_RUN,
    first_suspicion,
    is_suspicious,
)

QueryKeys = Literal["detect", "allow"]
"""Whether query keys are judged by their values, or must be on a list."""

CAMPAIGN_KEYS = frozenset(
    [
        "gclid",
        "gbraid",
        "wbraid",
        "dclid",
        "gclsrc",
        "gad_source",
        "fbclid",
        "msclkid",
        "ttclid",
        "twclid",
        "li_fat_id",
        "yclid",
        "srsltid",
        "rdt_cid",
        "epik",
        "sccid",
    ]
)
"""Query keys that name a campaign, beside all that start with ``utm_``."""

DEPTH = 12
"""Encodings inside each other that are undone; what lies deeper is masked unseen."""

_ABSOLUTE_URL = r"\b[a-z][a-z0-9+.-]{1,20}+://[^\s\"'<>]+"
_URL = re.compile(_ABSOLUTE_URL, re.IGNORECASE)
_URL_PARTS = re.compile(r"([a-zA-Z][\w+.-]*+:)?(//[^/?#]*+)?([^?#]*+)(\?[^#]*+)?(#.*+)?", re.DOTALL)
_URL_FORMS = re.compile(
    rf"[/?#][^\s\"<>]*+|{_ABSOLUTE_URL}|(?:tel|sms|callto|mailto):[^\s\"<>]+",
    re.IGNORECASE,
)
"""What a text looks like that is an address as a whole: relative, absolute or of a call."""
_CALLS = frozenset({"tel:", "sms:", "callto:"})
_INLINE = frozenset({"data:", "javascript:"})
_PAIR = re.compile(r"(?<![^\s&?#;,{(])([\w.%\[\]-]+)=([^\s&\"'<>;,#]+)")
_AT_ENTITY = re.compile(r"&(?:amp;)*#(?:0*64|[xX]0*40);")
"""An at sign as HTML writes it, whose number sign would otherwise begin the fragment."""
_BASE64 = re.compile(BASE64_RUN)
_BASE64_REST = re.compile(r"[A-Za-z0-9+/_-]*+={0,2}+")
_BASE64_BEFORE = re.compile(r"[A-Za-z0-9+_-]*$")
_LITERAL = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)("?)(\s*+:)?|[^\s{}\[\],:"]++', re.DOTALL)
_TEXT = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BARE = r'[^\s{}\[\],:"]++'
_MEMBER = re.compile(
    rf"{_TEXT}(\s*+:\s*+(?:{_TEXT}|\[(?:{_TEXT}|[^\"\[\]{{}}])*+\]|{_BARE}))?|{_BARE}", re.DOTALL
)
"""A key of a record with its value or flat list of values, or an element of another list."""
_COLON = re.compile(r"\s*+:")
_NUMBER = re.compile(r"-?\d[\d.eE+-]*")
_WORDS = frozenset({"true", "false", "null"})
_BARE_PHONE = re.compile(r"\+(?:[1-9]|\(|%28)(?:[0-9+().-]|%20|%2[89]){7,}")
"""A telephone number whose plus was not encoded, and so reads as a blank."""
_NUMBERED_KEYS = ("id", "sku")
"""How keys end whose digits are no card number."""
_SPECIAL = re.compile(r"[@%&=+\\{\[]|//|earer |^[^:/]{3,6}:|[^\x00-\x7f]")
_MIN_BASE64 = 14
_MIN_PERSONAL = 5
_MIN_SERVICE_TOKEN = 18
_PATH_SAFE = "~:@!$&'()*+,;="
_QUERY_SAFE = "~:@!$'()*,;/"
_JSON_ENDS = {"{": "}", "[": "]"}


_KINDS: dict[frozenset[str], frozenset[str]] = {}


def _kinds(*found: str) -> frozenset[str]:
    """Kinds as a set, the same object each time: thousands of results name the same few."""
    kinds = frozenset(found)
    return _KINDS.setdefault(kinds, kinds)


class Cleaned(msgspec.Struct, frozen=True, gc=False):
    """A scrubbed text and what was found in it; no burden to the search for cycles."""

    text: str
    kinds: frozenset[str] = frozenset()


def mask(kind: str) -> str:
    """What stands in place of a personal value."""
    return f"[{kind}]"


class Scrubber:
    """Scrubs texts, remembering those it has seen; make one per batch.

    Args:
        query_keys: ``detect`` judges every query key and value; ``allow`` drops all keys but
            campaign parameters and ``allowed``, and then judges the rest.
        allowed: Further query keys that ``allow`` keeps.
    """

    def __init__(self, *, query_keys: QueryKeys = "detect", allowed: Collection[str] = ()) -> None:
        self.keeps_all_keys = query_keys == "detect"
        self._allowed = CAMPAIGN_KEYS.union(key.lower() for key in allowed)
        self._seen: dict[tuple[str, str], Cleaned] = {}
        self._parameters: dict[str, Cleaned] = {}
        self._keys: dict[str, tuple[str, bool, bool]] = {}
        self._members: dict[str, Cleaned] = {}

    def text(self, text: str, depth: int = 0) -> Cleaned:
        """Scrub a text of any kind: prose, a URL, a query string, JSON."""
        if _is_plain(text):
            return Cleaned(text)
        if depth > DEPTH:
            return Cleaned(mask("encoded"), _kinds("encoded"))
        stripped = text.strip()
        if stripped[-1:] == _JSON_ENDS.get(stripped[:1]) and is_json(stripped):
            return self._json(text, depth)
        if _URL_FORMS.fullmatch(stripped):
            return self.url(text, depth)
        return self._otherwise_written(text, depth) or self._prose(text, depth)

    def _otherwise_written(self, text: str, depth: int) -> Cleaned | None:
        """Scrub a text as ASCII would write it; None if it is so, or nothing is in it."""
        written = plainly_written(text)
        cleaned = self.text(written, depth + 1) if written != text else Cleaned(text)
        return cleaned if cleaned.kinds else None

    def _prose(self, text: str, depth: int) -> Cleaned:
        kinds: set[str] = set()
        text = self._embedded(text, kinds, depth)
        for rule in WORD_RULES:
            text = _apply(rule, text, kinds)
        if len(text) >= _MIN_SERVICE_TOKEN:
            text = _apply(SERVICE_TOKEN, text, kinds)
        if NUMBERS.search(text):
            for rule in NUMBER_RULES:
                text = _apply(rule, text, kinds)
        cleaned = self._decoded(text, depth)
        return Cleaned(cleaned.text, _kinds(*cleaned.kinds, *kinds))

    def _embedded(self, text: str, kinds: set[str], depth: int) -> str:
        """Scrub URLs within a text, and words of the form ``key=value``."""

        def url(match: re.Match[str]) -> str:
            cleaned = self.url(match.group(), depth + 1)
            kinds.update(cleaned.kinds)
            return cleaned.text

        def pair(match: re.Match[str]) -> str:
            value = unquoted_plus(match[2])
            if kind := announced(plain_key(unquote(match[1])), value, in_url=True):
                kinds.add(kind)
                return f"{match[1]}={_in_place(kind, value)}"
            return match.group()

        if "://" in text:
            text = _URL.sub(url, text)
        return _PAIR.sub(pair, text) if "=" in text else text

    def url(self, url: str, depth: int = 0) -> Cleaned:
        """Scrub a URL, absolute or not: user, path, query and fragment; masks are URL-safe."""
        if depth > DEPTH:
            return Cleaned(mask("encoded"), _kinds("encoded"))
        match = _URL_PARTS.fullmatch(_AT_ENTITY.sub("@", url) if "#" in url else url)
        if match is None:
            return Cleaned(url)
        scheme, authority, path, query, fragment = match.groups("")
        kinds: set[str] = set()
        lowered = scheme.lower()
        if lowered in _CALLS and not authority:
            kinds.update({"phone"} if path != quote(mask("phone")) else ())
            path = quote(mask("phone"))
        elif lowered in _INLINE:
            return self._decoded(url, depth)
        if "@" in authority:
            kinds.add("token")
            authority = "//" + authority.rpartition("@")[2]
        path = self._path(path, kinds, depth)
        if query:
            query = self._query(query[0], query[1:], kinds, depth)
        if fragment:
            fragment = self._fragment(fragment[1:], kinds, depth)
        return Cleaned(scheme + authority + path + query + fragment, _kinds(*kinds))

    def record(self, record: str) -> Cleaned:
        """Scrub a record like `payload`, but look into its suspicious members only.

        What makes it suspicious beside them, such as how members stand together, has all of it
        looked at; so has a list of keys that are allowed, which may drop any query.
        """
        if not self.keeps_all_keys:
            return self.payload(record)
        kinds: set[str] = set()
        scrubbed, others, end = "", "", 0
        members = _MEMBER.finditer(record)
        while (found := first_suspicion(record, end)) is not None:
            member = next((match for match in members if match.end() > found[0]), None)
            if member is None or not _holds(member, found):
                return self.payload(record)
            between = record[end : member.start()]
            cleaned = self._member(member.group())
            scrubbed += between + cleaned.text
            others += between + '""'
            kinds |= cleaned.kinds
            end = member.end()
        if not end or is_suspicious((others + record[end:]).encode()):
            return self.payload(record)
        return Cleaned(scrubbed + record[end:], _kinds(*kinds))

    def _member(self, member: str) -> Cleaned:
        """Scrub a member of a record."""
        if (known := self._members.get(member)) is None:
            known = self._members[member] = self.payload(member)
        return known

    def payload(self, payload: str) -> Cleaned:
        """Scrub a record: every text in it and every number whose key announces something.

        All else stays byte for byte, so that numbers of thirty digits stay what they were. What
        is cut off in the middle is scrubbed as far as it goes.
        """
        if payload.lstrip()[:1] not in {*_JSON_ENDS, '"'}:
            return self.text(payload)
        return self._json(payload, 0)

    def _json(self, payload: str, depth: int) -> Cleaned:
        kinds: set[str] = set()
        key = ""

        def literal(match: re.Match[str]) -> str:
            nonlocal key
            whole, body = match.group(), match[1]
            if body is None:
                found = self._bare(key, whole, depth)
                kinds.update(found.kinds)
                return found.text
            if match[3]:
                key, found = body, self._key(body, depth)
            else:
                found = self._leaf(key, body, depth)
            if not found.kinds:
                return whole
            kinds.update(found.kinds)
            return f'"{found.text}{match[2]}{match[3] or ""}'

        text = _LITERAL.sub(literal, payload)
        return Cleaned(text, _kinds(*kinds))

    def _bare(self, key: str, text: str, depth: int) -> Cleaned:
        """Scrub what stands in a record without quotes: a number, a word, or broken JSON."""
        if text in _WORDS:
            return Cleaned(text)
        if not _NUMBER.fullmatch(text):
            return self.text(text, depth + 1)
        plain = plain_key(key)
        kind = announced(plain, text, in_url=False)
        if kind is None and not plain.endswith(_NUMBERED_KEYS) and is_card(text):
            kind = "card"
        return Cleaned(f'"{mask(kind)}"', _kinds(kind)) if kind else Cleaned(text)

    def _key(self, body: str, depth: int) -> Cleaned:
        if "@" not in body and "%" not in body and "\\u" not in body:
            return Cleaned(body)
        found = self._leaf("", body, depth)
        return found if "email" in found.kinds else Cleaned(body)

    def _leaf(self, key: str, body: str, depth: int) -> Cleaned:
        """Scrub the inside of a JSON text literal; clean ones come back without kinds."""
        if (known := self._seen.get((key, body))) is not None:
            return known
        found = self._leaf_anew(key, body, depth)
        self._seen[key, body] = found
        return found

    def _leaf_anew(self, key: str, body: str, depth: int) -> Cleaned:
        text = unescaped(body) if "\\" in body else body
        plain = plain_key(key)
        if kind := announced(plain, text, in_url=False):
            return Cleaned(_in_place(kind, text), _kinds(kind))
        if plain.endswith(_NUMBERED_KEYS) and text.isdigit():
            return Cleaned(body)
        cleaned = self.text(text, depth + 1)
        if not cleaned.kinds:
            return Cleaned(body)
        masked = json.dumps(cleaned.text, ensure_ascii="\\" in body)[1:-1]
        return Cleaned(masked, cleaned.kinds)

    def _path(self, path: str, kinds: set[str], depth: int) -> str:
        if _is_plain(path) and ";" not in path:
            return path
        segments = path.split("/")
        for place, segment in enumerate(segments):
            # A semicolon may also end an HTML entity.
            first, *parameters = [segment] if "&" in segment else segment.split(";")
            segments[place] = ";".join(
                [self._piece(first, kinds, depth)]
                + [self._parameter(each, kinds, depth) for each in parameters]
            )
        return "/".join(segments)

    def _piece(self, raw: str, kinds: set[str], depth: int) -> str:
        """Scrub one path segment or bare fragment."""
        if _is_plain(raw):
            return raw
        cleaned = self.text(unquote(raw), depth + 1)
        if not cleaned.kinds:
            return raw
        kinds.update(cleaned.kinds)
        return quote(cleaned.text, safe=_PATH_SAFE)

    def _parameter(self, raw: str, kinds: set[str], depth: int) -> str:
        """Scrub one ``key=value`` of a query, a fragment or a path."""
        if (known := self._parameters.get(raw)) is None:
            found: set[str] = set()
            known = Cleaned(self._parameter_anew(raw, found, depth), _kinds(*found))
            self._parameters[raw] = known
        kinds.update(known.kinds)
        return known.text

    def _parameter_anew(self, raw: str, kinds: set[str], depth: int) -> str:
        key, equals, value = raw.partition("=")
        if not equals:
            return self._piece(raw, kinds, depth)
        plain, is_announcing, is_address = self._key_of(key)
        if is_address:
            key = self._piece(key, kinds, depth)
        elif not is_announcing and _is_plain(value):
            return raw
        return key + equals + self._value(plain, value, kinds, depth)

    def _key_of(self, raw: str) -> tuple[str, bool, bool]:
        """Plain form of a query key, whether it may announce anything, or is itself personal."""
        if (known := self._keys.get(raw)) is None:
            # Where a page wrote out its links as HTML, keys but the first begin with an entity.
            plain = plain_key(unquote(raw).removeprefix("amp;"))
            known = plain, announces(plain), not _is_plain(raw)
            self._keys[raw] = known
        return known

    def _value(self, plain: str, value: str, kinds: set[str], depth: int) -> str:
        """Scrub the value of a query key."""
        decoded = unquoted_plus(value)
        if kind := announced(plain, decoded, in_url=True):
            kinds.add(kind)
            return _quoted_mask(_in_place(kind, decoded))
        if _BARE_PHONE.fullmatch(value):
            decoded = "+" + decoded[1:]
        if plain.endswith(_NUMBERED_KEYS) and decoded.isdigit():
            return value
        cleaned = self.text(decoded, depth + 1)
        if not cleaned.kinds:
            return value
        kinds.update(cleaned.kinds)
        return quote(cleaned.text, safe=_QUERY_SAFE)

    def _query(self, mark: str, query: str, kinds: set[str], depth: int) -> str:
        pairs = query.split("&")
        if not self.keeps_all_keys:
            pairs = [pair for pair in pairs if self._keeps(pair, kinds)]
        text = "&".join([self._parameter(pair, kinds, depth) for pair in pairs])
        return mark + text if text or not query else ""

    def _keeps(self, pair: str, kinds: set[str]) -> bool:
        key = unquote(pair.partition("=")[0]).lower()
        if key.startswith("utm_") or key in self._allowed:
            return True
        kinds.add("query")
        return False

    def _fragment(self, fragment: str, kinds: set[str], depth: int) -> str:
        path, mark, query = fragment.partition("?")
        if mark:
            return "#" + self._path(path, kinds, depth) + self._query(mark, query, kinds, depth)
        if "=" in fragment:
            return self._query("#", fragment, kinds, depth)
        return "#" + self._path(fragment, kinds, depth)

    def _decoded(self, text: str, depth: int) -> Cleaned:
        """Scrub what an encoding hides; a text whose encodings hide nothing stays as it is."""
        decoded = decoded_once(text)
        if decoded != text:
            cleaned = self.text(decoded, depth + 1)
            if cleaned.kinds:
                return cleaned
        return self._base64(text, depth)

    def _base64(self, text: str, depth: int) -> Cleaned:
        """Mask words of base64 that hide something; each is read at no more than four offsets."""
        kinds: set[str] = set()
        kept, end = "", 0
        tried: set[tuple[int, int]] = set()
        for match in _BASE64.finditer(text):
            rest = _BASE64_REST.match(text, match.start())
            if rest is None or match.start() < end or (rest.end(), match.start() % 4) in tried:
                continue
            tried.add((rest.end(), match.start() % 4))
            if found := self._hidden(rest.group(), depth):
                before = _BASE64_BEFORE.search(text, end, match.start())
                start = before.start() if before else match.start()
                kept += text[end:start] + mask(min(found))
                kinds |= found
                end = rest.end()
        return Cleaned(kept + text[end:], _kinds(*kinds)) if kinds else Cleaned(text)

    def _hidden(self, encoded: str, depth: int) -> frozenset[str]:
        """Kinds of personal values in a base64 text."""
        plain = encoded.rstrip("=").replace("-", "+").replace("_", "/")
        plain = plain[: len(plain) - (len(plain) % 4 == 1)]
        raw = base64.b64decode(plain + "=" * (-len(plain) % 4))
        text = raw.decode("utf-8", "replace")
        if text.isprintable() or "\ufffd" not in text:
            return self.text(text, depth + 1).kinds
        kinds: set[str] = set()
        _apply(EMAIL, text, kinds)
        return _kinds(*kinds)


def _holds(member: re.Match[str], found: tuple[int, int]) -> bool:
    """Whether what was found in a record lies within a member, with all that counts for it."""
    start, end = found
    # What is found may end with the sign that follows.
    if start < member.start() or end > member.end() + 1:
        return False
    # A number on its own would be masked as a text; and what the key of something else than a
    # flat list announces lies outside of the member.
    return member.group()[0] == '"' and bool(
        member[1] or not _COLON.match(member.string, member.end())
    )


def _apply(rule: Rule, text: str, kinds: set[str]) -> str:
    """Mask what one rule finds."""
    if rule.needs not in text:
        return text

    def masked(match: re.Match[str]) -> str:
        length = rule.matched(match)
        if not length:
            return match.group()
        kinds.add(rule.kind)
        return mask(rule.kind) + match.group()[length:]

    return rule.pattern.sub(masked, text)


def _in_place(kind: str, value: str) -> str:
    """What stands in place of an announced value: a mask, or an address cut short."""
    return (truncated_ip(value) or mask(kind)) if kind == "ip" else mask(kind)


@lru_cache(maxsize=1024)
def _quoted_mask(text: str) -> str:
    """What stands in place of an announced value, as a query writes it."""
    return quote(text, safe=_QUERY_SAFE)


def _is_plain(text: str) -> bool:
    """Tell, without trying the rules, that a text can hold nothing personal."""
    if len(text) < _MIN_PERSONAL:
        return True
    if "//" in text or "=" in text or "@" in text or "%" in text:
        return False  # of these `_SPECIAL` holds more, and nothing harmless any
    if HARMLESS.fullmatch(text):
        return True
    if text.isdigit() and text.isascii():
        return not is_card(text)
    if _SPECIAL.search(text) or (len(text) >= _MIN_BASE64 and _may_hide(text)):
        return False
    return NUMBERS.search(text) is None


def _may_hide(text: str) -> bool:
    """Tell whether a word of some length may be a token or encoded."""
    is_token = len(text) >= _MIN_SERVICE_TOKEN and SERVICE_TOKEN.pattern.search(text)
    return bool(is_token or _BASE64.search(text))
