"""What an event says of consent: every signal in it and its request, decoded once."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from clickstream_platform.collection.consent.consent_mode import (
    decode_consent_mode,
    decode_gcd,
    decode_gcs,
)
from clickstream_platform.collection.consent.errors import ConsentStringError
from clickstream_platform.collection.consent.gpp import GppString, UspString, decode_gpp, decode_usp
from clickstream_platform.collection.consent.tcf import TcString, decode_tcf

NAMES = {
    "tcf": ("tcf_string", "gdpr_consent"),
    "gpp": ("gpp_string", "gpp"),
    "us_privacy": ("us_privacy",),
    "gpc": ("gpc",),
    "consent_mode": ("consent_mode",),
    "gcs": ("gcs",),
    "gcd": ("gcd",),
}
"""Names under which each signal is sent: in the event, or among its properties."""

OWN = ("analytics", "marketing", "personalization")
"""Purposes of the person's own record that are columns of an event."""

YES, NO = frozenset({"true", "1", "yes", "granted", "t"}), frozenset(
    {"false", "0", "no", "denied", "f"}
)  # fmt: skip

GPC_HEADER = "sec-gpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentSignals:
    """What is known of a person's choices."""

    tcf: TcString | None = None
    gpp: GppString | None = None
    us_privacy: UspString | None = None
    gpc: bool = False
    """Global Privacy Control, from the header or the event."""
    consent_mode: Mapping[str, bool] = field(default_factory=dict)
    own: Mapping[str, bool] = field(default_factory=dict)
    """What the site's own record says, by purpose."""
    unreadable: frozenset[str] = frozenset()
    """Signals that were sent and cannot be read; they say no."""
    string_hash: str | None = None
    """SHA-256 of the strings, as evidence of what was said."""
    notice_version: str | None = None
    """Version of the notice that the person saw."""
    cmp_version: str | None = None
    """Consent platform that asked, and its version."""

    @property
    def is_gpc(self) -> bool:
        """Whether Global Privacy Control is on, anywhere."""
        return self.gpc or (self.gpp is not None and self.gpp.gpc)

    @property
    def is_opted_out(self) -> bool:
        """Whether the person opted out of sale, sharing or targeted advertising, anywhere."""
        if self.is_gpc:
            return True
        strings = (self.us_privacy, self.gpp.usp if self.gpp else None)
        if any(each is not None and each.opt_out_sale == "Y" for each in strings):
            return True
        sections = self.gpp.us.values() if self.gpp else ()
        rights = ("Sale", "Sharing", "TargetedAdvertising")
        return any(section.is_opted_out(right) for section in sections for right in rights)

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all was said."""
        return not (
            self.tcf or self.gpp or self.us_privacy or self.gpc or self.consent_mode or self.own
            or self.unreadable
        )  # fmt: skip

    @property
    def source(self) -> str | None:
        """Which signal carries most: ``tcf``, ``gpp``, ``gpc``, ``consent_mode`` or ``event``."""
        said = {
            "tcf": self.tcf or "tcf" in self.unreadable,
            "gpp": self.gpp or self.us_privacy or self.unreadable & {"gpp", "us_privacy"},
            "gpc": self.gpc,
            "consent_mode": self.consent_mode or "consent_mode" in self.unreadable,
            "event": self.own,
        }
        return next((name for name, value in said.items() if value), None)

    @property
    def policy_version(self) -> int | None:
        """Version of the policies of TCF that the person was asked under."""
        tc = self.tcf or (self.gpp.tcf_eu if self.gpp else None)
        return tc.policy_version if tc else None


NO_SIGNALS = ConsentSignals()
"""What an event without any signal says."""


def signals_of(
    record: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> ConsentSignals:
    """Read every signal of an event and the request that brought it; nothing is ever raised.

    Made to be called for each event at the door: no I/O, and a string that was seen a short while
    ago is not decoded again.

    Args:
        record: The event as a JSON object. Signals are looked for in it, in its ``properties``,
            and in its ``consent``.
        headers: Headers of the request, by name in lower case.
    """
    gpc = bool(headers) and str(headers.get(GPC_HEADER, "")).strip() == "1"  # type: ignore[union-attr]  # not null
    places = [record]
    for name in ("properties", "consent"):
        below = record.get(name)
        if isinstance(below, Mapping):
            places.append(below)
    sent = {
        signal: value
        for signal, names in NAMES.items()
        for value in _values(places, names)
    }  # fmt: skip
    own = _own(record, places)
    if not sent and not own:
        return ConsentSignals(gpc=True) if gpc else NO_SIGNALS
    return _decoded(sent, own, gpc=gpc, about=_about(places))


def _values(places: list[Mapping[str, object]], names: Iterable[str]) -> Iterable[object]:
    for place in places:
        for name in names:
            value = place.get(name)
            if value is not None and value != "":
                yield value
                return


def _own(record: Mapping[str, object], places: list[Mapping[str, object]]) -> dict[str, bool]:
    """The site's own record: `consent` by purpose, or the columns of an event."""
    found: dict[str, bool] = {}
    given = record.get("consent")
    if isinstance(given, Mapping):
        for name, value in given.items():
            if (said := flag(value)) is not None:
                found[str(name)] = said
    for place in places:
        for name in OWN:
            if (said := flag(place.get(f"consent_{name}"))) is not None:
                found.setdefault(name, said)
    for names in NAMES.values():
        for name in names:
            found.pop(name, None)
    return found


