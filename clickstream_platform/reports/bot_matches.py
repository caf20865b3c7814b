"""Bot rules beside what they match: whether a rule in shadow may be enforced."""

import polars as pl

from clickstream_platform.attribution import load_conversion_rules
from clickstream_platform.collection.bots import load_bot_rules
from clickstream_platform.lake import Lake
from clickstream_platform.reports.figures import Figures, Period
from clickstream_platform.settings import Settings

NO_RULE = "(no rule)"
"""Who matches none: what the others are to be compared with."""

RATES = ("click_rate", "engagement_rate", "conversion_rate")


def bot_matches(lake: Lake, settings: Settings, *, days: int) -> pl.DataFrame:
    """What every bot rule matched in the last days, and how much that behaves like people.

    A rule whose matches click, engage and convert as `NO_RULE` does is one that matches people.

    Returns:
        One row per rule, also without matches: ``rule``, ``class``, ``mode``, ``weight`` (null for
        ids that are no rules any more), ``events``, ``visitors``, ``visitor_days``, and of those
        days the share with a click (``click_rate``), with anything done or time spent
        (``engagement_rate``) and with a conversion (``conversion_rate``). Enforced rules first,
        `NO_RULE` last. Empty without events.
    """
    figures = Figures(lake, settings)
    period = figures.period(days)
    return pl.DataFrame() if period is None else matches_in(figures, period, settings)


def matches_in(figures: Figures, period: Period, settings: Settings) -> pl.DataFrame:
    """The same for one period, of a snapshot that is open already."""
    conversions = sorted(load_conversion_rules(settings.definitions))
    found = figures.frame("bot_rules", period, conversions=conversions)
    rules = pl.DataFrame(
        [
            {"rule": rule.id, "class": rule.kind, "mode": rule.mode, "weight": rule.weight}
            for rule in load_bot_rules(settings.definitions).rule
        ]
    )
    counts = ("events", "visitors", "visitor_days")
    return (
        rules.join(found, on="rule", how="full", coalesce=True)
        .with_columns(pl.col(counts).fill_null(0))
        .sort(pl.col("rule") == NO_RULE, "mode", pl.lit(0) - pl.col("visitor_days"), "rule")
        .select("rule", "class", "mode", "weight", *counts, *RATES)
    )
