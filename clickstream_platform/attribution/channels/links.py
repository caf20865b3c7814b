"""The channel of one link, and where it comes from."""

from dataclasses import dataclass
from typing import NamedTuple

from clickstream_platform.attribution.channels.rules import ChannelRules, Condition, FieldName
from clickstream_platform.attribution.channels.words import SITE, fold, fold_host, part_of, search


@dataclass(frozen=True, kw_only=True)
class Link:
    """What the first event of a session says about where it comes from; None is not said."""

    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    click_id_type: str | None = None
    referrer_host: str | None = None
    landing_host: str | None = None


class TrafficSource(NamedTuple):
    """Where a link comes from, once click id and referrer have filled what it does not say."""

    source: str | None
    medium: str | None


def traffic_source_of(link: Link, rules: ChannelRules) -> TrafficSource:
    """Say where a link comes from: by its campaign, else its click id, else its referrer.

    A referrer of the landing page's own site, and one listed as no source, is none.
    """
    if fold(link.source) or fold(link.medium):
        return TrafficSource(fold(link.source) or None, fold(link.medium) or None)
    host = _outside(rules, fold_host(link.referrer_host), fold_host(link.landing_host))
    click_id = rules.click_ids.get(fold(link.click_id_type))
    if click_id and not (host and click_id.yields_to_referrer):
        return TrafficSource(click_id.source, click_id.medium)
    if not host:
        return TrafficSource(None, None)
    return TrafficSource(host, MEDIUM_OF.get(rules.category(host) or "", "referral"))


def channel_of(link: Link, rules: ChannelRules) -> str:
    """Name the channel of one link."""
    source, medium = traffic_source_of(link, rules)
    values: dict[FieldName, str] = {
        "source": source or "",
        "medium": medium or "",
        "campaign": fold(link.campaign),
        "click_id_type": fold(link.click_id_type),
        "referrer_host": fold_host(link.referrer_host),
        "source_category": rules.category(source) or "",
    }
    for rule in rules.rules:
        if all(_holds(condition, values[name]) for name, condition in rule.when.items()):
            return rule.channel
    return rules.otherwise


MEDIUM_OF = {"search": "organic", "social": "social"}
"""Medium of a referrer, by its category; any other is a referral."""


def _holds(condition: Condition, value: str) -> bool:
    if isinstance(condition, bool):
        return bool(value) == condition
    if isinstance(condition, str):
        return search(condition, value) is not None
    return value in condition


def _outside(rules: ChannelRules, host: str, landing_host: str) -> str:
    site = part_of(SITE, host)
    own = host == landing_host or (site != "" and site == part_of(SITE, landing_host))
    excluded = host in rules.not_sources or site in rules.not_sources
    return "" if own or excluded else host.removeprefix("www.")
