"""User agents: which browser, system and kind of device, and whether it is no person at all."""

from collections.abc import Iterable
from functools import lru_cache

import crawleruseragents
import polars as pl
from ua_parser import parse

AGENTS = {
    "user_agent": pl.String(),
    "browser_name": pl.String(),
    "browser_version": pl.String(),
    "os_name": pl.String(),
    "device_type": pl.String(),
    "bot_reason": pl.String(),
}
"""Columns of `parse_agents`."""

_FAMILIES = dict(list(AGENTS.items())[:4])

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

TABLETS = "(?i)iPad|Tablet|Android|Kindle|Silk"
PHONES = "(?i)Mobile.*Safari|iPhone|Windows Phone"
MOBILES = "(?i)Mobi|iPhone|iPod|Android|Opera Mini|IEMobile|BlackBerry"
DESKTOPS = "(?i)Windows NT|Macintosh|X11|Linux x86_64|CrOS"


def parse_agents(user_agents: Iterable[str | None]) -> pl.DataFrame:
    """Parse distinct user agents.

    Args:
        user_agents: Header values; null and repeated ones are left out.

    Returns:
        One row per user agent: `AGENTS`. Families and major versions only; ``bot_reason`` is
        null for what looks like a person's browser.

    Source:
        Families by the ua-parser project; crawlers by the crawler-user-agents list.
    """
    texts = pl.Series(sorted({text for text in user_agents if text}), dtype=pl.String)
    families = pl.DataFrame(map(_families, texts), schema=_FAMILIES, orient="row")
    text = pl.col("user_agent")
    return families.select(
        *_FAMILIES,
        device_type=pl.when(text.str.contains(TABLETS) & ~text.str.contains(PHONES))
        .then(pl.lit("tablet"))
        .when(text.str.contains(MOBILES))
        .then(pl.lit("mobile"))
        .when(text.str.contains(DESKTOPS))
        .then(pl.lit("desktop"))
        .otherwise(pl.lit("other")),
        bot_reason=bot_reason(text),
    )


@lru_cache(maxsize=50_000)
def _families(text: str) -> tuple[str, str | None, str | None, str | None]:
    result = parse(text)
    browser, system = result.user_agent, result.os
    return (
        text,
        browser.family if browser else None,
        browser.major if browser else None,
        system.family if system else None,
    )


def bot_reason(user_agent: pl.Expr) -> pl.Expr:
    """Rule that tells a user agent from a person's browser; null where none does.

    ``ai_crawler`` reads for language models, and is a class of its own because sites decide
    about it apart; ``declared_bot`` is on no list and says itself that it is a program.
    """
    return (
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


@lru_cache(maxsize=2)
def _crawlers(*, for_models: bool) -> str:
    entries = crawleruseragents.CRAWLER_USER_AGENTS_DATA
    return "|".join(
        entry["pattern"] for entry in entries if ("ai-crawler" in entry["tags"]) == for_models
    )
