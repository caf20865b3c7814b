"""Texts in queries: a text is itself, whatever it holds."""

import ibis
from hypothesis import given
from hypothesis import strategies as st
from ibis.backends.duckdb import Backend

from clickstream_platform.lake import connect, literal
from clickstream_platform.settings import LakeSettings

BACKEND: Backend = connect(LakeSettings())


@given(st.text(st.sampled_from("a$${}%+ \a\b\f\v\n\\'\"é\u0307"), max_size=8))
def test_literal_is_the_text(text: str) -> None:
    assert BACKEND.to_pyarrow(literal(text)).as_py() == text


def test_marks_that_spark_reads_as_others_are_not_in_the_query() -> None:
    for text in ("${x}", "a\x0b", "\a", "\f"):
        query = str(ibis.to_sql(literal(text), dialect="pyspark"))
        assert "${" not in query
        assert "\\" not in query
