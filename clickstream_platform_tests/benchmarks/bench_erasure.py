"""Erasure of one person: what it costs to find and delete them, and to prove that nothing is left.

    python -m clickstream_platform_tests.benchmarks.bench_erasure --events 1000000

The person has twenty events. Finding and deleting them should take seconds however much lies
beside them; the residual scan reads everything there is, so its figure is a rate.
"""

import argparse
import gzip
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl

from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.privacy import Vault, erase_subject, register_request
from clickstream_platform.settings import Settings, load_settings

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
EVENTS_PER_PERSON = 20
BATCH = 500_000
"""Records of one landed file."""

WANTED = 7
"""Number of the person who asks."""

BATCH_SQL = """
WITH drawn AS (
  SELECT range AS n, range - {first} AS ordinal, CAST(hash(range) % {people} AS BIGINT) AS person,
    1767225600000000 + CAST(hash(range + 7) % (60 * 86400000000) AS BIGINT) AS us
  FROM range({first}, {last})
)
SELECT 'ev' || n AS event_id, n AS event_key, 'page_view' AS event_name,
  make_timestamptz(us) AS occurred_at, us AS occurred_us,
  CAST(make_timestamp(us) AS DATE) AS event_date, make_timestamptz(us) AS received_at,
  0 AS clock_skew_ms, false AS is_late, 'canonical' AS source, 'b_{first}' AS batch_id, ordinal,
  'client' AS collection_source, make_timestamptz({first}) AS arrived_at,
  DATE '2026-04-01' AS arrival_date, person,
  CASE WHEN person = {wanted} THEN '{token}' ELSE 'pv_' || md5('v' || person) END AS visitor_id,
  CASE WHEN person = {wanted} THEN {key}
    ELSE CAST('0x' || left(md5('v' || person), 15) AS BIGINT) END AS visitor_key,
  CAST(visitor_key % 4 AS INTEGER) AS bucket, false AS is_bot, false AS is_synthetic,
  'https://shop.example/products/' || n % 5000 || '?page=' || n % 7 AS page_url,
  'shop.example' AS page_host, '/products/' || n % 5000 AS page_path,
  '{{"event_id":"ev' || n || '","event_name":"page_view","page_url":"' || page_url
    || '","properties":{{"position":' || n % 30 || '}},"visitor_id":"' AS head,
  head || visitor_id || '"}}' AS payload
FROM drawn
"""


def write_world(settings: Settings, events: int) -> None:
    """Write landed files, raw events and events of people of whom one will ask."""
    lake = Lake(settings.lake_folder)
    vault = Vault(settings.state / "vault")
    token = vault.tokens("visitor", pl.Series([f"visitor-no-{WANTED}"]))[0]
    folder = settings.landing / "canonical"
    folder.mkdir(parents=True)
    for first in range(0, events, BATCH):
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        query = BATCH_SQL.format(
            first=first,
            last=min(first + BATCH, events),
            people=events // EVENTS_PER_PERSON,
            wanted=WANTED,
            token=token,
            key=int(token[3:18], 16),
        )
        rows = connection.sql(query).pl()
        for table in ("raw_events", "events"):
            lake.append(table, of_contract(table, rows))
        lines = rows.select(pl.format('{}visitor-no-{}"}}\n', "head", "person")).to_series()
        (folder / f"{first}.ndjson.gz").write_bytes(gzip.compress("".join(lines).encode(), 1))


def of_contract(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of a contract, null where nothing is said."""
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None).alias(name)).cast(kind)
        for name, kind in polars_schema(table).items()
    )


class Stopwatch:
    """Time spent in each step."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._step, self._since = "who", time.perf_counter()

    def __call__(self, step: str) -> None:
        self.stop()
        self._step = step

    def stop(self) -> None:
        """End the step that runs."""
        now = time.perf_counter()
        self.steps[self._step] = self.steps.get(self._step, 0) + now - self._since
        self._since = now


def main() -> int:
    """Build the world, erase one person, print what each step took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(Path(folder))
        write_world(settings, events)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        request_id = register_request(
            settings,
            request_type="erase",
            identifiers=[("visitor", f"visitor-no-{WANTED}")],
            now=NOW,
        )
        watch = Stopwatch()
        certificate = erase_subject(settings, request_id, now=NOW, progress=watch)
        watch.stop()
    removed = {table.table: table.rows_removed for table in certificate.tables}
    say(f"{events:,} events, {size / 1e6:,.0f} MB; removed {removed}")
    for step, seconds in watch.steps.items():
        say(f"  {step}: {seconds:.2f} s")
    scan = sum(seconds for step, seconds in watch.steps.items() if "left" in step)
    lake = watch.steps["tables"] + watch.steps["who"]
    landing = watch.steps["landed files"]
    result(f"one person out of {events / 1e6:g} M events, tables", f"{lake:.1f} s", "seconds")
    result(f"the same, landed files of {events / 1e6:g} M records", f"{landing:.1f} s")
    result("residual scan of everything", f"{events / scan / 1e6:.2f} M events/s")
    return 0


def result(what: str, measured: str, target: str = "") -> None:
    """Print a figure for docs/performance.md."""
    say("RESULT " + json.dumps({"what": what, "measured": measured, "target": target}))


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
