"""User agents of programs: those on the lists, and those that say so themselves."""

from collections.abc import Callable, Mapping
from functools import lru_cache

import crawleruseragents
import polars as pl
import re2

HEADLESS = "(?i)HeadlessChrome|PhantomJS|puppeteer|playwright|Selenium|webdriver"
"""Browsers that a program drives; they are not in the crawler list, which names crawlers."""

CLIENTS = (
    "(?i)^(curl|wget|python-requests|python-urllib|aiohttp|httpx|go-http-client|java/|okhttp|"
    "libwww|apache-httpclient|ruby|php|scrapy|node-fetch|axios|postman)"
)
"""Libraries that fetch pages without a browser."""

DECLARED = (
    r"(?i)https?://|\bwww\.|[\w.-]+@[\w-]+\.\w|\b(?:bot|crawl|spider|robot)|link ?preview"
    r"|(?:bot|crawler|spider|previewer|checker|validator|monitor|uptime|rss|fetcher|scanner|scraper"
    r"|archiver?|inspector|synthetics?)\b"
)
"""What calls itself a program, or gives an address to ask about it, and is on no list yet."""

NO_PROGRAM = r"(?i)\bcubot\b|HTC Butterfly"
"""Telephones whose names read like a crawler's."""

_MEMORY_BYTES = 32 << 20
"""What the automaton of a pattern may take; the list of crawlers is a large one."""


def bot_reason(user_agent: pl.Expr, own: Mapping[str, str] | None = None) -> pl.Expr:
    """Rule of layer agent that tells a user agent from a person's browser; null where none does.

    ``ai_crawler`` reads for language models, and is a class of its own because sites decide
    about it apart; ``declared_bot`` is on no list and says itself that it is a program.

    Args:
        user_agent: Header values.
        own: Further patterns by rule; they come first.

    Source:
        Crawlers by the crawler-user-agents list.
    """
    reason = pl.lit(None, pl.String)
    for rule, pattern in reversed(_patterns(own)):
        matches = user_agent.str.contains(pattern)
        reason = pl.when(matches).then(pl.lit(rule, pl.String)).otherwise(reason)
    return reason


def agent_reader(own: Mapping[str, str] | None = None) -> Callable[[str], str | None]:
    """Make what tells the rule of one user agent, as `bot_reason` does of a column.

    A column of one costs a hundred times as much. Beside letters outside of ASCII a word ends
    here and does not there; no rule is about them, and loading judges by the column anew.

    Args:
        own: Further patterns by rule; they come first.
    """
    searches = [(rule, search_for(pattern)) for rule, pattern in _patterns(own)]

    def reason(agent: str) -> str | None:
        text = agent.encode()
        return next((rule for rule, search in searches if search(text)), None)

    return reason


def search_for(pattern: str) -> Callable[[bytes], object]:
    """Make a search that takes time in proportion to the text, whatever the pattern.

    What is no pattern of RE2 is a `re2.error`.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY_BYTES
    return re2.compile(pattern, options).search  # type: ignore[no-any-return]


def _patterns(own: Mapping[str, str] | None) -> list[tuple[str | None, str]]:
    """Rules with their patterns; the first that matches counts."""
    return [
        *(own or {}).items(),
        ("headless", HEADLESS),
        ("http_client", CLIENTS),
        (None, NO_PROGRAM),
        ("ai_crawler", _crawlers(for_models=True)),
        ("crawler", _crawlers(for_models=False)),
        ("declared_bot", DECLARED),
    ]


@lru_cache(maxsize=2)
def _crawlers(*, for_models: bool) -> str:
    entries = crawleruseragents.CRAWLER_USER_AGENTS_DATA
    return "|".join(
        entry["pattern"] for entry in entries if ("ai-crawler" in entry["tags"]) == for_models
    )
