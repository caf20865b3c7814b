"""What was decoded, in the words of the reference decoders: to be compared with their output."""

from collections.abc import Iterable
from datetime import datetime

from clickstream_platform.collection.consent.gpp import CanadaString, GppString, layouts
from clickstream_platform.collection.consent.tcf import PublisherConsent, Restriction, TcString

PURPOSES, FEATURES = 24, 12
HAS_GPC = {
    layout.name for found in layouts().values() for layout in found.values() if layout.has_gpc
}


def instant(at: object) -> str:
    assert isinstance(at, datetime)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def bits(ids: object, size: int) -> list[bool]:
    return [number in ids for number in range(1, size + 1)]  # type: ignore[operator]  # Ids or ()


def restrictions(found: Iterable[Restriction]) -> list[dict[str, object]]:
    return [{"key": each.purpose, "type": each.kind, "ids": [*each.vendors]} for each in found]


def tcf_model(tc: TcString) -> dict[str, object]:
    """As `TCString.decode` of @iabtcf/core tells it; what version 1 lacks has its defaults."""
    own = tc.publisher or PublisherConsent()
    return {
        "version": tc.version,
        "created": instant(tc.created_at),
        "lastUpdated": instant(tc.updated_at),
        "cmpId": tc.cmp_id,
        "cmpVersion": tc.cmp_version,
        "consentScreen": tc.consent_screen,
        "consentLanguage": tc.consent_language,
        "vendorListVersion": tc.vendor_list_version,
        "policyVersion": 2 if tc.policy_version is None else tc.policy_version,
        "isServiceSpecific": tc.is_service_specific,
        "useNonStandardTexts": tc.use_non_standard_texts,
        "purposeOneTreatment": tc.purpose_one_treatment,
        "publisherCountryCode": tc.publisher_country,
        "specialFeatureOptins": [*tc.special_feature_opt_ins],
        "purposeConsents": [*tc.purpose_consents],
        "purposeLegitimateInterests": [*tc.purpose_legitimate_interests],
        "vendorConsents": [*tc.vendor_consents],
        "vendorLegitimateInterests": [*tc.vendor_legitimate_interests],
        "vendorsDisclosed": [*(tc.disclosed_vendors or ())],
        "vendorsAllowed": [*(tc.allowed_vendors or ())],
        "publisherConsents": [*own.purpose_consents],
        "publisherLegitimateInterests": [*own.purpose_legitimate_interests],
        "numCustomPurposes": own.custom_purposes,
        "publisherCustomConsents": [*own.custom_consents],
        "publisherCustomLegitimateInterests": [*own.custom_legitimate_interests],
        "publisherRestrictions": [
            {"purposeId": each.purpose, "restrictionType": each.kind, "vendors": [*each.vendors]}
            for each in sorted(tc.restrictions, key=lambda each: (each.purpose, each.kind))
        ],
    }


def gpp_sections(gpp: GppString) -> dict[str, dict[str, object]]:
    """As `GppModel.getSection` of @iabgpp/cmpapi tells it, section by section."""
    found: dict[str, dict[str, object]] = {}
    if gpp.tcf_eu:
        found["tcfeuv2"] = _eu(gpp.tcf_eu)
    if gpp.tcf_ca:
        found["tcfcav1"] = _canada(gpp.tcf_ca)
    if gpp.usp:
        found["uspv1"] = {
            "Version": gpp.usp.version,
            "Notice": gpp.usp.notice,
            "OptOutSale": gpp.usp.opt_out_sale,
            "LspaCovered": gpp.usp.lspa_covered,
        }
    for name, section in gpp.us.items():
        found[name] = {
            key: [*value] if isinstance(value, tuple) else value
            for key, value in section.fields.items()
        }
        if name in HAS_GPC:
            found[name] |= {"GpcSegmentType": 1, "Gpc": bool(section.gpc)}
    return found


def _eu(tc: TcString) -> dict[str, object]:
    own = tc.publisher or PublisherConsent()
    return {
        "Version": tc.version,
        "Created": instant(tc.created_at),
        "LastUpdated": instant(tc.updated_at),
        "CmpId": tc.cmp_id,
        "CmpVersion": tc.cmp_version,
        "ConsentScreen": tc.consent_screen,
        "ConsentLanguage": tc.consent_language,
        "VendorListVersion": tc.vendor_list_version,
        "PolicyVersion": tc.policy_version,
        "IsServiceSpecific": tc.is_service_specific,
        "UseNonStandardStacks": tc.use_non_standard_texts,
        "SpecialFeatureOptins": bits(tc.special_feature_opt_ins, FEATURES),
        "PurposeConsents": bits(tc.purpose_consents, PURPOSES),
        "PurposeLegitimateInterests": bits(tc.purpose_legitimate_interests, PURPOSES),
        "PurposeOneTreatment": tc.purpose_one_treatment,
        "PublisherCountryCode": tc.publisher_country,
        "VendorConsents": [*tc.vendor_consents],
        "VendorLegitimateInterests": [*tc.vendor_legitimate_interests],
        "PublisherRestrictions": restrictions(tc.restrictions),
        "PublisherPurposesSegmentType": 3,
        "PublisherConsents": bits(own.purpose_consents, PURPOSES),
        "PublisherLegitimateInterests": bits(own.purpose_legitimate_interests, PURPOSES),
        "NumCustomPurposes": own.custom_purposes,
        "PublisherCustomConsents": bits(own.custom_consents, own.custom_purposes),
        "PublisherCustomLegitimateInterests": bits(
            own.custom_legitimate_interests, own.custom_purposes
        ),
        "VendorsAllowedSegmentType": 2,
        "VendorsAllowed": [*(tc.allowed_vendors or ())],
        "VendorsDisclosedSegmentType": 1,
        "VendorsDisclosed": [*(tc.disclosed_vendors or ())],
    }


def _canada(canada: CanadaString) -> dict[str, object]:
    fields = dict(canada.fields)
    custom = fields.setdefault("NumCustomPurposes", 0)
    assert isinstance(custom, int)
    sizes = {
        "SpecialFeatureExpressConsent": FEATURES,
        "PurposesExpressConsent": PURPOSES,
        "PurposesImpliedConsent": PURPOSES,
        "PubPurposesExpressConsent": PURPOSES,
        "PubPurposesImpliedConsent": PURPOSES,
        "CustomPurposesExpressConsent": custom,
        "CustomPurposesImpliedConsent": custom,
    }
    fields |= {name: bits(fields.get(name, ()), size) for name, size in sizes.items()}
    fields |= {name: instant(fields[name]) for name in ("Created", "LastUpdated")}
    for name in ("VendorExpressConsent", "VendorImpliedConsent", "DisclosedVendors"):
        fields[name] = [*fields.get(name, ())]  # type: ignore[misc]  # Ids
    fields["PubRestrictions"] = restrictions(fields["PubRestrictions"])  # type: ignore[arg-type]
    return fields | {"PubPurposesSegmentType": 3, "DisclosedVendorsSegmentType": 1}
