"""TC strings of IAB Europe's Transparency and Consent Framework 2.2 and 2.3: read, judged, written.

Source:
    "Consent string and vendor list formats v2" of the IAB Tech Lab (TCF v2.3, 2025), and its
    reference decoder for the lengths of fields.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import datetime

from clickstream_platform.collection.consent.bits import BitReader, BitWriter, Ids, split_segments
from clickstream_platform.collection.consent.errors import refuse

PURPOSES = 24
SPECIAL_FEATURES = 12
NOTHING = Ids()

NOT_ALLOWED, REQUIRE_CONSENT, REQUIRE_LEGITIMATE_INTEREST = 0, 1, 2
"""Kinds of publisher restrictions; 3 is not defined."""

DISCLOSED, ALLOWED, PUBLISHER = 1, 2, 3
"""Types of the segments after the first."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """What a publisher decided for some vendors and one purpose, whatever these declare."""

    purpose: int
    kind: int
    vendors: Ids


@dataclass(frozen=True, slots=True)
class PublisherConsent:
    """What a person chose for the site itself, rather than for vendors."""

    purpose_consents: Ids = NOTHING
    purpose_legitimate_interests: Ids = NOTHING
    custom_purposes: int = 0
    """How many purposes of its own the site has."""
    custom_consents: Ids = NOTHING
    custom_legitimate_interests: Ids = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class TcString:
    """Everything that a TC string says."""

    version: int
    created_at: datetime
    updated_at: datetime
    cmp_id: int
    cmp_version: int
    consent_screen: int
    consent_language: str
    vendor_list_version: int
    policy_version: int | None = None
    """Null in version 1, which had none."""
    is_service_specific: bool = False
    use_non_standard_texts: bool = False
    special_feature_opt_ins: Ids = NOTHING
    purpose_consents: Ids = NOTHING
    purpose_legitimate_interests: Ids = NOTHING
    purpose_one_treatment: bool = False
    publisher_country: str = "AA"
    vendor_consents: Ids = NOTHING
    vendor_legitimate_interests: Ids = NOTHING
    restrictions: tuple[Restriction, ...] = ()
    disclosed_vendors: Ids | None = None
    """Null where the segment is missing, which says something else than that it is empty."""
    allowed_vendors: Ids | None = None
    publisher: PublisherConsent | None = None


def decode_tcf(text: str) -> TcString:
    """Read a TC string, with all of its segments.

    Reading says nothing about whether the string may be relied on: see `tcf_faults`.

    Args:
        text: The string: segments joined by dots, the core first, the others in any order.

    A string that is too long, ends too soon, or holds what the format does not know raises
    `ConsentStringError`, and nothing else is ever raised.
    """
    segments = split_segments(text, ".", "TC string")
    core = _core(BitReader(segments[0]))
    found: dict[int, object] = {}
    for segment in segments[1:]:
        reader = BitReader(segment)
        kind = reader.integer(3, "segment type")
        if kind not in _SEGMENTS:
            refuse("segment type", "is not known")
        if kind in found:
            refuse("segment type", "stands there twice")
        found[kind] = _SEGMENTS[kind](reader)
    for kind, name in _NAMES.items():
        if kind in found:
            core[name] = found[kind]
    return TcString(**core)  # type: ignore[arg-type]  # filled by name, as the format lists them


def _core(reader: BitReader) -> dict[str, object]:
    version = reader.integer(6, "Version")
    if version not in {1, 2}:
        refuse("Version", "is neither 1 nor 2")
    head: dict[str, object] = {
        "version": version,
        "created_at": reader.instant("Created"),
        "updated_at": reader.instant("LastUpdated"),
        "cmp_id": reader.integer(12, "CmpId"),
        "cmp_version": reader.integer(12, "CmpVersion"),
        "consent_screen": reader.integer(6, "ConsentScreen"),
        "consent_language": reader.letters("ConsentLanguage"),
        "vendor_list_version": reader.integer(12, "VendorListVersion"),
    }
    if version == 1:
        return head | {
            "purpose_consents": reader.bitfield(PURPOSES, "PurposesAllowed"),
            "vendor_consents": _vendors_of_version_1(reader),
        }
    return head | {
        "policy_version": reader.integer(6, "TcfPolicyVersion"),
        "is_service_specific": reader.flag("IsServiceSpecific"),
        "use_non_standard_texts": reader.flag("UseNonStandardTexts"),
        "special_feature_opt_ins": reader.bitfield(SPECIAL_FEATURES, "SpecialFeatureOptIns"),
        "purpose_consents": reader.bitfield(PURPOSES, "PurposesConsent"),
        "purpose_legitimate_interests": reader.bitfield(PURPOSES, "PurposesLITransparency"),
        "purpose_one_treatment": reader.flag("PurposeOneTreatment"),
        "publisher_country": reader.letters("PublisherCC"),
        "vendor_consents": reader.vendors("VendorConsent"),
        "vendor_legitimate_interests": reader.vendors("VendorLegitimateInterest"),
        "restrictions": tuple(
            Restriction(
                reader.integer(6, "PubRestrictions"),
                reader.integer(2, "PubRestrictions"),
                reader.fixed_ranges("PubRestrictions"),
            )
            for _ in range(reader.integer(12, "NumPubRestrictions"))
        ),
    }


def _vendors_of_version_1(reader: BitReader) -> Ids:
    largest = reader.integer(16, "MaxVendorId")
    if not reader.flag("EncodingType"):
        return reader.bitfield(largest, "BitField")
    if reader.flag("DefaultConsent"):
        refuse("DefaultConsent", "lists those without consent")
    return reader.up_to(largest, reader.fixed_ranges("RangeEntry"), "RangeEntry")


def _publisher(reader: BitReader) -> PublisherConsent:
    consents = reader.bitfield(PURPOSES, "PubPurposesConsent")
    interests = reader.bitfield(PURPOSES, "PubPurposesLITransparency")
    number = reader.integer(6, "NumCustomPurposes")
    return PublisherConsent(
        consents,
        interests,
        number,
        reader.bitfield(number, "CustomPurposesConsent"),
        reader.bitfield(number, "CustomPurposesLITransparency"),
    )


_SEGMENTS: dict[int, Callable[[BitReader], object]] = {
    DISCLOSED: lambda reader: reader.vendors("DisclosedVendors"),
    ALLOWED: lambda reader: reader.vendors("AllowedVendors"),
    PUBLISHER: _publisher,
}
_NAMES = {DISCLOSED: "disclosed_vendors", ALLOWED: "allowed_vendors", PUBLISHER: "publisher"}


def encode_tcf(tc: TcString) -> str:
    """Write a TC string of version 2; `decode_tcf` reads the same back."""
    if tc.version != 2:  # noqa: PLR2004 - the version of the format
        refuse("Version", "is not 2")
    core = BitWriter().integer(tc.version, 6).instant(tc.created_at).instant(tc.updated_at)
    core.integer(tc.cmp_id, 12).integer(tc.cmp_version, 12).integer(tc.consent_screen, 6)
    core.letters(tc.consent_language).integer(tc.vendor_list_version, 12)
    core.integer(tc.policy_version or 0, 6).flag(value=tc.is_service_specific)
    core.flag(value=tc.use_non_standard_texts)
    core.bitfield(tc.special_feature_opt_ins, SPECIAL_FEATURES)
    core.bitfield(tc.purpose_consents, PURPOSES)
    core.bitfield(tc.purpose_legitimate_interests, PURPOSES)
    core.flag(value=tc.purpose_one_treatment).letters(tc.publisher_country)
    core.vendors(tc.vendor_consents).vendors(tc.vendor_legitimate_interests)
    core.integer(len(tc.restrictions), 12)
    for restriction in tc.restrictions:
        core.integer(restriction.purpose, 6).integer(restriction.kind, 2)
        core.fixed_ranges(restriction.vendors)
    segments = [core]
    for kind, vendors in ((DISCLOSED, tc.disclosed_vendors), (ALLOWED, tc.allowed_vendors)):
        if vendors is not None:
            segments.append(BitWriter().integer(kind, 3).vendors(vendors))
    if tc.publisher is not None:
        own, size = tc.publisher, tc.publisher.custom_purposes
        segment = BitWriter().integer(PUBLISHER, 3).bitfield(own.purpose_consents, PURPOSES)
        segment.bitfield(own.purpose_legitimate_interests, PURPOSES).integer(size, 6)
        segment.bitfield(own.custom_consents, size)
        segments.append(segment.bitfield(own.custom_legitimate_interests, size))
    return ".".join(segment.text for segment in segments)


# -- What a string is worth ----------------------------------------------------------------------

POLICY_VERSIONS = frozenset({2, 3, 4, 5})
"""Versions of the framework's policies; 4 came with TCF 2.2 and 5 with 2.3. A newer one is unknown
and counts for nothing until it has been read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcfRules:
    """Dates and lengths of the framework that a string is judged by; part of `purposes.toml`."""

    policy_4_from: datetime
    """Strings made from here on need policy 4 or newer."""
    disclosed_vendors_from: datetime
    """Strings made from here on need the segment of disclosed vendors."""
    max_age_days: float
    """Age at which a string has to be asked for again."""
    max_clock_skew_days: float
    """How far in the future a string may have been made: days are rounded, clocks are wrong."""


