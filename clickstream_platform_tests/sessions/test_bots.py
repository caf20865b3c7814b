"""Sessions of bots: by their events alone, or by what behaviour says of the visitor and day."""

import random
from pathlib import Path

import pytest

from clickstream_platform.collection.bot_behaviour import refresh_bot_behaviour
from clickstream_platform.lake import Lake, Refreshed
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import Settings
from clickstream_platform_tests.sessions.history import TABLES, History, visit
from clickstream_platform_tests.sessions.test_refresh import passers_by
from clickstream_platform_tests.stored import rows_of

ENFORCED = '[[rule]]\nid = "regular_gaps"\nmode = "enforce"\nat_least = 3\n'


@pytest.fixture
def strict(settings: Settings, tmp_path: Path) -> Settings:
    """Settings by which equal gaps make a bot, and behaviour decides about sessions."""
    (tmp_path / "bots.toml").write_text(ENFORCED)
    sessions = settings.sessions.model_copy(update={"bots_by": "behaviour"})
    return settings.model_copy(update={"definitions": tmp_path, "sessions": sessions})


def steady(visitor: str, views: int, first: int = 0) -> list[dict[str, object]]:
    """Page views of a visitor, one every two minutes."""
    return [visit(f"{visitor}{n}", visitor, 2 * n) for n in range(first, first + views)]


def refresh(settings: Settings, *, full: bool = False) -> Refreshed:
    lake = Lake(settings.lake_folder)
    refresh_bot_behaviour(lake, settings)
    return refresh_sessions(lake, settings, full=full)


def bots(settings: Settings) -> dict[str, bool]:
    """Who has a session of a bot."""
    rows = Lake(settings.lake_folder).scan("sessions").collect().rows(named=True)
    return {str(row["visitor_id"]): bool(row["is_bot"]) for row in rows}


def test_day_of_a_bot_makes_its_sessions_a_bots_where_policy_says(strict: Settings) -> None:
    history = History(strict)
    history.add(*steady("ann", 4), *steady("bob", 3))  # three gaps, and two
    refresh(strict)
    assert bots(strict) == {"ann": True, "bob": False}
    by_events = strict.model_copy(
        update={"sessions": strict.sessions.model_copy(update={"bots_by": "events"})}
    )
    refresh(by_events)
    assert bots(strict) == {"ann": False, "bob": False}


def test_verdict_turns_for_what_is_stored_already(strict: Settings) -> None:
    history = History(strict)
    # The first session of the day is over when the second one gives its visitor away.
    history.add(*steady("bob", 2), *steady("joe", 2))
    refresh(strict)
    assert bots(strict) == {"bob": False, "joe": False}
    history.add(*[visit(f"late{n}", "bob", 600 + 598 * n) for n in range(1)])
    refresh(strict)
    assert bots(strict) == {"bob": False, "joe": False}
    history.add(*steady("bob", 3, first=2))
    history.drop(["late0"])
    refresh(strict)
    assert bots(strict) == {"bob": True, "joe": False}
    history.drop(["bob3", "bob4"])
    refresh(strict)
    assert bots(strict) == {"bob": False, "joe": False}


def test_morning_becomes_a_bots_in_the_evening(strict: Settings) -> None:
    history = History(strict)
    history.add(*passers_by(), visit("a0", "ann", 0), visit("a1", "ann", 120))
    refresh(strict)
    history.add(visit("a2", "ann", 240), visit("a3", "ann", 360))
    done = refresh(strict)
    assert (done.is_full, done.rows_written) == (False, 4)
    rows = Lake(strict.lake_folder).scan("sessions").collect()
    assert [who for who, is_bot in bots(strict).items() if is_bot] == ["ann"]
    assert rows.filter(visitor_id="ann")["is_bot"].all(), "sessions that were stored before, too"


@pytest.mark.parametrize("seed", range(4))
def test_step_by_step_equals_a_full_refresh(strict: Settings, seed: int) -> None:
    rng = random.Random(seed)
    history = History(strict)
    history.add(*passers_by(120))
    told = []
    for step in range(5):
        pace = rng.choice([2, 90])
        history.add(
            *[
                visit(f"{step}-{visitor}-{n}", visitor, pace * n + 700 * (n == 3 and step % 2))
                for visitor in rng.sample("abcdef", 3)
                for n in range(rng.randint(2, 6))
            ]
        )
        if rng.random() < 0.5:
            history.drop(rng.sample(sorted(history.events), 2))
        refresh(strict)
        told.append(frozenset(name for name, is_bot in bots(strict).items() if is_bot))
    assert len(set(told)) > 1, "verdicts turn"
    lake = Lake(strict.lake_folder)
    stepwise = rows_of(lake, TABLES)
    refresh(strict, full=True)
    whole = rows_of(lake, TABLES)
    assert all(stepwise[name].equals(whole[name]) for name in TABLES)
