"""Minimisation, pseudonyms and suppression: rows per second beside floors of the same run.

    python -m clickstream_platform_tests.benchmarks.bench_privacy --rows 1000000

The floors are what nobody can go without: copying the texts once, and SHA-256 of each of them.
Processor seconds are counted, not the clock's, so that neighbours disturb the figures less.
"""

import argparse
import hashlib
import json
import random
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from clickstream_platform.privacy import Suppression, Vault, scrub_payloads, scrub_urls

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)
QUERIES = ("", "", "?utm_source=google&utm_medium=cpc", "?q=red+shoes", "?page=4", "?sku=AB-41-9")
PATTERN_ROWS = 20_000
"""Records that are made one by one; the others are copies in which each mailbox differs."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def record(rng: random.Random, *, is_dirty: bool) -> str:
    """One page view of about 500 bytes; a dirty one holds an address or a telephone number."""
    page = f"https://shop.example.com/product/{rng.randrange(10**6)}{rng.choice(QUERIES)}"
    title = "Shoes"
    if is_dirty:
        mailbox = f"ann{rng.randrange(10**9)}"
        page += f"{'&' if '?' in page else '?'}email={mailbox}%40example.com"
        title = rng.choice([f"Hello {mailbox}@example.com", "Call +49 151 2345678"])
    event = {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "event_name": rng.choice(["page_view", "view_item", "add_to_cart"]),
        "occurred_at": f"2026-03-{rng.randrange(1, 29):02}T12:34:56.{rng.randrange(1000):03}Z",
        "visitor_id": f"pv_{rng.getrandbits(128):032x}",
        "ip_address": "192.0.2.0",
        "user_agent": AGENT,
        "page_url": page,
        "page_title": title,
        "referrer_url": "https://www.google.com/",
        "revenue": round(rng.random() * 100, 2),
        "product_id": str(2103807459595387724 + rng.randrange(10**9)),
    }
    return json.dumps(event, separators=(",", ":"))


def records(rows: int, *, dirty_share: float) -> pl.Series:
    rng = random.Random(1)
    made = [record(rng, is_dirty=rng.random() < dirty_share) for _ in range(PATTERN_ROWS)]
    pattern = pl.Series("payload", made)
    copies = [
        pattern.str.replace_all("ann", f"ann{copy}x", literal=True)
        for copy in range(-(-rows // PATTERN_ROWS))
    ]
    return pl.concat(copies).head(rows).rechunk()


def processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def sha256_seconds(texts: pl.Series) -> float:
    values = [text.encode() for text in texts]
    return processor_seconds(lambda: [hashlib.sha256(value).digest() for value in values])


def report(what: str, rows: int, seconds: float, floor: float, target: str) -> None:
    per_million = seconds * 1e6 / rows
    measured = (
        f"{rows / seconds:,.0f}/s per core ({per_million:.2f} s per million, "
        f"{seconds / floor:.1f}x SHA-256 of each)"
    )
    say(f"{what}: {measured}")
    say("RESULT " + json.dumps({"what": what, "measured": measured, "target": target}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows: int = parser.parse_args().rows

    clean, dirty = records(rows, dirty_share=0), records(rows, dirty_share=0.01)
    copy = processor_seconds(lambda: clean + "x")
    floor = sha256_seconds(clean)
    size = round(clean.str.len_bytes().sum() / rows)
    say(f"{rows:,} records of {size} bytes; copied in {copy:.2f} s, SHA-256 in {floor:.2f} s")

    seconds = processor_seconds(lambda: scrub_payloads(clean))
    report("records, none dirty", rows, seconds, floor, "1,000,000/s")
    seconds = processor_seconds(lambda: scrub_payloads(dirty))
    report("records, 1 % dirty", rows, seconds, floor, "0.8 s per million")

    few = rows // 10
    urls = records(few, dirty_share=0.5).str.json_path_match("$.page_url")
    urls += pl.Series(range(few)).cast(pl.String)
    seconds = processor_seconds(lambda: scrub_urls(urls))
    report("URLs, half of them dirty, all distinct", few, seconds, floor / 10, "100,000/s")

    rng = random.Random(2)
    people = [f"user-{number:012d}" for number in range(rows // 10)]
    raw = pl.Series("visitor_id", rng.choices(people, k=rows))
    with tempfile.TemporaryDirectory() as folder:
        vault, suppression = Vault(Path(folder)), Suppression(Path(folder))
        seconds = processor_seconds(lambda: vault.tokens("visitor", raw))
        report("pseudonyms, first seen, 10 rows each", rows, seconds, floor, "1.0 s per million")
        seconds = processor_seconds(lambda: vault.tokens("visitor", raw))
        report("pseudonyms, known, 10 rows each", rows, seconds, floor, "0.5 s per million")
        suppression.add("visitor", people[:100], request_id="bench", now=NOON)
        seconds = processor_seconds(lambda: suppression.mask("visitor", raw))
        report("suppression, 10 rows each", rows, seconds, floor, "")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    say(
        f"peak of memory: {peak:,.0f} MiB, of which the records take {2 * size * rows / 2**20:,.0f}"
    )


if __name__ == "__main__":
    main()
