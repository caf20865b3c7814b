"""Behaviour of visitors: worked by hand, against a loop, on both engines, step by step."""

import random
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import mean, pvariance

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.collection.bot_behaviour import bot_behaviour, refresh_bot_behaviour
from clickstream_platform.collection.bots import BotRules, load_bot_rules
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.tables.bots import BotBehaviour
from clickstream_platform.tables.contracts import require
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import NOON, events_frame

RULES = load_bot_rules()
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
Row = dict[str, object]


def enforced(**at_least: int) -> BotRules:
    """The rules about behaviour enforced, with other numbers where given."""
    changed = [
        rule.model_copy(update={"mode": "enforce", "at_least": at_least.get(rule.id, odd)})
        for rule in RULES.rule
        if (odd := rule.at_least) is not None
    ]
    return BotRules(threshold=RULES.threshold, rule=tuple(changed))


def view(at: timedelta, visitor: str = "ann", **other: object) -> Row:
    """A page view so long after noon."""
    return {"visitor_id": visitor, "occurred_at": NOON + at, "page_path": "/"} | other


def measured(
    backend: SQLBackend, folder: Path, rows: list[Row], rules: BotRules = RULES
) -> pl.DataFrame:
    named = [{"event_id": f"e{number}"} | row for number, row in enumerate(rows)]
    frames = {"events": events_frame(named)}
    table = run(backend, folder, frames, lambda events: bot_behaviour(events, rules))
    cast = table.select(pl.col(n).cast(t) for n, t in polars_schema("bot_behaviour").items())
    return require(BotBehaviour, cast).sort("visitor_key", "event_date")


def test_day_by_hand(duckdb_backend: Backend, tmp_path: Path) -> None:
    rows = [
        view(0 * SECOND, page_path="/a"),
        view(10 * SECOND, page_path="/b", bot_score=30),
        view(40 * SECOND, page_path="/a"),
        view(3600 * SECOND, event_name="click"),
        view(3601 * SECOND, event_name="page_ping"),
        view(DAY, page_path="/c", engaged_time_ms=900),
        view(DAY, "bob", is_synthetic=True),
        view(DAY, visitor=None),  # type: ignore[arg-type]  # of nobody
    ]
    first, second = measured(duckdb_backend, tmp_path, rows).rows(named=True)
    assert (first["events"], first["page_views"], first["pages"]) == (5, 3, 2)
    assert (first["peak_page_views"], first["active_hours"]) == (3, 2)
    # Gaps of 10 and 30 s: mean 20, standard deviation 10.
    assert (first["gaps"], first["gap_variation"]) == (2, 0.5)
    assert (first["engagements"], first["event_score"], first["bot_score"]) == (1, 30, 30)
    assert (first["is_bot"], first["bot_signals"]) == (False, None)
    assert (second["page_views"], second["gaps"], second["gap_variation"]) == (1, 0, None)
    assert (second["engagements"], second["active_hours"]) == (1, 1)


@pytest.mark.parametrize(("flagged", "score"), [(False, 0), (True, RULES.threshold)])
def test_events_of_an_earlier_version_have_no_score_but_a_flag(
    duckdb_backend: Backend,
    tmp_path: Path,
    flagged: bool,  # noqa: FBT001 - a parameter of pytest
    score: int,
) -> None:
    rows = [view(0 * SECOND, bot_score=None, is_bot=flagged), view(SECOND, bot_score=None)]
    day = measured(duckdb_backend, tmp_path, rows).row(0, named=True)
    assert (day["event_score"], day["bot_score"], day["is_bot"]) == (score, score, flagged)


STEADY = [view(n * 7 * SECOND, event_name="page_view") for n in range(11)]
UNEVEN = [view(n * n * SECOND) for n in range(11)]


