"""One more hour of arrivals on histories of several lengths, through the whole spine.

    make bench B=hour                                 1 M and 5 M events
    make bench B=hour ARGS="1000000 20000000"
    make bench B=hour ARGS="20000000 --buckets 16"      with smaller partitions

The full rebuild of every stage runs first, in a process of its own. Then a process that has
refreshed before, as a daemon has, takes three hours of a busy afternoon one after the other; the
median hour counts. CPU seconds of all threads, so that neighbours disturb the figures less.
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path
from statistics import median

from clickstream_platform.lake import Lake
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.benchmarks.history import (
    append_arrivals,
    day_of_events,
    events_of,
    write_history,
)
from clickstream_platform_tests.benchmarks.measuring import (
    Figures,
    answer,
    in_process,
    measure,
    result,
    say,
)
from clickstream_platform_tests.benchmarks.spine import STAGES, refresh

MODULE = "clickstream_platform_tests.benchmarks.bench_hour"
HOURS = 3


def full(data: Path) -> Figures:
    """Make everything anew."""
    events = Lake(load_settings(data).lake_folder).row_count("events")
    return measure(lambda: refresh(data, full=True)) | {"events": events}


def hours(data: Path, events: int) -> Figures:
    """Take in hours one after the other; the median of each figure."""
    warm_up()
    runs = []
    for hour in range(HOURS):
        arrived = append_arrivals(data, events, hour=hour)
        figures = measure(lambda: refresh(data))
        touched = figures["sessions_read"] / arrived
        runs.append(figures | {"arrived": arrived, "touched_per_new": touched})
        say(f"hour {hour}: { ({name: round(value, 2) for name, value in runs[-1].items()}) }")
    return {name: median(run[name] for run in runs) for name in runs[0]}


def warm_up() -> None:
    """Refresh a small lake twice, so that imports and compiled plans are not measured."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(Path(folder))
        lake = Lake(settings.lake_folder)
        rows = events_of(day_of_events(0).head(2_000), buckets=settings.lake.buckets)
        for part in (rows.head(1_900), rows.tail(100)):
            lake.append("events", part)
            refresh(Path(folder))


def report(folder: Path, sizes: list[int], buckets: int | None) -> None:
    """Measure every length of history, and print the figures."""
    found: dict[float, tuple[Figures, Figures]] = {}
    for events in sizes:
        data = folder / str(events)
        if buckets is not None:
            data.mkdir(parents=True, exist_ok=True)
            (data / "clickstream.toml").write_text(f"[lake]\nbuckets = {buckets}\n")
        if not (data / "lake").exists():
            in_process(MODULE, "--measure", "write", "--data", data, events)
        whole = in_process(MODULE, "--measure", "full", "--data", data, events)
        hour = in_process(MODULE, "--measure", "hours", "--data", data, events)
        found[whole["events"]] = whole, hour
    for length, (whole, hour) in found.items():
        parts = ", ".join(
            f"{name} {hour[f'{name}_cpu_s'] / whole[f'{name}_cpu_s']:.1%}" for name in STAGES
        )
        result(
            f"an hour of {hour['arrived']:,.0f} arrivals after {length:,.0f} events, whole spine",
            f"{hour['cpu_s'] / whole['cpu_s']:.1%} of the CPU of a rebuild "
            f"({hour['cpu_s']:.2f} of {whole['cpu_s']:.1f} s; {parts})",
            "at most 2 %",
        )
        result(
            f"events that enter sessions anew, per arrival, after {length:,.0f} events",
            f"{hour['touched_per_new']:.2f}",
            "at most 1.2",
        )
    least, most = min(found), max(found)
    if least < most:
        grown = {
            name: math.log(found[most][1][name] / found[least][1][name]) / math.log(most / least)
            for name in ("cpu_s", "sessions_cpu_s")
        }
        result(
            f"growth of the CPU of an hour from {least:,.0f} to {most:,.0f} events",
            f"exponent {grown['cpu_s']:.2f} (sessions alone {grown['sessions_cpu_s']:.2f})",
            "at most 0.2",
        )


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="An hour of arrivals on long histories.")
    parser.add_argument("sizes", type=int, nargs="*", default=[1_000_000, 5_000_000])
    parser.add_argument("--buckets", type=int, help="buckets of people of each day")
    parser.add_argument("--data", type=Path, help="folder to keep histories in, and to reuse")
    parser.add_argument("--measure", choices=["write", "full", "hours"])
    chosen = parser.parse_args()
    if chosen.measure == "write":
        write_history(chosen.data, chosen.sizes[0])
        answer({})
    elif chosen.measure == "full":
        answer(full(chosen.data))
    elif chosen.measure == "hours":
        answer(hours(chosen.data, chosen.sizes[0]))
    elif chosen.data:
        report(chosen.data, chosen.sizes, chosen.buckets)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(Path(folder), chosen.sizes, chosen.buckets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
