"""From gz NDJSON to events with every rule, against DuckDB's bare JSON to Parquet of that file.

    make bench B=ingest                                         200,000 events
    python -m clickstream_platform_tests.benchmarks.bench_ingest 1000000

Each side runs in a process of its own; the ratio is of wall time, best of three.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

NOW = datetime(2026, 10, 1, tzinfo=UTC)
EVENTS = 200_000
ROUNDS = 3


def bare(file: str, folder: str) -> None:
    """DuckDB alone: read, infer, write one Parquet file, check nothing."""
    import duckdb  # noqa: PLC0415 - each side pays for its own imports

    connection = duckdb.connect(config={"memory_limit": "2GB"})
    target = str(Path(folder) / "bare.parquet")
    read = connection.read_json(file, format="newline_delimited", ignore_errors=True)
    read.write_parquet(target)


def ours(file: str, folder: str) -> None:
    """The platform: landing, minimisation, pseudonyms, rules, repetitions, Delta."""
    from clickstream_platform.events import ingest_files, refresh_events  # noqa: PLC0415
    from clickstream_platform.settings import load_settings  # noqa: PLC0415

    settings = load_settings(folder)
    ingest_files(settings, [Path(file)], "web", now=NOW)
    refresh_events(settings)


def measured(side: str, file: Path) -> tuple[float, float]:
    """Best wall seconds and the peak memory, MB, of one side in fresh processes."""
    runs = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", __spec__.name, side, str(file), folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
            runs.append(tuple(json.loads(done.stdout.splitlines()[-1])))
    return min(seconds for seconds, _ in runs), max(memory for _, memory in runs)


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


def say(what: str, value: str, target: str = "") -> None:
    """Print one figure for people and for the collector."""
    sys.stdout.write(f"{what}: {value}\n")
    row = {"what": what, "measured": value, "target": target}
    sys.stdout.write(f"RESULT {json.dumps(row)}\n")


def main() -> None:
    """Measure both sides, clean and with a fifth of the records broken."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with tempfile.TemporaryDirectory() as folder:
        clean, broken = Path(folder, "clean"), Path(folder, "broken")
        clean.mkdir()
        broken.mkdir()
        file = simulated(clean, events, malformed=0.0)
        floor, _ = measured("bare", file)
        seconds, memory = measured("ours", file)
        bad, _ = measured("ours", simulated(broken, events, malformed=0.2))
    rate = events / seconds
    say(
        f"gz NDJSON to events, {events:,} events",
        f"{rate:,.0f} rows/s, {memory:,.0f} MB, {seconds / floor:.2f}x DuckDB's bare read",
        "at most 2.0x",
    )
    say("a fifth of the records broken", f"{bad / seconds:.2f}x none broken", "at most 1.25x")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        start = time.perf_counter()
        {"bare": bare, "ours": ours}[sys.argv[1]](sys.argv[2], sys.argv[3])
        seconds = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sys.stdout.write(json.dumps([seconds, memory]) + "\n")
    else:
        main()