@pytest.mark.parametrize(
    ("rows", "signals"),
    [
        pytest.param(STEADY, "regular_gaps", id="ten equal gaps"),
        pytest.param(STEADY[:10], None, id="nine equal gaps"),
        pytest.param(UNEVEN, None, id="gaps that grow"),
        pytest.param([view(0 * SECOND)] * 11, None, id="all at once is not regular"),
        pytest.param(
            [view(n * 10 * SECOND, event_name="page_ping") for n in range(30)],
            None,
            id="a page that stays open pings regularly",
        ),
        pytest.param(
            [view(n * n * SECOND / 9) for n in range(20)], "no_engagement", id="only looks"
        ),
        pytest.param(
            [view(n * n * SECOND / 9) for n in range(20)]
            + [view(n * SECOND, event_name="view_item") for n in range(20)],
            "no_engagement",
            id="items that a page shows are not engagement",
        ),
        pytest.param(
            [view(n * n * SECOND / 9) for n in range(20)] + [view(9 * SECOND, event_name="click")],
            None,
            id="one click",
        ),
        pytest.param(
            [view(n * n * SECOND / 90) for n in range(60)],
            "fast_pages,no_engagement",
            id="sixty in a minute",
        ),
        pytest.param(
            [view(n * n * SECOND / 90, engaged_time_ms=1) for n in range(59)],
            None,
            id="fifty-nine in a minute",
        ),
        pytest.param(
            [view((n - 12) * 3600 * SECOND, event_name="click") for n in range(22)],
            "sleepless",
            id="twenty-two hours of a day",
        ),
        pytest.param(
            [view((n - 12) * 3600 * SECOND, event_name="click") for n in range(21)],
            None,
            id="twenty-one hours",
        ),
        pytest.param(
            [view(n * n * SECOND / 2, page_path=f"/{n}", engaged_time_ms=1) for n in range(200)],
            "deep_crawl",
            id="two hundred pages",
        ),
    ],
)
def test_rule_matches_from_its_number_on(
    duckdb_backend: Backend, tmp_path: Path, rows: list[Row], signals: str | None
) -> None:
    (day,) = measured(duckdb_backend, tmp_path, rows).rows(named=True)
    assert day["bot_signals"] == signals
    assert (day["bot_score"], day["is_bot"]) == (0, False), "in shadow"
    (day,) = measured(duckdb_backend, tmp_path, rows, enforced()).rows(named=True)
    weights = [RULES.by_id[name].weight for name in (signals or "").split(",") if name]
    assert day["bot_score"] == min(100, sum(weights))
    assert day["is_bot"] == (day["bot_score"] >= RULES.threshold)


def test_behaviour_adds_to_the_score_of_the_events(duckdb_backend: Backend, tmp_path: Path) -> None:
    rows = [row | {"bot_score": 20 * (n == 3)} for n, row in enumerate(STEADY)]
    (day,) = measured(duckdb_backend, tmp_path, rows, enforced()).rows(named=True)
    assert (day["event_score"], day["bot_score"], day["is_bot"]) == (20, 70, True)


def crowd(rng: random.Random, size: int) -> list[Row]:
    """Events of three visitors over two days, some of them regular."""
    names = ["page_view", "page_view", "page_view", "click", "page_ping"]
    pace = rng.choice([1, 60, 3600])
    return [
        view(
            timedelta(seconds=pace * rng.randrange(48), milliseconds=rng.randrange(3) * 333),
            rng.choice("abc"),
            event_name=rng.choice(names),
            page_path=f"/{rng.randrange(9)}",
            engaged_time_ms=rng.choice([None, 0, 500]),
            bot_score=rng.choice([0, 0, 40]),
            is_synthetic=rng.random() < 0.1,
        )
        for _ in range(size)
    ]