def tcf_faults(tc: TcString, rules: TcfRules, *, now: datetime) -> tuple[str, ...]:
    """Why a string counts for nothing; empty if it may be relied on.

    Bits for legitimate interest that 2.2 forbids do not void the string: they are ignored
    (`decide_vendor`).
    """
    made = max(tc.created_at, tc.updated_at)
    age_days = (now - made).total_seconds() / 86_400
    is_new_enough = tc.policy_version is not None and tc.policy_version >= 4  # noqa: PLR2004 - TCF 2.2
    checks = {
        "version_outdated": tc.version != 2,  # noqa: PLR2004 - the version of the format
        "policy_unknown": tc.policy_version not in POLICY_VERSIONS,
        "policy_outdated": made >= rules.policy_4_from and not is_new_enough,
        "not_service_specific": not tc.is_service_specific,
        "disclosed_vendors_missing": made >= rules.disclosed_vendors_from
        and tc.disclosed_vendors is None,
        "made_in_the_future": age_days < -rules.max_clock_skew_days,
        "expired": age_days > rules.max_age_days,
    }
    return tuple(name for name, is_at_fault in checks.items() if is_at_fault)


CONSENT_ONLY = frozenset({1, 3, 4, 5, 6})
"""Purposes that legitimate interest cannot serve: 1 by law, the others since TCF 2.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """What a vendor declares in the Global Vendor List."""

    id: int
    consent_purposes: Set[int] = frozenset()
    legitimate_interest_purposes: Set[int] = frozenset()
    flexible_purposes: Set[int] = frozenset()
    """Purposes whose basis a publisher may exchange."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something may be done, and why."""

    is_allowed: bool
    reason: str


