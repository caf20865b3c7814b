"""The session policy: when a session ends, and what opens none."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

from clickstream_platform.errors import ParameterError
from clickstream_platform.settings import Settings

PINGS = ("page_ping", "screen_ping", "video_ping", "user_engagement")
"""Events that a tag sends by itself while a page is open: alone they are no session."""

PAGE_VIEWS = ("page_view", "screen_view")
"""Events that show a page or a screen."""

LOGOUTS = ("logout", "sign_out")
"""Events by which a user leaves."""

SERVER = "server"
"""Platform of events that a server sends, and no browser or app: they join sessions alone."""

RESOLUTION = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = timedelta(days=1) // RESOLUTION

LAST_YEAR = 2037
"""Year up to which the rules of time zones are laid down."""


class Offset(NamedTuple):
    """What local clocks show from some instant on."""

    from_us: int
    """The instant, microseconds since 1970-01-01 UTC."""
    offset_us: int
    """Local time minus UTC, microseconds."""


@lru_cache(maxsize=16)
def zone_offsets(zone: str) -> tuple[Offset, ...]:
    """Every offset that a time zone had or will have, in order; the first holds for all before.

    Engines do not agree on what a zone's rules are, nor on local times that occur twice or never.
    With offsets a local date is integer arithmetic on an instant, which always has exactly one.
    """
    clock = ZoneInfo(zone)

    def offset(us: int) -> int:
        local = (EPOCH + us * RESOLUTION).astimezone(clock)
        return (local.utcoffset() or timedelta(0)) // RESOLUTION

    found = [Offset(0, offset(0))]
    for day in range((LAST_YEAR + 1 - EPOCH.year) * 365):
        before, after = day * DAY_US, (day + 1) * DAY_US
        if (then := offset(after)) != found[-1].offset_us:
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (before, middle) if offset(middle) == then else (middle, after)
            found.append(Offset(after, then))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class SessionPolicy:
    """When a session ends."""

    timeout: timedelta = timedelta(minutes=30)
    """Longest gap inside a session; a gap equal to it does not split (Google Analytics)."""
    max_duration: timedelta = timedelta(hours=24)
    """Longest time from the first event to the last; a session may last exactly so long."""
    cut_on_campaign: bool = True
    """Whether another campaign starts a session (Matomo; Google Analytics before version 4)."""
    cut_on_logout: bool = False
    """Whether what follows a logout is another session."""
    cut_on_identity: bool = False
    """Whether the first event of a user, after others that named none, starts a session."""
    cut_at_midnight: bool = False
    """Whether another local date starts a session (Matomo)."""
    time_zone: str = "UTC"
    """Whose midnight cuts: the property's zone."""
    max_events: int | None = 10_000
    """Most events of a session (Matomo's actions of a visit); None for any number."""
    storm_cuts: int = 2
    """Cuts for ``max_duration`` in a row that make a runaway: two days without a rest."""
    heartbeat: timedelta | None = None
    """Interval of pings from which engaged time is estimated where no event reports it; None for
    unknown (Snowplow)."""
    min_visit: timedelta = timedelta(0)
    """Engaged time of a session of one ping, see ``heartbeat`` (Snowplow)."""
    engaged_after: timedelta = timedelta(seconds=10)
    """Engaged time beyond which a session is engaged (Google Analytics)."""
    half_life: timedelta = timedelta(days=7)
    """Age at which the engagement points of an event halve."""
    bots_by_behaviour: bool = False
    """Whether an event is a bot's, too, where `bot_behaviour` says so of the visitor and day."""

    def __post_init__(self) -> None:
        for name in ("timeout", "max_duration", "half_life", "heartbeat"):
            value = getattr(self, name)
            if value is not None and value <= timedelta(0):
                raise ParameterError(
                    name, value, "must be longer than zero", instead="timedelta(1)"
                )
        for name, instead in (("max_events", "10_000"), ("storm_cuts", "2")):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ParameterError(name, value, "must be at least 1", instead=instead)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The policy that the settings describe."""
        sessions = settings.sessions
        return cls(
            timeout=timedelta(minutes=sessions.timeout_minutes),
            max_duration=timedelta(hours=sessions.max_duration_hours),
            cut_on_campaign=sessions.cut_on_campaign,
            cut_on_logout=sessions.cut_on_logout,
            cut_on_identity=sessions.cut_on_identity,
            cut_at_midnight=sessions.cut_at_midnight,
            # Another reporting zone changes nothing unless its midnight cuts.
            time_zone=settings.time_zone if sessions.cut_at_midnight else "UTC",
            max_events=sessions.max_events or None,
            storm_cuts=sessions.storm_cuts,
            heartbeat=timedelta(seconds=sessions.heartbeat_s) or None,
            min_visit=timedelta(seconds=sessions.min_visit_s),
            engaged_after=timedelta(seconds=sessions.engaged_after_s),
            half_life=timedelta(days=settings.engagement.half_life_days),
            bots_by_behaviour=sessions.bots_by == "behaviour",
        )

    @property
    def timeout_us(self) -> int:
        """The timeout in microseconds."""
        return self.timeout // RESOLUTION

    @property
    def max_duration_us(self) -> int:
        """The longest session in microseconds."""
        return self.max_duration // RESOLUTION

    @property
    def has_other_cuts(self) -> bool:
        """Whether anything cuts beside time and campaigns."""
        return self.cut_on_logout or self.cut_on_identity or self.cut_at_midnight

    def most_cuts(self, span_us: int, events: int = 0) -> int:
        """How often a run can be cut for its length, if it lasts and counts so much at most."""
        for_time = max(span_us, 0) // (self.max_duration_us + 1)
        for_events = max(events - 1, 0) // self.max_events if self.max_events else 0
        return for_time + for_events