LOW = enforced(fast_pages=3, regular_gaps=2, sleepless=3, no_engagement=2, deep_crawl=4)


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_a_loop_over_days(duckdb_backend: Backend, tmp_path: Path, seed: int) -> None:
    rows = crowd(random.Random(seed), 60)
    found = measured(duckdb_backend, tmp_path, rows, LOW)
    days: dict[tuple[str, object], list[Row]] = {}
    for row in rows:
        if not row["is_synthetic"]:
            day = row["occurred_at"].date()  # type: ignore[attr-defined]  # a moment
            days.setdefault((str(row["visitor_id"]), day), []).append(row)
    assert found.height == len(days)
    for told in found.rows(named=True):
        mine = days[told["visitor_id"], told["event_date"]]
        views = sorted((r for r in mine if r["event_name"] == "page_view"), key=str)
        times = sorted((r["occurred_at"] - NOON) // timedelta(milliseconds=1) for r in views)  # type: ignore[operator]  # moments
        gaps = [(b - a) // 100 for a, b in pairwise(times)]
        assert (told["events"], told["page_views"], told["gaps"]) == (
            len(mine),
            len(views),
            len(gaps),
        )
        assert told["pages"] == len({r["page_path"] for r in views})
        minutes = Counter(time // 60_000 for time in times)
        assert told["peak_page_views"] == max(minutes.values(), default=0)
        expected = sqrt(pvariance(gaps)) / mean(gaps) if sum(gaps) else None
        assert told["gap_variation"] == pytest.approx(expected, abs=1e-9)
        is_even = expected is not None and expected <= 0.1
        assert ("regular_gaps" in (told["bot_signals"] or "")) == (is_even and len(gaps) >= 2)


@pytest.mark.spark
@pytest.mark.slow
def test_engines_agree(duckdb_backend: Backend, spark_backend: SQLBackend, tmp_path: Path) -> None:
    rows = [
        row | {"visitor_id": f"{row['visitor_id']}{seed}"}
        for seed in range(20)
        for row in crowd(random.Random(seed), 20)
    ]
    one, other = (measured(b, tmp_path, rows, LOW) for b in (duckdb_backend, spark_backend))
    assert one["bot_signals"].n_unique() >= 8
    assert one.equals(other)


# -- Step by step ---------------------------------------------------------------------------------


def stored(lake: Lake) -> pl.DataFrame:
    table = require(BotBehaviour, lake.scan("bot_behaviour").collect())
    return table.sort("visitor_key", "event_date")


def put(lake: Lake, rows: list[Row], batch: int = 0) -> None:
    named = [{"event_id": f"b{batch}e{number}"} | row for number, row in enumerate(rows)]
    lake.append("events", events_frame(named))


@budget(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(
    seeds=st.lists(st.integers(0, 999), min_size=1, max_size=3),
    erased=st.sampled_from([None, "a", "b"]),
)
def test_step_by_step_equals_a_full_refresh(
    tmp_path_factory: pytest.TempPathFactory, seeds: list[int], erased: str | None
) -> None:
    settings = load_settings(tmp_path_factory.mktemp("data"))
    lake = Lake(settings.lake_folder)
    for number, seed in enumerate(seeds):
        # Days are the same in each batch, so most of what comes later is late.
        put(lake, crowd(random.Random(seed), 25), number)
        refresh_bot_behaviour(lake, settings)
    lake.delete("events", "event_id in ('b0e3', 'b0e4')")  # repetitions that came earlier win
    if erased is not None:
        lake.delete("events", f"visitor_id = '{erased}'")
    refresh_bot_behaviour(lake, settings)
    if erased is not None:
        assert erased not in stored(lake)["visitor_id"]
    stepwise = stored(lake)
    refresh_bot_behaviour(lake, settings, full=True)
    assert stepwise.equals(stored(lake))


def test_only_days_of_visitors_with_news_are_measured(lake: Lake, settings: Settings) -> None:
    put(lake, [view(day * DAY, f"v{n}") for n in range(50) for day in range(2)])
    assert refresh_bot_behaviour(lake, settings).is_full
    put(lake, [view(SECOND, "v7")], 1)
    again = refresh_bot_behaviour(lake, settings)
    assert (again.is_full, again.rows_written, again.rows_read) == (False, 1, 2)
    assert again.dates == (NOON.date(),)
    assert stored(lake).height == 100
    assert refresh_bot_behaviour(lake, settings).version == again.version


def test_events_of_nobody_are_taken_in(lake: Lake, settings: Settings) -> None:
    put(lake, [view(SECOND)])
    refresh_bot_behaviour(lake, settings)
    put(lake, [view(SECOND, visitor_id=None)], 1)
    refresh_bot_behaviour(lake, settings)
    assert lake.consumed("bot_behaviour", "events") == lake.version("events")
    assert stored(lake).height == 1


def test_other_rules_measure_everything_anew(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    put(lake, STEADY)
    refresh_bot_behaviour(lake, settings)
    assert not stored(lake)["is_bot"].any()
    (tmp_path / "bots.toml").write_text('[[rule]]\nid = "regular_gaps"\nmode = "enforce"\n')
    changed = settings.model_copy(update={"definitions": tmp_path})
    assert refresh_bot_behaviour(lake, changed).is_full
    assert stored(lake)["is_bot"].all()
    assert refresh_bot_behaviour(lake, changed).rows_written == 0


def test_nothing_is_written_before_there_are_events(lake: Lake, settings: Settings) -> None:
    assert refresh_bot_behaviour(lake, settings).version == -1
