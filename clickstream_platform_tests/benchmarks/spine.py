"""The spine, from events to credits and scores: its stages in order, and refreshing them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clickstream_platform.attribution import (
    refresh_conversions,
    refresh_credits,
    refresh_touchpoints,
)
from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake, Refreshed
from clickstream_platform.segments.engagement import refresh_scores
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.benchmarks.measuring import Figures

STAGES: dict[str, Callable[..., Refreshed]] = {
    "identity": refresh_identity,
    "sessions": refresh_sessions,
    "touchpoints": refresh_touchpoints,
    "conversions": refresh_conversions,
    "credits": refresh_credits,
    "scores": refresh_scores,
}
"""Every stage, in the order in which they are brought up to date."""

TO_CREDITS = ("identity", "sessions", "touchpoints", "conversions", "credits")
"""Stages that lead to credits."""


def refresh(data: Path, *, stages: Sequence[str] = tuple(STAGES), full: bool = False) -> Figures:
    """Bring the stages up to date; return CPU seconds and rows of each, by ``<stage>_…``."""
    settings = load_settings(data)
    lake = Lake(settings.lake_folder)
    figures: Figures = {}
    for name in stages:
        cpu = time.process_time()
        done = STAGES[name](lake, settings, full=full)
        figures[f"{name}_cpu_s"] = time.process_time() - cpu
        figures[f"{name}_rows"] = done.rows_written
        figures[f"{name}_read"] = done.rows_read
    return figures
