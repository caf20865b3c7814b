"""Finding identifiers in text: in every encoding, and never inside a longer one."""

import base64
import hashlib
import json
from urllib.parse import quote

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_platform.privacy.needles import SHORT, Needles, is_distinctive
from clickstream_platform.privacy.sought import Sought

ANN = "ann@example.com"
OTHERS = [
    "joann@example.com",
    "jo.ann@example.com",
    "ann@example.com.example.org",
    "ann@example.community",
    "ann@example",
    "ann%40example.org",
]


def finders(identifier: str) -> list[tuple[str, object]]:
    needles = Needles([identifier])
    sought = Sought.of([("user", identifier)], [])
    return [
        ("eraser", needles.is_within),
        ("scanner", lambda text: sought.count(text.decode("latin-1")) > 0),
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ann@example.com", id="plain"),
        pytest.param('{"id": "ANN@Example.com"}', id="other case"),
        pytest.param("https://example.com/?mail=ann%40example.com&x=1", id="percent-encoded"),
        pytest.param("https://example.com/?u=a%2526mail%253Dann%2540example.com", id="twice"),
        pytest.param("?q=hello%20ann%40example.com", id="after an escape"),
        pytest.param(r'{"x": "a\nann@example.com"}', id="after a line break in JSON"),
        pytest.param("Write to ann@example.com.", id="at the end of a sentence"),
        *(
            pytest.param(
                hashlib.new(name, ANN.encode(), usedforsecurity=False).hexdigest(), id=name
            )
            for name in ("md5", "sha1", "sha256")
        ),
        *(
            pytest.param(
                base64.b64encode(b"x" * shift + ANN.encode() + b"yz").decode(),
                id=f"base64 at {shift}",
            )
            for shift in range(4)
        ),
        pytest.param(base64.urlsafe_b64encode(ANN.encode()).decode(), id="URL-safe base64"),
    ],
)
def test_every_form_is_found_by_eraser_and_scanner(text: str) -> None:
    for name, finds in finders(ANN):
        assert finds(text.encode()), name  # type: ignore[operator]  # functions
        assert finds(b" " * SHORT + text.encode()), name  # type: ignore[operator]  # functions


@pytest.mark.parametrize("text", OTHERS)
def test_longer_addresses_are_other_people(text: str) -> None:
    for name, finds in finders(ANN):
        assert not finds(f'{{"id": "{text}"}}'.encode()), name  # type: ignore[operator]  # functions


@pytest.mark.parametrize("text", ["xvisitor-81aa02f7", "visitor-81aa02f77", "visitor-81aa02f"])
def test_longer_and_shorter_ids_are_other_people(text: str) -> None:
    for name, finds in finders("visitor-81aa02f7"):
        assert not finds(text.encode()), name  # type: ignore[operator]  # functions


@pytest.mark.parametrize("text", ["user-1234-5", "user-1234_b", "user-1234-5-6"])
def test_ids_that_go_on_behind_a_hyphen_are_other_people(text: str) -> None:
    for name, finds in finders("user-1234"):
        assert not finds(f'{{"user_id":"{text}"}}'.encode()), name  # type: ignore[operator]  # functions


@pytest.mark.parametrize(
    "text", ["auth0|user-1234", "GA1.2.user-1234", "user-1234-", "u_user-1234"]
)
def test_ids_are_found_within_what_is_made_of_them(text: str) -> None:
    for name, finds in finders("user-1234"):
        assert finds(f'{{"user_id":"{text}"}}'.encode()), name  # type: ignore[operator]  # functions


def test_long_ids_are_found_whatever_goes_on_behind_a_hyphen() -> None:
    uuid = "0b6c3e1a-7d52-4f0e-9b8a-2c41d7e6f503"
    for name, finds in finders(uuid):
        assert finds(f'{{"cart":"{uuid}_cart"}}'.encode()), name  # type: ignore[operator]  # functions


