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

from clickstream_platform.privacy.minimisation.encodings import BETWEEN, INVISIBLE, WIDE

BASE64_GROUP = "[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]"
"""Four characters of base64 that stand for three printable ASCII characters.

The first bit of an ASCII byte is 0 and its next two are not both 0, which leaves half or less of
the alphabet at three of four places: a run of such groups is seldom anything but encoded text.
"""

BASE64_RUN = rf"(?:{BASE64_GROUP}){{3}}[I-Za-f][C-HS-Xi-nyz0-3AQgw]"
"""Start of 10 or more printable ASCII characters in base64."""

_BEFORE = r"(?:^|[^0-9A-Za-z]|\\[nrtbf]|\\u[0-9a-fA-F]{4}|%[0-9A-Fa-f]{2})"
_AFTER = r"(?:[^0-9A-Za-z-]|$)"
_JOIN = "[_ +-]?"
_KEY = (
    r"(?:passphrase|pwd|otp|authorization"
    r"|bearer|jwt|(?:access|private)[_-]?key|credentials?"
    r"|(?:(?:user|customer|contact|hashed)[_-]?)?e?-?mail|e?mail[_-]?(?:address|hash|md5|sha256)"
    r"|em|phone[_-]?no|tel|tel[_-]?no|telephone|telephone[_-]?n(?:umber|o)"
    r"|mobile|mobile[_-]?n(?:umber|o)|msisdn|cell|fax|fax[_-]?number|whatsapp"
    r"|card|card[_-]?n(?:umber|o)|credit[_-]?card|credit[_-]?card[_-]?n(?:umber|o)"
    r"|cc|cc[_-]?num(?:ber)?|pan|cv[vc]2?|card[_-]?code|security[_-]?code"
    r"|ssn|social[_-]?security|social[_-]?security[_-]?number|national[_-]?id|iban"
    r"|bank[_-]?account|[fl]name"
    r"|birth[_-]?da(?:te|y)|date[_-]?of[_-]?birth|dob)"
).replace("[_-]?", _JOIN)
"""Keys that announce something in a URL and in a record, see `keyed`."""

_URL_KEY = (
    r"(?:pass|auth|key|x-?goog-?signature|x-?amz-?signature|sig|signature|session"
    r"|sid|code|ticket|magic|address|md5|sha256"
    r"|number|ip|ip_?addr(?:ess)?|(?:client|user|remote|visitor|source)_?ip|user_?ip_?address"
    r"|remote_?addr|x[_-]?forwarded[_-]?for)"
).replace("[_-]?", _JOIN)
"""Keys that announce something in a URL alone."""

_ENDING = (
    r"(?i-u:token|passw(?:or)?d|secret|api[_-]?key|phone|phone[_-]?number"
    r"|(?:first|last|full|sur|given|family|middle|maiden)[_-]?name)"
).replace("[_-]?", _JOIN)
"""Ends of keys that announce something whatever stands before."""

_EQUALS = r"(?:\]?(?:\[[0-9]*\])?=|%5[bBdD])"
_FILLED = (
    r"(?:\]?(?:\[[0-9]*\])?=|%5[bBdD]"
    r"|\\*\"\s*:\s*(?:\\*\"(?:[^\"\[]|\[[^a-z])|[0-9\[]))"
)
"""An equals sign; or the value of a record, unless it is empty, null, true, false or masked."""
_BEFORE_KEY = r"(?:^|[^0-9A-Za-z]|\\u[0-9a-fA-F]{4}|\\[nrtbf]|%[0-9][0-9A-Fa-f])"

_ENTITY = (
    r"(?:(?:#|%23)0*(?:3[2457]|4[013-9]|5[0-8]|6[14-9]|[78][0-9]|9[057-9]|1[0-2][0-9]|1[67][03]"
    r"|8(?:19|2[0138])[0-9]|8722|65[23][0-9]{2}"
    r"|[xX]0*(?:2[02589bBdDeEfF]|3[0-9aAdD]|[4-7][0-9A-Fa-f]|[aA][0dD]|20[0-6][0-9A-Fa-f]|2212"
    r"|[fF][fF][0-5][0-9A-Fa-f]))"
    r"|commat|plus|equals|percnt|lowbar|period|sp|dash|hyphen|minus|par|sol|shy|Space)"
)
"""Signs, digits, letters, blanks and dashes that matter, as HTML numbers or names them."""

_TRUNK = r"\)?(?:[ +]?(?:/|%2[fF])[ +]?|[ +-])"
"""What follows the area code of a telephone number."""

