"""Bots: programs told from people by user agent, network, headers and behaviour."""

from clickstream_platform.collection.bots.agents import bot_reason
from clickstream_platform.collection.bots.door import BotScoring
from clickstream_platform.collection.bots.headers import header_signals
from clickstream_platform.collection.bots.ranges import (
    RANGES_FOLDER,
    BotRanges,
    RangeKind,
    RangeList,
    RangeListError,
    load_ranges,
    read_networks,
    store_ranges,
)
from clickstream_platform.collection.bots.rules import (
    BotRule,
    BotRules,
    BotVerdict,
    load_bot_rules,
)

__all__ = [
    "RANGES_FOLDER",
    "BotRanges",
    "BotRule",
    "BotRules",
    "BotScoring",
    "BotVerdict",
    "RangeKind",
    "RangeList",
    "RangeListError",
    "bot_reason",
    "header_signals",
    "load_bot_rules",
    "load_ranges",
    "read_networks",
    "store_ranges",
]
