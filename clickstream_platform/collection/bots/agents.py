"""User agents of programs: those on the lists, and those that say so themselves."""

from collections.abc import Mapping
from functools import lru_cache

import crawleruseragents
import polars as pl

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
    theirs = [
        pl.when(user_agent.str.contains(pattern)).then(pl.lit(rule))
        for rule, pattern in (own or {}).items()
    ]
    ours = (
        pl.when(user_agent.str.contains(HEADLESS))
        .then(pl.lit("headless"))
        .when(user_agent.str.contains(CLIENTS))
        .then(pl.lit("http_client"))
        .when(user_agent.str.contains(NO_PROGRAM))
        .then(pl.lit(None, pl.String))
        .when(user_agent.str.contains(_crawlers(for_models=True)))
        .then(pl.lit("ai_crawler"))
        .when(user_agent.str.contains(_crawlers(for_models=False)))
        .then(pl.lit("crawler"))
        .when(user_agent.str.contains(DECLARED))
        .then(pl.lit("declared_bot"))
    )
    return pl.coalesce(*theirs, ours)


@lru_cache(maxsize=2)
def _crawlers(*, for_models: bool) -> str:
    entries = crawleruseragents.CRAWLER_USER_AGENTS_DATA
    return "|".join(
        entry["pattern"] for entry in entries if ("ai-crawler" in entry["tags"]) == for_models
    )
