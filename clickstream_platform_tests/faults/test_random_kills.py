"""Kill -9 at random points from a landed file to the CRM: what follows cannot tell."""

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import polars as pl
import pytest

from clickstream_platform.collection.consent_log import verify_consent_log
from clickstream_platform.events import Ledger
from clickstream_platform.lake import Lake
from clickstream_platform.settings import load_settings
from clickstream_platform.simulator import simulate
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform_tests.orchestration.served import prepare
from clickstream_platform_tests.simulator.shops import WEEK

pytestmark = pytest.mark.slow

SHOP = replace(
    WEEK, days=3, persons=60, duplicate_rate=0.05, conflict_rate=0.05, malformed_rate=0.05
)
SECOND_DAY = SHOP.starts_at + timedelta(days=2, hours=1)
"""When everything before it is up to date."""
THIRD_DAY = SHOP.ends_at + timedelta(hours=1)
"""When the rest has landed."""

DRAWN = ("commitment", "nonce", "previous_hash", "entry_hash")
"""Columns that are drawn, or made of what is drawn; `verify_consent_log` looks at those."""


WORK = {
    "raw_events",
    "events",
    "quarantined_events",
    "duplicate_events",
    "identity_map",
    "identity_merges",
    "consents",
    "consent_log",
    "sessions",
    "session_events",
    "touchpoints",
    "conversions",
    "attribution_credits",
    "engagement_scores",
    "segment_members",
    "segments",
    "crm_syncs",
    "ledger",
    "outbox",
}
"""What the third day changes."""


class Unkilled(NamedTuple):
    """A run that nobody killed."""

    points: int
    """Changes to a disk that it made."""
    seconds: float
    contents: dict[str, Any]
    """What it came to."""


Refresh: TypeAlias = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def refresh() -> Iterator[Refresh]:
    """Refresh a data folder in a process of its own, which dies if it is told when."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "clickstream_platform_tests.faults.dying"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ask(data: Path, **order: object) -> dict[str, Any]:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps({"data": str(data), **order}) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            assert not answer["error"], answer["error"]
            return answer

        yield ask
        process.terminate()


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, refresh: Refresh) -> Path:
    """A data folder with two days in every table, and a third that has landed.

    Beside the third day lie arrivals of the second that were earlier than those that are loaded,
    half of them with another page: the stored ones are beaten.
    """
    data = prepare(tmp_path_factory.mktemp("waiting"))
    simulated = simulate(SHOP, data.parent / "shop").files
    landing = data / "landing" / "web"
    landing.mkdir(parents=True)
    for file in simulated[:2]:
        land(file.read_bytes(), landing / file.name)
    refresh(data, now=SECOND_DAY.isoformat())
    land(simulated[2].read_bytes(), landing / simulated[2].name)
    earlier = []
    for number, line in enumerate(gzip.decompress(simulated[1].read_bytes()).splitlines()[:40]):
        if b'"received_at":"2026' in line and line.endswith(b"}"):
            record = json.loads(line) | {"received_at": "2026-03-03T00:00:00Z"}
            record["page_url"] += "#again" * (number % 2)
            earlier.append(json.dumps(record).encode() + b"\n")
    land(b"".join(earlier), landing / "earlier.ndjson")
    return data


def land(content: bytes, path: Path) -> None:
    """Write a file into landing that has been still for a while."""
    path.write_bytes(content)
    os.utime(path, (path.stat().st_mtime - 60,) * 2)


@pytest.fixture(scope="module")
def unkilled(waiting: Path, refresh: Refresh) -> Unkilled:
    """A run of the third day that nobody killed.

    Pseudonyms are drawn, so the vault that it leaves is laid into the folder that the others start
    from: what differs afterwards is not for their sake.
    """
    first = copied(waiting, "first")
    refresh(first, now=THIRD_DAY.isoformat())
    shutil.copytree(first / "state" / "vault", waiting / "state" / "vault", dirs_exist_ok=True)
    data = copied(waiting, "unkilled")
    answer = refresh(data, now=THIRD_DAY.isoformat())
    return Unkilled(answer["points"], answer["seconds"], contents(data))


def copied(waiting: Path, name: str) -> Path:
    """A copy of a data folder, of the same age."""
    return shutil.copytree(waiting, waiting.with_name(name))


def contents(data: Path) -> dict[str, Any]:
    """Every table, the ledger, and what the CRM was told, in an order of their own."""
    settings = load_settings(data)
    lake, ledger = Lake(settings.lake_folder), Ledger(settings.state)
    ledger.require_balance()
    tables = {name: lake.scan(name).drop(DRAWN, strict=False).collect() for name in TABLES}
    found: dict[str, Any] = {name: in_order(rows) for name, rows in tables.items()}
    found["verified"] = verify_consent_log(lake, settings)._replace(head="drawn")
    files = sorted(settings.outbox.glob("*.jsonl"))
    told = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    found["ledger"] = ledger.batches()
    # What is sent again says when; who knows its key has nothing new to do.
    told = [record | {"synced_at": None} for record in told]
    found["outbox"] = sorted(told, key=lambda record: record["idempotency_key"])
    return found


def in_order(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows in an order that depends on nothing but their content."""
    return sorted(frame.to_dicts(), key=repr)


def places(rows: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Which records of which batches rows are made from."""
    return {(row["batch_id"], row["ordinal"]) for row in rows}


def test_there_is_work_to_lose_in_nearly_every_table(waiting: Path, unkilled: Unkilled) -> None:
    points, _, expected = unkilled
    before = contents(waiting)
    assert points > 50
    assert {name for name in expected if expected[name] != before[name]} >= WORK
    assert len(places(before["events"]) & places(expected["duplicate_events"])) > 10


@pytest.mark.parametrize("seed", range(10))
def test_killed_run_is_taken_up_as_if_nothing_had_been(
    waiting: Path, refresh: Refresh, unkilled: Unkilled, seed: int
) -> None:
    rng = random.Random(seed)
    points, seconds, expected = unkilled
    data = copied(waiting, f"killed-{seed}")
    # Between two changes to a disk; then, while that is taken up, at any moment of what is left.
    at = rng.randint(1, points)
    assert refresh(data, now=THIRD_DAY.isoformat(), point=at)["died"], at
    refresh(data, now=THIRD_DAY.isoformat(), after_s=rng.uniform(0, 1.1 - at / points) * seconds)
    refresh(data, now=THIRD_DAY.isoformat())
    assert_same(contents(data), expected)
    shutil.rmtree(data)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare table by table, and name the first that differs."""
    for name, rows in expected.items():
        assert len(found[name]) == len(rows), name
        assert found[name] == rows, name
