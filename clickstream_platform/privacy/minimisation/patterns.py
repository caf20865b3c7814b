"""What personal values look like in plain text, and what may not be mistaken for them."""

import re
from collections.abc import Callable
from typing import NamedTuple

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30,
    "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28,
    "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Length of an IBAN by country (ISO 13616 register)."""

FILE_ENDINGS = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "avif",
        "ico",
        "css",
        "js",
        "mjs",
        "json",
        "xml",
        "html",
        "htm",
        "php",
        "asp",
        "aspx",
        "jsp",
        "pdf",
    ]
)
"""Last labels that make ``logo@2x.png`` a file, not a mailbox."""

CARD_PREFIXES = re.compile(
    r"4(?:\d{12}|\d{15})"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[689]\d)\d{11}"  # Diners Club
    r"|6(?:011|5\d\d|4[4-9]\d|2\d\d)\d{12}|220[0-4]\d{12}"  # Discover, UnionPay, Mir
    r"|35(?:2[89]|[3-8]\d)\d{12}|(?:2131|1800)\d{11}"  # JCB
    r"|(?:50[12]\d|5[6-9]\d\d|6(?:304|759|76[1-3]))\d{12}"  # Maestro
)
"""Issuer prefixes with the lengths that go with them."""

CARD_DIGITS = range(12, 20)
"""Digits of a payment card number under a key that announces one."""

PHONE_DIGITS = range(6, 16)
"""Digits of a telephone number under a key that announces one (E.164 allows 15)."""

_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0980-\u0df4"
    "\u0e31-\u0e4e\u0eb1-\u0ece\u102b-\u103e\u17b6-\u17d3"
)
"""Vowels and accents that are characters of their own and, to Python, no letters."""

_LOCAL = rf"\w{_MARKS}.!#$'*+^`{{|}}~-"
_LABEL = rf"[\w{_MARKS}-]+"
_DOMAIN = rf"(?:{_LABEL}\.)+(?:xn--[a-z0-9-]+|[^\W\d_](?:[^\W\d_]|[{_MARKS}]){{1,62}})"
_SHORTEST_NATIONAL, _LONGEST_NATIONAL = 9, 12
_SHORTEST_ABROAD, _LONGEST_ABROAD = 10, 17
_GTIN_LENGTHS = {13, 14}


class Rule(NamedTuple):
    """One kind of personal value: how to find candidates, and which of them are real."""

    kind: str
    pattern: re.Pattern[str]
    matched: Callable[[re.Match[str]], int]
    """Number of characters of the candidate that are personal; 0 if it is a false alarm."""
    needs: str
    """What must occur in the text, or the rule is skipped."""


