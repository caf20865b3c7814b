"""Reports of browsers: what a Content-Security-Policy has blocked, and which domains are new."""

from datetime import datetime, timedelta

import polars as pl

from clickstream_platform.collection.tags.vendors import Vendors

SOURCE = "csp_reports"
"""Source under which reports land, whatever key they are sent with."""

EVENT = "csp_violation"
"""Event name of a report."""

_ELEMENTS = {name: name.removesuffix("-elem").removesuffix("-attr") for name in (
    "script-src-elem", "script-src-attr", "style-src-elem", "style-src-attr",
)}  # fmt: skip


def blocked_sources(events: pl.LazyFrame) -> pl.DataFrame:
    """Count reports by directive and blocked origin; reports of bots do not count.

    Args:
        events: Events: ``source``, ``event_name``, ``is_bot``, ``occurred_at``, ``page_path``,
            ``properties``.

    Returns:
        ``directive`` (of elements and attributes that of the kind), ``blocked_origin`` (or a
        keyword such as ``inline``), ``first_seen_at``, ``last_seen_at``, ``reports``, ``pages``.
        Grain: directive, blocked_origin; most reports first.
    """
    said = {
        name: pl.col("properties").str.json_path_match(f"$.{name}")
        for name in ("directive", "blocked_origin")
    }
    return (
        events.filter(pl.col("source") == SOURCE, pl.col("event_name") == EVENT, ~pl.col("is_bot"))
        .select("occurred_at", "page_path", **said)
        .drop_nulls(["directive", "blocked_origin"])
        .group_by(pl.col("directive").replace(_ELEMENTS), "blocked_origin")
        .agg(
            first_seen_at=pl.col("occurred_at").min(),
            last_seen_at=pl.col("occurred_at").max(),
            reports=pl.len(),
            pages=pl.col("page_path").n_unique(),
        )
        .sort("reports", "directive", "blocked_origin", descending=[True, False, False])
        .collect(engine="streaming")
    )


def new_domains(
    seen: pl.DataFrame, vendors: Vendors, *, now: datetime, alarm_for: timedelta
) -> pl.DataFrame:
    """List the domains that were first reported a short while ago and belong to no known vendor.

    Args:
        seen: As `blocked_sources` tells it, over all that is stored.
        vendors: Vendors that are approved; approving one ends the alarm.
        now: Time to measure ages by.
        alarm_for: How long a domain counts as new; one of exactly that age does not.

    Returns:
        ``domain``, ``directives`` (by comma), ``first_seen_at``, ``reports``. Grain: domain.
    """
    domain = pl.col("blocked_origin").str.extract(r"^(?:https?|wss?)://([^/:]+)")
    found = (
        seen.with_columns(domain=domain)
        .drop_nulls("domain")
        .group_by("domain")
        .agg(
            directives=pl.col("directive").unique().sort().str.join(", "),
            first_seen_at=pl.col("first_seen_at").min(),
            reports=pl.col("reports").sum(),
        )
        .filter(pl.col("first_seen_at") > now - alarm_for)
        .sort("domain")
    )
    strange = [
        not any(vendor.covers(domain) for vendor in vendors.values()) for domain in found["domain"]
    ]
    return found.filter(pl.Series(strange, dtype=pl.Boolean))
