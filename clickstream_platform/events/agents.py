"""User agents: which browser, system and kind of device, and whether it is no person at all."""

from collections.abc import Iterable
from functools import lru_cache

import polars as pl
from ua_parser import parse

from clickstream_platform.collection.bots import bot_reason

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
        Families by the ua-parser project.
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
