"""What each processing needs in each regime, as data; and what some signals therefore allow."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clickstream_platform.collection.consent.consent_mode import SIGNALS
from clickstream_platform.collection.consent.gpp import GppString, UsSection, layouts
from clickstream_platform.collection.consent.signals import ConsentSignals
from clickstream_platform.collection.consent.tcf import (
    Decision,
    TcfRules,
    TcString,
    Vendor,
    decide_publisher,
    decide_vendor,
    tcf_faults,
)
from clickstream_platform.definitions import own_or_shipped, read_definition, read_once

SHIPPED = Path(__file__).with_name("purposes.toml")

UNKNOWN = "unknown"
"""Regime of a country that no regime names, and of an event without a country."""

COLUMNS = ("consent_analytics", "consent_marketing", "consent_personalization")
"""Consents of an event."""

CHOICES = (*COLUMNS, "consent_attribution")
"""Consents that are recorded of a choice, and asked at use."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TcfPolicy(_Part):
    """How TC strings are judged."""

    policy_4_from: datetime
    disclosed_vendors_from: datetime
    max_age_days: float = Field(gt=0)
    max_clock_skew_days: float = Field(ge=0)
    first_party: Literal["publisher", "purposes"]
    purpose_one_exempt: frozenset[str] = frozenset()


class Regime(_Part):
    """Law of some countries."""

    rule: Literal["opt_in", "opt_out"]
    countries: frozenset[str]


class Processing(_Part):
    """Something that is done with data, and what it needs. All that is listed must hold."""

    name: str
    description: str
    fideslang: str = Field(description="Data use of the Fides taxonomy.")
    own: str | None = Field(None, description="Purpose of the person's own record that speaks.")
    needs_own: bool = Field(False, description="Only the own record can allow it.")  # noqa: FBT003
    tcf: tuple[int, ...] = Field((), description="Purposes of TCF.")
    special_features: tuple[int, ...] = Field((), description="Special features of TCF.")
    needs_vendor: bool = Field(False, description="The vendor must be allowed too.")  # noqa: FBT003
    rights: tuple[Literal["Sale", "Sharing", "TargetedAdvertising"], ...] = Field(
        (), description="Rights of US laws that a person may have used against it."
    )
    sensitive: dict[str, int] = Field(
        default_factory=dict, description="Place of its consent in the sensitive data of a section."
    )
    refuses_children: bool = Field(False, description="Known children must consent.")  # noqa: FBT003
    needs_notice: bool = Field(False, description="The person must have been told.")  # noqa: FBT003
    consent_mode: tuple[str, ...] = Field((), description="Signals of Consent Mode.")
    is_exempt: bool = Field(False, description="No choice is offered.")  # noqa: FBT003


class Cookieless(_Part):
    """What is counted without identifiers of events that may not be measured."""

    regimes: frozenset[str] = frozenset()
    """Where it is; a country that no regime names is counted if all of them are here."""
    least: int = Field(10, ge=2, description="People that a count must be of; fewer are folded.")


class Policy(_Part):
    """The whole table."""

    tcf: TcfPolicy
    cookieless: Cookieless = Cookieless()
    regimes: dict[str, Regime]
    processing: tuple[Processing, ...]
    columns: dict[str, str]

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        names = [each.name for each in self.processing]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            message = f"processing {twice} is there twice"
            raise ValueError(message)
        if set(self.columns) != set(CHOICES) or set(self.columns.values()) - set(names):
            message = f"columns must name a processing for each of {', '.join(CHOICES)}"
            raise ValueError(message)
        if not self.regimes:
            message = "at least one regime is needed: unknown countries get the strictest"
            raise ValueError(message)
        if strange := sorted(self.cookieless.regimes - set(self.regimes)):
            message = f"cookieless: {strange} is no regime"
            raise ValueError(message)
        known = {layout.name for found in layouts().values() for layout in found.values()}
        for each in self.processing:
            if strange := sorted(set(each.consent_mode) - set(SIGNALS)):
                message = f"processing {each.name}: {strange} is no signal of Consent Mode"
                raise ValueError(message)
            if strange := sorted(set(each.sensitive) - known):
                message = f"processing {each.name}: {strange} is no US section"
                raise ValueError(message)
        return self

    @property
    def rules(self) -> TcfRules:
        """Dates and lengths that TC strings are judged by."""
        return TcfRules(
            policy_4_from=self.tcf.policy_4_from,
            disclosed_vendors_from=self.tcf.disclosed_vendors_from,
            max_age_days=self.tcf.max_age_days,
            max_clock_skew_days=self.tcf.max_clock_skew_days,
        )

    def regime_of(self, country: str | None) -> str:
        """Regime of a country (ISO 3166-1 alpha-2); `UNKNOWN` where none names it."""
        for name, regime in self.regimes.items():
            if country is not None and country.upper() in regime.countries:
                return name
        return UNKNOWN


