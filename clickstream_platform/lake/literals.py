"""Texts of definitions as literals that every engine reads as they are written."""

import re
from urllib.parse import quote

import ibis
import ibis.expr.types as ir

_STRANGE = re.compile(r"[\a\f\v]|\$\{")
"""What Spark reads as something else: marks that Ibis writes as escapes which Spark does not know,
and ``${``, in whose place Spark puts a variable of its own."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]  # Ibis has no types
def url_decode(text: str) -> str:  # type: ignore[empty-body]  # engines have it
    """A text whose strange marks were written as ``%0B``."""


def literal(value: str) -> ir.StringValue:
    """A text, written in another way where an engine would read another one."""
    return url_decode(quote(value, safe="")) if _STRANGE.search(value) else ibis.literal(value)
