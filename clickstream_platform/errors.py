"""Errors this package raises on purpose, and what may be told of others."""

import re


class ClickstreamError(Exception):
    """Base of every error raised on purpose; anything else is a bug."""


class ParameterError(ClickstreamError, ValueError):
    """A parameter has a value that the function cannot use."""

    def __init__(self, name: str, value: object, rule: str, *, instead: str) -> None:
        self.name, self.value = name, value
        super().__init__(f"{name} {rule}, got {value!r}. Try {name}={instead}.")


ENGINES = ("_duckdb", "duckdb", "polars", "pyarrow")
"""Packages whose errors quote the values that they stumble over."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")


def told(error: BaseException) -> str | None:
    """What may be stored of an engine's error, or None if it is no engine's.

    The first line, in which what stands in quotes is a shape (``aaa@aaaaaaa.aaa``) and so are
    numbers: engines quote values, and an event log outlives every erasure.
    """
    kind = type(error)
    if kind.__module__.split(".")[0] not in ENGINES:
        return None
    line = next(iter(str(error).splitlines()), "")
    shaped = _QUOTED.sub(lambda found: re.sub(r"[^\W\d_]", "a", found[0]), line)
    digits = re.sub(r"\d", "9", shaped)
    return f"{kind.__name__}: {digits}"


class DefinitionError(ClickstreamError, ValueError):
    """A definition file (source, segment, channel, rule, setting) cannot be used as written.

    The message names the file, the key and the remedy, in that order.
    """

    def __init__(self, file: object, key: str, reason: str, *, remedy: str) -> None:
        self.file, self.key, self.reason = file, key, reason
        super().__init__(f"{file}: {key}: {reason}. {remedy}")
