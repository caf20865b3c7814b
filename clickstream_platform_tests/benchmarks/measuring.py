"""What benchmarks share: processes of their own, stopwatches, and figures for the page."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

Figures = dict[str, float]
"""What one measurement found, by name: ``wall_s``, ``cpu_s``, ``peak_gib`` and counts."""


def measure(work: Callable[[], Mapping[str, float]]) -> Figures:
    """Measure one piece of work in this process: wall and CPU seconds of all threads, peak memory.

    The peak is that of the whole process so far, so a process measures one thing.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    counts = work()
    seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    return {**counts, **seconds, "peak_gib": peak_kib() / 2**20}


def peak_kib() -> int:
    """Peak of memory of this process; `getrusage` would count its parent's before the start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def in_process(module: str, *arguments: object) -> Figures:
    """Run ``python -m module …`` and read the figures from the last line that it prints.

    It may keep what Python compiles, as an installed program does; else every process of a
    package as large as this one would be measured at compiling it.

    Raises:
        RuntimeError: It failed; the message holds the end of what it said.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=own)  # noqa: S603 - our own words
    if done.returncode:
        message = f"{' '.join(command[2:])} failed:\n{done.stderr[-4_000:]}"
        raise RuntimeError(message)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    shown = {name: round(value, 3) for name, value in figures.items()}
    say(f"{' '.join(map(str, arguments))}: {shown} (load {os.getloadavg()[0]:.1f})")
    return figures


def middle(runs: list[Figures], name: str) -> float:
    """The median of one figure of several runs."""
    return median(run[name] for run in runs)


def most(runs: list[Figures], name: str) -> float:
    """The largest of one figure of several runs."""
    return max(run[name] for run in runs)


def answer(figures: Mapping[str, float]) -> None:
    """Hand figures to the process that asked by `in_process`."""
    say(json.dumps(figures))


def result(what: str, measured: str, wanted: str = "") -> None:
    """Print one figure for docs/performance.md."""
    say("RESULT " + json.dumps({"what": what, "measured": measured, "target": wanted}))


def say(line: str) -> None:
    """Write one line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
