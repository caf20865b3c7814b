"""Run benchmarks one after the other, each in a process of its own, and note their figures.

A benchmark is a file `bench_<name>.py` beside this one that runs as a module and prints what it
measured. Lines of the form ``RESULT {"what": …, "measured": …, "target": …}`` become rows of
docs/performance.md; everything it prints is kept in artifacts/bench/<name>.txt.

    python -m clickstream_platform_tests.benchmarks            all of them
    python -m clickstream_platform_tests.benchmarks sessions   those named
    python -m clickstream_platform_tests.benchmarks sessions --events 20000000   one, with options
"""

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FIGURES = ROOT / "docs" / "performance.md"
OUTPUT = ROOT / "artifacts" / "bench"

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
"""Between these `make bench` writes; what stands around them is written by people."""


class Figure(NamedTuple):
    """One thing that was measured."""

    command: str
    what: str
    measured: str
    target: str


def main() -> int:
    """Run the benchmarks that are named, or all, and return how many failed.

    What does not name a benchmark, from the first such word on, goes to the one that is named.
    """
    known = {file.stem.removeprefix("bench_"): file for file in sorted(HERE.glob("bench_*.py"))}
    words = sys.argv[1:]
    named = list(takewhile(known.__contains__, words))
    options = words[len(named) :]
    if options and len(named) != 1:
        say(f"{options[0]} is no benchmark, and options go to one. There are: {', '.join(known)}.")
        return 1
    chosen = named or list(known)
    failed, figures = 0, []
    for name in chosen:
        code, lines = run(name, options)
        failed += code != 0
        arguments = f' ARGS="{" ".join(options)}"' if options else ""
        figures += figures_of(f"make bench B={name}{arguments}", lines)
    if figures:
        note(figures)
    say(f"{len(chosen):,} benchmarks, {failed:,} failed, {len(figures):,} figures.")
    return failed


def run(name: str, options: list[str]) -> tuple[int, list[str]]:
    """Run one benchmark, showing what it prints as it does, and keep it."""
    module = f"clickstream_platform_tests.benchmarks.bench_{name}"
    say(f"\n== {name} ==")
    start, lines = time.monotonic(), []
    with subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-m", module, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            say(lines[-1])
    say(f"-- {name}: {time.monotonic() - start:,.0f} s, exit code {process.returncode}")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return process.returncode, lines


def figures_of(command: str, lines: list[str]) -> list[Figure]:
    """Read the figures among the lines that a benchmark printed."""
    found = []
    for line in lines:
        if line.startswith("RESULT "):
            row = json.loads(line.removeprefix("RESULT "))
            found.append(Figure(command, row["what"], row["measured"], row.get("target", "")))
    return found


def note(figures: list[Figure]) -> None:
    """Write the figures of this run into the page, in place of those of the same commands."""
    text = FIGURES.read_text()
    before, rest = text.split(BEGIN, 1)
    old, after = rest.split(END, 1)
    benches = {f"`{figure.command}`" for figure in figures}
    rows = [line for line in old.splitlines() if line.startswith("| `")]
    rows = [line for line in rows if line.split(" | ")[0].removeprefix("| ") not in benches]
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    rows += [
        f"| `{f.command}` | {f.what} | {f.measured} | {f.target} | {machine()}, {when} |"
        for f in figures
    ]
    head = [
        "| command | what | measured | wanted | where, when |",
        "| --- | --- | --- | --- | --- |",
    ]
    table = "\n".join([*head, *sorted(rows, key=lambda line: line.split(" | ")[0])])
    FIGURES.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def machine() -> str:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def say(line: str) -> None:
    """Write one line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
