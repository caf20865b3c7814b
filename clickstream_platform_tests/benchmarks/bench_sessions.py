"""All sessions of a long history made anew, against chDB doing the same on the same files.

    make bench B=sessions                                    5 M events, A B A B
    make bench B=sessions ARGS="--events 20000000 --rounds 1"

Both read the same Parquet files of `events` and `identity_map` and write a row per session and a
row per event; `chdb_sessions` says what the peer is spared. The platform writes its three tables
into Delta, partitioned. Every run is a process of its own, and the figures of both must agree to
the session, else the bench fails.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake, connect, view
from clickstream_platform.sessions import (
    SessionPolicy,
    load_engagement_weights,
    load_session_definitions,
    refresh_sessions,
)
from clickstream_platform.sessions.policy import RESOLUTION
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.benchmarks.chdb_sessions import (
    CHECKED,
    Policy,
    checked,
    make_sessions,
)
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

MODULE = "clickstream_platform_tests.benchmarks.bench_sessions"

SAME = 1e-9
"""Relative slack of sums of decimal fractions; everything else is whole."""

CHECKS = """
SELECT count(*), sum(events), sum(page_views), sum(conversions), sum(revenue),
  sum(engagement_points), count(*) FILTER (WHERE is_bounce), sum(session_key % 1000003),
  count(*) FILTER (WHERE cut_reason = 'campaign'),
  count(*) FILTER (WHERE cut_reason = 'max_duration'),
  count(*) FILTER (WHERE cut_reason = 'first')
FROM sessions
"""


def write(data: Path, events: int) -> Figures:
    """Write the history, and who is who in it."""
    write_history(data, events)
    settings = load_settings(data)
    lake = Lake(settings.lake_folder)
    refresh_identity(lake, settings)
    return {"events": lake.row_count("events")}


def ours(data: Path) -> Figures:
    """The platform: everything anew."""
    settings = load_settings(data)
    lake = Lake(settings.lake_folder)
    figures = measure(lambda: {"rows": refresh_sessions(lake, settings, full=True).rows_written})
    backend = connect(settings.lake)
    view(backend, lake, "sessions")
    row = backend.raw_sql(CHECKS).fetchall()[0]
    return figures | dict(zip(CHECKED, map(float, row), strict=True))


def peer(data: Path) -> Figures:
    """The same in chDB."""
    settings = load_settings(data)
    policy, definitions = SessionPolicy.of(settings), load_session_definitions(None)
    weights = load_engagement_weights(None)
    numbers = Policy(
        timeout_us=policy.timeout_us,
        longest_us=policy.max_duration_us,
        half_life_us=policy.half_life // RESOLUTION,
        engaged_s=policy.engaged_after.total_seconds(),
        weights=weights.weights,
        otherwise=weights.otherwise,
        conversions=[*definitions.conversions],
    )
    with tempfile.TemporaryDirectory(dir=data) as folder:

        def work() -> Figures:
            make_sessions(data, Path(folder), numbers)
            return {}

        return measure(work) | checked(Path(folder))


def strange(mine: Figures, other: Figures) -> list[str]:
    """What two runs disagree on."""
    return [
        f"{name}: {mine[name]:,.4f} against {other[name]:,.4f}"
        for name in CHECKED
        if abs(mine[name] - other[name]) > SAME * abs(mine[name])
    ]


def report(data: Path, events: int, rounds: int) -> int:
    """Measure both in turns, compare what they made, and print the figures."""
    if not (data / "lake").exists():
        in_process(MODULE, "--measure", "write", "--data", data, "--events", events)
    runs: dict[str, list[Figures]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        for side, done in runs.items():
            done.append(in_process(MODULE, "--measure", side, "--data", data))
    mine, other = runs["ours"], runs["peer"]
    if found := strange(mine[0], other[0]):
        say("Both sides made different sessions: " + "; ".join(found))
        return 1
    whole = f"all sessions of {mine[0]['placed_events']:,.0f} events"
    cpu, peer_cpu = middle(mine, "cpu_s"), middle(other, "cpu_s")
    wall, peer_wall = middle(mine, "wall_s"), middle(other, "wall_s")
    say(f"{whole}: {wall:.1f} s against {peer_wall:.1f} s of wall time")
    result(
        f"{whole}, {mine[0]['sessions']:,.0f} sessions: speed by CPU seconds",
        f"{peer_cpu / cpu:.2f}x chDB ({cpu:.1f} against {peer_cpu:.1f} s)",
        "at least 1.0x",
    )
    result(
        f"{whole}: peak memory",
        f"{most(mine, 'peak_gib'):.2f} GiB (chDB {most(other, 'peak_gib'):.2f})",
        "at most 2 GiB",
    )
    return 0


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="All sessions anew, against chDB.")
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--data", type=Path, help="folder to keep the history in, and to reuse")
    parser.add_argument("--measure", choices=["write", "ours", "peer"])
    chosen = parser.parse_args()
    if chosen.measure == "write":
        answer(write(chosen.data, chosen.events))
    elif chosen.measure:
        answer({"ours": ours, "peer": peer}[chosen.measure](chosen.data))
    elif chosen.data:
        return report(chosen.data, chosen.events, chosen.rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            return report(Path(folder), chosen.events, chosen.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
