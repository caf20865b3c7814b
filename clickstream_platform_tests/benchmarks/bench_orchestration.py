"""From a file landing to the CRM's outbox through warm daemons, and what looking in vain costs.

    python -m clickstream_platform_tests.benchmarks.bench_orchestration --launcher fork

Both launchers take a file of 10,000 events of a made-up shop, several times, into a platform that
has taken one before. Wall time depends on who else uses the machine: the load is printed beside it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.sensors import landing
from clickstream_platform.simulator import Simulation, simulate
from clickstream_platform_tests.orchestration.served import Served, prepare, serving, until

EVENTS = 10_000
TARGETS = {"default": 20, "fork": 10}
"""Most seconds of wall time, by launcher."""
LOOKS = 3


def batch(folder: Path, number: int) -> bytes:
    """Content of a file of so many events of the last days."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    chosen = Simulation(start=yesterday, days=1, events=EVENTS, seed=number, prefix=f"b{number}")
    target = folder / f"batch-{number}"
    files = simulate(chosen, target).files
    return b"".join(file.read_bytes() for file in files)  # gzip members may follow one another


def land(served: Served, name: str, content: bytes) -> float:
    """Drop a file, wait until it has reached the CRM, and return the seconds that took."""
    before = len(synced(served))
    folder = served.settings.landing / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{name}.tmp"
    draft.write_bytes(content)
    start = time.perf_counter()
    draft.replace(folder / name)
    until(lambda: len(synced(served)) > before, f"{name} has reached the CRM", patience_s=600)
    return time.perf_counter() - start


def synced(served: Served) -> list[object]:
    """Ticks whose last stage, the sync, is through."""
    return [*served.runs(pipelineName="ingest_tick", statuses=["SUCCESS"])]


def tick_cpu_s(served: Served) -> float:
    """CPU of one look of the sensor into a landing where nothing waits."""
    platform = Platform(data=str(served.data))
    with dg.DagsterInstance.from_config(str(served.settings.state / "dagster")) as instance:

        def look() -> None:
            context = dg.build_sensor_context(instance, resources={"platform": platform})
            found = landing(context)
            if not isinstance(found, dg.SkipReason):
                message = "something waits"
                raise TypeError(message)

        look()
        start = time.process_time()
        for _ in range(LOOKS):
            look()
        return (time.process_time() - start) / LOOKS


def measure(launcher: str, batches: int) -> None:
    """Serve with one launcher, warm it up, and take batches."""
    with tempfile.TemporaryDirectory() as folder:
        contents = [batch(Path(folder), number) for number in range(batches + 1)]
        with serving(prepare(Path(folder)), is_forking=launcher == "fork") as served:
            land(served, "warm.ndjson.gz", contents[0])
            walls = [
                land(served, f"b{number}.ndjson.gz", content)
                for number, content in enumerate(contents[1:])
            ]
            load = os.getloadavg()[0]
            say(f"{launcher}: {', '.join(f'{wall:.1f}' for wall in walls)} s, load {load:.1f}")
            result(
                f"{EVENTS:,} events, landing to CRM, {launcher} launcher, best of {batches}",
                f"{min(walls):.1f} s wall (load {load:.0f} on {os.cpu_count()} cores)",
                f"≤ {TARGETS[launcher]} s",
            )
            result(
                "look of the sensor at nothing", f"{tick_cpu_s(served):.3f} s CPU", "< 0.2 s CPU"
            )


def main() -> int:
    """Measure the launchers that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launcher", choices=[*TARGETS], action="append")
    parser.add_argument("--batches", type=int, default=3)
    options = parser.parse_args()
    for launcher in options.launcher or TARGETS:
        measure(launcher, options.batches)
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
