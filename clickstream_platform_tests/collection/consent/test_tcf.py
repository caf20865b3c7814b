"""TC strings: the published ones, their bits by hand, laws, and everything that is no TC string."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_platform.collection.consent.bits import BitReader, BitWriter, Ids, fibonacci_code
from clickstream_platform.collection.consent.errors import ConsentStringError
from clickstream_platform.collection.consent.purposes import load_policy
from clickstream_platform.collection.consent.tcf import (
    CONSENT_ONLY,
    NOT_ALLOWED,
    REQUIRE_CONSENT,
    REQUIRE_LEGITIMATE_INTEREST,
    Decision,
    PublisherConsent,
    Restriction,
    TcString,
    Vendor,
    decide_publisher,
    decide_vendor,
    decode_tcf,
    encode_tcf,
    tcf_faults,
)
from clickstream_platform_tests.collection.consent.reference import tcf_model
from clickstream_platform_tests.collection.consent.strings import (
    TODAY,
    assert_read_or_refused,
    tc,
    tc_strings,
)

RULES = load_policy().rules
A_STRING = "CPi8wgAPi8wgAAOACBENCuCoAP_AAEfAACiQJHNd_H__bX9n-f7_6ft0eY1f9_r3_-QzjhfNt"


def test_published_strings_read_as_the_reference_reads_them(shared: Path) -> None:
    cases = json.loads((shared / "cases/iab_tcf/tcf_published.json").read_text())
    assert len(cases) > 20
    for case in cases:
        assert tcf_model(decode_tcf(case["tc_string"])) == case["expected"], case["from"]


def test_a_string_reads_as_its_bits_say() -> None:
    # Version 2, made at 15,874,609,743 tenths of a second, CMP 5, and so on, bit by bit.
    parts = [
        f"{2:06b}{15874609743:036b}{15874609743:036b}{5:012b}{7:012b}{1:06b}",
        f"{4:06b}{13:06b}{20:012b}{4:06b}10",  # EN, list 20, policy 4, this site, standard texts
        "100000000000",  # special feature 1
        "111000000000000000000000",  # purposes 1 to 3
        "010000000000000000000000",  # legitimate interest for 2
        f"0{5:06b}{17:06b}",  # purpose 1 disclosed; FR
        f"{4:016b}00101",  # vendors 2 and 4, a bit each
        f"{300:016b}1{2:012b}0{7:016b}1{299:016b}{300:016b}",  # 7, and 299 to 300
        f"{1:012b}{2:06b}01{1:012b}0{9:016b}",  # purpose 2 needs consent for 9
    ]
    writer = BitWriter()
    writer.parts += parts
    read = decode_tcf(writer.text)
    assert read == TcString(
        version=2,
        created_at=datetime(2020, 4, 21, 9, 22, 54, 300_000, tzinfo=UTC),
        updated_at=datetime(2020, 4, 21, 9, 22, 54, 300_000, tzinfo=UTC),
        cmp_id=5,
        cmp_version=7,
        consent_screen=1,
        consent_language="EN",
        vendor_list_version=20,
        policy_version=4,
        is_service_specific=True,
        special_feature_opt_ins=Ids.of([1]),
        purpose_consents=Ids.of([1, 2, 3]),
        purpose_legitimate_interests=Ids.of([2]),
        publisher_country="FR",
        vendor_consents=Ids.of([2, 4]),
        vendor_legitimate_interests=Ids.of([7, 299, 300]),
        restrictions=(Restriction(2, REQUIRE_CONSENT, Ids.of([9])),),
    )


@settings(max_examples=40)
@given(tc_strings())
def test_what_was_written_is_read_back(string: TcString) -> None:
    assert decode_tcf(encode_tcf(string)) == string


@settings(max_examples=120)
@given(st.text(max_size=200) | st.text("CBAP_-.0aZ", max_size=200) | st.binary().map(repr))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert_read_or_refused(decode_tcf, text)


@settings(max_examples=40)
@given(tc_strings(), st.data())
def test_a_damaged_string_is_read_or_refused(string: TcString, data: st.DataObject) -> None:
    text = encode_tcf(string)
    if data.draw(st.booleans()):
        damaged = text[: data.draw(st.integers(0, len(text) - 1))]
    else:
        place = data.draw(st.integers(0, len(text) - 1))
        letter = data.draw(st.sampled_from("ABQgw_-.~ é\x00"))
        damaged = text[:place] + letter + text[place + 1 :]
    assert_read_or_refused(decode_tcf, damaged)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "is empty", id="nothing"),
        pytest.param("C" * 16_385, "more than 16,384 characters", id="too long"),
        pytest.param("D" + A_STRING[1:], "Version is neither 1 nor 2", id="another version"),
        pytest.param(A_STRING[:20], "lies past the end", id="cut off"),
        pytest.param("CP+/" + A_STRING[4:], "outside the alphabet", id="ordinary base 64"),
        pytest.param("CPé" + A_STRING[3:], "outside the alphabet", id="a letter of no alphabet"),
    ],
)
def test_what_is_no_string_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConsentStringError, match=reason):
        decode_tcf(text)


@pytest.mark.parametrize(
    ("segments", "reason"),
    [
        pytest.param([BitWriter().integer(4, 3).vendors(Ids())], "is not known", id="unknown"),
        pytest.param([BitWriter().integer(1, 3).vendors(Ids())] * 2, "twice", id="repeated"),
        pytest.param([BitWriter()], "lies past the end", id="empty"),
    ],
)
def test_strange_segments_are_refused(segments: list[BitWriter], reason: str) -> None:
    core = encode_tcf(tc(disclosed_vendors=None, publisher=None))
    with pytest.raises(ConsentStringError, match=reason):
        decode_tcf(".".join([core, *(each.text for each in segments)]))


def test_a_range_that_runs_backwards_is_refused() -> None:
    reader = BitReader(
        BitWriter().integer(1, 12).flag(value=True).integer(9, 16).integer(3, 16).text
    )
    with pytest.raises(ConsentStringError, match="ends before it starts"):
        reader.fixed_ranges("VendorConsent")


@pytest.mark.parametrize("fibonacci", [False, True])
@pytest.mark.parametrize("largest", [0, 11])
def test_a_vendor_beyond_the_largest_is_refused(largest: int, *, fibonacci: bool) -> None:
    writer = BitWriter().integer(largest, 16).flag(value=True)
    ids = Ids([(3, 3), (8, 12)])
    text = (writer.fibonacci_ranges(ids) if fibonacci else writer.fixed_ranges(ids)).text
    with pytest.raises(ConsentStringError, match="larger than the largest"):
        BitReader(text).vendors("VendorConsent", fibonacci=fibonacci)


def test_a_vendor_beyond_the_largest_is_refused_in_version_1_too() -> None:
    head = BitWriter().integer(1, 6).integer(0, 72).integer(0, 30).letters("EN").integer(0, 36)
    head.integer(11, 16).flag(value=True).flag(value=False).fixed_ranges(Ids([(8, 12)]))
    with pytest.raises(ConsentStringError, match="RangeEntry has an id that is larger"):
        decode_tcf(head.text)


def test_wide_ranges_cost_nothing() -> None:
    # 2,900 ranges of 65,535 vendors each in 16 KB: 190 million ids if they were written out.
    writer = BitWriter().integer(2_900, 12)
    for _ in range(2_900):
        writer.flag(value=True).integer(1, 16).integer(65_535, 16)
    assert BitReader(writer.text).fixed_ranges("x").ranges == ((1, 65_535),)


def test_fibonacci_codes_are_those_of_the_specification() -> None:
    table = {1: "11", 2: "011", 3: "0011", 4: "1011", 5: "00011", 6: "10011", 7: "01011"}
    assert {number: fibonacci_code(number) for number in table} == table
    assert [BitReader(_padded(code)).fibonacci("x") for code in table.values()] == [*table]
    with pytest.raises(ConsentStringError, match="larger than any id"):
        BitReader(_padded("0" * 5_000 + "11")).fibonacci("x")


def _padded(bits: str) -> str:
    writer = BitWriter()
    writer.parts.append(bits)
    return writer.text


@settings(max_examples=50)
@given(st.sets(st.integers(1, 200)), st.sets(st.integers(1, 200)))
def test_ids_are_a_set(left: set[int], right: set[int]) -> None:
    assert set(Ids.of(left)) == left
    assert (Ids.of(left) == Ids.of(right)) == (left == right)
    assert set(Ids.of(left) & Ids.of(right)) == left & right
    assert all((number in Ids.of(left)) == (number in left) for number in range(202))
    assert len(Ids.of(left)) == len(left)


# -- Validity ------------------------------------------------------------------------------------

BEFORE_DISCLOSED = datetime(2026, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        pytest.param({}, (), id="a sound string"),
        pytest.param({"version": 1}, ("version_outdated",), id="version 1"),
        pytest.param(
            {"is_service_specific": False}, ("not_service_specific",), id="for the whole web"
        ),
        pytest.param({"policy_version": 3}, ("policy_outdated",), id="policy 3 after 2.2"),
        pytest.param({"policy_version": 6}, ("policy_unknown",), id="a policy of the future"),
        pytest.param({"policy_version": 4}, (), id="policy 4 in the time of 2.3"),
        pytest.param(
            {"disclosed_vendors": None}, ("disclosed_vendors_missing",), id="2.3 without vendors"
        ),
        pytest.param(
            {
                "created_at": BEFORE_DISCLOSED,
                "updated_at": BEFORE_DISCLOSED,
                "disclosed_vendors": None,
            },
            (),
            id="made on the last day without vendors",
        ),
        pytest.param(
            {"created_at": BEFORE_DISCLOSED, "disclosed_vendors": None},
            ("disclosed_vendors_missing",),
            id="updated since",
        ),
        pytest.param(
            {"updated_at": TODAY + timedelta(days=3)}, ("made_in_the_future",), id="later"
        ),
        pytest.param(
            {
                "created_at": TODAY - timedelta(days=397),
                "updated_at": TODAY - timedelta(days=397),
            },
            ("expired",),
            id="older than thirteen months",
        ),
        pytest.param(
            {"purpose_legitimate_interests": Ids.of([3])}, (), id="a bit that is ignored instead"
        ),
    ],
)
def test_validity(changes: dict[str, object], faults: tuple[str, ...]) -> None:
    assert tcf_faults(tc(**changes), RULES, now=TODAY) == faults


# -- Decisions -----------------------------------------------------------------------------------

VENDOR = Vendor(id=8, consent_purposes={1, 2, 3}, legitimate_interest_purposes={7, 9, 10})
FLEXIBLE = Vendor(
    id=8,
    consent_purposes={1, 2, 3},
    legitimate_interest_purposes={7, 9},
    flexible_purposes={2, 3, 7},
)
ALL = Ids([(1, 24)])
YES = {
    "purpose_consents": ALL,
    "purpose_legitimate_interests": ALL,
    "vendor_consents": Ids.of([8]),
    "vendor_legitimate_interests": Ids.of([8]),
}


def restricted(kind: int, purpose: int) -> dict[str, object]:
    return {"restrictions": (Restriction(purpose, kind, Ids([(5, 9)])),)}


@pytest.mark.parametrize(
    ("changes", "vendor", "purpose", "decision"),
    [
        pytest.param(
            {}, VENDOR, 3, Decision(is_allowed=True, reason="consent"), id="consent for both"
        ),
        pytest.param(
            {}, VENDOR, 7, Decision(is_allowed=True, reason="legitimate_interest"), id="interest"
        ),
        pytest.param(
            {},
            VENDOR,
            4,
            Decision(is_allowed=False, reason="purpose_not_declared"),
            id="undeclared",
        ),
        pytest.param(
            {"purpose_consents": Ids.of([1])},
            VENDOR,
            3,
            Decision(is_allowed=False, reason="purpose_refused"),
            id="purpose refused",
        ),
        pytest.param(
            {"vendor_consents": Ids()},
            VENDOR,
            3,
            Decision(is_allowed=False, reason="vendor_refused"),
            id="vendor refused",
        ),
        pytest.param(
            {"purpose_legitimate_interests": Ids()},
            VENDOR,
            7,
            Decision(is_allowed=False, reason="purpose_objected"),
            id="objected to the purpose",
        ),
        pytest.param(
            {"vendor_legitimate_interests": Ids.of([7])},
            VENDOR,
            7,
            Decision(is_allowed=False, reason="vendor_objected"),
            id="objected to the vendor",
        ),
        pytest.param(
            {"disclosed_vendors": Ids.of([9])},
            VENDOR,
            3,
            Decision(is_allowed=False, reason="vendor_not_disclosed"),
            id="never shown",
        ),
        pytest.param(
            {"disclosed_vendors": None},
            VENDOR,
            3,
            Decision(is_allowed=True, reason="consent"),
            id="before 2.3",
        ),
        pytest.param(
            restricted(NOT_ALLOWED, 3),
            VENDOR,
            3,
            Decision(is_allowed=False, reason="restricted_by_publisher"),
            id="not allowed by the site",
        ),
        pytest.param(
            restricted(NOT_ALLOWED, 2),
            VENDOR,
            3,
            Decision(is_allowed=True, reason="consent"),
            id="another purpose",
        ),
        pytest.param(
            restricted(REQUIRE_CONSENT, 7),
            VENDOR,
            7,
            Decision(is_allowed=False, reason="basis_not_flexible"),
            id="consent needed of a vendor that has none",
        ),
        pytest.param(
            restricted(REQUIRE_CONSENT, 7),
            FLEXIBLE,
            7,
            Decision(is_allowed=True, reason="consent"),
            id="consent needed of a flexible vendor",
        ),
        pytest.param(
            restricted(REQUIRE_LEGITIMATE_INTEREST, 2),
            FLEXIBLE,
            2,
            Decision(is_allowed=True, reason="legitimate_interest"),
            id="interest needed of a flexible vendor",
        ),
        pytest.param(
            restricted(REQUIRE_LEGITIMATE_INTEREST, 3),
            FLEXIBLE,
            3,
            Decision(is_allowed=False, reason="legitimate_interest_prohibited"),
            id="interest needed where it cannot be",
        ),
        pytest.param(
            {
                "restrictions": (
                    Restriction(2, REQUIRE_CONSENT, Ids.of([8])),
                    Restriction(2, REQUIRE_LEGITIMATE_INTEREST, Ids.of([8])),
                )
            },
            FLEXIBLE,
            2,
            Decision(is_allowed=False, reason="restricted_by_publisher"),
            id="restrictions that contradict each other",
        ),
        pytest.param(
            restricted(3, 2),
            FLEXIBLE,
            2,
            Decision(is_allowed=False, reason="restricted_by_publisher"),
            id="a restriction that is not defined",
        ),
        pytest.param(
            {"purpose_one_treatment": True},
            VENDOR,
            1,
            Decision(is_allowed=False, reason="purpose_one_not_disclosed"),
            id="purpose 1 not disclosed",
        ),
    ],
)
def test_decision_for_a_vendor(
    changes: dict[str, object], vendor: Vendor, purpose: int, decision: Decision
) -> None:
    assert decide_vendor(tc(**(YES | changes)), vendor, purpose) == decision


def test_purpose_one_needs_no_consent_where_the_publishers_law_says_so() -> None:
    string = tc(**YES, purpose_one_treatment=True)
    assert decide_vendor(string, VENDOR, 1, purpose_one_exempt={"DE"}).is_allowed
    assert not decide_vendor(string, VENDOR, 1, purpose_one_exempt={"FR"}).is_allowed


@pytest.mark.parametrize("purpose", sorted(CONSENT_ONLY))
def test_legitimate_interest_never_serves_these_purposes(purpose: int) -> None:
    vendor = Vendor(id=8, legitimate_interest_purposes={purpose})
    assert not decide_vendor(tc(**YES), vendor, purpose).is_allowed
    publisher = PublisherConsent(purpose_legitimate_interests=ALL)
    assert not decide_publisher(tc(publisher=publisher), purpose).is_allowed


def test_the_site_itself_is_decided_by_its_own_segment() -> None:
    string = tc(
        **(YES | {"publisher": PublisherConsent(Ids.of([1, 8]), Ids.of([9]))}),
    )
    assert decide_publisher(string, 8) == Decision(is_allowed=True, reason="consent")
    assert decide_publisher(string, 9) == Decision(is_allowed=True, reason="legitimate_interest")
    assert decide_publisher(string, 3) == Decision(is_allowed=False, reason="purpose_refused")
    missing = tc(publisher=None, purpose_consents=ALL)
    assert decide_publisher(missing, 1) == Decision(
        is_allowed=False, reason="publisher_purposes_missing"
    )
