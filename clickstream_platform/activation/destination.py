"""What a destination of audiences is: one that takes records and says what became of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypeAlias

from clickstream_platform.errors import ClickstreamError

Operation: TypeAlias = Literal["upsert", "remove"]
"""Set properties of a person, or clear them."""

Fate: TypeAlias = Literal["delivered", "refused", "unclear"]
"""Taken; refused for good; neither is known, so it must be sent again under the same key."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One person as a destination gets to see them. Never printed: it names the person."""

    idempotency_key: str
    """Equal for equal effects: a destination may drop what it has seen."""
    operation: Operation
    crm_id: str = field(repr=False)
    """Identifier of the person outside the platform."""
    properties: Mapping[str, str] = field(repr=False)
    """Values by name; empty ones clear."""
    synced_at: datetime
    is_resend: bool = False
    """Whether it may have been taken before."""


class Outcome(NamedTuple):
    """What became of one record."""

    idempotency_key: str
    fate: Fate
    reason: str | None = None
    """Code of the destination for a refusal. Never a sentence: sentences quote values."""


class Destination(Protocol):
    """Where audiences go."""

    @property
    def name(self) -> str:
        """Name in the ledger."""

    @property
    def batch_size(self) -> int:
        """Most records of one call."""

    def upsert(self, records: Sequence[Record]) -> list[Outcome]:
        """Send records, all of one operation, in one call; records left out are unclear.

        Raises:
            BusyError: It asks to wait.
            UnavailableError: It failed, or did not answer in time; it may have taken them.
            RefusedError: It refuses the call as a whole, because of one record or more.
            MisconfiguredError: It will refuse every call until somebody changes a setting.
        """

    def erase(self, ids: Sequence[str]) -> int:
        """Erase people by their identifiers outside the platform; return how many it confirms."""


class BusyError(ClickstreamError, TimeoutError):
    """The destination asks to be left alone for a while."""

    def __init__(self, destination: str, retry_after_s: float | None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{destination} asks to wait. The next sync goes on where this one ended.")


class UnavailableError(ClickstreamError, ConnectionError):
    """The destination failed or did not answer in time; what was sent may have arrived."""

    def __init__(self, destination: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{destination} is not available ({reason}). "
            "The next sync goes on where this one ended."
        )


class RefusedError(ClickstreamError, ValueError):
    """The destination refuses a call for what is in it."""

    def __init__(self, destination: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{destination} refuses the call ({reason}). Split it to find the record at fault."
        )


class MisconfiguredError(ClickstreamError, ValueError):
    """The destination refuses every call until a setting, there or here, is changed."""

    def __init__(self, destination: str, reason: str, *, remedy: str) -> None:
        self.reason = reason
        super().__init__(f"{destination}: {reason}. {remedy} Nothing is lost meanwhile.")
