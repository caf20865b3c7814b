"""From gz NDJSON to events with every rule, against DuckDB's bare JSON to Parquet of that file.

    make bench B=ingest                        200,000 events
    make bench B=ingest ARGS="1000000 1"       so many events, and rounds

Each side runs in processes of its own, in turns; the ratio is of CPU seconds of all threads, the
median, because other work on the machine disturbs wall time more.
"""

import shutil
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from clickstream_platform_tests.benchmarks.measuring import (
    Figures,
    answer,
    in_process,
    measure,
    middle,
    most,
    result,
)

MODULE = "clickstream_platform_tests.benchmarks.bench_ingest"
NOW = datetime(2026, 10, 1, tzinfo=UTC)
DEFAULTS = (200_000, 3)
"""Events and rounds unless stated."""


def bare(file: str, folder: str) -> Figures:
    """DuckDB alone: read, infer, write one Parquet file, check nothing."""
    import duckdb  # noqa: PLC0415 - each side pays for its own imports

    connection = duckdb.connect(config={"memory_limit": "2GB"})
    target = str(Path(folder) / "bare.parquet")
    read = connection.read_json(file, format="newline_delimited", ignore_errors=True)
    read.write_parquet(target)
    return {}


def ours(file: str, folder: str) -> Figures:
    """The platform: landing, minimisation, pseudonyms, rules, repetitions, Delta."""
    from clickstream_platform.events import ingest_files, refresh_events  # noqa: PLC0415
    from clickstream_platform.settings import load_settings  # noqa: PLC0415

    settings = load_settings(folder)
    ingest_files(settings, [Path(file)], "web", now=NOW)
    refresh_events(settings)
    return {}


def simulated(folder: Path, events: int, *, malformed: float) -> Path:
    """A day of the simulated shop as one gz file."""
    from clickstream_platform.simulator import Simulation, simulate  # noqa: PLC0415

    simulation = Simulation(
        events=events, days=30, start=date(2026, 9, 1), malformed_rate=malformed
    )
    simulate(simulation, folder)
    whole = folder / "all.ndjson.gz"
    with whole.open("wb") as target:
        for part in sorted(folder.glob("*-*.ndjson.gz")):
            target.write(part.read_bytes())  # members of gz may follow one another
    return whole


def main() -> None:
    """Measure both sides in turns, clean and with a fifth of the records broken."""
    given = [int(word) for word in sys.argv[1:]]
    events, rounds = [*given, *DEFAULTS[len(given) :]]
    runs: dict[str, list[Figures]] = {"bare": [], "ours": [], "bad": []}
    with tempfile.TemporaryDirectory() as folder:
        clean, broken = Path(folder, "clean"), Path(folder, "broken")
        clean.mkdir()
        broken.mkdir()
        file = simulated(clean, events, malformed=0.0)
        bad = simulated(broken, events, malformed=0.2)
        for number in range(rounds):
            for name, done in runs.items():
                work = Path(folder, f"{name}-{number}")
                work.mkdir()
                side, records = ("ours", bad) if name == "bad" else (name, file)
                done.append(in_process(MODULE, side, records, work))
                shutil.rmtree(work)
    bare_s, ours_s, bad_s = (middle(done, "cpu_s") for done in runs.values())
    wall_s, bare_wall_s = (middle(runs[name], "wall_s") for name in ("ours", "bare"))
    result(
        f"gz NDJSON to events with every rule, {events:,} events, by CPU seconds",
        f"{ours_s / bare_s:.2f}x DuckDB's bare read ({ours_s:.1f} against {bare_s:.1f} s; "
        f"wall {wall_s:.1f} against {bare_wall_s:.1f} s; "
        f"{most(runs['ours'], 'peak_gib'):.2f} GiB)",
        "at most 2.0x",
    )
    result(
        "a fifth of the records broken, by CPU seconds",
        f"{bad_s / ours_s:.2f}x none broken",
        "at most 1.25x",
    )


SIDES = {"bare": bare, "ours": ours}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in SIDES:
        chosen, file, folder = sys.argv[1:]
        answer(measure(lambda: SIDES[chosen](file, folder)))
    else:
        main()
