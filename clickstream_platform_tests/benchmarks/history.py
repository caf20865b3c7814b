"""A long history of a shop of medium size, written straight into the lake as `events`.

Days are drawn one by one from numbers, so that a history of 20 million events takes the memory of
one. Visitors are heavy-tailed, a visit in four comes by a campaign, a visitor in twenty signs in.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from clickstream_platform.lake import Lake, arrow_schema
from clickstream_platform.settings import load_settings

EVENTS_PER_DAY = 224_000
"""Events of one day, whatever the length of the history: a shop of medium size."""

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
HOUR_START = 14
"""Hour of the last day whose events are the arrivals."""

HOUR_OF_DAY = np.array([207, 110, 62, 49, 55, 111, 254, 444, 631, 532, 567, 612, 625, 684, 634, 619,
                        633, 603, 518, 470, 434, 421, 404, 319], dtype=float)  # fmt: skip
"""Traffic by hour, of a news site: see data/README of the third-party data."""

VISITORS = 400_000
"""Visitors that the traffic is drawn from, heavy-tailed."""

HOUR_US = 3_600_000_000


def day_of_events(day: int) -> pl.DataFrame:
    """Events of one day: numbers only."""
    rng = np.random.default_rng(day)
    per_session = np.arange(1, 200)
    chance = per_session**-0.5 * np.exp(-0.1 * per_session)
    chance /= chance.sum()
    sessions = round(EVENTS_PER_DAY / float((chance * per_session).sum()))
    visitor = (VISITORS * rng.random(sessions) ** 2.5).astype(np.int64)
    length = rng.choice(per_session, size=sessions, p=chance)
    hour = rng.choice(24, size=sessions, p=HOUR_OF_DAY / HOUR_OF_DAY.sum())
    start_s = hour * 3600 + rng.random(sessions) * 3600
    session = np.repeat(np.arange(sessions), length)
    first = np.concatenate([[0], np.cumsum(length)[:-1]])
    position = np.arange(length.sum()) - first[session]
    gap_s = np.minimum(rng.lognormal(3.51, 0.968, size=length.sum()), 1790.0)
    gap_s[first] = 0
    total = np.cumsum(gap_s)
    since_s = total - total[first][session]
    midnight_us = (FIRST_DAY + timedelta(days=day)).timestamp() * 1e6
    us = midnight_us + (start_s[session] + since_s) * 1e6
    names = np.array(["page_view", "view_item", "page_ping", "add_to_cart", "purchase", "search"])
    return pl.DataFrame(
        {
            "number": day * 10_000_000 + np.arange(len(us)),
            "visitor": visitor[session],
            "us": us.astype(np.int64),
            "name": names[
                np.where(
                    position == 0,
                    0,
                    rng.choice(6, size=len(us), p=[0.40, 0.25, 0.22, 0.08, 0.02, 0.03]),
                )
            ],
            "campaign": np.where(
                (position == 0) & (rng.random(len(us)) < 0.25), visitor[session] % 17, -1
            ),
            "login": (visitor[session] % 20 == 0) & (position >= 2),
        }
    )


EVENTS_SQL = """
SELECT 'ev' || number AS event_id,
  CAST('0x' || left(md5('ev' || number), 15) AS BIGINT) AS event_key, name AS event_name,
  make_timestamptz(us) AS occurred_at, us AS occurred_us,
  CAST(make_timestamp(us) AS DATE) AS event_date,
  make_timestamptz(us) AS received_at, 0 AS clock_skew_ms, false AS is_late, 'canonical' AS source,
  'b' AS batch_id, number AS ordinal, 'client' AS collection_source, 'shop' AS app_id,
  'web' AS platform, 'pv_' || md5('v' || visitor) AS visitor_id,
  CAST('0x' || left(md5('v' || visitor), 15) AS BIGINT) AS visitor_key,
  CASE WHEN login THEN 'pu_' || md5('u' || visitor) END AS user_id,
  CASE WHEN login THEN CAST('0x' || left(md5('u' || visitor), 15) AS BIGINT) END AS user_key,
  CAST(visitor_key % {buckets} AS INTEGER) AS bucket, '203.0.113.0' AS ip_address, 'DE' AS country,
  'de' AS language, 'https://shop.example/p/' || (number % 5000) AS page_url,
  'shop.example' AS page_host, '/p/' || (number % 5000) AS page_path, 'Product' AS page_title,
  CASE WHEN visitor % 3 = 0 THEN 'https://www.google.com/' END AS referrer_url,
  CASE WHEN visitor % 3 = 0 THEN 'www.google.com' END AS referrer_host,
  CASE WHEN campaign >= 0 THEN 'newsletter' END AS campaign_source,
  CASE WHEN campaign >= 0 THEN 'email' END AS campaign_medium,
  CASE WHEN campaign >= 0 THEN 'c' || campaign END AS campaign_name,
  'Chrome' AS browser_name, '140' AS browser_version, 'Windows' AS os_name,
  CASE WHEN visitor % 2 = 0 THEN 'mobile' ELSE 'desktop' END AS device_type, false AS is_bot,
  CASE WHEN name = 'page_ping' THEN 10000 END AS engaged_time_ms,
  'p' || (number % 5000) AS product_id,
  CASE WHEN name = 'purchase' THEN 'o' || number END AS order_id,
  CASE WHEN name = 'purchase' THEN CAST(number % 200 AS DECIMAL(18, 4)) END AS revenue,
  true AS consent_analytics, visitor % 3 = 0 AS consent_marketing, false AS is_synthetic
