"""The session policy: when a session ends, and what opens none."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from clickstream_platform.errors import ParameterError
from clickstream_platform.settings import Settings

PINGS = ("page_ping", "screen_ping", "video_ping", "user_engagement")
"""Events that a tag sends by itself while a page is open: alone they are no session."""

PAGE_VIEWS = ("page_view", "screen_view")
"""Events that show a page or a screen."""

RESOLUTION = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class SessionPolicy:
    """When a session ends."""

    timeout: timedelta = timedelta(minutes=30)
    """Longest gap inside a session; a gap equal to it does not split (Google Analytics)."""
    max_duration: timedelta = timedelta(hours=24)
    """Longest time from the first event to the last; a session may last exactly so long."""
    cut_on_campaign: bool = True
    """Whether another campaign starts a session (Matomo; Google Analytics before version 4)."""
    engaged_after: timedelta = timedelta(seconds=10)
    """Engaged time beyond which a session is engaged (Google Analytics)."""
    half_life: timedelta = timedelta(days=7)
    """Age at which the engagement points of an event halve."""

    def __post_init__(self) -> None:
        for name in ("timeout", "max_duration", "half_life"):
            if getattr(self, name) <= timedelta(0):
                raise ParameterError(
                    name, getattr(self, name), "must be longer than zero", instead="timedelta(1)"
                )

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The policy that the settings describe."""
        sessions = settings.sessions
        return cls(
            timeout=timedelta(minutes=sessions.timeout_minutes),
            max_duration=timedelta(hours=sessions.max_duration_hours),
            cut_on_campaign=sessions.cut_on_campaign,
            engaged_after=timedelta(seconds=sessions.engaged_after_s),
            half_life=timedelta(days=settings.engagement.half_life_days),
        )

    @property
    def timeout_us(self) -> int:
        """The timeout in microseconds."""
        return self.timeout // RESOLUTION

    @property
    def max_duration_us(self) -> int:
        """The longest session in microseconds."""
        return self.max_duration // RESOLUTION

    def most_cuts(self, span_us: int) -> int:
        """How often a run of events can be cut for its length, if it lasts so long at most."""
        return max(span_us, 0) // (self.max_duration_us + 1)
