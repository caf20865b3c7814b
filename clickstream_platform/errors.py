"""Errors this package raises on purpose."""


class ClickstreamError(Exception):
    """Base of every error raised on purpose; anything else is a bug."""


class ParameterError(ClickstreamError, ValueError):
    """A parameter has a value that the function cannot use."""

    def __init__(self, name: str, value: object, rule: str, *, instead: str) -> None:
        self.name, self.value = name, value
        super().__init__(f"{name} {rule}, got {value!r}. Try {name}={instead}.")


class DefinitionError(ClickstreamError, ValueError):
    """A definition file (source, segment, channel, rule, setting) cannot be used as written.

    The message names the file, the key and the remedy, in that order.
    """

    def __init__(self, file: object, key: str, reason: str, *, remedy: str) -> None:
        self.file, self.key, self.reason = file, key, reason
        super().__init__(f"{file}: {key}: {reason}. {remedy}")
