"""Rates: how many events a sender may send: so many at once, and then at the rate's pace."""

from dataclasses import dataclass
from typing import Self

PERIODS_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0}

MAX_SENDERS = 100_000
"""Senders that are remembered; when there are more, those whose debt is paid are forgotten."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many events in a period, as ``6000/minute`` says it."""

    events: int
    period_s: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a rate that the settings have checked."""
        events, _, period = text.partition("/")
        return cls(int(events), PERIODS_S[period])


class Meter:
    """Counts the events of each sender against one rate.

    Each event costs its share of the period; a sender may run into debt by one period at most.
    Over ``k`` periods a sender gets through at most ``k + 1`` times the rate's events.

    Source:
        The generic cell rate algorithm (ITU-T I.371).
    """

    def __init__(self, rate: Rate) -> None:
        self._cost_s = rate.period_s / rate.events
        self._period_s = rate.period_s
        self._paid_at: dict[str, float] = {}

    def admits(self, sender: str, events: int, now_s: float) -> bool:
        """Whether a sender may send so many events now; if so, they are counted."""
        due = max(self._paid_at.get(sender, 0.0), now_s) + events * self._cost_s
        if due - now_s > self._period_s:
            return False
        if sender not in self._paid_at and len(self._paid_at) >= MAX_SENDERS:
            self._paid_at = {s: at for s, at in self._paid_at.items() if at > now_s}
        self._paid_at[sender] = due
        return True
