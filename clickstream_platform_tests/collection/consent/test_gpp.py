"""GPP strings: the published ones, laws, opting out, and everything that is no GPP string."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_platform.collection.consent.bits import BitWriter, Ids
from clickstream_platform.collection.consent.errors import ConsentStringError
from clickstream_platform.collection.consent.gpp import (
    Layout,
    UsSection,
    decode_gpp,
    encode_gpp,
    encode_us_section,
    layouts,
)
from clickstream_platform.collection.consent.tcf import encode_tcf
from clickstream_platform_tests.collection.consent.reference import gpp_sections
from clickstream_platform_tests.collection.consent.strings import assert_read_or_refused, tc

LAYOUTS = [layout for found in layouts().values() for layout in found.values()]


@st.composite
def us_sections(draw: st.DrawFn, layout: Layout) -> UsSection:
    """Any section of a layout."""
    two_bits = st.integers(0, 3)

    def value(times: int) -> int | tuple[int, ...]:
        if not times:
            return draw(two_bits)
        return tuple(draw(st.lists(two_bits, min_size=times, max_size=times)))

    fields: dict[str, int | tuple[int, ...]] = {layout.version_field: layout.version}
    fields |= {name: value(times) for name, times in layout.fields}
    if layout.sensitive and draw(st.booleans()):
        fields[layout.sensitive[0]] = value(layout.sensitive[1])
    gpc = draw(st.none() | st.booleans()) if layout.has_gpc else None
    return UsSection(layout.name, layout.version, fields, gpc)


def test_published_strings_read_as_the_reference_reads_them(shared: Path) -> None:
    cases = json.loads((shared / "cases/iab_tcf/gpp_published.json").read_text())
    assert len(cases) > 30
    for case in cases:
        read = decode_gpp(case["gpp_string"])
        assert list(read.section_ids) == case["expected"]["section_ids"], case["from"]
        assert gpp_sections(read) == case["expected"]["sections"], case["from"]
        assert read.unknown == ()


@pytest.mark.parametrize(
    ("header", "ids"),
    [
        pytest.param("DBAA", (), id="no section"),
        pytest.param("DBABMA~x", (2,), id="first example of the specification"),
        pytest.param("DBACNYA~x~y", (2, 6), id="second example: two single ids"),
        pytest.param("DBABjw~x~y", (5, 6), id="third example: a range"),
    ],
)
def test_headers_of_the_specification(header: str, ids: tuple[int, ...]) -> None:
    sections = {number: f"{number}" for number in ids}
    expected = encode_gpp(sections)
    assert expected.split("~")[0].rstrip("A") == header.split("~", maxsplit=1)[0].rstrip("A")


def test_sections_nobody_can_read_are_named_and_left_alone() -> None:
    read = decode_gpp(encode_gpp({6: "1YNN", 3: "what.ever", 99: "!"}))
    assert (read.section_ids, read.unknown) == ((3, 6, 99), (3, 99))
    assert read.usp is not None
    assert read.usp.opt_out_sale == "N"


def test_a_tc_string_alone_is_a_string_with_one_section() -> None:
    string = tc()
    assert decode_gpp(encode_tcf(string)).tcf_eu == string


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda each: f"{each.name} {each.version}")
@settings(max_examples=5)
@given(data=st.data())
def test_what_was_written_is_read_back(layout: Layout, data: st.DataObject) -> None:
    section = data.draw(us_sections(layout))
    read = decode_gpp(encode_gpp({layout.id: encode_us_section(section)}))
    assert read.us == {layout.name: section}


def headed(number: int, *parts: int, version: int = 1) -> str:
    """The header of a section: its id, its version, and its parts after the core."""
    header = BitWriter().integer(number, 6).integer(version, 6)
    return header.fibonacci_ranges(Ids.of(parts)).text


@pytest.mark.parametrize(
    "layout", [each for each in LAYOUTS if each.has_header], ids=lambda each: each.name
)
@settings(max_examples=5)
@given(data=st.data())
def test_a_section_is_read_with_its_header_and_without(layout: Layout, data: st.DataObject) -> None:
    section = data.draw(us_sections(layout))
    written = encode_us_section(section)
    header = headed(layout.id, *range(1, written.count(".") + 1))
    read = decode_gpp(encode_gpp({layout.id: f"{header}.{written}"})).us[layout.name]
    assert (read.version, read.gpc) == (1, section.gpc)
    assert read.fields == {"Version": 1, **section.fields}


@settings(max_examples=150)
@given(
    st.text(max_size=150)
    | st.text("DBACYN1~.-_QZ", max_size=150)
    | st.text("DBACYN1~.-_QZ", max_size=150).map(lambda rest: "DBACNYA~" + rest)
    | st.sampled_from(LAYOUTS).flatmap(
        lambda each: st.text("ABCQVgw_.", max_size=30).map(
            lambda rest: encode_gpp({each.id: "B" + rest})
        )
    )
)
def test_any_text_is_read_or_refused(text: str) -> None:
    assert_read_or_refused(decode_gpp, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "is empty", id="nothing"),
        pytest.param("D" * 16_385, "more than 16,384 characters", id="too long"),
        pytest.param("EBAA", "Type is not 3", id="no header"),
        pytest.param("DCAA", "Version is not 1", id="another version"),
        pytest.param("DBABMA", "not as many", id="a section is missing"),
        pytest.param("DBABMA~C~C", "not as many", id="a section too many"),
        pytest.param("DBABTA~", "a section is empty", id="an empty section"),
        pytest.param("DBABTA~1YN", "US Privacy string is not", id="a short US Privacy string"),
        pytest.param("DBABTA~1YNX", "US Privacy string is not", id="a strange US Privacy string"),
        pytest.param("DBABLA~DAAAAAAAAAAA", "Version of section 7", id="an unknown usnat"),
        pytest.param("DBABLA~BAAA", "lies past the end", id="a usnat cut off"),
        pytest.param("DBABLA~BAAAAAAAAQA.gA", "GpcSegmentType is not 1", id="another subsection"),
        pytest.param("DBABLA~BAAAAAAAAQA.QA.QA", "more parts", id="GPC twice"),
        pytest.param("DBAB", "lies past the end", id="a header cut off"),
        pytest.param("DBABAAAAAAAAAAAAAAAAAAAAM~x", "larger than any id", id="a huge section id"),
    ],
)
def test_what_is_no_string_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConsentStringError, match=reason):
        decode_gpp(text)


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        pytest.param(headed(25), "SubSections are not those", id="no core"),
        pytest.param(f"{headed(25)}.BVVV.kkk", "SubSections are not those", id="one not listed"),
        pytest.param(f"{headed(25, 1)}.BVVV", "SubSections are not those", id="one is missing"),
        pytest.param(f"{headed(25, 2)}.BVVV.kkk", "SubSections are not those", id="one unknown"),
        pytest.param(f"{headed(25, version=2)}.BVVV", "Version of section 25", id="a version"),
        pytest.param(f"{headed(26)}.BVVV", "Version of section 25", id="another section's"),
        pytest.param("ZB", "lies past the end", id="a header cut off"),
    ],
)
def test_headers_that_do_not_fit_are_refused(section: str, reason: str) -> None:
    with pytest.raises(ConsentStringError, match=reason):
        decode_gpp(encode_gpp({25: section}))


@pytest.mark.parametrize(
    ("notice", "choice", "is_out"),
    [
        pytest.param(1, 1, True, id="told and opted out"),
        pytest.param(1, 2, False, id="told and did not"),
        pytest.param(2, 2, True, id="not told"),
        pytest.param(0, 2, True, id="notice does not apply but choice does"),
        pytest.param(0, 0, False, id="neither applies"),
        pytest.param(1, 3, True, id="a value that is not defined"),
        pytest.param(2, 1, True, id="opted out all the same"),
        pytest.param(2, 0, True, id="not told, and no choice"),
        pytest.param(3, 0, True, id="a notice that is not defined"),
    ],
)
def test_opting_out_of_sale(notice: int, choice: int, *, is_out: bool) -> None:
    section = UsSection("usnat", 1, {"SaleOptOutNotice": notice, "SaleOptOut": choice})
    assert section.is_opted_out("Sale") == is_out


def test_global_privacy_control_is_read_from_its_part() -> None:
    assert decode_gpp("DBABLA~BAAAAAAAAQA.YA").gpc
    assert not decode_gpp("DBABLA~BAAAAAAAAQA.QA").gpc
    assert decode_gpp("DBABLA~BAAAAAAAAQA").us["usnat"].gpc is None
