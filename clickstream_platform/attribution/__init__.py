"""Channels, touchpoints, conversions, and the credit that each touchpoint earns."""

from clickstream_platform.attribution.channels import (
    DIRECT,
    ChannelRules,
    Link,
    TrafficSource,
    channel_of,
    load_channel_rules,
    traffic_source_of,
    with_channel,
)
from clickstream_platform.attribution.conversions import (
    ConversionRule,
    conversions,
    load_conversion_rules,
)
from clickstream_platform.attribution.credits import (
    MODELS,
    NO_CONSENT,
    UNATTRIBUTED,
    attribution_credits,
    channel_report,
    eligible_paths,
)
from clickstream_platform.attribution.refresh import (
    refresh_conversions,
    refresh_credits,
    refresh_touchpoints,
)
from clickstream_platform.attribution.touchpoints import touchpoints

__all__ = [
    "DIRECT",
    "MODELS",
    "NO_CONSENT",
    "UNATTRIBUTED",
    "ChannelRules",
    "ConversionRule",
    "Link",
    "TrafficSource",
    "attribution_credits",
    "channel_of",
    "channel_report",
    "conversions",
    "eligible_paths",
    "load_channel_rules",
    "load_conversion_rules",
    "refresh_conversions",
    "refresh_credits",
    "refresh_touchpoints",
    "touchpoints",
    "traffic_source_of",
    "with_channel",
]
