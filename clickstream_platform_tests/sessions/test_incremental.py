"""Incremental equals full: whatever arrives, changes, goes, merges or is killed in between."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from clickstream_platform.identity import decisions_of, refresh_identity
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import SessionSettings, Settings, load_settings
from clickstream_platform_tests.laws import lives
from clickstream_platform_tests.sessions.history import (
    TABLES,
    Event,
    History,
    minutes,
)
from clickstream_platform_tests.sessions.making import assert_same
from clickstream_platform_tests.sessions.test_refresh import die_after, passers_by
from clickstream_platform_tests.stored import rows_of

GAPS_MIN = (0, 0, 1, 15, 29.99999, 30, 30, 30.0000001, 31, 700, 1439, 1440, 1441)
"""Steps between events, on both sides of the timeout, of a day and of the longest session."""

NAMES = ("page_view", "page_view", "page_ping", "page_ping", "purchase", "logout")
SOURCES = (None, None, None, "news", "ads")
VISITORS = ("v1", "v2", "v3", None)
USERS = (None, None, None, "ann", "bob")


def story(rng: random.Random, number: int, first: int) -> list[Event]:
    """Events of one visitor in a row, from some time in a few days."""
    visitor, at = rng.choice(VISITORS), rng.randrange(4 * 24 * 4) * 15.0
    events: list[Event] = []
    for offset in range(number):
        at += rng.choice(GAPS_MIN)
        events.append(
            {
                "event_id": f"e{first + offset}",
                "visitor_id": visitor,
                "user_id": rng.choice(USERS) if rng.random() < 0.2 or visitor is None else None,
                "occurred_us": minutes(at),
                "event_name": rng.choice(NAMES),
                "campaign_source": rng.choice(SOURCES),
                "order_id": rng.choice([None, "o1"]),
                "page_path": rng.choice(["/", "/a", None]),
                "engaged_time_ms": rng.choice([None, 6000]),
                "is_synthetic": rng.random() < 0.03,
                "platform": rng.choice([None, "web", "web", "server"]),
            }
        )
    return events


class Life:
    """What happens to a history, step by step, drawn by one seed."""

    def __init__(self, settings: Settings, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.rng, self.patch = random.Random(seed), patch
        self.history = History(settings)
        self.steps: dict[str, Callable[[], object]] = {
            "arrive": self.arrive,
            "arrive in pieces": self.arrive_in_pieces,
            "repeat": self.repeat,
            "change": self.change,
            "vanish": self.vanish,
            "erase": lambda: self.history.erase(self.rng.choice(["v1", "v2", "v3"])),
            "vacuum": lambda: self.history.lake.vacuum("events"),
            "compact": lambda: self.history.lake.compact(self.rng.choice(["events", *TABLES])),
            "refresh": self.history.refresh,
            "people only": lambda: refresh_identity(self.history.lake, self.history.settings),
            "sessions only": lambda: refresh_sessions(self.history.lake, self.history.settings),
            "decide": self.decide,
            "killed": self.killed,
        }

    def arrive(self) -> None:
        number = self.rng.randint(1, 8)
        self.history.add(*story(self.rng, number, first=self.rng.randrange(60)))

    def arrive_in_pieces(self) -> None:
        events = story(self.rng, self.rng.randint(2, 8), first=100 + self.rng.randrange(60))
        self.rng.shuffle(events)
        self.history.add(*events[::2])
        self.history.refresh()
        self.history.add(*events[1::2])

    def repeat(self) -> None:
        self.history.add(*self.some())

    def change(self) -> None:
        name, source = self.rng.choice(NAMES), self.rng.choice(SOURCES)
        platform = self.rng.choice([None, "server"])
        changed = {"event_name": name, "campaign_source": source, "platform": platform}
        self.history.add(*(it | changed for it in self.some()))

    def vanish(self) -> None:
        self.history.drop([str(it["event_id"]) for it in self.some()])

    def killed(self) -> None:
        with self.patch.context() as patch:
            die_after(patch, self.rng.randrange(3))
            try:
                self.history.refresh()
            except KeyboardInterrupt:
                return

    def decide(self) -> None:
        links = self.history.lake.scan("identity_merges").collect()
        standing = decisions_of(self.history.lake).filter(kind="unmerge")["decision_id"].to_list()
        taken_back = decisions_of(self.history.lake)["restores"].to_list()
        open_ones = sorted({*standing} - {*taken_back})
        if open_ones and self.rng.random() < 0.3:
            self.history.decide("restore", restores=self.rng.choice(open_ones))
        elif not links.is_empty():
            link = links.row(self.rng.randrange(links.height), named=True)
            self.history.decide("unmerge", link["identifier_id"], link["other_id"])

    def some(self) -> list[dict[str, Any]]:
        known = [it for k, it in sorted(self.history.events.items()) if k[0] == "e"]
        return self.rng.sample(known, min(len(known), 3))


STEPS = ("arrive", "arrive", "arrive in pieces", "repeat", "change", "vanish", "erase", "vacuum",
         "compact", "refresh", "people only", "sessions only", "decide", "killed")  # fmt: skip


POLICIES = {
    "default": SessionSettings(),
    "every cut": SessionSettings(
        max_duration_hours=2,
        max_events=3,
        cut_on_logout=True,
        cut_on_identity=True,
        cut_at_midnight=True,
        heartbeat_s=10,
        min_visit_s=5,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES.values(), ids=[*POLICIES])
@lives(6, HealthCheck.function_scoped_fixture)
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), min_size=2, max_size=6))
def test_incremental_equals_full(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    policy: SessionSettings,
    seed: int,
    steps: list[str],
) -> None:
    # A small history would be made anew at every change.
    monkeypatch.setattr("clickstream_platform.sessions.refresh.MAX_POINTS_SHARE", 1e9)
    settings = load_settings(tmp_path_factory.mktemp("life"))
    settings = settings.model_copy(update={"sessions": policy, "time_zone": "America/New_York"})
    life = Life(settings, seed, monkeypatch)
    life.history.add(*passers_by(5), *story(life.rng, 12, first=0), *story(life.rng, 12, first=30))
    life.history.refresh()
    for step in steps:
        life.steps[step]()
    life.history.refresh()
    life.history.check()
    incremental = rows_of(life.history.lake, TABLES)
    assert life.history.refresh(full=True).is_full
    assert_same(rows_of(life.history.lake, TABLES), incremental)
