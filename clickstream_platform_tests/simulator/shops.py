"""Small simulations, and reading back what they wrote, as the tests here do."""

import gzip
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from clickstream_platform.simulator import Simulation, simulate
from clickstream_platform.simulator.lines import CHUNK

MONDAY = date(2026, 3, 2)
"""First day of simulations in tests."""

WEEK = Simulation(start=MONDAY, days=7, persons=400, seed=7)
"""A week of a few people, with all faults at their usual rates."""

MINUTE = timedelta(minutes=1)


def written(simulation: Simulation, folder: Path, *, chunk: int = CHUNK) -> dict[str, bytes]:
    """What a simulation writes: plain text by file name."""
    return {
        file.name: gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for file in simulate(simulation, folder, chunk=chunk).files
    }


def records(simulation: Simulation, folder: Path) -> list[dict[str, Any]]:
    """Every line that a simulation without broken lines writes, in order."""
    text = b"".join(written(simulation, folder).values())
    return [json.loads(line) for line in text.splitlines()]


def instant(text: str) -> datetime:
    """An instant as the lines write it."""
    return datetime.fromisoformat(text)


def clocks(record: dict[str, Any]) -> tuple[datetime, datetime, datetime]:
    """When a record says that it was created, sent and received."""
    created, sent, received = (record[f"{name}_at"] for name in ("created", "sent", "received"))
    return instant(created), instant(sent), instant(received)