class Verdict(NamedTuple):
    """Whether a processing is allowed, and every reason that counted."""

    is_allowed: bool
    reasons: tuple[str, ...]


def load_policy(definitions: Path | None = None) -> Policy:
    """Read the table: the user's own `purposes.toml`, else the shipped one.

    Read once while the file does not change. One that cannot be used as written is a
    `DefinitionError`.
    """
    return _read_policy(own_or_shipped(SHIPPED, definitions))


@read_once
def _read_policy(file: Path) -> Policy:
    return read_definition(Policy, file, remedy="See docs/guide/consent.md for what the file says.")


def what_is_allowed(
    signals: ConsentSignals,
    regime: str,
    *,
    policy: Policy,
    now: datetime,
    vendor: Vendor | None = None,
) -> dict[str, Verdict]:
    """Decide about every processing of the table.

    Args:
        signals: What is known of the person's choices.
        regime: Regime of the person, as `Policy.regime_of` tells it. One that is not in the table
            gets the strictest verdict of all that are.
        policy: The table.
        now: When the processing would happen; strings expire.
        vendor: Who would do it, if not the site itself.
    """
    voices = _Voices(signals, policy, now, vendor)
    return {each.name: _verdict(each, regime, policy, voices) for each in policy.processing}


def consents_of(
    signals: ConsentSignals, regime: str, *, policy: Policy, now: datetime
) -> dict[str, bool | None]:
    """Consents of `CHOICES`; null where no signal speaks and the event says nothing."""
    if signals.is_silent:
        return dict.fromkeys(CHOICES)
    voices = _Voices(signals, policy, now, None)
    by_name = {each.name: each for each in policy.processing}
    found: dict[str, bool | None] = {}
    for column in CHOICES:
        processing = by_name[policy.columns[column]]
        verdict = _verdict(processing, regime, policy, voices)
        found[column] = verdict.is_allowed if voices.on(processing) else None
    return found


def _verdict(processing: Processing, regime: str, policy: Policy, voices: "_Voices") -> Verdict:
    if processing.is_exempt:
        return Verdict(is_allowed=True, reasons=("exempt",))
    if regime not in policy.regimes:
        return _strictest(processing, policy, voices)
    heard = voices.on(processing)
    against = tuple(reason for reason, says_yes in heard.items() if not says_yes)
    if against:
        return Verdict(is_allowed=False, reasons=against)
    in_favour = tuple(heard)
    if processing.needs_own:
        in_favour = tuple(reason for reason in in_favour if reason.startswith("own:"))
    if in_favour:
        return Verdict(is_allowed=True, reasons=in_favour)
    is_opt_in = processing.needs_own or policy.regimes[regime].rule == "opt_in"
    return Verdict(
        is_allowed=not is_opt_in, reasons=("no_signal" if is_opt_in else "not_opted_out",)
    )


def _strictest(processing: Processing, policy: Policy, voices: "_Voices") -> Verdict:
    """The verdict where nobody knows which law counts: allowed if every one of them allows it."""
    every = [_verdict(processing, name, policy, voices) for name in sorted(policy.regimes)]
    counted = [each for each in every if not each.is_allowed] or every[:1]
    reasons = dict.fromkeys(reason for each in counted for reason in each.reasons)
    return Verdict(
        is_allowed=all(each.is_allowed for each in every), reasons=("regime:unknown", *reasons)
    )


