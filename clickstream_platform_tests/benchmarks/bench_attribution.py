"""Attribution at scale: six models over all conversions, against a straightforward pandas version.

    python -m clickstream_platform_tests.benchmarks.bench_attribution --sessions 1000000

Every measurement runs in a process of its own, whose peak of memory is its own too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl

from clickstream_platform.attribution import (
    refresh_conversions,
    refresh_credits,
    refresh_touchpoints,
)
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.settings import load_settings

MODULE = "clickstream_platform_tests.benchmarks.bench_attribution"

DAYS = 60
"""Length of the history, whatever its size."""

START_US = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
DAY_US = 86_400_000_000

SESSIONS_PER_PERSON = 4
"""Sessions per person on average; one in sixteen converts."""

SESSIONS_SQL = """
WITH drawn AS (
  SELECT range AS n, hash(range) % ({count} // {per_person}) AS person,
    {start} + CAST(hash(range + 7) % ({days} * {day}) AS BIGINT) AS us,
    hash(range + 3) % 16 AS luck
  FROM range({first}, {last})
)
SELECT 's_' || person || '_' || n AS session_id, n AS session_key,
  'pv_' || md5('v' || person) AS person_id, CAST(person AS BIGINT) AS person_key,
  'pv_' || md5('v' || person) AS visitor_id, 'canonical' AS source,
  make_timestamptz(us) AS started_at, make_timestamptz(us + 600000000) AS ended_at,
  CAST(make_timestamp(us) AS DATE) AS session_date, 600.0 AS duration_s, 'first' AS cut_reason,
  3 AS events, 2 AS page_views, true AS is_engaged, false AS is_bounce,
  ['Direct', 'Organic Search', 'Paid Search', 'Email', 'Organic Social', 'Referral']
    [CAST(1 + luck % 6 AS INTEGER)]
    AS channel,
  CASE WHEN luck % 6 = 2 THEN 'spring' END AS campaign_name,
  CASE WHEN luck = 0 THEN 1 ELSE 0 END AS conversions, CAST(0 AS DECIMAL(18, 4)) AS revenue,
  1.0 AS engagement_points, false AS is_bot
FROM drawn
"""

EVENTS_SQL = """
SELECT 'ev' || n AS event_id, n AS event_key, name AS event_name,
  make_timestamptz(us) AS occurred_at, us AS occurred_us,
  CAST(make_timestamp(us) AS DATE) AS event_date, make_timestamptz(us) AS received_at,
  0 AS clock_skew_ms, false AS is_late, 'canonical' AS source, 'b' AS batch_id, n AS ordinal,
  'client' AS collection_source, visitor_id, person_key AS visitor_key,
  CAST(person_key % 4 AS INTEGER) AS bucket, false AS is_bot, false AS is_synthetic,
  CASE WHEN name = 'purchase' THEN 'o' || n END AS order_id,
  CASE WHEN name = 'purchase' THEN CAST(n % 200 AS DECIMAL(18, 4)) END AS revenue,
  session_key, person_key, CAST(position + 1 AS BIGINT) AS event_number
FROM (
  SELECT *, session_key * 3 + position AS n,
    epoch_us(started_at) + position * 300000000 AS us,
    CASE WHEN position = 2 AND conversions > 0 THEN 'purchase' ELSE 'page_view' END AS name
  FROM sessions, (SELECT unnest([0, 1, 2]) AS position)
)
"""


def write_world(data: Path, count: int, first: int = 0) -> None:
    """Write sessions, three events of each, and which event is in which session."""
    lake = Lake(load_settings(data).lake_folder)
    step = 1_000_000
    for start in range(first, count, step):
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        sessions = SESSIONS_SQL.format(
            count=count,
            per_person=SESSIONS_PER_PERSON,
            start=START_US,
            days=DAYS,
            day=DAY_US,
            first=start,
            last=min(start + step, count),
        )
        connection.execute(f"CREATE TABLE sessions AS {sessions}")
        events = connection.sql(EVENTS_SQL).pl()
        for table, rows in {
            "sessions": connection.table("sessions").pl(),
            "events": events,
            "session_events": events,
        }.items():
            lake.append(table, of_contract(table, rows))


def of_contract(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of a contract, null where nothing is said."""
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None).alias(name)).cast(kind)
        for name, kind in polars_schema(table).items()
    )


def measure(work: Callable[[], int]) -> dict[str, float]:
    """Rows made, wall and CPU time, and the peak of memory of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work()
    return {
        "rows": rows,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_gib": peak_kib() / 2**20,
    }


def peak_kib() -> int:
    """Peak of memory of this process; `getrusage` would count its parent's before the start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