def flag(value: object) -> bool | None:
    """Yes, no, or neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int):
        text = str(value).strip().lower()
        return True if text in YES else False if text in NO else None
    return None


def _about(places: list[Mapping[str, object]]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in ("notice_version", "cmp_version"):
        value = next(iter(_values(places, (name,))), None)
        found[name] = str(value)[:64] if isinstance(value, str | int) else None
    return found


def _decoded(
    sent: Mapping[str, object],
    own: Mapping[str, bool],
    *,
    gpc: bool,
    about: Mapping[str, str | None],
) -> ConsentSignals:
    unreadable: set[str] = set()
    strings: dict[str, object] = {}
    for name in ("tcf", "gpp", "us_privacy"):
        if name not in sent:
            continue
        read = _read(name, sent[name]) if isinstance(sent[name], str) else None
        if read is None:
            unreadable.add(name)
        strings[name] = read
    said = flag(sent.get("gpc"))
    if "gpc" in sent and said is None:
        unreadable.add("gpc")
    modes: dict[str, bool] = {}
    for name in ("gcs", "gcd", "consent_mode"):
        mode = _mode(name, sent.get(name))
        if mode is None:
            unreadable.add("consent_mode")
        modes |= mode or {}
    tcf = strings.get("tcf")
    return ConsentSignals(
        **strings,  # type: ignore[arg-type]  # each decoder returns its own type
        gpc=gpc or said is True or "gpc" in unreadable,
        consent_mode=modes,
        own=own,
        unreadable=frozenset(unreadable),
        string_hash=_hash(sent),
        notice_version=about["notice_version"],
        cmp_version=about["cmp_version"]
        or (f"{tcf.cmp_id}.{tcf.cmp_version}" if isinstance(tcf, TcString) else None),
    )


_DECODERS = {"tcf": decode_tcf, "gpp": decode_gpp, "us_privacy": decode_usp}


@lru_cache(maxsize=4096)
def _read(name: str, text: str) -> object:
    """A string decoded; null if it cannot be."""
    try:
        return _DECODERS[name](text)
    except ConsentStringError:
        return None


def _mode(name: str, value: object) -> dict[str, bool] | None:
    """Signals of Consent Mode; null if they cannot be read."""
    if value is None:
        return {}
    try:
        if isinstance(value, Mapping):
            return decode_consent_mode(value)
        if isinstance(value, str):
            return decode_gcd(value) if name == "gcd" or value[:1] == "1" else decode_gcs(value)
    except ConsentStringError:
        pass
    return None


def _hash(sent: Mapping[str, object]) -> str | None:
    strings = [f"{name}={value}" for name, value in sorted(sent.items()) if isinstance(value, str)]
    return hashlib.sha256("\n".join(strings).encode()).hexdigest() if strings else None
