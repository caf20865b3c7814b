"""Keeping the identity map up to date: incremental equals full, and work follows what changed."""

import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake, Refreshed
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.frames import NOON, events_frame, surrogate
from clickstream_platform_tests.identity.links import Event, logins, naive_map, seen
from clickstream_platform_tests.laws import lives
from clickstream_platform_tests.stored import bring, rows_of


class Evidence:
    """Events by id, written to the lake as they change."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.lake = settings, Lake(settings.lake_folder)
        self.events: dict[str, Event] = {}

    def add(self, *events: Event) -> None:
        self.events |= {it["event_id"]: it for it in events}
        self.write()

    def drop(self, *event_ids: str) -> None:
        for event_id in event_ids:
            self.events.pop(event_id, None)
        self.write()

    def erase(self, visitor: str) -> None:
        """A visitor leaves both tables and their past."""
        self.lake.delete("identity_map", f"visitor_key = {surrogate(visitor)}")
        self.drop(*[k for k, it in self.events.items() if it["visitor_id"] == visitor])
        for table in ("events", "identity_map"):
            self.lake.vacuum(table)

    def write(self) -> None:
        bring(self.lake, "events", self.frame())

    def frame(self) -> pl.DataFrame:
        in_order: list[Any] = [it for _, it in sorted(self.events.items())]
        return events_frame(in_order).with_columns(ordinal=pl.lit(0, pl.Int64))

    def refresh(self, *, full: bool = False) -> Refreshed:
        return refresh_identity(self.lake, self.settings, full=full)

    def check(self) -> None:
        """The stored map is the one that a loop over the events finds."""
        stored = rows_of(self.lake, ["identity_map"])["identity_map"]
        expected = naive_map(self.frame())
        assert stored.select(expected.columns).sort(expected.columns).equals(expected)

    def persons(self) -> dict[str, str]:
        rows = self.lake.scan("identity_map").select("visitor_id", "person_id").collect()
        return dict(rows.rows())


@pytest.fixture
def evidence(settings: Settings) -> Evidence:
    """Ann signs in on her phone, on two days."""
    evidence = Evidence(settings)
    evidence.add(seen("a1", "phone", "ann", 5), seen("a2", "phone", "ann", 90_000))
    evidence.refresh()
    return evidence


def test_first_refresh_finds_every_link(evidence: Evidence) -> None:
    assert evidence.persons() == {"phone": "ann"}
    assert evidence.refresh(full=True).is_full
    evidence.check()


def test_nothing_new_writes_nothing(evidence: Evidence) -> None:
    version = evidence.lake.version("identity_map")
    done = evidence.refresh()
    assert (done.version, done.rows_written, done.rows_read) == (version, 0, 0)


def test_nothing_upstream_writes_nothing(lake: Lake, settings: Settings) -> None:
    assert refresh_identity(lake, settings).version == -1


def test_new_visitor_reads_only_what_arrived(evidence: Evidence) -> None:
    evidence.add(seen("b1", "laptop", "bob", 4 * 86_400))
    done = evidence.refresh()
    assert (done.rows_written, done.rows_read, done.is_full) == (1, 1, False)
    evidence.check()


def test_events_that_show_no_login_write_no_link(evidence: Evidence) -> None:
    evidence.add(seen("c1", "phone", None, 4 * 86_400), seen("c2", "phone", "ann", 4 * 86_400))
    assert evidence.refresh().rows_written == 0
    assert evidence.lake.consumed("identity_map", "events") == evidence.lake.version("events")


def test_second_user_makes_the_device_shared(evidence: Evidence) -> None:
    evidence.add(seen("b1", "phone", "bob", 4 * 86_400))
    evidence.refresh()
    assert evidence.persons() == {"phone": "phone"}
    evidence.check()


def test_late_evidence_is_valid_since_it_happened(evidence: Evidence) -> None:
    evidence.add(seen("a0", "phone", "ann", 1, received_at=NOON.replace(month=5)))
    evidence.refresh()
    row = evidence.lake.scan("identity_map").collect().row(0, named=True)
    assert row["evidence_event_id"] == "a0"
    assert row["recorded_at"] == NOON.replace(second=5)
    evidence.check()


def test_link_rests_on_the_next_evidence_when_the_first_goes(evidence: Evidence) -> None:
    evidence.drop("a1")
    evidence.refresh()
    assert evidence.persons() == {"phone": "ann"}
    evidence.check()
    evidence.drop("a2")
    evidence.refresh()
    assert evidence.persons() == {}


def test_evidence_that_turns_out_to_be_synthetic_proves_nothing(evidence: Evidence) -> None:
    evidence.add(*(it | {"is_synthetic": True} for it in evidence.events.values()))
    evidence.refresh()
    assert evidence.persons() == {}


def test_evidence_rewritten_twice_between_refreshes_is_what_it_now_says(
    evidence: Evidence,
) -> None:
    # What came and went in between was never true of anybody.
    evidence.add(seen("b1", "tablet", "bob", 7))
    evidence.add(seen("b1", "tablet", None, 7))
    evidence.refresh()
    assert evidence.persons() == {"phone": "ann"}


def test_erased_user_gives_the_device_back(evidence: Evidence) -> None:
    evidence.add(seen("b1", "phone", "bob", 4 * 86_400), seen("b2", "laptop", "bob", 9))
    evidence.refresh()
    evidence.erase("laptop")
    evidence.drop("b1")
    evidence.refresh()
    assert evidence.persons() == {"phone": "ann"}
    evidence.check()


@pytest.mark.parametrize("commits", range(3))
def test_killed_between_its_commits_a_refresh_is_taken_up(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    evidence.add(seen("b1", "phone", "bob", 4 * 86_400), seen("c1", "tablet", "cid", 7))
    made: list[object] = []

    def dying(write: Callable[..., int]) -> Callable[..., int]:
        def written(*arguments: Any, **named: Any) -> int:  # noqa: ANN401 - as the method
            if len(made) == commits:
                raise KeyboardInterrupt
            made.append(arguments[1])
            return write(*arguments, **named)

        return written

    with monkeypatch.context() as patch:
        for name in ("append", "overwrite"):
            patch.setattr(Lake, name, dying(getattr(Lake, name)))
        with pytest.raises(KeyboardInterrupt):
            evidence.refresh()
    evidence.refresh()
    assert evidence.persons() == {"phone": "phone", "tablet": "cid"}
    evidence.check()


STEPS = ("arrive", "arrive", "arrive twice", "change", "vanish", "erase", "vacuum", "compact",
         "refresh")  # fmt: skip


def step(evidence: Evidence, rng: random.Random, name: str) -> None:
    known = [it for _, it in sorted(evidence.events.items())]
    some = rng.sample(known, min(len(known), 3))
    match name:
        case "arrive":
            evidence.add(*logins(rng, rng.randint(1, 6), first=rng.randrange(40)))
        case "arrive twice":
            evidence.add(*logins(rng, 3, first=50), *some)
            evidence.add(*logins(rng, 3, first=50))
        case "change":
            evidence.add(*(it | {"user_id": rng.choice(["ann", "bob", None])} for it in some))
        case "vanish":
            evidence.drop(*[it["event_id"] for it in some])
        case "erase":
            evidence.erase(rng.choice(["v1", "v2", "v3"]))
        case "vacuum":
            evidence.lake.vacuum("events")
        case "compact":
            evidence.lake.compact(rng.choice(["events", "identity_map"]))
        case _:
            evidence.refresh()


@pytest.mark.slow
@lives(12)
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=6))
def test_incremental_equals_full(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: list[str]
) -> None:
    rng, evidence = random.Random(seed), Evidence(load_settings(tmp_path_factory.mktemp("life")))
    evidence.add(*logins(rng, 20))
    evidence.refresh()
    for name in steps:
        step(evidence, rng, name)
    evidence.refresh()
    evidence.check()


def test_map_does_not_depend_on_the_order_of_events(settings: Settings) -> None:
    events = events_frame(logins(random.Random(3), 50))
    evidence = Evidence(settings)
    for part in (events[30:], events[:10], events[10:30]):
        evidence.lake.append("events", part.sample(fraction=1, shuffle=True, seed=1))
        evidence.refresh()
    stored = rows_of(evidence.lake, ["identity_map"])["identity_map"]
    assert stored.equals(naive_map(events))
