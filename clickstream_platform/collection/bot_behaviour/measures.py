"""Behaviour of visitors over a day, and the bot rules that it matches."""

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.collection.bots import BotRules
from clickstream_platform.collection.bots.rules import CAP

PAGE_VIEW = "page_view"

PASSIVE = (
    "page_view",
    "screen_view",
    "page_ping",
    "session_start",
    "first_visit",
    "http_request",
    "search",
)
"""Events that happen by themselves when an address is fetched or a page stays open."""

SEEN = "view_"
"""How the names of GA4's events begin that say what stands on a page."""

MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000

TENTH_US = 100_000
"""Unit in which gaps are measured: their squares add up within 64 bits over a whole day."""

EVEN_SHARE = 100
"""Gaps are even if their variance is at most this part of their squared mean: variation 0.1."""

KEY = ("visitor_key", "event_date")


def bot_behaviour(events: ir.Table, rules: BotRules) -> ir.Table:
    """Measure what each visitor did on each UTC day, and weigh what is odd about it.

    Everything is counted in whole numbers, so the result is the same on every engine and for any
    order of the events.

    Args:
        events: One row per event: ``event_key``, ``event_name``, ``event_date``, ``occurred_us``,
            ``visitor_id``, ``visitor_key``, ``page_host``, ``page_path``, ``engaged_time_ms``,
            ``bot_score``, ``is_bot``, ``is_synthetic``. Synthetic ones and those of no visitor
            are left out.
        rules: Of layer behaviour: from which number on they match, and what they weigh.

    Returns:
        One row per visitor and day, as in `clickstream_platform.tables.bots.BotBehaviour`.
    """
    of_visitors = events.filter(_.visitor_key.notnull(), ~_.is_synthetic)
    happens = _.event_name.isin(PASSIVE) | _.event_name.startswith(SEEN)
    is_active = ~happens | (_.engaged_time_ms.fill_null(0) > 0)
    days = of_visitors.group_by(KEY).agg(
        visitor_id=_.visitor_id.max(),
        events=_.count(),
        active_hours=(_.occurred_us // HOUR_US).nunique(),
        engagements=is_active.cast("int64").sum().cast("int64"),
        # Events of an earlier version say no score, but whether it was that of a bot.
        event_score=_.bot_score.fill_null(
            ibis.ifelse(_.is_bot, rules.threshold, 0).cast("int64")
        ).max(),
    )
    views = _page_views(of_visitors).rename({f"view_{name}": name for name in KEY})
    joined = days.left_join(views, [days[name] == views[f"view_{name}"] for name in KEY])
    counted = joined.mutate(
        **{
            name: joined[name].fill_null(0).cast("int64")
            for name in ("page_views", "pages", "peak_page_views", "gaps", "total", "squares")
        }
    )
    return _weighed(counted, rules)


def _page_views(events: ir.Table) -> ir.Table:
    """Measure the page views of each visitor and day."""
    in_time = ibis.window(group_by=KEY, order_by=["occurred_us", "event_key"])
    views = events.filter(_.event_name == PAGE_VIEW).select(
        *KEY,
        page=_.page_host.fill_null("") + _.page_path.fill_null(""),
        minute=_.occurred_us // MINUTE_US,
        gap=(_.occurred_us - _.occurred_us.lag().over(in_time)) // TENTH_US,
    )
    crowd = views.mutate(
        in_minute=views.count().over(ibis.window(group_by=(*KEY, "minute"))),
    )
    return crowd.group_by(KEY).agg(
        page_views=_.count(),
        pages=_.page.nunique(),
        peak_page_views=_.in_minute.max(),
        gaps=_.gap.count(),
        total=_.gap.sum().cast("int64"),
        squares=(_.gap * _.gap).sum().cast("int64"),
    )


def _weighed(days: ir.Table, rules: BotRules) -> ir.Table:
    """Say which rules match, and what that adds to the score of the events."""
    # n * sum(g^2) - sum(g)^2 is n^2 times the variance of the gaps.
    spread = days.gaps * days.squares - days.total * days.total
    is_even = (days.total > 0) & (spread <= days.total * days.total // EVEN_SHARE)
    measured = {
        "deep_crawl": days.pages,
        "fast_pages": days.peak_page_views,
        "no_engagement": ibis.ifelse(days.engagements == 0, days.page_views, 0),
        "regular_gaps": ibis.ifelse(is_even, days.gaps, 0),
        "sleepless": days.active_hours,
    }
    told, points = ibis.literal(""), ibis.literal(0)
    for name, measure in measured.items():  # in the order of the alphabet
        rule = rules.by_id[name]
        matches = measure >= ibis.literal(rule.at_least or 1)
        told += ibis.ifelse(matches, f",{name}", "")
        if rule.mode == "enforce":
            points += ibis.ifelse(matches, rule.weight, 0)
    score = ibis.least(ibis.literal(CAP, "int64"), days.event_score + points)
    return days.select(
        "visitor_id",
        *KEY,
        "events",
        "page_views",
        "pages",
        "peak_page_views",
        "active_hours",
        "gaps",
        gap_variation=ibis.ifelse(
            days.total > 0, spread.cast("float64").sqrt() / days.total.cast("float64"), ibis.null()
        ).cast("float64"),
        engagements=days.engagements,
        event_score=days.event_score,
        bot_score=score,
        is_bot=score >= rules.threshold,
        bot_signals=told.substr(1).nullif(""),
    )
