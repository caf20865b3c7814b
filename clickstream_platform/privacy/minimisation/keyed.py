"""Keys that announce a personal value or a secret, in URLs and in JSON."""

import re
from functools import lru_cache

from clickstream_platform.privacy.identifiers import TOKEN
from clickstream_platform.privacy.minimisation.addresses import truncated_ip
from clickstream_platform.privacy.minimisation.patterns import (
    CARD_DIGITS,
    PHONE_DIGITS,
    luhn,
)

EMAIL_KEYS = frozenset(
    [
        "email",
        "mail",
        "emailaddress",
        "useremail",
        "customeremail",
        "contactemail",
        "mailaddress",
        "em",
        "hashedemail",
        "emailhash",
        "emailmd5",
        "emailsha256",
    ]
)
PHONE_KEYS = frozenset(
    [
        "phone",
        "phonenumber",
        "phoneno",
        "tel",
        "telephone",
        "telephonenumber",
        "telno",
        "mobile",
        "mobilenumber",
        "mobilephone",
        "mobileno",
        "msisdn",
        "cell",
        "cellphone",
        "fax",
        "faxnumber",
        "userphone",
        "whatsapp",
    ]
)
CARD_KEYS = frozenset(
    [
        "card",
        "cardnumber",
        "cardno",
        "creditcard",
        "creditcardnumber",
        "cc",
        "ccnumber",
        "ccnum",
        "pan",
    ]
)
CARD_CODE_KEYS = frozenset(["cvv", "cvc", "cvv2", "cvc2", "cardcode", "securitycode"])
SOCIAL_SECURITY_KEYS = frozenset(["ssn", "socialsecuritynumber", "socialsecurity", "nationalid"])
IBAN_KEYS = frozenset(["iban", "bankaccount"])
ADDRESS_KEYS = frozenset(
    [
        "ip",
        "ipaddress",
        "ipaddr",
        "clientip",
        "userip",
        "useripaddress",
        "remoteaddr",
        "remoteip",
        "xforwardedfor",
        "visitorip",
        "sourceip",
    ]
)
NAME_ENDINGS = (
    "firstname",
    "lastname",
    "fullname",
    "surname",
    "givenname",
    "familyname",
    "middlename",
    "maidenname",
)
NAME_KEYS = frozenset([*NAME_ENDINGS, "fname", "lname"])
BIRTH_KEYS = frozenset(["birthdate", "birthday", "dateofbirth", "dob"])
SECRET_KEYS = frozenset(
    [
        "token",
        "password",
        "passwd",
        "passphrase",
        "pass",
        "pwd",
        "secret",
        "otp",
        "auth",
        "authorization",
        "bearer",
        "apikey",
        "sig",
        "signature",
        "sessionid",
        "phpsessid",
        "jsessionid",
        "aspnetsessionid",
        "jwt",
        "accesskey",
        "privatekey",
        "xamzsignature",
        "xgoogsignature",
        "xamzsecuritytoken",
        "credential",
        "credentials",
    ]
)
SECRET_ENDINGS = ("token", "password", "passwd", "secret", "apikey", "sessid", "sessionid")
OPAQUE_KEYS = frozenset(["key", "sid", "session", "code", "ticket", "magic"])
"""Keys that hold secrets in some places and harmless words in others."""
HARMLESS_IN_JSON = frozenset(
    ["sessionid", "auth", "pass", "sig", "signature", "xamzsignature", "xgoogsignature"]
)
"""Secret in a URL, but the tracker's own session or a setting in a record."""

_ALL_KEYS = (
    EMAIL_KEYS
    | PHONE_KEYS
    | CARD_KEYS
    | CARD_CODE_KEYS
    | SOCIAL_SECURITY_KEYS
    | IBAN_KEYS
    | ADDRESS_KEYS
    | NAME_KEYS
    | BIRTH_KEYS
    | SECRET_KEYS
    | OPAQUE_KEYS
)
PHONE_ENDINGS = ("phone", "phonenumber")
_ENDINGS = (*SECRET_ENDINGS, *PHONE_ENDINGS, *NAME_ENDINGS)

