"""Bots at the collector's door: what only the request shows, noted on its records."""

from functools import lru_cache

from clickstream_platform.collection.arrivals import Arrival, Record
from clickstream_platform.collection.bots.agents import agent_reader
from clickstream_platform.collection.bots.headers import HINTS, header_signals
from clickstream_platform.collection.bots.ranges import BotRanges
from clickstream_platform.collection.bots.rules import BotRules, BotVerdict

CACHED = 16_384
"""User agents, addresses and sets of headers that are remembered."""

LONGEST = 512
"""Characters of a header that are looked at, and of a user agent that is remembered: what is
remembered stays below 50 MB."""

SIGNALS, SCORE = "bot_signals", "bot_score"
"""Fields that a record gets; absent where nothing matches."""


class BotScoring:
    """An enrichment that scores the records of a request.

    A server speaks for somebody else: its own address and headers say nothing, only the user agent
    that it passes on does.

    Args:
        rules: What each sign weighs.
        ranges: Networks of crawlers and datacenters.
    """

    def __init__(self, rules: BotRules, ranges: BotRanges) -> None:
        self._of_any_agent = agent_reader(rules.own_patterns)
        self._of_agent = lru_cache(CACHED)(self._of_any_agent)
        self._of_address = lru_cache(CACHED)(ranges.signals)
        self._of_headers = lru_cache(CACHED)(_header_signals)
        self._verdict = lru_cache(CACHED)(rules.verdict)
        self._last: tuple[Arrival | None, object, BotVerdict | None] = (None, None, None)

    def __call__(self, record: Record, arrival: Arrival) -> None:
        """Note on a record which rules match, and the score; what it said of that itself goes."""
        if SIGNALS in record or SCORE in record:
            record.pop(SIGNALS, None)
            record.pop(SCORE, None)
        agent = record.get("user_agent")
        last, of, verdict = self._last
        if arrival is not last or agent != of:  # the records of a request come one after another
            verdict = self._judged(agent, arrival)
            self._last = arrival, agent, verdict
        if verdict is not None:
            record[SIGNALS], record[SCORE] = verdict.signals, verdict.score

    def _judged(self, agent: object, arrival: Arrival) -> BotVerdict | None:
        """Verdict on what a request and a user agent show; None where they show nothing."""
        reason = None
        if isinstance(agent, str):
            of_agent = self._of_agent if len(agent) <= LONGEST else self._of_any_agent
            reason = of_agent(agent)
        signals: tuple[str, ...] = (reason,) if reason else ()
        if not arrival.is_server:
            headers = arrival.headers
            told = tuple(headers.get(name, "")[:LONGEST] for name in HINTS)
            signals += self._of_headers(told, bool(headers.get("accept-language")))
            if address := arrival.client or arrival.address:
                signals += self._of_address(address)
        return self._verdict(signals) if signals else None


def _header_signals(told: tuple[str, ...], has_language: bool) -> tuple[str, ...]:  # noqa: FBT001 - key of a cache
    headers = {name: value for name, value in zip(HINTS, told, strict=True) if value}
    return header_signals(headers | ({"accept-language": "*"} if has_language else {}))
