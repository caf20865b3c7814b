"""Google Consent Mode: gcs, gcd and the signals by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_platform.collection.consent.consent_mode import (
    decode_consent_mode,
    decode_gcd,
    decode_gcs,
)
from clickstream_platform.collection.consent.errors import ConsentStringError

FOUR = ("ad_storage", "analytics_storage", "ad_user_data", "ad_personalization")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("G100", {"ad_storage": False, "analytics_storage": False}, id="both denied"),
        pytest.param("G101", {"ad_storage": False, "analytics_storage": True}, id="analytics"),
        pytest.param("G110", {"ad_storage": True, "analytics_storage": False}, id="advertising"),
        pytest.param("G111", {"ad_storage": True, "analytics_storage": True}, id="both granted"),
        pytest.param("G1--", {}, id="never set"),
        pytest.param("G1-1", {"analytics_storage": True}, id="one of them set"),
    ],
)
def test_gcs(text: str, values: dict[str, bool]) -> None:
    assert decode_gcs(text) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("11l1l1l1l5", (None, None, None, None), id="never set"),
        pytest.param("11p1p1p1p5", (False, False, False, False), id="denied by default"),
        pytest.param("11t1t1t1t5", (True, True, True, True), id="granted by default"),
        pytest.param("13r3q3u3v5l1", (True, False, False, True), id="updates, newer form"),
        pytest.param("11m1n1p1t5", (False, True, False, True), id="updates without a default"),
    ],
)
def test_gcd(text: str, values: tuple[bool | None, ...]) -> None:
    expected = {name: on for name, on in zip(FOUR, values, strict=True) if on is not None}
    assert decode_gcd(text) == expected


def test_signals_by_name() -> None:
    signals = {"ad_storage": "denied", "analytics_storage": "GRANTED", "security_storage": True}
    assert decode_consent_mode(signals | {"wait_for_update": 500}) == {
        "ad_storage": False,
        "analytics_storage": True,
        "security_storage": True,
    }
    with pytest.raises(ConsentStringError, match="ad_user_data is neither granted nor denied"):
        decode_consent_mode({"ad_user_data": "perhaps"})


@pytest.mark.parametrize("text", ["", "G10", "G1000", "G102", "X111", "G111\n"])
def test_what_is_no_gcs_is_refused(text: str) -> None:
    with pytest.raises(ConsentStringError, match="gcs is not"):
        decode_gcs(text)


@pytest.mark.parametrize("text", ["", "11t1t1t", "11z1t1t1t5", "G111", "1" * 100, "11t1t1t1t5\n"])
def test_what_is_no_gcd_is_refused(text: str) -> None:
    with pytest.raises(ConsentStringError, match="gcd"):
        decode_gcd(text)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for decode in (decode_gcs, decode_gcd):
        try:
            assert set(decode(text)) <= set(FOUR)
        except ConsentStringError:
            continue
