"""What a subject request is: its states, its last day, and why one is refused."""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy.identifiers import Namespace

RequestType = Literal["export", "erase"]
Status = Literal["received", "in_progress", "completed", "failed"]

NEXT: dict[str, tuple[str, ...]] = {
    "received": ("in_progress",),
    "in_progress": ("in_progress", "completed", "failed"),
    "failed": ("in_progress",),
    "completed": (),
}
"""States that may follow each state."""

Identifiers = Sequence[tuple[Namespace, str]]
"""Identifiers of a person: namespace, and the identifier as the person knows it."""

_SATURDAY = 5


@dataclass(frozen=True, kw_only=True)
class SubjectRequest:
    """One request as people may see it."""

    request_id: str
    request_type: RequestType
    status: Status
    received_at: datetime
    due_date: date
    completed_at: datetime | None
    rows_found: int
    rows_left: int
    certificate_sha256: str | None


class Outcome(NamedTuple):
    """What an answered or failed request came to; None leaves what the register says."""

    rows_found: int | None = None
    rows_left: int | None = None
    certificate_sha256: str | None = None


class RequestError(ClickstreamError, ValueError):
    """A subject request cannot be registered, found or worked on as asked."""

    def __init__(self, request_id: str, reason: str, *, remedy: str) -> None:
        self.request_id, self.reason = request_id, reason
        super().__init__(f"Subject request {request_id} {reason}. {remedy}")


class RequestBusyError(RequestError):
    """The request, or another one of the same person, is being worked on."""


def due_date(received_on: date) -> date:
    """Last day for an answer: one calendar month later, moved past a weekend.

    A month that is too short ends it on its last day: 31 January is answered by 28 February.
    """
    year, month = divmod(received_on.year * 12 + received_on.month, 12)
    last = calendar.monthrange(year, month + 1)[1]
    due = date(year, month + 1, min(received_on.day, last))
    return due + timedelta(days=max(0, 7 - due.weekday()) if due.weekday() >= _SATURDAY else 0)
