"""Texts of records: the short cut around `trim` is the same as `trim`."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickstream_platform.events.records import open_duckdb, trimmed

BLANKS = " \t\n\r\x0b\x1f\u00a0\u1680\u2003\u200b\u2028\u202f\u3000\ufeff"
TEXTS = st.none() | st.text(
    st.sampled_from(BLANKS + "aZ!~{\x7f\u0080\u00e9\u4e00\U0001f600"), max_size=6
)


@settings(max_examples=300, deadline=None)
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
