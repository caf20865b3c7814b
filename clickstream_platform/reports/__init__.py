"""Pictures: the report page, and small images for the orchestrator."""

from clickstream_platform.reports.bot_matches import bot_matches
from clickstream_platform.reports.figures import consent_rates
from clickstream_platform.reports.images import (
    channels_png,
    clusters_png,
    events_by_day_png,
    match_png,
    person_png,
    segments_png,
    session_durations_png,
    sessions_by_day_png,
)
from clickstream_platform.reports.page import REPORT, write_report

__all__ = [
    "REPORT",
    "bot_matches",
    "channels_png",
    "clusters_png",
    "consent_rates",
    "events_by_day_png",
    "match_png",
    "person_png",
    "segments_png",
    "session_durations_png",
    "sessions_by_day_png",
    "write_report",
]
