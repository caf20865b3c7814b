"""Channels: groups of sources and media under ordered rules, which are data.

A rule is a channel and conditions that must all hold; the first rule that holds decides. The same
rules run on one link (`channel_of`) and on a whole table in any engine (`with_channel`).
"""

from clickstream_platform.attribution.channels.links import (
    Link,
    TrafficSource,
    channel_of,
    traffic_source_of,
)
from clickstream_platform.attribution.channels.rules import (
    DIRECT,
    ChannelRules,
    load_channel_rules,
)
from clickstream_platform.attribution.channels.tables import with_channel

__all__ = [
    "DIRECT",
    "ChannelRules",
    "Link",
    "TrafficSource",
    "channel_of",
    "load_channel_rules",
    "traffic_source_of",
    "with_channel",
]
