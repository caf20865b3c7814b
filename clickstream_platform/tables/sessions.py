"""Contracts of the session tables."""

import pandera.polars as pa
import polars as pl

from clickstream_platform.tables.events import Instant, Money


class Sessions(pa.DataFrameModel):
    """Runs of a person's events, under one policy.

    Grain: session_id.
    Made by: `clickstream_platform.sessions`. Read by: attribution, segments, reports.
    """

    session_id: str = pa.Field(description="Person and first event of the session.")
    session_key: int = pa.Field(description="Surrogate: event_key of the first event.")
    person_id: str = pa.Field(description="Pseudonym of the person.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    visitor_id: str = pa.Field(nullable=True, description="Visitor of the first event.")
    source: str = pa.Field(description="Source of the first event.")
    started_at: Instant = pa.Field(description="Event time of the first event.")
    ended_at: Instant = pa.Field(description="Event time of the last event.")
    session_date: pl.Date = pa.Field(description="UTC date of started_at; partition.")
    bucket: pl.Int32 = pa.Field(ge=0, description="Bucket of person_key; partition.")
    duration_s: float = pa.Field(ge=0, description="ended_at minus started_at, seconds.")
    cut_reason: str = pa.Field(
        isin=[
            "first",
            "timeout",
            "campaign",
            "logout",
            "identity",
            "midnight",
            "max_duration",
            "max_events",
        ],
        description="Why it starts: first of the person's run, or what cut the one before.",
    )
    events: int = pa.Field(ge=1, description="Events in the session, those of servers included.")
    page_views: int = pa.Field(ge=0, description="Page and screen views.")
    engaged_time_s: float = pa.Field(
        nullable=True, ge=0, description="Foreground time, seconds; null where nothing pings."
    )
    is_engaged: bool = pa.Field(description="Over 10 s engaged, a conversion, or 2 page views.")
    is_bounce: bool = pa.Field(description="Not engaged.")
    landing_host: str = pa.Field(nullable=True, description="Host of the first page.")
    landing_path: str = pa.Field(nullable=True, description="Path of the first page.")
    exit_path: str = pa.Field(nullable=True, description="Path of the last page.")
    referrer_host: str = pa.Field(nullable=True, description="Host that led to the first event.")
    campaign_source: str = pa.Field(nullable=True, description="utm_source at the start.")
    campaign_medium: str = pa.Field(nullable=True, description="utm_medium at the start.")
    campaign_name: str = pa.Field(nullable=True, description="utm_campaign at the start.")
    click_id_type: str = pa.Field(nullable=True, description="Click id parameter at the start.")
    channel: str = pa.Field(description="Channel of the session, by the channel rules.")
    device_type: str = pa.Field(nullable=True, description="Device of the first event.")
    browser_name: str = pa.Field(nullable=True, description="Browser of the first event.")
    os_name: str = pa.Field(nullable=True, description="System of the first event.")
    country: str = pa.Field(nullable=True, description="Country of the first event.")
    conversions: int = pa.Field(ge=0, description="Events declared as conversions.")
    revenue: Money = pa.Field(description="Revenue of its events, reporting currency.")
    engagement_points: float = pa.Field(
        ge=0, description="Weights of its events, each decayed to ended_at."
    )
    is_bot: bool = pa.Field(description="Any event is flagged as a bot's.")
    consent_analytics: bool = pa.Field(nullable=True, description="As of the last event.")
    consent_marketing: bool = pa.Field(nullable=True, description="As of the last event.")
    consent_personalization: bool = pa.Field(nullable=True, description="As of the last event.")

    class Config:
        """Exactly these columns, never cast."""

        name = "sessions"
        unique = ["session_id"]
        strict = True
        coerce = False


class SessionEvents(pa.DataFrameModel):
    """Which session and person an event belongs to.

    Grain: event_key.
    Made by: `clickstream_platform.sessions`. Read by: conversions, journeys, subject requests.
    """

    event_key: int = pa.Field(description="Surrogate of the event.")
    session_key: int = pa.Field(description="Surrogate of the session.")
    person_key: int = pa.Field(description="Surrogate of the person.")
    event_name: str = pa.Field(description="Kind of event.")
    occurred_us: int = pa.Field(description="Event time, microseconds since 1970-01-01 UTC.")
    event_number: int = pa.Field(ge=1, description="Position in the session, from 1.")
    event_date: pl.Date = pa.Field(description="UTC date of the event; partition.")
    bucket: pl.Int32 = pa.Field(ge=0, description="Bucket of person_key; partition.")

    class Config:
        """Exactly these columns, never cast."""

        name = "session_events"
        unique = ["event_key"]
        strict = True
        coerce = False


class SessionlessEvents(pa.DataFrameModel):
    """Events that are in no session, and why.

    Together with session_events: every event that is not synthetic.

    Grain: event_key.
    Made by: `clickstream_platform.sessions`. Read by: sessions, completeness.
    """

    event_key: int = pa.Field(description="Surrogate of the event.")
    person_key: int = pa.Field(nullable=True, description="Surrogate of the person, if any.")
    reason: str = pa.Field(
        isin=["no_person", "only_pings", "no_open_session"],
        description="Nobody is known; nothing but pings would be in its session; or a server sent "
        "it, and its person had done nothing for longer than the timeout.",
    )
    event_name: str = pa.Field(description="Kind of event.")
    occurred_us: int = pa.Field(description="Event time, microseconds since 1970-01-01 UTC.")
    event_date: pl.Date = pa.Field(description="UTC date of the event; partition.")

    class Config:
        """Exactly these columns, never cast."""

        name = "sessionless_events"
        unique = ["event_key"]
        strict = True
        coerce = False


class RunawaySessions(pa.DataFrameModel):
    """The quarantine of sessions: what no person does, cut again and again for its length.

    Its sessions stay in sessions, and count. One row is what would be one session without limits.

    Grain: session_key.
    Made by: `clickstream_platform.sessions`. Read by: `clickstream quarantine`, the report.
    """

    session_key: int = pa.Field(description="Surrogate of the first session.")
    session_id: str = pa.Field(description="The first session; the others follow without a rest.")
    person_id: str = pa.Field(description="Pseudonym of the person.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    source: str = pa.Field(description="Source of the first event.")
    started_at: Instant = pa.Field(description="Event time of the first event.")
    ended_at: Instant = pa.Field(description="Event time of the last event.")
    session_date: pl.Date = pa.Field(description="UTC date of started_at; partition.")
    sessions: int = pa.Field(ge=1, description="Sessions that it was cut into.")
    events: int = pa.Field(ge=1, description="Events in them.")
    event_cuts: int = pa.Field(ge=0, description="Cuts for the most events of a session.")
    duration_cuts: int = pa.Field(ge=0, description="Cuts for the longest duration.")
    is_bot: bool = pa.Field(description="Any event is flagged as a bot's.")

    class Config:
        """Exactly these columns, never cast."""

        name = "runaway_sessions"
        unique = ["session_key"]
        strict = True
        coerce = False
