"""Bots by behaviour: what visitors do over a day, and the rules that this matches."""

from clickstream_platform.collection.bot_behaviour.measures import bot_behaviour
from clickstream_platform.collection.bot_behaviour.refresh import refresh_bot_behaviour

__all__ = ["bot_behaviour", "refresh_bot_behaviour"]
