"""Texts of records: the short cut around `trim` is the same as `trim`."""

import json

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickstream_platform.events.records import Extraction, open_duckdb, trimmed

BLANKS = " \t\n\r\x0b\x1f\u00a0\u1680\u2003\u200b\u2028\u202f\u3000\ufeff"
TEXTS = st.none() | st.text(
    st.sampled_from(BLANKS + "aZ!~{\x7f\u0080\u00e9\u4e00\U0001f600"), max_size=6
)


@settings(max_examples=300)
@given(texts=st.lists(TEXTS, min_size=1, max_size=20))
@example(
    texts=["", " ", "a", " a", "a ", "a\u3000", "\u3000a", "\u00e9", "\u00e9 ", "\t", "a\u00a0"]
)
def test_trimmed_is_trim_and_null_where_nothing_is_left(texts: list[str | None]) -> None:
    with open_duckdb() as connection:
        connection.execute("CREATE TABLE given (text VARCHAR)")
        connection.executemany("INSERT INTO given VALUES (?)", [[text] for text in texts])
        rows = connection.execute(
            f"SELECT {trimmed('text')}, nullif(trim(text), '') FROM given"  # noqa: S608 - our own words
        ).fetchall()
    assert [ours for ours, _ in rows] == [plain for _, plain in rows]


@pytest.mark.parametrize(
    ("text", "expected"), [("  Ann ", "Ann"), ("Ann", "Ann"), ("\u3000", None), ("", None)]
)
def test_trimmed_by_hand(text: str, expected: str | None) -> None:
    with open_duckdb() as connection:
        found = connection.execute(
            f"SELECT {trimmed('text')} FROM (SELECT ? AS text)",  # noqa: S608 - our own words
            [text],
        ).fetchone()
    assert found == (expected,)


JSON_TEXTS = st.one_of(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["a", "b", "c.d", ""]), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(json.dumps),
    st.text(st.sampled_from('{}[]":,ab01.eE+-nulltrue \\\n\u00e9'), max_size=20),
)


@settings(max_examples=300)
@given(texts=st.lists(JSON_TEXTS, min_size=1, max_size=12))
@example(texts=['{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', '{"a": 0123}', "{'a': 1}"])
@example(texts=['{"a": 1, "a": 2}', '{"a": {"b": 1}}', '{"a": "\\ud800"}', '{"a": "\\u0000"}'])
@example(texts=['{"a": 123456789012345678901234567890}', '{"a": 1} ', ' {"a": 1}', '{"a": 1}x', ""])
def test_both_forms_of_parsing_are_parsing(texts: list[str]) -> None:
    read = Extraction(["a", "b.c", "b"])
    with open_duckdb() as connection:
        connection.execute("CREATE TABLE given (n INTEGER, payload VARCHAR, read_error VARCHAR)")
        connection.executemany("INSERT INTO given VALUES (?, ?, NULL)", [*enumerate(texts)])

        def rows(parsed: str) -> list[tuple[object, ...]]:
            return connection.execute(
                f"SELECT n, x IS NULL{read.columns} FROM (SELECT *, {parsed} AS x FROM given) "  # noqa: S608 - our own words
                "ORDER BY n"
            ).fetchall()

        expected = rows(read.parsed)
        fast, careful = read.parsed_forms()
        assert rows(careful) == expected
        try:
            assert rows(fast) == expected
        except duckdb.InvalidInputException:
            assert any(is_null for _, is_null, *_ in expected)