FROM numbers
"""


def events_of(numbers: pl.DataFrame, *, buckets: int) -> pl.DataFrame:
    """Give numbers the columns of the contract."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("numbers", numbers.to_arrow())
    rows = connection.sql(EVENTS_SQL.format(buckets=buckets)).pl()
    schema = pl.DataFrame(arrow_schema("events").empty_table()).schema
    missing = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
    return rows.with_columns(missing).select(pl.col(n).cast(kind) for n, kind in schema.items())


def last_day(events: int) -> int:
    """Number of the last day of a history of so many events, from 0."""
    return max(round(events / EVENTS_PER_DAY), 2) - 1


AGREED_SQL = """
SELECT prefix || md5(kind || range) AS person_id,
  CAST('0x' || left(md5(kind || range), 15) AS BIGINT) AS person_key,
  true AS consent_analytics, range % 3 = 0 AS consent_marketing,
  CAST(NULL AS BOOLEAN) AS consent_personalization, true AS consent_attribution
FROM range({visitors}), (VALUES ('pv_', 'v'), ('pu_', 'u')) AS kinds (prefix, kind)
ORDER BY person_key
"""
"""Visitors and users, all of whom agreed to measurement."""


def write_history(data: Path, events: int) -> None:
    """Write a history, up to the hour of the arrivals, as the events table of a lake."""
    settings = load_settings(data)
    lake, last = Lake(settings.lake_folder), last_day(events)
    for day in range(last + 1):
        rows = day_of_events(day)
        if day == last:
            rows = rows.filter(pl.col("us") < arrivals_from_us(events))
        made = events_of(rows, buckets=settings.lake.buckets)
        lake.append("events", made.sort("visitor_key", "occurred_us"))
    lake.append("person_consents", duckdb.sql(AGREED_SQL.format(visitors=VISITORS)).pl())


def append_arrivals(data: Path, events: int, *, hour: int) -> int:
    """Append an hour after the history, the first one 0, and say how many events that are."""
    settings = load_settings(data)
    start = arrivals_from_us(events) + hour * HOUR_US
    is_then = pl.col("us").is_between(start, start + HOUR_US, closed="left")
    rows = day_of_events(last_day(events)).filter(is_then)
    made = events_of(rows, buckets=settings.lake.buckets)
    Lake(settings.lake_folder).append("events", made.sort("visitor_key", "occurred_us"))
    return made.height


def arrivals_from_us(events: int) -> int:
    """When the history ends and the hour of the arrivals begins."""
    start = FIRST_DAY + timedelta(days=last_day(events), hours=HOUR_START)
    return round(start.timestamp() * 1e6)
