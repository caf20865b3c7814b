"""Canaries: a small journey of nobody, sent through the real path, and whether it arrived.

Its events look like a visitor's who comes by a campaign, signs in and buys, so that what would lose
or miscount such a visitor loses or miscounts the canary. They are marked synthetic from the first
byte on: tables of events hold them, no mart does.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

VISITOR = USER = "canary"
"""Whom canaries are of; always the same, so that the vault holds one of them."""

AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/144.0.0.0 "
    "Safari/537.36"
)
"""As a browser: what drops visitors by mistake must drop canaries."""

PREFIX = "canary_"
"""How the event ids of canaries begin."""

State = Literal["arrived", "late", "missing", "waiting", "refused"]
FAULTY: tuple[State, ...] = ("late", "missing", "refused")
"""States that should not be."""


class Canary(NamedTuple):
    """A canary that was sent."""

    canary_id: str
    sent_at: datetime
    refusal: str | None = None
    """Why the collector did not take it; None where it did."""


class Arrival(NamedTuple):
    """What became of a canary."""

    canary_id: str
    sent_at: datetime
    state: State
    events: int
    """Of its events, how many are in the table."""
    arrived_at: datetime | None
    """When the platform took the last of them."""

    @property
    def took(self) -> timedelta | None:
        """From sending to arrival."""
        return self.arrived_at - self.sent_at if self.arrived_at else None


def canary_id_of(now: datetime) -> str:
    """Identifier of a canary that is sent now."""
    return f"{PREFIX}{int(now.timestamp() * 1000):x}"


def canary_batch(canary_id: str, *, now: datetime) -> dict[str, object]:
    """The journey as a batch of the compact protocol, without its key."""
    now_ms = int(now.timestamp() * 1000)
    shared: dict[str, object] = {
        "visitor_id": VISITOR,
        "consent": {"analytics": True, "marketing": True, "personalization": True},
        "is_synthetic": True,
    }
    page = "https://canary.invalid/"
    journey: list[dict[str, object]] = [
        {"name": "page_view", "page_url": f"{page}?utm_source=canary&utm_medium=canary"},
        {"name": "login", "user_id": USER, "page_url": page},
        {
            "name": "purchase",
            "user_id": USER,
            "page_url": page,
            "product_id": "canary",
            "order_id": canary_id,
            "revenue": 1,
            "currency": "EUR",
        },
    ]
    events = [
        {"id": event_id, "created_at": now_ms} | shared | event
        for event_id, event in zip(event_ids(canary_id), journey, strict=True)
    ]
    return {"sent_at": now_ms, "events": events}


def event_ids(canary_id: str) -> list[str]:
    """Identifiers of the events of a canary."""
    return [f"{canary_id}_{number}" for number in range(3)]


def arrivals(
    canaries: Sequence[Canary],
    arrived: Mapping[str, datetime],
    *,
    now: datetime,
    within: timedelta,
) -> list[Arrival]:
    """Say what became of canaries, in the order given.

    Args:
        canaries: What was sent.
        arrived: When each event that is in the table was taken, by event id.
        now: Time of asking; a canary that is not older than ``within`` may still be on its way.
        within: How long a canary may take; exactly so long is in time.
    """
    return [_arrival(canary, arrived, now, within) for canary in canaries]


def _arrival(
    canary: Canary, arrived: Mapping[str, datetime], now: datetime, within: timedelta
) -> Arrival:
    ids = event_ids(canary.canary_id)
    times = [arrived[event_id] for event_id in ids if event_id in arrived]
    last = max(times) if len(times) == len(ids) else None
    state: State
    if canary.refusal is not None:
        state = "refused"
    elif last is not None:
        state = "arrived" if last - canary.sent_at <= within else "late"
    else:
        state = "missing" if now - canary.sent_at > within else "waiting"
    return Arrival(canary.canary_id, canary.sent_at, state, len(times), last)
