"""Identity: components against scipy, an hour of new links against all, and a late login.

    python -m clickstream_platform_tests.benchmarks.bench_identity

Figures are CPU seconds, the least of five runs, because other work may share the machine.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from clickstream_platform.attribution import (
    refresh_conversions,
    refresh_credits,
    refresh_touchpoints,
)
from clickstream_platform.identity import component_labels, merge_components, refresh_identity
from clickstream_platform.identity.components import Keys
from clickstream_platform.lake import Lake, connect, stream, view
from clickstream_platform.segments import refresh_scores, refresh_segments
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import LakeSettings, Settings, load_settings

HOURS = 30 * 24
"""Hours over which the links are spread: an hour of new ones is one in so many."""

WARM_UP = 10_000
"""Events of a first round that is not told of: it compiles every query."""

Found = TypeVar("Found")


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, nargs="+", default=[250_000, 1_000_000])
    given = parser.parse_args()
    components(given.edges)
    slopes([given.edges // 16, given.edges // 4, given.edges])
    refreshes(given.events)


def edges(number: int) -> tuple[Keys, Keys]:
    """Links of visitors and users with 60-bit keys; some users have very many visitors."""
    rng = np.random.default_rng(1)
    users = rng.integers(0, 1 << 60, number // 4)
    visitors = rng.integers(0, 1 << 60, number)
    popular = (rng.pareto(1.2, number) * number / 1_000).astype(np.int64) % len(users)
    return visitors[rng.integers(0, len(visitors), number)], users[popular]


def by_scipy(left: Keys, right: Keys) -> int:
    """The same with numpy and scipy."""
    keys, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    ends = (codes[: len(left)], codes[len(left) :])
    matrix = sparse.coo_matrix((np.ones(len(left), np.int8), ends), shape=(len(keys), len(keys)))
    return int(connected_components(matrix, directed=False)[0])


def components(number: int) -> None:
    """Own components against scipy's, and an hour of new edges against all."""
    left, right = edges(number)
    theirs, count = least(lambda: by_scipy(left, right))
    ours, found = least(lambda: component_labels(left, right))
    if len(np.unique(found.labels)) != count:
        message = "components differ from scipy's"
        raise ValueError(message)
    note(
        f"components of {number:,} edges: CPU of scipy / ours",
        f"{theirs / ours:.2f} ({theirs:.3f} s / {ours:.3f} s)",
        ">= 1.0",
    )
    hour = max(number // HOURS, 1)
    known = component_labels(left[:-hour], right[:-hour])
    added, _ = least(lambda: merge_components(known, left[-hour:], right[-hour:]))
    note(
        f"an hour of new edges ({hour:,}) beside {number:,}: share of all",
        f"{added / ours:.2%} ({added * 1_000:.2f} ms)",
        "<= 1 %",
    )


def slopes(numbers: list[int]) -> None:
    """How CPU grows with edges, as the exponent between the least and the largest."""
    taken = []
    for number in numbers:
        left, right = edges(number)
        taken.append(least(lambda left=left, right=right: component_labels(left, right))[0])  # type: ignore[misc]  # bound now
    exponent = math.log(taken[-1] / taken[0]) / math.log(numbers[-1] / numbers[0])
    each = taken[-1] / numbers[-1] * 1e9
    note("components: exponent of CPU over edges", f"{exponent:.2f} ({each:.0f} ns an edge)", "")


EVENTS_SQL = """
SELECT 'e' || range AS event_id, range AS event_key,
  CASE WHEN range % 50 = 0 THEN 'purchase' ELSE 'page_view' END AS event_name,
  make_timestamptz(us) AS occurred_at, us AS occurred_us, CAST(make_timestamp(us) AS DATE)
  AS event_date, make_timestamptz(us) AS received_at, 0 AS clock_skew_ms, false AS is_late,
  'canonical' AS source, 'b' AS batch_id, range AS ordinal, 'client' AS collection_source,
  'pv_' || md5('v' || visitor) AS visitor_id, visitor AS visitor_key,
  CASE WHEN range % 5 = 0 THEN 'pu_' || md5('u' || visitor // 3) END AS user_id,
  CASE WHEN range % 5 = 0 THEN 1000000000 + visitor // 3 END AS user_key,
  CAST(visitor % 4 AS INTEGER) AS bucket, false AS is_bot, false AS is_synthetic
FROM (SELECT range, range % ({count} // 10) AS visitor,
  1767225600000000 + CAST(hash(range) % 2592000000000 AS BIGINT) AS us
  FROM range({first}, {last}))
"""


NOW = datetime(2026, 7, 1, tzinfo=UTC)

STAGES: dict[str, Callable[[Lake, Settings], object]] = {
    "identity": refresh_identity,
    "sessions": refresh_sessions,
    "touchpoints": refresh_touchpoints,
    "conversions": refresh_conversions,
    "credits": refresh_credits,
    "scores": refresh_scores,
    "segments": lambda lake, settings: refresh_segments(lake, settings, now=NOW),
}
"""Everything that follows from who is who, in order."""

Costs: TypeAlias = dict[str, float]
"""CPU seconds by stage."""


def measured(size: int) -> tuple[Costs, Costs]:
    """All from so many events, then what one late login of one person costs."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(Path(folder))
        lake = Lake(settings.lake_folder)

        def refreshed() -> Costs:
            return {name: cpu(lambda: stage(lake, settings)) for name, stage in STAGES.items()}  # noqa: B023 - called at once

        write(lake, EVENTS_SQL.format(count=size, first=0, last=size))
        whole = refreshed()
        late = EVENTS_SQL.format(count=size, first=size, last=size + 1)
        write(lake, late.replace("range % 5 = 0", "true").replace("visitor // 3", "visitor"))
        return whole, refreshed()


def refreshes(sizes: list[int]) -> None:
    """What a late login costs beside everything, and how everything grows."""
    measured(WARM_UP)
    taken = {size: measured(size) for size in sizes}
    for size, (whole, late) in taken.items():
        for name in [*STAGES, "all of it"]:
            one, all_ = (it.get(name, sum(it.values())) for it in (late, whole))
            note(
                f"late login, {size:,} events: {name} CPU, one person / everybody",
                f"{one:.2f} s / {all_:.2f} s ({one / all_:.0%})",
                "",
            )
    if len(sizes) > 1:
        low, high = sizes[0], sizes[-1]
        identity = {size: whole["identity"] for size, (whole, _) in taken.items()}
        exponent = math.log(identity[high] / identity[low]) / math.log(high / low)
        each = identity[high] / high * 1e6
        note("identity from all events: exponent", f"{exponent:.2f} ({each:.2f} us an event)", "")


def write(lake: Lake, query: str) -> None:
    """Append what a query makes to the events; columns that it does not name are null."""
    backend = connect(LakeSettings())
    view(backend, lake, "events", files=[], name="shape")
    rows = backend.sql(f"SELECT * FROM shape UNION ALL BY NAME ({query})")  # noqa: S608 - our own
    lake.append("events", stream(rows, "events"))
    backend.disconnect()


def least(work: Callable[[], Found], runs: int = 5) -> tuple[float, Found]:
    """The least CPU seconds of some runs, and what the last made."""
    best = math.inf
    for _ in range(runs):
        started = time.process_time()
        found = work()
        best = min(best, time.process_time() - started)
    return best, found


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of one run."""
    started = time.process_time()
    work()
    return time.process_time() - started


def note(what: str, measured: str, target: str) -> None:
    """Print one figure for people and for the page."""
    print("RESULT", json.dumps({"what": what, "measured": measured, "target": target}), flush=True)  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
