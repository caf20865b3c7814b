"""Google Consent Mode v2: the seven signals, by name or out of ``gcs`` and ``gcd``.

Source:
    Google's "Consent mode reference" for the names and values; ``gcs`` and ``gcd`` are not
    documented by Google and are read as the analytics community has found them to be written.
"""

import re
from collections.abc import Mapping

from clickstream_platform.collection.consent.errors import refuse

SIGNALS = (
    "ad_storage",
    "analytics_storage",
    "ad_user_data",
    "ad_personalization",
    "functionality_storage",
    "personalization_storage",
    "security_storage",
)
"""Names of the signals, the first four in the order of ``gcd``."""

VALUES = {"granted": True, "denied": False}

_GCS = re.compile(r"G1([01-])([01-])")
_GCD = re.compile(r"1[0-9]([a-z])[0-9]([a-z])[0-9]([a-z])[0-9]([a-z])[0-9a-z]*")
_LETTERS: Mapping[str, bool | None] = {
    "l": None,  # neither a default nor an update
    "p": False,  # denied by default, no update
    "q": False,  # denied by default, denied by the update
    "r": True,  # denied by default, granted by the update
    "t": True,  # granted by default, no update
    "u": False,  # granted by default, denied by the update
    "v": True,  # granted by default, granted by the update
    "m": False,  # no default, denied by the update
    "n": True,  # no default, granted by the update
}
"""A letter of ``gcd`` says what holds after the page's default and the person's update."""


def decode_gcs(text: str) -> dict[str, bool]:
    """Read ``gcs``, such as ``G101``: advertising storage, then analytics storage.

    A text that is not of that form raises `ConsentStringError`.
    """
    found = _GCS.fullmatch(text)
    if found is None:
        refuse("gcs", "is not G1 and two of 0, 1 and -")
    values = {"0": False, "1": True, "-": None}
    return _set(zip(SIGNALS, map(values.__getitem__, found.groups()), strict=False))


def decode_gcd(text: str) -> dict[str, bool]:
    """Read ``gcd``, such as ``11t1t1t1t5``; signals that were never set are left out.

    A text that is not of that form, or has a letter without a known meaning, raises
    `ConsentStringError`.
    """
    found = _GCD.fullmatch(text) if len(text) <= 64 else None  # noqa: PLR2004 - real ones have 12
    if found is None:
        refuse("gcd", "is not 1 and four letters between digits")
    letters = found.groups()
    if set(letters) - set(_LETTERS):
        refuse("gcd", "has a letter whose meaning is not known")
    return _set(zip(SIGNALS, map(_LETTERS.__getitem__, letters), strict=False))


def decode_consent_mode(signals: Mapping[str, object]) -> dict[str, bool]:
    """Read signals given by name, ``granted`` or ``denied``; names that are not known are ignored.

    A known signal with another value raises `ConsentStringError`.
    """
    found: dict[str, bool] = {}
    for name in SIGNALS:
        value = signals.get(name)
        if isinstance(value, bool):
            found[name] = value
        elif isinstance(value, str) and value.lower() in VALUES:
            found[name] = VALUES[value.lower()]
        elif value is not None:
            refuse(name, "is neither granted nor denied")
    return found


def _set(pairs: "zip[tuple[str, bool | None]]") -> dict[str, bool]:
    return {name: value for name, value in pairs if value is not None}