STAGES = {
    "touchpoints": refresh_touchpoints,
    "conversions": refresh_conversions,
    "credits": refresh_credits,
}


def stage(data: Path, name: str) -> int:
    """Bring one table up to date."""
    settings = load_settings(data)
    return STAGES[name](Lake(settings.lake_folder), settings).rows_written


def pandas_credits(data: Path) -> int:
    """The six models as one would write them in pandas, from the same tables to a file."""
    import numpy as np  # noqa: PLC0415 - only here
    import pandas as pd  # noqa: PLC0415, TID251 - the peer

    lake = Lake(load_settings(data).lake_folder)
    touches = pd.concat(map(pd.read_parquet, lake.files("touchpoints")))
    converted = pd.concat(map(pd.read_parquet, lake.files("conversions")))
    paths = converted.merge(touches, on="person_key", suffixes=("_of_conversion", ""))
    age_us = paths["converted_us"] - paths["touched_us"]
    paths = paths[(age_us >= 0) & (age_us <= 30 * DAY_US)]
    paths = paths.sort_values(["conversion_id", "touched_us", "touchpoint_id"])
    by_path = paths.groupby("conversion_id", sort=False)
    count = by_path["touched_us"].transform("size")
    position = by_path.cumcount() + 1
    age_us = by_path["touched_us"].transform("max") - paths["touched_us"]
    decay = np.power(2.0, -(age_us / (7 * DAY_US)))
    named = position.where(~paths["is_direct"], 0)
    last_named = named.groupby(paths["conversion_id"], sort=False).transform("max")
    ends = (position == 1) | (position == count)
    weights = {
        "first": (position == 1) * 1.0,
        "last": (position == count) * 1.0,
        "last_non_direct": (position == last_named.where(last_named > 0, count)) * 1.0,
        "linear": 1.0 / count,
        "position": np.where(
            count <= 2, 1.0 / count, np.where(ends, 0.4, 0.2 / (count - 2).clip(lower=1))
        ),
        "time_decay": decay / decay.groupby(paths["conversion_id"], sort=False).transform("sum"),
    }
    columns = ["conversion_id", "touchpoint_id", "person_key", "channel", "campaign_name"]
    parts = []
    for model, weight in weights.items():
        part = paths[columns].assign(model=model, credit=weight)
        part["revenue"] = part["credit"] * paths["revenue"].astype(float)
        parts.append(part[part["credit"] > 0])
    result = pd.concat(parts)
    result.to_parquet(data / "pandas.parquet", compression="zstd")
    return len(result)


def in_process(*arguments: str) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", MODULE, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own words
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Attribution at scale.")
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--measure", choices=[*STAGES, "pandas"])
    options = parser.parse_args()
    if options.measure == "pandas":
        say(json.dumps(measure(lambda: pandas_credits(options.data))))
    elif options.measure:
        say(json.dumps(measure(lambda: stage(options.data, options.measure))))
    else:
        report(options.sessions)


def report(sessions: int) -> None:
    """Build a history, measure every stage and the peer, then a late arrival, and print it."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_world(data, sessions)
        found = {
            name: in_process("--measure", name, "--data", folder) for name in (*STAGES, "pandas")
        }
        for name, figures in found.items():
            say(f"{name}: { ({key: round(value, 2) for key, value in figures.items()}) }")
        write_world(data, sessions + 500, first=sessions)
        for name in STAGES:
            figures = in_process("--measure", name, "--data", folder)
            say(f"{name}, 500 late sessions: { ({k: round(v, 2) for k, v in figures.items()}) }")
    ours, peer = found["credits"], found["pandas"]
    results = [
        (
            f"credits of {sessions:,} sessions, six models",
            f"{ours['rows'] / ours['wall_s']:,.0f} credits/s, {ours['peak_gib']:.2f} GiB",
            "no target",
        ),
        (
            "credits against pandas: speed",
            f"{peer['wall_s'] / ours['wall_s']:.1f}x",
            "≥ 5x in the spine as a whole",
        ),
        (
            "credits against pandas: memory",
            f"{ours['peak_gib'] / peer['peak_gib']:.2f}x",
            "≤ 0.5x in the spine as a whole",
        ),
    ]
    for what, measured, target in results:
        say("RESULT " + json.dumps({"what": what, "measured": measured, "target": target}))


if __name__ == "__main__":
    main()
