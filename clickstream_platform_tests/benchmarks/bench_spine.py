"""The spine from events to credits, against a straightforward version in pandas.

    make bench B=spine                               5 M events

All start from the same Parquet files of `events`, pandas once with ids as they come and once with
the integer keys that the platform made of them at ingestion, and write the identity map, sessions,
the place of each event, touchpoints, conversions and credits of six models. Each side runs in a
process of its own, in turns; all must count the same sessions, conversions and credits, else the
bench fails.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from clickstream_platform.lake import Lake
from clickstream_platform.sessions import load_engagement_weights
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.benchmarks.history import write_history
from clickstream_platform_tests.benchmarks.measuring import (
    Figures,
    answer,
    in_process,
    measure,
    middle,
    most,
    result,
    say,
)
from clickstream_platform_tests.benchmarks.spine import TO_CREDITS, refresh

MODULE = "clickstream_platform_tests.benchmarks.bench_spine"

SAME = 1e-6
"""Slack of the sum of all credits, which pandas adds up in floating point."""

COUNTED = ("sessions", "conversions", "credits", "credit")


def ours(data: Path) -> Figures:
    """The platform: every stage anew."""
    figures = measure(lambda: refresh(data, stages=TO_CREDITS, full=True))
    lake = Lake(load_settings(data).lake_folder)
    counts: Figures = {
        "sessions": lake.row_count("sessions"),
        "conversions": lake.row_count("conversions"),
        "credits": lake.row_count("attribution_credits"),
        "credit": float(lake.scan("attribution_credits").collect()["credit"].sum()),
    }
    return figures | counts


def peer(data: Path, *, with_keys: bool = False) -> Figures:
    """The same in pandas, by ids as they come or by integer keys."""
    from clickstream_platform_tests.benchmarks.pandas_spine import (  # noqa: PLC0415 - its memory is the peer's
        make_spine,
    )

    files = Lake(load_settings(data).lake_folder).files("events")
    weights = load_engagement_weights(None).weights
    with tempfile.TemporaryDirectory(dir=data) as folder:
        return measure(lambda: make_spine(files, Path(folder), weights, with_keys=with_keys))


def report(data: Path, events: int, rounds: int) -> int:
    """Measure both in turns, compare what they made, and print the figures."""
    if not (data / "lake").exists():
        in_process(MODULE, "--measure", "write", "--data", data, "--events", events)
    runs: dict[str, list[Figures]] = {"ours": [], "peer": [], "peer-with-keys": []}
    for _ in range(rounds):
        for side, done in runs.items():
            done.append(in_process(MODULE, "--measure", side, "--data", data))
    mine = runs.pop("ours")
    for side, other in runs.items():
        if any(abs(mine[0][name] - other[0][name]) > SAME * mine[0][name] for name in COUNTED):
            say(f"Both sides made different tables: {mine[0]} against {other[0]}")
            return 1
        compare("pandas" if side == "peer" else "pandas that is given our keys", mine, other)
    return 0


def compare(name: str, mine: list[Figures], other: list[Figures]) -> None:
    """Print the figures of the platform against a peer."""
    wanted = name == "pandas"
    cpu, peer_cpu = middle(mine, "cpu_s"), middle(other, "cpu_s")
    wall, peer_wall = middle(mine, "wall_s"), middle(other, "wall_s")
    gib, peer_gib = most(mine, "peak_gib"), most(other, "peak_gib")
    whole = f"events to credits, {mine[0]['sessions_read']:,.0f} events"
    result(
        f"{whole}: speed by wall time",
        f"{peer_wall / wall:.1f}x {name} ({wall:.1f} against {peer_wall:.1f} s)",
        "at least 5x" if wanted else "",
    )
    result(
        f"{whole}: speed by CPU seconds",
        f"{peer_cpu / cpu:.1f}x {name} ({cpu:.1f} against {peer_cpu:.1f} s)",
    )
    result(
        f"{whole}: peak memory",
        f"{gib / peer_gib:.2f}x {name} ({gib:.2f} against {peer_gib:.2f} GiB)",
        "at most 0.5x" if wanted else "",
    )


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Events to credits, against pandas.")
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder to keep the history in, and to reuse")
    parser.add_argument("--measure", choices=["write", "ours", "peer", "peer-with-keys"])
    chosen = parser.parse_args()
    if chosen.measure == "write":
        write_history(chosen.data, chosen.events)
        answer({})
    elif chosen.measure:
        of_peer = partial(peer, with_keys=chosen.measure == "peer-with-keys")
        answer((ours if chosen.measure == "ours" else of_peer)(chosen.data))
    elif chosen.data:
        return report(chosen.data, chosen.events, chosen.rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            return report(Path(folder), chosen.events, chosen.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