@pytest.mark.parametrize(
    ("identifier", "verdict"),
    [
        ("123", False),
        ("00123", False),
        ("541312140", False),
        ("541312140123", True),
        ("christian", False),
        ("christian-is-my-name", True),
        ("203.0.113.77", True),
        ("a1b2c3d4", True),
        ("ann@b.c", True),
    ],
)
def test_plain_identifiers_are_left_to_their_fields(identifier: str, verdict: bool) -> None:  # noqa: FBT001 - a case
    assert is_distinctive(identifier) is verdict
    assert bool(Needles([identifier])) is verdict
    assert bool(Sought.of([("user", identifier)], []).forms) is verdict


@pytest.mark.parametrize(
    "spelled", ["ÄNNE@example.com", "änne@example.com", "a\u0308nne@example.com"]
)
@pytest.mark.parametrize("known", ["Änne@Example.com", "änne@example.com"])
def test_addresses_beyond_ascii_are_found_in_either_case(known: str, spelled: str) -> None:
    written = [spelled, quote(spelled, safe=""), json.dumps(spelled)]
    for name, finds in finders(known):
        for text in written:
            assert finds(text.encode()), (name, text)  # type: ignore[operator]  # functions


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("?user=Ann%2FBob%2212345", id="percent-encoded"),
        pytest.param("?user=Ann%2fBob%2212345", id="percent-encoded with small digits"),
        pytest.param("?to=%3Fuser%3DAnn%252fBob%252212345", id="twice, with small digits"),
        pytest.param(json.dumps('Ann/Bob"12345'), id="escaped for JSON"),
        pytest.param('1,"Ann/Bob""12345",2', id="quoted for CSV"),
    ],
)
def test_identifiers_are_found_as_urls_json_and_csv_write_them(text: str) -> None:
    for name, finds in finders('Ann/Bob"12345'):
        assert finds(text.encode()), name  # type: ignore[operator]  # functions


@pytest.mark.parametrize(
    "text", ["ann/bob12345", "ANN/BOB12345", "ann%2fbob12345", "YW5uL2JvYjEyMzQ1"]
)
def test_another_case_is_another_account(text: str) -> None:
    # The last one is ann/bob12345 in base64.
    for name, finds in finders("Ann/Bob12345"):
        assert not finds(text.encode()), name  # type: ignore[operator]  # functions


def test_redacting_leaves_the_rest() -> None:
    text = b'{"a": "ann@example.com", "b": "joann@example.com", "c": "ANN%40EXAMPLE.COM"}'
    clean = b'{"a": "[erased]", "b": "joann@example.com", "c": "[erased]"}'
    assert Needles([ANN]).redacted(text) == clean


def test_the_quick_look_agrees_on_many_texts() -> None:
    texts = pl.Series(["nothing", "ann@EXAMPLE.com", "Bob"])
    assert Needles([ANN]).may_hold(texts).to_list() == [False, True, False]
    assert Needles(["123"]).may_hold(texts).to_list() == [False, False, False]


identifiers = st.one_of(
    st.emails().filter(lambda text: len(text) >= 12),  # base64 of less could be anything
    st.uuids().map(str),
    st.text("abcdef0123456789-_.", min_size=12, max_size=24).filter(
        lambda text: is_distinctive(text) and text.strip("-_.") == text
    ),
)


@settings(max_examples=60)
@given(identifiers, st.sampled_from(["plain", "once", "twice", "json", "base64", "sha256"]))
def test_what_is_planted_is_found(identifier: str, form: str) -> None:
    content = identifier.encode()
    written = {
        "plain": identifier,
        "once": quote(identifier, safe=""),
        "twice": quote(quote(identifier, safe=""), safe=""),
        "json": json.dumps(identifier)[1:-1],
        "base64": base64.b64encode(b"{" + content + b"}").decode(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }[form]
    for name, finds in finders(identifier):
        assert finds(f'<"{written}">'.encode()), name  # type: ignore[operator]  # functions
