"""Sessions: runs of a person's events, under one policy."""

from clickstream_platform.sessions.boundaries import place_events, with_campaign
from clickstream_platform.sessions.comparison import (
    Comparison,
    compare_policies,
    preset_policies,
)
from clickstream_platform.sessions.cookieless import (
    Counting,
    cookieless_counts,
    counting_of,
    refresh_cookieless,
)
from clickstream_platform.sessions.policy import PAGE_VIEWS, PINGS, SessionPolicy
from clickstream_platform.sessions.refresh import DECIDED_BY, METHOD, refresh_sessions
from clickstream_platform.sessions.runaways import runaway_sessions
from clickstream_platform.sessions.summary import (
    SessionDefinitions,
    load_session_definitions,
    name_first_sessions,
    session_events,
    sessionless_events,
    summarize_sessions,
)
from clickstream_platform.sessions.weights import EngagementWeights, load_engagement_weights

__all__ = [
    "DECIDED_BY",
    "METHOD",
    "PAGE_VIEWS",
    "PINGS",
    "Comparison",
    "Counting",
    "EngagementWeights",
    "SessionDefinitions",
    "SessionPolicy",
    "compare_policies",
    "cookieless_counts",
    "counting_of",
    "load_engagement_weights",
    "load_session_definitions",
    "name_first_sessions",
    "place_events",
    "preset_policies",
    "refresh_cookieless",
    "refresh_sessions",
    "runaway_sessions",
    "session_events",
    "sessionless_events",
    "summarize_sessions",
    "with_campaign",
]
