"""Values of JSON objects that are stored as text, read alike by every engine."""

import ibis
import ibis.expr.types as ir


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]  # Ibis has no types
def get_json_object(text: str, path: str) -> str:  # type: ignore[empty-body]  # Spark has it
    """The value at a path."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]  # Ibis has no types
def json_extract_string(text: str, path: str) -> str:  # type: ignore[empty-body]  # DuckDB has it
    """The value at a path."""


def json_value(column: ir.StringValue, key: str) -> ir.StringValue:
    """What an object holds under a key of its own: a text as it is, else its JSON text; or null.

    Args:
        column: JSON objects.
        key: The key, without quotes, backslashes and brackets.
    """
    if column.get_backend().name == "pyspark":
        return get_json_object(column, f"$['{key}']")
    return json_extract_string(column, f'$."{key}"')