SIEVE = "|".join(
    [
        # Addresses with an at sign, plain or encoded.
        r"@[^\" ./,:;@]",
        # What hides something else: letters and digits that nobody needs to encode, an encoded
        # percent, plus, parenthesis, equals sign, or blank between digits.
        r"%(?:2[5bB8dDeE]|3[0-9dD]|4[0-9A-Fa-f]|5[0-9aAcCfF]|6[0-9A-Fa-f]|7[0-9aA]|20[0-9(])",
        r"\\u00(?:2[0-5b-fB-F]|3[0-9dD]|[4-7])",
        rf"{_ENTITY}[;A-Za-z%]",
        # Records and keys of several words within a URL or in HTML.
        r"(?:%22|quot;|#34;)\s*(?::|%3[aA])|%20[A-Za-z]{2,8}=",
        # Forms that ASCII has no need of, as such and as escapes.
        rf"[{WIDE}{INVISIBLE}]",
        (
            r"\\u(?:00[aA][dD]|200[b-fB-F]|202[a-eA-E]|206[0-4]|[fF][eE](?:6|[fF][fF])|[dD]835"
            r"|[fF][fF](?:0[5bB]|1[0-9dD]|[24]|3[0-9aAfF]|5[0-9aA]))"
        ),
        (
            r"%(?:[cC]2%[aA][dD]|[eE]2%80%(?:8[b-fB-F]|[aA][a-eA-E])|[eE]2%81%[aA]|[fF]0%9[dD]"
            r"|[eE][fF]%(?:[bB][bB]|[bB][9dD]|[bB][cC]%(?:8[5bB]|9[0-9dD]|[aAbB])))"
        ),
        BASE64_RUN + r"|eyJ[0-9A-Za-z_-]{5}",
        rf"(?i-u:bearer)(?:[ +%&\\]|[{BETWEEN}])|(?i-u:(?:tel|sms|callto)(?::|%3a))",
        r"gh[oprsu]_[0-9A-Za-z]{4}|github_pat_|glpat-|xox[a-z]-|[rs]k_(?:live|test)_",
        r"A[KS]IA[A-Z2-7]{8}",
        # Cards; groups of a card, a telephone or social security number; telephones; accounts.
        rf"{_BEFORE}[2-6][0-9]{{12,15}}(?:[^0-9]|$)",
        rf"{_BEFORE}[0-9]{{2,4}}(?:[ .+/-]|\)[ -]?)[0-9]{{2,6}}[ .+-][0-9]{{4,5}}{_AFTER}",
        (
            rf"{_BEFORE}0[1-9]{_TRUNK}"
            r"(?:[0-9]{5}|[0-9]{3,4}[ +-][0-9]{2}|[0-9]{2}[ +-][0-9]{2,4}[ +-])"
        ),
        rf"{_BEFORE}0[1-9][0-9]{{1,3}}{_TRUNK}(?:[0-9]{{4}}|[0-9]{{2,3}}[ +-][0-9]{{2}})",
        rf"{_BEFORE}0[1-9](?:\.[0-9]{{2}}){{4}}",
        rf"{_BEFORE}0[1-9][0-9]{{0,2}}(?:/|%2[fF])[0-9]{{2,3}}\.[0-9]{{2}}\.",
        rf"{_BEFORE}00[ +]?[1-9][0-9]{{0,2}}[ +][0-9(]",
        r"\)[ +-]?[2-9][0-9]{6}",
        r"\+\(?[1-9](?:[0-9 ().\-/]{7}|[0-9 ().\-/]{0,6}(?:[^\x00-\x7f]|\\u|%))",
        (
            rf"[{BETWEEN}][ +/.()-]?[0-9(]|\\u(?:00[aA]0|20|2212|300|[fF][fF][06])[0-9]{{0,3}}"
            r"[0-9A-Fa-f][ +/.()\\-]?[0-9(u]"
            r"|%(?:[cC]2%[aA]0|[eE]2%8[01]%..|[eE]2%88%92|[eE]3%80%8.|[eE][fF]%[bB][cC]%8.)[+(]?[0-9]"
        ),
        rf"{_BEFORE}[A-Z]{{2}}[0-9]{{2}}(?:[ +]|%20)?[A-Z0-9]{{4}}(?:[ +]|%20)?[A-Z0-9]{{4}}",
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


def first_suspicion(text: str, start: int) -> tuple[int, int] | None:
    """Where the first of what makes a text suspicious begins and ends, from a place on."""
    # Places in ASCII are those in its bytes; in other texts they have to be counted.
    match = _search(text.encode() if text.isascii() else text, start)
    return match.span() if match is not None else None


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