def decide_vendor(
    tc: TcString,
    vendor: Vendor,
    purpose: int,
    *,
    purpose_one_exempt: Set[str] = frozenset(),
) -> Decision:
    """Decide whether a vendor may process for a purpose, given a string without faults.

    Args:
        tc: The string.
        vendor: What the vendor declares.
        purpose: Purpose of the framework, 1 to 11.
        purpose_one_exempt: Countries of publishers whose law does not ask consent for purpose 1;
            it matters where the site did not disclose that purpose (PurposeOneTreatment).
    """
    if tc.disclosed_vendors is not None and vendor.id not in tc.disclosed_vendors:
        return Decision(is_allowed=False, reason="vendor_not_disclosed")
    basis = _basis(tc, vendor, purpose)
    if isinstance(basis, Decision):
        return basis
    if purpose == 1 and tc.purpose_one_treatment:
        is_exempt = tc.publisher_country in purpose_one_exempt
        reason = "purpose_one_exempt" if is_exempt else "purpose_one_not_disclosed"
        return Decision(is_allowed=is_exempt, reason=reason)
    refusal = _refusal(tc, vendor.id, purpose, basis)
    return Decision(is_allowed=refusal is None, reason=refusal or basis)


def _refusal(tc: TcString, vendor: int, purpose: int, basis: str) -> str | None:
    """What is missing for a basis, if anything."""
    missing = {
        "purpose_refused": purpose not in tc.purpose_consents,
        "vendor_refused": vendor not in tc.vendor_consents,
    }
    if basis != "consent":
        missing = {
            "legitimate_interest_prohibited": purpose in CONSENT_ONLY,
            "purpose_objected": purpose not in tc.purpose_legitimate_interests,
            "vendor_objected": vendor not in tc.vendor_legitimate_interests,
        }
    return next((reason for reason, is_missing in missing.items() if is_missing), None)


def _basis(tc: TcString, vendor: Vendor, purpose: int) -> Decision | str:
    """The legal basis that counts, after the publisher's restrictions; or why there is none."""
    if purpose in vendor.consent_purposes:
        basis = "consent"
    elif purpose in vendor.legitimate_interest_purposes:
        basis = "legitimate_interest"
    else:
        return Decision(is_allowed=False, reason="purpose_not_declared")
    kinds = {
        restriction.kind
        for restriction in tc.restrictions
        if restriction.purpose == purpose and vendor.id in restriction.vendors
    }
    if not kinds:
        return basis
    if kinds not in ({REQUIRE_CONSENT}, {REQUIRE_LEGITIMATE_INTEREST}):
        return Decision(is_allowed=False, reason="restricted_by_publisher")
    required = "consent" if kinds == {REQUIRE_CONSENT} else "legitimate_interest"
    if required != basis and purpose not in vendor.flexible_purposes:
        return Decision(is_allowed=False, reason="basis_not_flexible")
    return required


def decide_publisher(tc: TcString, purpose: int) -> Decision:
    """Decide whether the site itself may process for a purpose, given a string without faults.

    A site has no id in the vendor list: the segment of its own purposes speaks for it.
    """
    if tc.publisher is None:
        return Decision(is_allowed=False, reason="publisher_purposes_missing")
    if purpose in tc.publisher.purpose_consents:
        return Decision(is_allowed=True, reason="consent")
    if purpose in tc.publisher.purpose_legitimate_interests:
        if purpose in CONSENT_ONLY:
            return Decision(is_allowed=False, reason="legitimate_interest_prohibited")
        return Decision(is_allowed=True, reason="legitimate_interest")
    return Decision(is_allowed=False, reason="purpose_refused")
