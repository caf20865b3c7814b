"""What the report says: one function per section, figures in, pictures with their words out."""

from clickstream_platform.reports.sections.identity import identity
from clickstream_platform.reports.sections.marketing import channels, funnel, segments
from clickstream_platform.reports.sections.parts import Card, Section, Subject, total
from clickstream_platform.reports.sections.policies import policies
from clickstream_platform.reports.sections.quality import consent, quality
from clickstream_platform.reports.sections.traffic import cards, traffic, visits

__all__ = [
    "Card",
    "Section",
    "Subject",
    "cards",
    "channels",
    "consent",
    "funnel",
    "identity",
    "policies",
    "quality",
    "segments",
    "total",
    "traffic",
    "visits",
]
