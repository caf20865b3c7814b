"""Sessions at scale: a full rebuild against chDB, and one hour of arrivals on a long history.

    python -m clickstream_platform_tests.benchmarks.bench_sessions --events 5000000

Every measurement runs in a process of its own, whose peak of memory is its own too. `--hours`
lists the histories on which an hour of arrivals is measured.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake, arrow_schema
from clickstream_platform.sessions import refresh_sessions
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

HALF_HOUR_US = 1_800_000_000


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
  CAST(visitor % 16 AS INTEGER) AS bucket, '203.0.113.0' AS ip_address, 'DE' AS country,
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


def events_of(numbers: pl.DataFrame) -> pl.DataFrame:
    """Give numbers the columns of the contract."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("numbers", numbers.to_arrow())
    rows = connection.sql(EVENTS_SQL).pl()
    schema = pl.DataFrame(arrow_schema("events").empty_table()).schema
    missing = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
    return rows.with_columns(missing).select(pl.col(n).cast(kind) for n, kind in schema.items())


def history(events: int) -> Iterator[pl.DataFrame]:
    """Days of events up to the hour of the arrivals, as many as wanted in all."""
    last = max(round(events / EVENTS_PER_DAY), 2) - 1
    for day in range(last + 1):
        rows = day_of_events(day)
        yield events_of(rows if day < last else rows.filter(pl.col("us") < _hour_us(last)))


def arrivals(events: int) -> pl.DataFrame:
    """The hour of events after the history."""
    last = max(round(events / EVENTS_PER_DAY), 2) - 1
    start = _hour_us(last)
    return events_of(
        day_of_events(last).filter(pl.col("us").is_between(start, start + 2 * HALF_HOUR_US))
    )


def _hour_us(day: int) -> int:
    start = FIRST_DAY + timedelta(days=day, hours=HOUR_START)
    return round(start.timestamp() * 1e6)


def write_history(data: Path, events: int) -> None:
    """Write a history as the events table of a lake."""
    lake = Lake(load_settings(data).lake_folder)
    for day in history(events):
        lake.append("events", day.sort("visitor_key", "occurred_us"))


# -- What is measured, each in a process of its own ----------------------------------------------


def measure_full(data: Path) -> dict[str, float]:
    """Rebuild everything."""
    settings = load_settings(data)
    lake = Lake(settings.lake_folder)
    refresh_identity(lake, settings)
    with Stopwatch() as watch:
        done = refresh_sessions(lake, settings, full=True)
    return watch.figures | {"sessions": done.rows_written, "events": done.rows_read}


def measure_hour(data: Path, events: int) -> dict[str, float]:
    """Take in one hour of arrivals, in a process that has refreshed before, as a daemon has."""
    settings = load_settings(data)
    lake = Lake(settings.lake_folder)
    hour = arrivals(events)
    warm_up(settings.lake.memory_limit)
    lake.append("events", hour)
    refresh_identity(lake, settings)
    with Stopwatch() as watch:
        done = refresh_sessions(lake, settings)
    return watch.figures | {
        "arrivals": hour.height,
        "touched_per_new": done.rows_read / hour.height,
        "dates": len(done.dates),
    }


def warm_up(memory_limit: str) -> None:
    """Refresh a small lake twice, so that imports and plans are not measured."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(Path(folder))
        lake = Lake(settings.lake_folder)
        rows = day_of_events(0).head(2_000)
        for part in (rows.head(1_900), rows.tail(100)):
            lake.append("events", events_of(part))
            refresh_identity(lake, settings)
            refresh_sessions(lake, settings)
    del memory_limit


class Stopwatch:
    """Wall time, CPU time and peak memory of a block."""

    def __enter__(self) -> "Stopwatch":
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.figures: dict[str, float] = {
            "wall_s": time.perf_counter() - self.wall,
            "cpu_s": time.process_time() - self.cpu,
            "peak_gib": peak_kib / 2**20,
        }


def in_process(*arguments: str) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(*arguments[:2], {name: round(value, 3) for name, value in figures.items()}, flush=True)
    return figures


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--hours", type=int, nargs="*", default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--measure", choices=["write", "full", "hour"])
    options = parser.parse_args()
    if options.measure:
        figures = {
            "write": lambda: write_history(options.data, options.events) or {},
            "full": lambda: measure_full(options.data),
            "hour": lambda: measure_hour(options.data, options.events),
        }[options.measure]()
        print(json.dumps(figures))
        return
    hours = {}
    for events in sorted({options.events, *options.hours}):
        with tempfile.TemporaryDirectory() as folder:
            common = ("--events", str(events), "--data", folder)
            in_process("--measure", "write", *common)
            full = in_process("--measure", "full", *common)
            hours[events] = in_process("--measure", "hour", *common)
            share = hours[events]["cpu_s"] / full["cpu_s"]
            print(f"{events:,} events: an hour costs {share:.1%} of a rebuild")
    if len(hours) > 1:
        least, most = min(hours), max(hours)
        ratio = hours[most]["cpu_s"] / hours[least]["cpu_s"]
        print(f"exponent {math.log(ratio) / math.log(most / least):.2f}")


if __name__ == "__main__":
    main()
