"""The sieve: one search that passes the texts in which nothing personal can be.

It may hit in vain, for what it holds back is looked at again; it must not miss. It is a finite
automaton without look-around, so its cost is one step per byte whatever the text. It is kept
small (words and classes, no loops), because an automaton that outgrows the first cache of the
processor takes twice as long; what it cannot tell in that way is left to a second look.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import polars as pl
import re2

BASE64_GROUP = "[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]"
"""Four characters of base64 that stand for three printable ASCII characters.

The first bit of an ASCII byte is 0 and its next two are not both 0, which leaves half or less of
the alphabet at three of four places: a run of such groups is seldom anything but encoded text.
"""

BASE64_RUN = rf"(?:{BASE64_GROUP}){{3}}[I-Za-f][C-HS-Xi-nyz0-3AQgw]"
"""Start of 10 or more printable ASCII characters in base64."""

_BEFORE = r"(?:^|[^0-9A-Za-z]|\\[nrtbf]|\\u[0-9a-fA-F]{4})"
_AFTER = r"(?:[^0-9A-Za-z-]|$)"
_KEY = (
    r"(?:passphrase|pwd|otp|authorization"
    r"|bearer|jwt|(?:access|private)[_-]?key|credentials?"
    r"|(?:(?:user|customer|contact|hashed)[_-]?)?e?-?mail|e?mail[_-]?(?:address|hash|md5|sha256)"
    r"|em|phone[_-]?no|tel|tel[_-]?no|telephone|telephone[_-]?n(?:umber|o)"
    r"|mobile|mobile[_-]?n(?:umber|o)|msisdn|cell|fax|fax[_-]?number|whatsapp"
    r"|card|card[_-]?n(?:umber|o)|credit[_-]?card|credit[_-]?card[_-]?n(?:umber|o)"
    r"|cc|cc[_-]?num(?:ber)?|pan|cv[vc]2?|card[_-]?code|security[_-]?code"
    r"|ssn|social[_-]?security|social[_-]?security[_-]?number|national[_-]?id|iban"
    r"|bank[_-]?account|(?:first|last|full|sur|given|family|middle|maiden)[_-]?name|[fl]name"
    r"|birth[_-]?da(?:te|y)|date[_-]?of[_-]?birth|dob)"
)
"""Keys that announce something in a URL and in a record, see `keyed`."""

_URL_KEY = (
    r"(?:pass|auth|key|x-?goog-?signature|x-?amz-?signature|sig|signature|session"
    r"|sid|code|ticket|magic|address|md5|sha256"
    r"|number|ip|ip_?addr(?:ess)?|(?:client|user|remote|visitor|source)_?ip|user_?ip_?address"
    r"|remote_?addr|x-?_?forwarded[_-]?for)"
)
"""Keys that announce something in a URL alone."""

_ENDING = r"(?i-u:token|passw(?:or)?d|secret|api[_-]?key|phone|phone[_-]?number)"
"""Ends of keys that announce something whatever stands before."""

_EQUALS = r"(?:=|\]=|%5[dD])"
_FILLED = r"(?:=|\]=|%5[dD]|\\?\"\s*:\s*(?:\\?\"[^\"\[\\]|[0-9\[]))"
"""An equals sign; or the value of a record, unless it is empty, null, true, false or masked."""
_BEFORE_KEY = r"(?:^|[^0-9A-Za-z]|\\u00..|%[0-9][A-Fa-f])"

SIEVE = "|".join(
    [
        # Addresses with an at sign, plain or encoded.
        r"@[0-9A-Za-z%\\]|(?:#|%23)0*(?:64|[xX]0*40)(?:;|%3[bB])|commat|\x{ff20}|\x{fe6b}",
        # What hides something else: letters and digits that nobody needs to encode, an encoded
        # percent, plus, parenthesis, equals sign, or blank between digits.
        r"%(?:2[5bB8]|3[0-9dD]|4[0-9A-Fa-f]|5[0-9aAcC]|6[0-9A-Fa-f]|7[0-9aA]|20[0-9(])",
        r"\\u00(?:2[0-5b-eB-E]|3[0-9dD]|[4-7])",
        BASE64_RUN,
        r"(?i-u:bearer |tel:|sms:|callto:)",
        # Cards; groups of a card, a telephone or social security number; telephones; accounts.
        rf"{_BEFORE}[2-6][0-9]{{12,15}}(?:[^0-9]|$)",
        rf"{_BEFORE}[0-9]{{2,4}}(?:[ .+/-]|\)[ -]?)[0-9]{{2,6}}[ .+-][0-9]{{4,5}}{_AFTER}",
        (
            rf"{_BEFORE}0[1-9][0-9]{{0,3}}\)?[ /-](?:[0-9]{{5}}|[0-9]{{3,4}}[ -][0-9]{{3}}"
            r"|[0-9]{2}[ -][0-9]{2}[ -])"
        ),
        r"\+\(?[1-9][0-9 ().\-/\x{a0}]{7}",
        rf"{_BEFORE}[A-Z]{{2}}[0-9]{{2}}[ +]?[A-Z0-9]{{4}}[ +]?[A-Z0-9]{{4}}",
        # Keys that announce something.
        rf"{_BEFORE_KEY}(?i-u:{_KEY}){_FILLED}",
        rf"{_BEFORE_KEY}(?i-u:{_URL_KEY}){_EQUALS}",
        rf"{_ENDING}{_FILLED}|(?i-u:sess(?:ion)?_?id){_EQUALS}",
    ]
)
"""Regular expression of what every text matches that holds anything personal."""

ADDRESSES = (
    r"(?:ip|IP|Ip|addr|Addr|address|ADDR|Address|for|For|FOR)\\?\"\s*:\s*\[?\s*\\?\""
    r"(?:[0-9.]*\.[1-9][0-9]*\\?\"|[0-9a-fA-F:]*:[0-9a-fA-F.:%a-z]*[0-9a-fA-F]\\?\")"
)
"""An internet address in full under a key of a record."""


_MEMORY_BYTES = 32 << 20
"""What the automaton may take; one that runs out of it starts anew, at a tenth of the speed."""


_options = re2.Options()
_options.max_mem = _MEMORY_BYTES
_options.never_capture = True
# RE2 knows no Unicode flag; that it folds a few more letters makes it hit more, never less.
_search = re2.compile(f"{SIEVE}|{ADDRESSES}".replace("(?i-u:", "(?i:"), _options).search


def is_suspicious(text: bytes) -> bool:
    """Tell whether a text, or any line of it, may hold something personal.

    For the few records of one request: handing them to Polars costs more than the search itself.

    Args:
        text: UTF-8.
    """
    return _search(text) is not None


def suspicious_lines(lines: Sequence[bytes]) -> list[int]:
    """Positions of the lines that may hold something personal, ascending, by one search for all.

    Args:
        lines: Records or members of one, in UTF-8: what begins and ends with a bracket or a quote,
            so that nothing personal reaches from one into the next.
    """
    text = b"\n".join(lines)
    found: list[int] = []
    if (match := _search(text)) is None:
        return found
    starts = list(accumulate([len(line) + 1 for line in lines]))  # of the lines that follow
    while match is not None:
        found.append(bisect_right(starts, match.start()))
        if (start := starts[found[-1]]) >= len(text):
            break
        match = _search(text, start)
    return found


def suspicious_rows(texts: pl.Series) -> pl.Series:
    """Positions of the texts that may hold something personal, ascending."""
    text = pl.lit(texts)
    # One query: each operation on a series of its own is handed to a thread and awaited.
    found = text.str.contains(SIEVE) | text.str.contains(ADDRESSES)
    return pl.select(found.arg_true()).to_series().rename(texts.name)
