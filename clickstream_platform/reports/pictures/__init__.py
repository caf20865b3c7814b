"""The functions that draw: small frames of `figures` in, Vega-Lite pictures out.

Colours are names of CSS variables, so that one picture is right on light, dark and printed pages;
`png` puts the light ones in.
"""

from clickstream_platform.reports.pictures.marketing import (
    EVERY_DEVICE,
    STEPS,
    channel_credits,
    funnel,
    model_shares,
    segments,
)
from clickstream_platform.reports.pictures.marks import OTHER, rank_colors
from clickstream_platform.reports.pictures.people import (
    KIND_ORDER,
    UNDONE_COLORS,
    cluster_sizes,
    match_waterfall,
    person_graph,
)
from clickstream_platform.reports.pictures.quality import (
    ANSWER_COLORS,
    FATE_COLORS,
    consent,
    late_by_day,
    ledger,
    quarantine_reasons,
)
from clickstream_platform.reports.pictures.style import (
    CATEGORICAL,
    DARK,
    FONT,
    LIGHT,
    Picture,
    png,
    specification,
)
from clickstream_platform.reports.pictures.traffic import (
    WEEKDAYS,
    channel_shift,
    events_by_day,
    session_durations,
    sessions_by_day,
    sessions_by_device,
    sessions_by_hour,
)

__all__ = [
    "ANSWER_COLORS",
    "CATEGORICAL",
    "DARK",
    "EVERY_DEVICE",
    "FATE_COLORS",
    "FONT",
    "KIND_ORDER",
    "LIGHT",
    "OTHER",
    "STEPS",
    "UNDONE_COLORS",
    "WEEKDAYS",
    "Picture",
    "channel_credits",
    "channel_shift",
    "cluster_sizes",
    "consent",
    "events_by_day",
    "funnel",
    "late_by_day",
    "ledger",
    "match_waterfall",
    "model_shares",
    "person_graph",
    "png",
    "quarantine_reasons",
    "rank_colors",
    "segments",
    "session_durations",
    "sessions_by_day",
    "sessions_by_device",
    "sessions_by_hour",
    "specification",
]
