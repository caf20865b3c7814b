"""The one error of the decoders."""

from typing import NoReturn

from clickstream_platform.errors import ClickstreamError


class ConsentStringError(ClickstreamError, ValueError):
    """A consent string cannot be read.

    The message names the field and the reason and never quotes the string: it is a record of
    somebody's choices, and may hold anything a sender put in its place.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field, self.reason = field, reason
        super().__init__(
            f"consent string: {field} {reason}. It counts as no consent; "
            "have the consent platform that wrote it looked at."
        )


def refuse(field: str, reason: str) -> NoReturn:
    """Refuse a consent string.

    Raises:
        ConsentStringError: Always.
    """
    raise ConsentStringError(field, reason)