MASKED = re.compile(rf"\[[a-z]+\]|{TOKEN}")
"""What a mask looks like, or a pseudonym: neither holds anything to mask."""

_FLAGS = frozenset(
    ["true", "false", "yes", "no", "on", "off", "null", "none", "undefined", "0", "1"]
)
_LONGEST_FLAG = max(map(len, _FLAGS))
_UUID = re.compile(r"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_PART = re.compile(r"[^\[\].]+")
_OPAQUE_LENGTH = 16
_MIN_SECRET = 4
_MIN_IBAN = 12
_CODE = re.compile(r"\d{4,8}")
_LONGEST_KNOWN = 64
"""Characters of a key that is remembered: sites use few keys, and what is longer is none."""


def plain_key(key: str) -> str:
    """Bring a key to the form of the lists above: ``user[E-Mail][0]`` is ``email``."""
    return _plain_key(key) if len(key) <= _LONGEST_KNOWN else _plain_key.__wrapped__(key)


@lru_cache(maxsize=4096)
def _plain_key(key: str) -> str:
    parts = [part for part in _PART.findall(key) if not part.isdigit()]
    return re.sub(r"[^a-z0-9]", "", parts[-1].lower()) if parts else ""


def announces(key: str) -> bool:
    """Tell whether a plain key may announce anything, whatever its value."""
    return key in _ALL_KEYS or key.endswith(_ENDINGS)


def announced(key: str, value: str, *, in_url: bool) -> str | None:
    """Kind of personal value that a plain key announces and the value bears out, or None."""
    if len(value) <= _LONGEST_FLAG and (not value or value.lower() in _FLAGS):
        return None
    if value[0] in "[p" and MASKED.fullmatch(value):
        return None
    return _announced_value(key, value) or _announced_secret(key, value, in_url=in_url)


def _announced_value(key: str, value: str) -> str | None:
    if key in EMAIL_KEYS:
        return None if value.isdigit() else "email"
    digits = sum(map(str.isdigit, value))
    if key in PHONE_KEYS or key.endswith(PHONE_ENDINGS):
        return "phone" if digits in PHONE_DIGITS else None
    if key in CARD_KEYS:
        return "card" if digits in CARD_DIGITS and luhn(re.sub(r"\D", "", value)) else None
    if key in SOCIAL_SECURITY_KEYS:
        return "ssn" if digits in PHONE_DIGITS else None
    if key in IBAN_KEYS:
        return "iban" if digits and len(value) >= _MIN_IBAN else None
    return _announced_person(key, value)


def _announced_person(key: str, value: str) -> str | None:
    if key in ADDRESS_KEYS:
        return "ip" if truncated_ip(value) not in {None, value} else None
    if key in NAME_KEYS or key.endswith(NAME_ENDINGS):
        return "name"
    if key in BIRTH_KEYS:
        return "birthdate"
    return "card" if key in CARD_CODE_KEYS and value.isdigit() else None


def _announced_secret(key: str, value: str, *, in_url: bool) -> str | None:
    if not in_url and (key in HARMLESS_IN_JSON or key.endswith(("sessionid", "sessid"))):
        return None
    if key in SECRET_KEYS or key.endswith(SECRET_ENDINGS):
        return "token" if len(value) >= _MIN_SECRET else None
    if in_url and key in OPAQUE_KEYS and _is_opaque(key, value):
        return "token"
    return None


def _is_opaque(key: str, value: str) -> bool:
    """Tell a secret from a word, a number or the id of a session."""
    if key == "code" and _CODE.fullmatch(value):
        return True
    has_both = not value.isalpha() and not value.isdigit()
    return len(value) >= _OPAQUE_LENGTH and has_both and not _UUID.fullmatch(value)
