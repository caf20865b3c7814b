"""Engagement scores, and segments as rules over sessions, events and scores."""

from clickstream_platform.segments.engagement import engagement_scores, refresh_scores, score_at
from clickstream_platform.segments.matching import segment_matches
from clickstream_platform.segments.membership import refresh_segments
from clickstream_platform.segments.review import unknown_names, unread_files
from clickstream_platform.segments.rules import Bounds, Rule, Segment, describe, load_segments

__all__ = [
    "Bounds",
    "Rule",
    "Segment",
    "describe",
    "engagement_scores",
    "load_segments",
    "refresh_scores",
    "refresh_segments",
    "score_at",
    "segment_matches",
    "unknown_names",
    "unread_files",
]
