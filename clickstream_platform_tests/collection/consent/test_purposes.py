"""The purpose table: what signals allow in each regime, and what a table may not say."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_platform.collection.consent import (
    ConsentSignals,
    Vendor,
    consents_of,
    encode_gpp,
    encode_tcf,
    load_policy,
    signals_of,
    what_is_allowed,
)
from clickstream_platform.collection.consent.bits import BitWriter, Ids
from clickstream_platform.collection.consent.gpp import UsSection, encode_us_section, layouts
from clickstream_platform.collection.consent.purposes import SHIPPED, UNKNOWN
from clickstream_platform.collection.consent.signals import NO_SIGNALS, _read
from clickstream_platform.errors import DefinitionError
from clickstream_platform_tests.collection.consent.strings import TODAY, own, tc

POLICY = load_policy()
ADS = {"ad_targeting", "crm", "ad_platforms"}
"""Processings that US laws let people opt out of, and that need more than measurement."""


def allowed(signals: ConsentSignals, regime: str, vendor: Vendor | None = None) -> set[str]:
    verdicts = what_is_allowed(signals, regime, policy=POLICY, now=TODAY, vendor=vendor)
    assert all(verdict.reasons for verdict in verdicts.values())
    return {name for name, verdict in verdicts.items() if verdict.is_allowed}


def tcf(text: str) -> ConsentSignals:
    return signals_of({"properties": {"tcf_string": text}})


def usnat(*, sale: int = 2, notice: int = 1, gpc: bool | None = None, child: int = 0) -> str:
    """A GPP string of the US national section."""
    rights = ("Sale", "Sharing", "TargetedAdvertising")
    fields: dict[str, int | tuple[int, ...]] = {
        "Version": 1,
        "SharingNotice": 1,
        "SensitiveDataProcessingOptOutNotice": 0,
        "SensitiveDataLimitUseNotice": 0,
        "SensitiveDataProcessing": (0,) * 12,
        "KnownChildSensitiveDataConsents": (child, 0),
        "PersonalDataConsents": 0,
        "MspaCoveredTransaction": 2,
        "MspaOptOutOptionMode": 0,
        "MspaServiceProviderMode": 0,
    }
    fields |= {f"{right}OptOutNotice": notice for right in rights}
    fields |= {f"{right}OptOut": 2 for right in rights} | {"SaleOptOut": sale}
    return encode_gpp({7: encode_us_section(UsSection("usnat", 1, fields, gpc))})


def section(name: str, **said: int | tuple[int, ...]) -> ConsentSignals:
    """A US section in which everything else does not apply."""
    layout = next(
        layout for found in layouts().values() for layout in found.values() if layout.name == name
    )
    both = (*layout.fields, *((layout.sensitive,) if layout.sensitive else ()))
    fields: dict[str, int | tuple[int, ...]] = {
        name: (0,) * times if times else 0 for name, times in both
    }
    fields |= {layout.version_field: layout.version, **said}
    return gpp(encode_gpp({layout.id: encode_us_section(UsSection(name, layout.version, fields))}))


def sensitive(name: str, place: int, value: int, **said: int) -> ConsentSignals:
    """A US section that says something of one kind of sensitive data."""
    values = tuple(value if number == place else 0 for number in range(1, LENGTHS[name] + 1))
    return section(name, SensitiveDataProcessing=values, **said)


LENGTHS = {
    layout.name: times
    for found in layouts().values()
    for layout in (found[1],)
    for name, times in (*layout.fields, *((layout.sensitive,) if layout.sensitive else ()))
    if name == "SensitiveDataProcessing"
}
"""How many kinds of sensitive data each section names."""


def canada(
    *,
    site: Iterable[int] = (),
    features: Iterable[int] = (),
    purposes: Iterable[int] = (),
    vendors: Iterable[int] = (),
) -> ConsentSignals:
    """A string of TCF Canada with express consent: of the site itself, and of vendors up to 9."""
    core = BitWriter().integer(1, 6).instant(TODAY).instant(TODAY).integer(1, 12).integer(1, 12)
    core.integer(1, 6).letters("EN").integer(1, 12).integer(2, 6).flag(value=False)
    core.bitfield(features, 12).bitfield(purposes, 24).bitfield((), 24)
    core.integer(9, 16).flag(value=False).bitfield(vendors, 9)
    core.integer(0, 16).flag(value=False).integer(0, 12)
    own_part = BitWriter().integer(3, 3).bitfield(site, 24).bitfield((), 24).integer(0, 6)
    return gpp(encode_gpp({5: f"{core.text}.{own_part.text}"}))


def gpp(text: str) -> ConsentSignals:
    return signals_of({"gpp_string": text})


def test_without_a_signal_europe_allows_nothing_but_security() -> None:
    for regime in ("eu", "uk", "ca", UNKNOWN, "atlantis"):
        assert allowed(NO_SIGNALS, regime) == {"security"}


def test_without_a_signal_the_us_allow_what_nobody_opted_out_of() -> None:
    # Session replay and training need the person's own yes everywhere.
    everything = {each.name for each in POLICY.processing}
    assert allowed(NO_SIGNALS, "us") == everything - {"session_replay", "model_training"}


@pytest.mark.parametrize(
    ("purposes", "expected"),
    [
        pytest.param((), {"security"}, id="refused all"),
        pytest.param((1,), {"security", "device_storage", "cross_device"}, id="storage alone"),
        pytest.param(
            (1, 8, 9),
            {"security", "device_storage", "cross_device", "first_party_analytics"},
            id="measurement",
        ),
        pytest.param((8, 9), {"security"}, id="measurement without storage"),
        pytest.param((1, 8), {"security", "device_storage", "cross_device"}, id="half of it"),
        pytest.param(
            (1, 5, 6),
            {"security", "device_storage", "cross_device", "personalisation"},
            id="personal content",
        ),
        pytest.param(
            (1, 3, 4, 7),
            {"security", "device_storage", "cross_device", "ad_targeting", "crm", "attribution"},
            id="advertising, but no vendor",
        ),
    ],
)
def test_purposes_of_a_tc_string(purposes: tuple[int, ...], expected: set[str]) -> None:
    assert allowed(tcf(own(*purposes)), "eu") == expected


def test_a_vendor_is_asked_by_its_own_bits() -> None:
    string = tc(
        purpose_consents=Ids.of([1, 3, 4, 7]),
        vendor_consents=Ids.of([8]),
    )
    vendor = Vendor(id=8, consent_purposes={1, 3, 4, 7})
    assert "ad_platforms" in allowed(tcf(encode_tcf(string)), "eu", vendor)
    assert "ad_platforms" not in allowed(tcf(encode_tcf(string)), "eu", replace(vendor, id=9))
    assert "ad_platforms" not in allowed(tcf(encode_tcf(string)), "eu")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("nonsense", id="unreadable"),
        pytest.param("C" * 20_000, id="too long"),
        pytest.param(own(1, 8, 9)[:30], id="cut off"),
        pytest.param(encode_tcf(tc(is_service_specific=False)), id="not of this site"),
        pytest.param(encode_tcf(tc(disclosed_vendors=None)), id="TCF 2.3 without vendors"),
    ],
)
def test_a_string_that_counts_for_nothing_says_no(text: str) -> None:
    signals = signals_of({"tcf_string": text, "consent": {"analytics": True}})
    assert "first_party_analytics" not in allowed(signals, "eu")


def test_a_gpp_string_that_cannot_be_read_may_have_held_a_refusal() -> None:
    said = {"gpp_string": "nonsense", "consent": {"analytics": True, "marketing": True}}
    assert not {"first_party_analytics", *ADS} & allowed(signals_of(said), "eu")
    # What it may have said under TCF, another string says.
    assert "first_party_analytics" in allowed(signals_of(said | {"tcf_string": own(1, 8, 9)}), "eu")


def test_a_string_without_the_sites_own_segment_is_silent_about_the_site() -> None:
    text = encode_tcf(tc(publisher=None, purpose_consents=Ids([(1, 11)])))
    assert "first_party_analytics" not in allowed(tcf(text), "eu")
    both = signals_of({"tcf_string": text, "consent": {"analytics": True}})
    assert "first_party_analytics" in allowed(both, "eu")
    changed = POLICY.model_copy(
        update={"tcf": POLICY.tcf.model_copy(update={"first_party": "purposes"})}
    )
    verdicts = what_is_allowed(tcf(text), "eu", policy=changed, now=TODAY)
    assert verdicts["first_party_analytics"].is_allowed


@pytest.mark.parametrize(
    ("signals", "denied"),
    [
        pytest.param(gpp(usnat()), set(), id="told and did not opt out"),
        pytest.param(gpp(usnat(sale=1)), ADS, id="opted out of sale"),
        pytest.param(gpp(usnat(notice=2)), {*ADS, "attribution", "view_through",
                     "probabilistic_stitching"}, id="was not told"),
        pytest.param(gpp(usnat(gpc=True)), {*ADS, "attribution", "view_through",
                     "probabilistic_stitching"}, id="control in the string"),
        pytest.param(signals_of({}, {"sec-gpc": "1"}), {*ADS, "attribution", "view_through",
                     "probabilistic_stitching"}, id="control in the header"),
        pytest.param(signals_of({}, {"sec-gpc": "0"}), set(), id="header without the control"),
        pytest.param(gpp(usnat(child=1)), {*ADS, "attribution", "view_through",
                     "probabilistic_stitching"}, id="a known child"),
        pytest.param(gpp(usnat(child=2)), set(), id="a known child that consents"),
        pytest.param(gpp(usnat(child=3)), {*ADS, "attribution", "view_through",
                     "probabilistic_stitching"}, id="a child of a value that is not defined"),
        pytest.param(section("usct", KnownChildSensitiveDataConsents=(0, 0, 1)), {*ADS,
                     "attribution", "view_through", "probabilistic_stitching"},
                     id="a child that is not to be targeted"),
        pytest.param(signals_of({"us_privacy": "1YYN"}), {*ADS, "attribution", "view_through",
                     "probabilistic_stitching"}, id="the older string"),
        pytest.param(signals_of({"us_privacy": "1YNN"}), set(), id="the older string, not out"),
        pytest.param(signals_of({"consent": {"marketing": False}}), {*ADS, "view_through"},
                     id="own record"),
    ],
)  # fmt: skip
def test_opting_out_in_the_us(signals: ConsentSignals, denied: set[str]) -> None:
    assert allowed(NO_SIGNALS, "us") - allowed(signals, "us") == denied


@pytest.mark.parametrize(
    ("name", "place"),
    [
        # As the text of each section counts: Colorado and Maryland have no such kind.
        *[("usnat", 8), ("usca", 3), ("usva", 8), ("usut", 8), ("usct", 8), ("usfl", 8)],
        *[("usmt", 8), ("usor", 11), ("ustx", 8), ("usde", 8), ("usia", 8), ("usne", 8)],
        *[("usnh", 8), ("usnj", 8), ("ustn", 8), ("usmn", 8), ("usin", 8), ("usky", 8)],
        ("usri", 8),
    ],
)
def test_precise_location_is_refused_by_its_place_in_each_section(name: str, place: int) -> None:
    refused = {
        number
        for number in range(1, LENGTHS[name] + 1)
        if "precise_location" not in allowed(sensitive(name, number, 1), "us")
    }
    assert refused == {place}


@pytest.mark.parametrize(
    ("name", "place", "notice"),
    [
        pytest.param("usca", 3, "SensitiveDataLimitUseNotice", id="California"),
        pytest.param("usut", 8, "SensitiveDataProcessingOptOutNotice", id="Utah"),
        pytest.param("usia", 8, "SensitiveDataOptOutNotice", id="Iowa"),
    ],
)
def test_who_did_not_opt_out_has_not_consented(name: str, place: int, notice: str) -> None:
    told, untold = (sensitive(name, place, 2, **{notice: value}) for value in (1, 2))
    assert "precise_location" in allowed(told, "us")
    assert "precise_location" not in allowed(told, "eu")
    assert "precise_location" not in allowed(untold, "us")
    assert "precise_location" in allowed(sensitive("usva", 8, 2), "eu")  # asked for consent


def test_in_canada_the_bit_that_is_not_used_allows_nothing() -> None:
    assert allowed(canada(), "ca") == {"security"}
    # Purposes 8 and 9 of the site itself; reading the device is asked for with them.
    assert allowed(canada(site=[8, 9]), "ca") == {"security", "first_party_analytics"}


def test_in_canada_special_features_need_express_consent() -> None:
    features = {"precise_location", "probabilistic_stitching"}
    assert not features & allowed(canada(site=range(1, 25)), "ca")
    assert features <= allowed(canada(site=range(1, 25), features=[1, 2]), "ca")


def test_in_canada_a_vendor_is_asked_by_its_own_bits() -> None:
    vendor = Vendor(id=8, consent_purposes={1, 3, 4, 7})
    site = canada(site=range(1, 25))
    assert "ad_platforms" not in allowed(site, "ca")
    assert "ad_platforms" not in allowed(site, "ca", vendor)
    both = canada(purposes=[3, 4, 7], vendors=[8])
    assert "ad_platforms" in allowed(both, "ca", vendor)
    assert "ad_platforms" not in allowed(both, "ca", replace(vendor, id=9))


def test_global_privacy_control_wins_over_any_yes() -> None:
    record = {"consent": {"marketing": True}, "tcf_string": own(*range(1, 12))}
    assert "crm" in allowed(signals_of(record), "eu")
    for regime in ("eu", "us", UNKNOWN):
        assert not ADS & allowed(signals_of(record, {"sec-gpc": "1"}), regime)


@pytest.mark.parametrize(
    ("mode", "is_allowed"),
    [
        pytest.param("G111", True, id="gcs granted"),
        pytest.param("G110", False, id="gcs denied"),
        pytest.param("11t1t1t1t5", True, id="gcd granted"),
        pytest.param("11t1p1t1t5", False, id="gcd denied"),
        pytest.param({"analytics_storage": "granted"}, True, id="granted by name"),
        pytest.param({"ad_storage": "granted"}, False, id="another signal"),
        pytest.param("what?", False, id="unreadable"),
    ],
)
def test_consent_mode(mode: object, *, is_allowed: bool) -> None:
    found = allowed(signals_of({"properties": {"consent_mode": mode}}), "eu")
    assert ("first_party_analytics" in found) == is_allowed


def test_an_unknown_country_gets_the_strictest() -> None:
    assert [POLICY.regime_of(country) for country in ("DE", "gb", "US", "BR", None)] == [
        "eu", "uk", "us", UNKNOWN, UNKNOWN,
    ]  # fmt: skip
    for signals in (NO_SIGNALS, gpp(usnat()), tcf(own(1, 8, 9)), gpp(usnat(sale=1))):
        each = [allowed(signals, regime) for regime in POLICY.regimes]
        assert allowed(signals, UNKNOWN) == set.intersection(*each)


signals = st.builds(
    lambda record, header: (record, header),
    st.fixed_dictionaries(
        {},
        optional={
            "tcf_string": st.sampled_from([own(1), own(1, 8, 9), own(*range(1, 12)), "x"]),
            "gpp_string": st.sampled_from([usnat(), usnat(sale=1), usnat(gpc=True), "y"]),
            "gpc": st.booleans(),
            "us_privacy": st.sampled_from(["1YNN", "1YYN", "1---"]),
            "consent_mode": st.sampled_from(["G111", "G100", "G1--"]),
            "consent": st.dictionaries(
                st.sampled_from(["analytics", "marketing", "personalization"]), st.booleans()
            ),
        },
    ),
    st.sampled_from([{}, {"sec-gpc": "1"}]),
)


@settings(max_examples=80)
@given(signals, st.sampled_from([*POLICY.regimes, UNKNOWN]), st.sampled_from(["gpc", "own", "tcf"]))
def test_saying_no_never_allows_more(
    said: tuple[dict[str, object], dict[str, str]], regime: str, refusal: str
) -> None:
    record, headers = said
    before = allowed(signals_of(record, headers), regime)
    more = dict(record)
    if refusal == "gpc":
        headers = {"sec-gpc": "1"}
    elif refusal == "own":
        more["consent"] = dict.fromkeys(("analytics", "marketing", "personalization"), False)
    else:
        more["tcf_string"] = own()
    assert allowed(signals_of(more, headers), regime) <= before


@settings(max_examples=80)
@given(st.dictionaries(st.sampled_from(["tcf_string", "gpp", "gpc", "consent_mode", "consent",
       "properties", "us_privacy", "gcs", "gcd", "consent_analytics"]),
       st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20),
                    lambda inner: st.lists(inner, max_size=2)
                    | st.dictionaries(st.text(max_size=8), inner, max_size=2))))  # fmt: skip
def test_nothing_is_raised_at_the_door(record: dict[str, object]) -> None:
    what_is_allowed(signals_of(record), "eu", policy=POLICY, now=TODAY)


def test_consents_of_an_event() -> None:
    record = {"tcf_string": own(1, 8, 9), "consent": {"marketing": True}}
    assert consents_of(signals_of(record), "eu", policy=POLICY, now=TODAY) == {
        "consent_analytics": True,
        "consent_marketing": False,  # the string refuses purposes 3 and 4
        "consent_personalization": False,
        "consent_attribution": False,  # nor does it name purpose 7
    }
    assert set(consents_of(NO_SIGNALS, "us", policy=POLICY, now=TODAY).values()) == {None}
    told = consents_of(signals_of({"consent": {"analytics": True}}), "us", policy=POLICY, now=TODAY)
    assert told == {
        "consent_analytics": True,
        "consent_marketing": None,
        "consent_personalization": None,
        "consent_attribution": True,
    }


def test_a_signal_seen_before_is_not_decoded_again() -> None:
    record = {"properties": {"tcf_string": own(1, 8, 9), "gpp_string": usnat()}}
    first = signals_of(record)
    decoded = _read.cache_info().misses
    assert all(signals_of(record) == first for _ in range(200))
    assert _read.cache_info().misses == decoded


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param("tcf = [1]", "tcf = [", "syntax", id="no TOML"),
        pytest.param(
            'own = "analytics"', "owner = 1", "processing.0.owner: is no key here", id="a key"
        ),
        pytest.param('rule = "opt_in"', 'rule = "maybe"', "regimes.eu.rule", id="a rule"),
        pytest.param('name = "crm"', 'name = "security"', "is there twice", id="twice"),
        pytest.param('= "crm"\n', '= "what"\n', "columns must name", id="a column"),
        pytest.param('"analytics_storage"', '"storage"', "no signal of Consent Mode", id="signal"),
        pytest.param("usnat = 8", "uszz = 8", "no US section", id="a section"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    text = SHIPPED.read_text()
    assert old in text
    (tmp_path / "purposes.toml").write_text(text.replace(old, new, 1))
    if reason == "columns must name":
        (tmp_path / "purposes.toml").write_text(
            text.replace('consent_marketing = "crm"', 'consent_marketing = "what"')
        )
    with pytest.raises(DefinitionError, match=reason):
        load_policy(tmp_path)


def test_the_users_own_table_replaces_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "purposes.toml").write_text(
        SHIPPED.read_text().replace('countries = ["CA"]', 'countries = ["CA", "BR"]')
    )
    assert load_policy(tmp_path).regime_of("BR") == "ca"


def test_an_edited_table_is_read_again(tmp_path: Path) -> None:
    file, shipped = tmp_path / "purposes.toml", SHIPPED.read_text()
    file.write_text(shipped)
    assert load_policy(tmp_path).cookieless.least == 10
    file.write_text(shipped.replace("least = 10", "least = 7"))
    assert load_policy(tmp_path).cookieless.least == 7
    file.unlink()
    assert load_policy(tmp_path).cookieless.least == 10