class _Voices:
    """Who says yes or no to a processing, with the reason; who does not speak is left out."""

    def __init__(
        self, signals: ConsentSignals, policy: Policy, now: datetime, vendor: Vendor | None
    ) -> None:
        self.signals, self.policy, self.vendor = signals, policy, vendor
        self.strings = [
            (tc, tcf_faults(tc, policy.rules, now=now))
            for tc in (signals.tcf, signals.gpp.tcf_eu if signals.gpp else None)
            if tc is not None
        ]
        canada = signals.gpp.tcf_ca if signals.gpp else None
        self.canada = canada.express if canada else None
        self._heard: dict[str, dict[str, bool]] = {}

    def on(self, processing: Processing) -> dict[str, bool]:
        """Reason of each that speaks, and whether it says yes."""
        if processing.name not in self._heard:
            self._heard[processing.name] = {
                reason: says_yes
                for part in (self._own, self._tcf, self._canada, self._us, self._consent_mode)
                for reason, says_yes in part(processing)
            }
        return self._heard[processing.name]

    def _own(self, processing: Processing) -> list[tuple[str, bool]]:
        given = self.signals.own.get(processing.own) if processing.own else None
        if given is None:
            return []
        return [(f"own:{processing.own}:{'granted' if given else 'refused'}", given)]

    def _tcf(self, processing: Processing) -> list[tuple[str, bool]]:
        if not (processing.tcf or processing.special_features):
            return []
        found = [("tcf:unreadable", False)] if "tcf" in self.signals.unreadable else []
        if "gpp" in self.signals.unreadable and not self.strings:
            found.append(("gpp:unreadable", False))  # a TC string may be in it
        for tc, faults in self.strings:
            if faults:
                found += [(f"tcf:{fault}", False) for fault in faults]
                continue
            found += self._features(tc, processing, "tcf")
            found += self._purposes(tc, processing, processing.tcf, "tcf")
        return found

    @staticmethod
    def _features(tc: TcString, processing: Processing, who: str) -> list[tuple[str, bool]]:
        found = []
        for feature in processing.special_features:
            on = feature in tc.special_feature_opt_ins
            found.append((f"{who}:special_feature_{feature}:{'in' if on else 'out'}", on))
        return found

    def _purposes(
        self, tc: TcString, processing: Processing, purposes: Iterable[int], who: str
    ) -> list[tuple[str, bool]]:
        if processing.needs_vendor and self.vendor is None:
            return [(f"{who}:vendor_unknown", False)] if processing.tcf else []
        found = []
        for purpose in purposes:
            decision = self._decide(tc, purpose)
            if decision.reason == "publisher_purposes_missing":
                return []  # the string says nothing of the site itself
            found.append((f"{who}:{purpose}:{decision.reason}", decision.is_allowed))
        return found

    def _decide(self, tc: TcString, purpose: int) -> Decision:
        if self.vendor is not None:
            exempt = self.policy.tcf.purpose_one_exempt
            return decide_vendor(tc, self.vendor, purpose, purpose_one_exempt=exempt)
        if self.policy.tcf.first_party == "purposes":
            on = purpose in tc.purpose_consents
            return Decision(is_allowed=on, reason="consent" if on else "purpose_refused")
        return decide_publisher(tc, purpose)

    def _canada(self, processing: Processing) -> list[tuple[str, bool]]:
        if self.canada is None:
            return []
        asked = [purpose for purpose in processing.tcf if purpose != 1]  # its bit is not used
        return [
            *self._features(self.canada, processing, "tcf_ca"),
            *self._purposes(self.canada, processing, asked, "tcf_ca"),
        ]

    def _us(self, processing: Processing) -> list[tuple[str, bool]]:
        found: list[tuple[str, bool]] = []
        gpp = self.signals.gpp
        if processing.rights and self.signals.is_gpc:
            found.append(("gpc", False))
        if (processing.rights or processing.needs_notice or processing.sensitive) and (
            "gpp" in self.signals.unreadable or "us_privacy" in self.signals.unreadable
        ):
            found.append(("gpp:unreadable", False))
        if processing.rights and _sold(gpp, self.signals):
            found.append(("us_privacy:sale", False))
        for section in gpp.us.values() if gpp else ():
            found += _section(section, processing)
        return found

    def _consent_mode(self, processing: Processing) -> list[tuple[str, bool]]:
        if not processing.consent_mode:
            return []
        if "consent_mode" in self.signals.unreadable:
            return [("consent_mode:unreadable", False)]
        given = {
            name: self.signals.consent_mode[name]
            for name in processing.consent_mode
            if name in self.signals.consent_mode
        }
        denied = [(f"consent_mode:{name}:denied", False) for name, on in given.items() if not on]
        if denied or len(given) < len(processing.consent_mode):
            return denied
        return [(f"consent_mode:{name}:granted", True) for name in given]


def _sold(gpp: GppString | None, signals: ConsentSignals) -> bool:
    """Whether a US Privacy string says that the person opted out of sale."""
    strings = [signals.us_privacy, gpp.usp if gpp else None]
    return any(each is not None and each.opt_out_sale == "Y" for each in strings)


def _section(section: UsSection, processing: Processing) -> list[tuple[str, bool]]:
    """What a US section says against a processing, or for the use of sensitive data."""
    found = [
        (f"{section.name}:{right}OptOut", False)
        for right in processing.rights
        if section.is_opted_out(right)
    ]
    if processing.refuses_children and section.refuses_children:
        found.append((f"{section.name}:KnownChildSensitiveDataConsents", False))
    if processing.needs_notice:
        found += [
            (f"{section.name}:{name}", False)
            for name in ("SharingNotice", "ProcessingNotice")
            if section.fields.get(name, 0) not in {0, 1}
        ]
    place = processing.sensitive.get(section.name)
    on = section.may_use_sensitive(place) if place is not None else None
    if on is not None:
        found.append((f"{section.name}:SensitiveDataProcessing:{place}", on))
    return found
