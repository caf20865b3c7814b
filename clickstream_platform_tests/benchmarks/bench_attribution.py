"""Attribution at scale: six models over all conversions, against a straightforward pandas version.

    python -m clickstream_platform_tests.benchmarks.bench_attribution --sessions 1000000

Every measurement runs in a process of its own, whose peak of memory is its own too.
"""

import argparse
import tempfile
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
from clickstream_platform_tests.benchmarks.measuring import (
    answer,
    in_process,
    measure,
    result,
    say,
)

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
  CAST(person % 4 AS INTEGER) AS bucket,
  'pv_' || md5('v' || person) AS visitor_id, 'canonical' AS source,
  make_timestamptz(us) AS started_at, make_timestamptz(us + 600000000) AS ended_at,
  CAST(make_timestamp(us) AS DATE) AS session_date, 600.0 AS duration_s, 'first' AS cut_reason,
  3 AS events, 2 AS page_views, true AS is_engaged, false AS is_bounce,
  ['Direct', 'Organic Search', 'Paid Search', 'Email', 'Organic Social', 'Referral']
    [CAST(1 + luck % 6 AS INTEGER)]
    AS channel,
  CASE WHEN luck % 6 = 2 THEN 'spring' END AS campaign_name,
  CASE WHEN luck = 0 THEN 1 ELSE 0 END AS conversions, CAST(0 AS DECIMAL(18, 4)) AS revenue,
  'US' AS country, 1.0 AS engagement_points, false AS is_bot
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
    if not lake.exists("person_consents"):  # in the US nobody needs to have chosen
        lake.append("person_consents", pl.DataFrame(schema=polars_schema("person_consents")))
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
    from clickstream_platform_tests.benchmarks import (  # noqa: PLC0415 - its memory is the peer's
        pandas_spine,
    )

    lake = Lake(load_settings(data).lake_folder)
    touches, converted = (
        pandas_spine.read(lake.files(name)) for name in ("touchpoints", "conversions")
    )
    earned = pandas_spine.credits_of(touches, converted)
    pandas_spine.write(earned, data, "pandas")
    return len(earned)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Attribution at scale.")
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--measure", choices=[*STAGES, "pandas"])
    options = parser.parse_args()
    if options.measure == "pandas":
        answer(measure(lambda: {"rows": pandas_credits(options.data)}))
    elif options.measure:
        answer(measure(lambda: {"rows": stage(options.data, options.measure)}))
    else:
        report(options.sessions)


def report(sessions: int) -> None:
    """Build a history, measure every stage and the peer, then a late arrival, and print it."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        write_world(data, sessions)
        found = {
            name: in_process(MODULE, "--measure", name, "--data", folder)
            for name in (*STAGES, "pandas")
        }
        say("500 late sessions:")
        write_world(data, sessions + 500, first=sessions)
        for name in STAGES:
            in_process(MODULE, "--measure", name, "--data", folder)
    ours, peer = found["credits"], found["pandas"]
    result(
        f"credits of {sessions:,} sessions, six models",
        f"{ours['rows'] / ours['cpu_s']:,.0f} credits per CPU second, {ours['peak_gib']:.2f} GiB",
    )
    result("credits against pandas: speed by CPU", f"{peer['cpu_s'] / ours['cpu_s']:.1f}x")
    result("credits against pandas: memory", f"{ours['peak_gib'] / peer['peak_gib']:.2f}x")


if __name__ == "__main__":
    main()
