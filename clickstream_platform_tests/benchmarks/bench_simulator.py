"""How fast the simulator writes, beside what packing and copying the same bytes costs.

python -m clickstream_platform_tests.benchmarks.bench_simulator [EVENTS [DAYS]]
"""

import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeVar

from clickstream_platform.simulator import Simulation, SimulationSummary, simulate
from clickstream_platform.simulator.files import GZIP_LEVEL, gzipped

EVENTS, DAYS = 3_000_000, 30
"""What is simulated unless stated."""

Result = TypeVar("Result")

WANTED_PER_S = 500_000
"""Events per second wanted on two cores, packed NDJSON included."""


def main(events: int = EVENTS, days: int = DAYS) -> None:
    """Measure and print."""
    chosen = Simulation(start=date(2026, 3, 1), days=days, events=events)
    plain_chosen = Simulation(start=chosen.start, days=days, events=events, is_compressed=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin_s = time.process_time()
        summary, packed_s = timed(lambda: simulate(chosen, folder / "packed"))
        cpu_s = time.process_time() - begin_s
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        plain, plain_s = timed(lambda: simulate(plain_chosen, folder / "plain"))
        _, packing_s = timed(lambda: pack(plain, folder / "repacked"))
        _, copying_s = timed(lambda: copy(plain, folder / "copied"))
        size = sum(file.stat().st_size for file in plain.files)

    say(f"{summary.events:,} events, {summary.lines:,} lines of {size / summary.lines:.0f} bytes.")
    say(f"simulate, packed   {packed_s:7.2f} s  {summary.events / packed_s:12,.0f} events/s")
    say(f"simulate, plain    {plain_s:7.2f} s  {summary.events / plain_s:12,.0f} events/s")
    say(f"pack the same      {packing_s:7.2f} s  (ISA-L level {GZIP_LEVEL}, one thread)")
    say(f"copy the same      {copying_s:7.2f} s  (shutil.copyfile)")
    per_s = summary.events / packed_s
    for what, measured, target in (
        ("simulate to .ndjson.gz", f"{per_s:,.0f} events/s", f"{WANTED_PER_S:,} events/s"),
        (
            "its CPU per event",
            f"{cpu_s / summary.events * 1e6:.2f} microseconds",
            "4, for two cores",
        ),
        ("its peak memory", f"{peak_mb:,.0f} MiB", ""),
        ("its time over packing the same bytes", f"{packed_s / packing_s:.1f} x", ""),
        ("plain, its time over copying the same bytes", f"{plain_s / copying_s:.1f} x", ""),
    ):
        say("RESULT " + json.dumps({"what": what, "measured": measured, "target": target}))


def timed(do: Callable[[], Result]) -> tuple[Result, float]:
    """What a function returns, and the seconds it takes."""
    begin = time.perf_counter()
    result = do()
    return result, time.perf_counter() - begin


def pack(plain: SimulationSummary, folder: Path) -> None:
    """Pack files as the simulator does."""
    folder.mkdir()
    for file in plain.files:
        with (
            file.open("rb") as lines,
            (folder / file.name).open("wb") as raw,
            gzipped(raw) as packed,
        ):
            shutil.copyfileobj(lines, packed, 1 << 20)


def copy(plain: SimulationSummary, folder: Path) -> None:
    """Copy files as they are."""
    folder.mkdir()
    for file in plain.files:
        shutil.copyfile(file, folder / file.name)


def say(line: str) -> None:
    """Write one line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
