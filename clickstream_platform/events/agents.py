"""User agents: which browser, system and kind of device, and whether it is no person at all."""

import re
from collections.abc import Iterable
from functools import lru_cache

import polars as pl
from ua_parser import parse

from clickstream_platform.collection.bots import BotRules, bot_reason

AGENTS = {
    "user_agent": pl.String(),
    "noted": pl.String(),
    "browser_name": pl.String(),
    "browser_version": pl.String(),
    "os_name": pl.String(),
    "device_type": pl.String(),
    "bot_signals": pl.String(),
    "bot_score": pl.Int64(),
    "is_bot": pl.Boolean(),
    "bot_reason": pl.String(),
}
"""Columns of `parse_agents`."""

_FAMILIES = {name: AGENTS[name] for name in ("user_agent", *list(AGENTS)[2:5])}

TABLETS = "(?i)iPad|Tablet|Android|Kindle|Silk"
PHONES = "(?i)Mobile.*Safari|iPhone|Windows Phone"
MOBILES = "(?i)Mobi|iPhone|iPod|Android|Opera Mini|IEMobile|BlackBerry"
DESKTOPS = "(?i)Windows NT|Macintosh|X11|Linux x86_64|CrOS"


def parse_agents(pairs: Iterable[tuple[str | None, str | None]], rules: BotRules) -> pl.DataFrame:
    """Parse distinct user agents, and judge them with what was noted beside them.

    Args:
        pairs: Header values, and the ids of bot rules that the door noted, by comma.
        rules: What each sign of a bot weighs.

    Returns:
        One row per pair: `AGENTS`. Families and major versions only.

    Source:
        Families by the ua-parser project.
    """
    given = pl.DataFrame(list(pairs), schema=["user_agent", "noted"], orient="row")
    given = given.cast(pl.String()).unique()
    texts = given["user_agent"].drop_nulls().unique().sort()
    text = pl.col("user_agent")
    agents = pl.DataFrame(map(_families, texts), schema=_FAMILIES, orient="row").with_columns(
        device_type=pl.when(text.str.contains(TABLETS) & ~text.str.contains(PHONES))
        .then(pl.lit("tablet"))
        .when(text.str.contains(MOBILES))
        .then(pl.lit("mobile"))
        .when(text.str.contains(DESKTOPS))
        .then(pl.lit("desktop"))
        .otherwise(pl.lit("other")),
        told=bot_reason(text, rules.own_patterns),
    )
    joined = given.join(agents, on="user_agent", how="left")
    verdicts = [
        rules.verdict(_signals(agent, noted, told, rules))
        for agent, noted, told in joined.select("user_agent", "noted", "told").iter_rows()
    ]
    columns = ("bot_signals", "bot_score", "is_bot", "bot_reason")
    schema = {name: AGENTS[name] for name in columns}
    judged = pl.DataFrame(verdicts, schema=schema, orient="row")
    return pl.concat([joined, judged], how="horizontal").select(*AGENTS)


_RULE = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _signals(agent: str | None, noted: str | None, told: str | None, rules: BotRules) -> set[str]:
    """Rules that match: by user agent as the rules are now, the others as they were noted."""
    found = {name for name in (noted or "").split(",") if _RULE.fullmatch(name)}
    if agent is not None:
        found = {n for n in found if n not in rules.by_id or rules.by_id[n].layer != "agent"}
    return found | ({told} if told else set())


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