def luhn(digits: str) -> bool:
    """Tell whether the check digit of a payment card is right."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled  # noqa: PLR2004 - sum of its two digits
    return total % 10 == 0


def is_card(text: str) -> bool:
    """Tell whether digits, perhaps grouped, are a payment card and no article number (GTIN)."""
    digits = re.sub(r"\D", "", text)
    if not CARD_PREFIXES.fullmatch(digits) or not luhn(digits):
        return False
    return not (len(digits) in _GTIN_LENGTHS and digits == text and _is_gtin(digits))


def _is_gtin(digits: str) -> bool:
    weighted = sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(reversed(digits)))
    return weighted % 10 == 0


def iban_length(text: str) -> int:
    """Characters that a valid IBAN takes at the start of a text; 0 if there is none."""
    wanted = IBAN_LENGTHS.get(text[:2], 0)
    compact, end = "", 0
    while end < len(text) and len(compact) < wanted:
        compact += text[end].strip()
        end += 1
    if not wanted or len(compact) < wanted or text[end : end + 1].strip():
        return 0
    number = "".join(str(int(each, 36)) for each in compact[4:] + compact[:4])
    return end if int(number) % 97 == 1 else 0


def _whole(match: re.Match[str]) -> int:
    return len(match.group())


def _email(match: re.Match[str]) -> int:
    ending = match.group().rpartition(".")[2].lower()
    return 0 if ending in FILE_ENDINGS else len(match.group())


def _card(match: re.Match[str]) -> int:
    return len(match.group()) if is_card(match.group()) else 0


def _iban(match: re.Match[str]) -> int:
    return iban_length(match.group())


def _national_phone(match: re.Match[str]) -> int:
    groups = re.findall(r"[0-9]+", match.group())
    if match.group().startswith("00"):
        digits = sum(map(len, groups))
        return len(match.group()) if _SHORTEST_ABROAD <= digits <= _LONGEST_ABROAD else 0
    longest = _LONGEST_NATIONAL if len(groups) == 2 else _LONGEST_NATIONAL - 1  # noqa: PLR2004 - area and number
    return len(match.group()) if _SHORTEST_NATIONAL <= sum(map(len, groups)) <= longest else 0


EMAIL = Rule(
    "email",
    re.compile(
        rf"(?<![{_LOCAL}])[{_LOCAL}]++@(?:{_DOMAIN}"
        r"|\[(?:IPv6:[0-9a-fA-F:.]{2,45}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})\])",
    ),
    _email,
    "@",
)
QUOTED_EMAIL = Rule(
    "email",
    re.compile(rf"(?<![\w\"\\])\"(?:[^\"\\\n]|\\.){{1,64}}\"@{_DOMAIN}"),
    _email,
    '"@',
)
JWT = Rule(
    "token",
    # What has no second part is taken whole and let go: "eyJ" again and again takes no time.
    re.compile(r"eyJ[\w-]{5,}+(\.[\w-]{5,}(?:\.[\w-]*)?)?"),
    lambda match: len(match.group()) if match[1] else 0,
    "eyJ",
)
BEARER = Rule("token", re.compile(r"(?<=\b[Bb]earer )[\w.~+/=-]{12,}"), _whole, "earer ")
SERVICE_TOKEN = Rule(
    "token",
    re.compile(
        r"gh[oprsu]_[A-Za-z0-9]{36}|github_pat_\w{22,}|glpat-[\w-]{20,}"  # GitHub, GitLab
        r"|xox[a-z]-[\w-]{10,}|A[KS]IA[A-Z2-7]{16}"  # Slack, AWS
        r"|[rs]k_(?<![^\W_][rs]k_)(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    ),
    _whole,
    "",
)
CARD = Rule(
    "card",
    re.compile(
        r"(?<![\w.-])(?:[0-9]{13,16}|[0-9]{4}([ .-])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}"
        r"|[0-9]{4}([ .-])[0-9]{6}\2[0-9]{4,5})(?![\w-]|\.\d)"
    ),
    _card,
    "",
)
INTERNATIONAL_PHONE = Rule(
    "phone",
    re.compile(r"(?<![\w+])\+\(?[1-9](?:[ ().\-/\xa0]{0,3}[0-9]){7,14}(?![\d:])"),
    _whole,
    "+",
)
AMERICAN_PHONE = Rule(
    "phone",
    re.compile(
        r"(?<![\w.(-])(?:1[ .-])?(?:\([2-9][0-9]{2}\)[ -]?[2-9][0-9]{2}[ .-]?"
        r"|[2-9][0-9]{2}([ .-])[2-9][0-9]{2}\1)[0-9]{4}(?![\w-]|\.\d)"
    ),
    _whole,
    "",
)
NATIONAL_PHONE = Rule(
    "phone",
    re.compile(
        r"(?<![\w.-])(?:\(?0[1-9][0-9]{0,3}\)?(?: ?/ ?|[ -])[0-9]{2,8}(?:[ -][0-9]{2,4}){0,3}"
        r"|0[1-9](?:\.[0-9]{2}){4}|0[1-9][0-9]{0,2}/[0-9]{2,3}(?:\.[0-9]{2}){2}"
        r"|00 ?[1-9][0-9]{0,2} (?:\(0\) ?)?[0-9]{1,8}(?:[ /-][0-9]{2,8}){0,4})(?![\w-]|\.\d)"
    ),
    _national_phone,
    "0",
)
SOCIAL_SECURITY = Rule(
    "ssn",
    re.compile(r"(?<![\w.-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w-]|\.\d)"),
    _whole,
    "-",
)
IBAN = Rule(
    "iban",
    re.compile(r"(?<![^\W_])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)"),
    _iban,
    "",
)

WORD_RULES = (EMAIL, QUOTED_EMAIL, JWT, BEARER)
"""Rules for what is made of letters."""

NUMBER_RULES = (
    INTERNATIONAL_PHONE,
    IBAN,
    CARD,
    SOCIAL_SECURITY,
    AMERICAN_PHONE,
    NATIONAL_PHONE,
)
"""Rules for what is made of digits, in the order in which they are tried."""

NUMBERS = re.compile(
    r"\d{10}|\d[ ./)\-\xa0]{1,3}\(?\d\d|\d\)\d|\+\(?\d|(?<![A-Za-z0-9])[A-Z]{2}\d\d[A-Z0-9 ]"
)
"""What every text matches in which a number rule finds something."""

HARMLESS = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|-?\d{1,12}\.\d{1,12}|\d{1,4}(?:\.\d{1,4}){1,2}(?<!\d\d\d\d)"
    r"|(?i:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})|p[vui]_[0-9a-f]{32}"
)
"""Times, decimals, versions, UUIDs and pseudonyms, which look like numbers at first."""
