"""Channels of many links: of a whole table, in any engine."""

import re
from collections.abc import Mapping
from functools import reduce
from operator import and_
from typing import Literal

import ibis
import ibis.expr.types as ir

from clickstream_platform.attribution.channels.links import MEDIUM_OF
from clickstream_platform.attribution.channels.rules import ChannelRules, Condition, FieldName
from clickstream_platform.attribution.channels.words import (
    BRAND,
    LAST_SIGMA,
    ROOT,
    SIGMA,
    SITE,
    UNSET,
    portable,
)
from clickstream_platform.lake import literal

LINK = (
    "campaign_source",
    "campaign_medium",
    "campaign_name",
    "click_id_type",
    "referrer_host",
    "landing_host",
)
"""Columns of a table that decide a channel."""

AROUND = portable(r"^[ \t\n\r]+|[ \t\n\r]+$")
"""The same space as `words.SPACE`, for engines."""


def with_channel(sessions: ir.Table, rules: ChannelRules) -> ir.Table:
    """Add ``channel`` to a table of sessions, replacing the column if it is there.

    The rules run once per distinct link, of which there are far fewer than sessions.

    Args:
        sessions: One row per session, or anything else that starts with a link, with the
            columns of `LINK`; other columns stay. It is read twice: pass a table or a view.
        rules: The rules of `load_channel_rules`.

    Returns:
        The same rows with ``channel`` (string, never null), as `channel_of` names it.
    """
    kept = [name for name in sessions.columns if name != "channel"]
    links = _with_channel_by_row(sessions.select(*LINK).distinct(), rules)
    links = links.rename({f"link_{name}": name for name in LINK})
    same = [sessions[name].identical_to(links[f"link_{name}"]) for name in LINK]
    return sessions.join(links, same).select(*kept, channel=links.channel)


def _with_channel_by_row(links: ir.Table, rules: ChannelRules) -> ir.Table:
    # One step per mutate: each value is written once into the query, however often it is read.
    table = links.mutate(**{f"link_{name}": _fold(links[name]) for name in LINK})
    table = table.mutate(
        link_referrer_host=table.link_referrer_host.re_replace(portable(ROOT), ""),
        link_landing_host=table.link_landing_host.re_replace(portable(ROOT), ""),
    )
    table = table.mutate(
        link_names_itself=(table.link_campaign_source != "") | (table.link_campaign_medium != ""),
        link_outside=_outside_host(rules, table.link_referrer_host, table.link_landing_host),
    )
    table = table.mutate(
        link_source=ibis.cases(
            (table.link_names_itself, table.link_campaign_source),
            *_said_by_click_id(rules, table, "source"),
            else_=table.link_outside,
        )
    )
    table = table.mutate(link_site=_site(table.link_source), link_brand=_brand(table.link_source))
    table = table.mutate(link_category=_category(rules, table))
    table = table.mutate(
        link_medium=ibis.cases(
            (table.link_names_itself, table.link_campaign_medium),
            *_said_by_click_id(rules, table, "medium"),
            (table.link_outside == "", ""),
            *((table.link_category == name, medium) for name, medium in MEDIUM_OF.items()),
            else_="referral",
        )
    )
    fields: dict[FieldName, ir.StringValue] = {
        "source": table.link_source,
        "medium": table.link_medium,
        "campaign": table.link_campaign_name,
        "click_id_type": table.link_click_id_type,
        "referrer_host": table.link_referrer_host,
        "source_category": table.link_category,
    }
    return table.select(*LINK, channel=_first_channel(rules, fields))


def _fold(value: ir.StringValue) -> ir.StringValue:
    # Not `strip()`: Ibis hands Spark `\v` and `\f`, which it reads as letters and strips.
    # A small İ keeps its dot, as Unicode has it: DuckDB would leave it out.
    lower = value.fill_null("").replace("İ", "i\u0307").lower().replace(LAST_SIGMA, SIGMA)
    folded = lower.re_replace(AROUND, "")
    return folded.isin(UNSET).ifelse("", folded)


def _site(host: ir.StringValue) -> ir.StringValue:
    return host.re_extract(portable(SITE), 1).fill_null("")


def _brand(host: ir.StringValue) -> ir.StringValue:
    return host.re_extract(portable(BRAND), 1).fill_null("")


def _is_one_of(value: ir.StringValue, names: list[str]) -> ir.BooleanValue:
    # One pattern, not `isin`: a thousand literals cost Ibis a third of a second to compile.
    return value.re_search(portable("^(?:" + "|".join(map(re.escape, sorted(names))) + ")$"))


def _outside_host(
    rules: ChannelRules, host: ir.StringValue, landing_host: ir.StringValue
) -> ir.StringValue:
    excluded = [*rules.not_sources]
    is_own = (host == landing_host) | ((_site(host) != "") & (_site(host) == _site(landing_host)))
    return ibis.cases(
        (host == "", ""),
        (is_own, ""),
        (_is_one_of(host, excluded) | _is_one_of(_site(host), excluded), ""),
        (host.startswith("www."), host.substr(4)),
        else_=host,
    )


def _said_by_click_id(
    rules: ChannelRules, table: ir.Table, name: Literal["source", "medium"]
) -> list[tuple[ir.BooleanValue, str]]:
    said: list[tuple[ir.BooleanValue, str]] = []
    for parameter, click_id in rules.click_ids.items():
        holds = table.link_click_id_type == parameter
        if click_id.yields_to_referrer:
            holds &= table.link_outside == ""
        said.append((holds, getattr(click_id, name)))
    return said


def _category(rules: ChannelRules, table: ir.Table) -> ir.StringValue:
    levels = (
        (table.link_source, rules.categories),
        (table.link_site, rules.categories),
        (table.link_brand, rules.brands),
    )
    known = [
        (_is_one_of(value, [name for name in names if names[name] == category]), category)
        for value, names in levels
        for category in sorted(set(names.values()))
    ]
    return ibis.cases((table.link_source == "", ""), *known, else_="")


def _first_channel(
    rules: ChannelRules, fields: Mapping[FieldName, ir.StringValue]
) -> ir.StringValue:
    branches = [
        (
            reduce(
                and_,
                (_holds_for(condition, fields[name]) for name, condition in rule.when.items()),
            ),
            rule.channel,
        )
        for rule in rules.rules
    ]
    return ibis.cases(*branches, else_=rules.otherwise)


def _holds_for(condition: Condition, value: ir.StringValue) -> ir.BooleanValue:
    if isinstance(condition, bool):
        return value != "" if condition else value == ""
    if isinstance(condition, str):
        return value.re_search(portable(condition))
    return value.isin([literal(name) for name in condition])
