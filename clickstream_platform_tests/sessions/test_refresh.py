"""Keeping sessions up to date: what is done, what is left alone, and that nothing is lost."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.lake import Engine, Lake, Refreshed
from clickstream_platform.sessions import METHOD, islands, refresh_sessions
from clickstream_platform.sessions.policy import SessionPolicy
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES as CATALOG
from clickstream_platform_tests.frames import BUCKETS, day, surrogate
from clickstream_platform_tests.sessions.history import TABLES, Event, History, visit
from clickstream_platform_tests.stored import rows_of

DAY = 24 * 60
"""Minutes."""


@pytest.fixture
def history(settings: Settings) -> History:
    """Ann comes on two days, Bob on the second and the third."""
    history = History(settings)
    history.add(
        visit("a1", "ann", 0),
        visit("a2", "ann", 10),
        visit("a3", "ann", DAY),
        visit("b1", "bob", DAY + 5),
        visit("b2", "bob", 2 * DAY),
    )
    history.refresh()
    return history


def starts(history: History) -> dict[str, list[str]]:
    """First events of sessions, by the person."""
    names = {row["event_key"]: row["event_id"] for row in history.frame().to_dicts()}
    found: dict[str, list[str]] = {}
    for row in history.lake.scan("sessions").sort("started_at").collect().to_dicts():
        found.setdefault(row["person_id"], []).append(names[row["session_key"]])
    return found


def test_first_refresh_makes_everything(history: History) -> None:
    assert starts(history) == {"ann": ["a1", "a3"], "bob": ["b1", "b2"]}
    history.check()
    done = refresh_sessions(history.lake, history.settings, full=True)
    assert (done.is_full, done.rows_written, done.rows_read) == (True, 4, 5)
    assert done.details == {"sessionless_events": 0}


def test_nothing_new_writes_nothing(history: History) -> None:
    versions = {name: history.lake.version(name) for name in TABLES}
    done = history.refresh()
    assert (done.rows_written, done.rows_read, done.dates) == (0, 0, ())
    assert {name: history.lake.version(name) for name in TABLES} == versions


def test_nothing_upstream_writes_nothing(lake: Lake, settings: Settings) -> None:
    assert refresh_sessions(lake, settings).version == -1


def test_late_event_joins_two_sessions(settings: Settings) -> None:
    history = History(settings)
    history.add(visit("a1", "ann", 0), visit("a3", "ann", 60), *passers_by())
    history.refresh()
    history.add(visit("a2", "ann", 30))
    history.refresh()
    assert starts(history)["ann"] == ["a1"]
    history.check()


def test_instant_that_ends_one_session_and_starts_the_next_stays_parted(settings: Settings) -> None:
    # The later key carries a campaign: what came before it in that instant ends the first session.
    one, other = sorted(("a2", "a3"), key=surrogate)
    history = History(settings)
    history.add(
        visit("a1", "ann", 0),
        visit(one, "ann", 10),
        visit(other, "ann", 10, campaign_source="news"),
        visit("server", "ann", 10, platform="server"),
        *passers_by(),
    )
    history.refresh()
    history.add(visit("a4", "ann", 15))
    assert not history.refresh().is_full
    assert starts(history)["ann"] == ["a1", other]
    history.check()


def test_vanished_event_parts_a_session(settings: Settings) -> None:
    history = History(settings)
    history.add(*(visit(f"a{i}", "ann", 30 * i) for i in range(3)), *passers_by())
    history.refresh()
    history.drop(["a1"])
    history.refresh()
    assert starts(history)["ann"] == ["a0", "a2"]
    history.check()


def test_late_earlier_event_takes_the_name_of_the_first_session(settings: Settings) -> None:
    history = History(settings)
    history.add(visit("a1", "ann", DAY), *passers_by())
    history.refresh()
    history.add(visit("a0", "ann", 0))
    history.refresh()
    reasons = history.lake.scan("sessions").filter(pl.col("person_id") == "ann").collect()
    assert reasons.sort("started_at")["cut_reason"].to_list() == ["first", "timeout"]
    history.check()


def passers_by(number: int = 40) -> list[Event]:
    """People who come once each, so that a change of one person is a small one."""
    return [visit(f"p{i:03}", f"passer{i:03}", 100 * i) for i in range(number)]


def test_work_is_that_of_the_sessions_touched(settings: Settings) -> None:
    history = History(settings)
    long_ago = [visit(f"a{i:03}", "ann", 60 * i) for i in range(100)]
    history.add(*passers_by(), *long_ago)
    history.refresh()
    history.add(visit("new", "ann", 60 * 99 + 5), visit("first", "bob", 7))
    done = history.refresh()
    # Ann's last session of one event and the new one, and Bob's only one.
    assert (done.rows_read, done.rows_written, done.is_full) == (3, 2, False)
    assert done.details == {"differing_events": 2, "touched_events": 3}
    assert set(done.dates) == {day(0), day(4)}
    history.check()


def test_placed_events_are_not_compared_when_others_are_added(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(settings)
    history.add(*passers_by())
    history.refresh()
    compared: list[int] = []

    def hulls(backend: Engine, policy: SessionPolicy) -> None:
        compared.extend(backend.height(name) for name in ("now", "before"))
        find_hulls(backend, policy)

    find_hulls = islands.find_hulls
    monkeypatch.setattr(islands, "find_hulls", hulls)
    history.add(visit("new", "ann", 5))
    history.refresh()
    assert compared == [1, 0]
    history.check()


def test_only_touched_partitions_are_rewritten(settings: Settings) -> None:
    history = History(settings)
    history.add(*passers_by(), visit("a1", "ann", 0), visit("a2", "ann", 20 * DAY))
    history.refresh()
    before = set(history.lake.files("sessions"))
    history.add(visit("a3", "ann", 20 * DAY + 1))
    assert history.refresh().dates == (day(20),)
    gone = before - set(history.lake.files("sessions"))
    assert [Path(file).parent.parent.name for file in gone] == ["session_date=2026-03-21"]


def test_long_session_is_cut_where_a_rebuild_cuts_it(settings: Settings) -> None:
    # A ping every 29 minutes for three days: cuts for length depend on those before.
    history = History(settings)
    history.add(*passers_by(300), *(visit(f"a{i:03}", "ann", 29 * i) for i in range(150)))
    history.refresh()
    history.check()
    history.drop(["a000"])
    history.refresh()
    history.check()
    history.add(visit("late", "ann", 29 * 120 + 1))
    done = history.refresh()
    assert done.rows_read < 60
    history.check()


def test_login_moves_history_to_the_user(settings: Settings) -> None:
    history = History(settings)
    history.add(
        *passers_by(),
        visit("a1", "phone", 0),
        visit("a2", "laptop", 20, user_id="ann"),
        visit("a3", "phone", 40),
    )
    history.refresh()
    found = starts(history)
    assert (found["phone"], found["ann"]) == (["a1", "a3"], ["a2"])
    history.add(visit("a4", "phone", 5 * DAY, user_id="ann"))
    done = history.refresh()
    assert starts(history)["ann"] == ["a1", "a4"]
    assert "phone" not in starts(history)
    assert done.rows_read == 4
    history.check()


def test_second_user_on_a_device_takes_its_history_back(settings: Settings) -> None:
    history = History(settings)
    history.add(
        *passers_by(), visit("a1", "tablet", 0), visit("a2", "tablet", 2 * DAY, user_id="ann")
    )
    history.refresh()
    assert starts(history)["ann"] == ["a1", "a2"]
    history.add(visit("b1", "tablet", 9 * DAY, user_id="bob"))
    history.refresh()
    found = starts(history)
    assert (found["tablet"], found["ann"], found["bob"]) == (["a1"], ["a2"], ["b1"])
    history.check()


def test_events_on_a_device_that_was_parted_from_its_user_stay_in_their_sessions(
    settings: Settings,
) -> None:
    # They lie in the bucket of the device, to which nothing leads from Ann any more.
    assert surrogate("kiosk") % BUCKETS != surrogate("ann") % BUCKETS
    history = History(settings)
    history.add(
        *passers_by(),
        visit("a1", "kiosk", 0, user_id="ann"),
        visit("a2", "kiosk", 10),
        visit("a3", "kiosk", 20, user_id="ann"),
    )
    history.refresh()
    history.decide("unmerge", "kiosk", "ann")
    history.refresh()
    history.add(visit("a4", None, 30, user_id="ann"))
    done = history.refresh()
    assert (starts(history)["ann"], starts(history)["kiosk"]) == (["a1"], ["a2"])
    assert done.rows_read == 3
    history.check()


def test_events_that_identity_has_not_seen_yet_are_in_sessions(settings: Settings) -> None:
    assert surrogate("kiosk") % BUCKETS != surrogate("ann") % BUCKETS
    history = History(settings)
    history.add(*passers_by(), visit("a1", None, 0, user_id="ann"))
    history.refresh()
    history.add(visit("a2", "kiosk", 5 * DAY, user_id="ann"))
    refresh_sessions(history.lake, history.settings)
    assert starts(history)["ann"] == ["a1", "a2"]
    history.refresh()
    history.check()


def test_event_that_says_something_else_is_summed_up_anew(settings: Settings) -> None:
    history = History(settings)
    history.add(
        *passers_by(), visit("a1", "ann", 0), visit("a2", "ann", 10, event_name="page_ping")
    )
    history.refresh()
    history.add(visit("a2", "ann", 10, event_name="page_view", campaign_source="news"))
    history.refresh()
    assert starts(history)["ann"] == ["a1", "a2"]
    history.check()


def test_erased_person_leaves_no_row(settings: Settings) -> None:
    history = History(settings)
    history.add(
        *passers_by(),
        visit("a1", "phone", 0),
        visit("a2", "phone", 5, user_id="ann"),
        visit("a3", "laptop", 31, user_id="ann"),
        visit("b1", "tablet", 60, user_id="bob"),
        visit("b2", "tablet", 70),
        visit("a4", "tablet", 80, user_id="ann"),
    )
    history.refresh()
    history.erase("phone")
    history.refresh()
    # The tablet is no longer shared: what nobody signed in did there is Bob's again.
    assert "ann" not in starts(history)
    assert starts(history)["bob"] == ["b1"]
    history.check()


def test_backfill_restores_its_dates_and_takes_nothing_in(history: History) -> None:
    before = rows_of(history.lake, TABLES)
    versions = history.lake.consumed("session_events", "events")
    for name in TABLES:
        history.lake.delete(name, f"{CATALOG[name].date_column} = '2026-03-02'")
    done = refresh_sessions(history.lake, history.settings, dates=[day(1)])
    after = rows_of(history.lake, TABLES)
    assert all(after[name].equals(before[name]) for name in TABLES)
    assert history.lake.consumed("session_events", "events") == versions
    assert done.rows_read > 0


def test_backfill_of_no_date_does_nothing(history: History) -> None:
    assert refresh_sessions(history.lake, history.settings, dates=[]).rows_written == 0


def test_other_rules_make_everything_anew(history: History) -> None:
    changed = history.settings.sessions.model_copy(update={"timeout_minutes": 5})
    other = History(history.settings.model_copy(update={"sessions": changed}))
    other.events = history.events
    assert other.refresh().is_full
    assert starts(other)["ann"] == ["a1", "a2", "a3"]
    assert not other.refresh().is_full


def test_sessions_of_an_older_release_are_made_anew(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickstream_platform.sessions.refresh.METHOD", METHOD + 1)
    assert history.refresh().is_full
    assert not history.refresh().is_full


def test_other_number_of_buckets_makes_everything_anew(history: History) -> None:
    fewer = history.settings.lake.model_copy(update={"buckets": 2})
    other = History(history.settings.model_copy(update={"lake": fewer}))
    other.events = history.events
    other.add(*passers_by())
    assert other.refresh().is_full
    # Events keep their old buckets, so people must be found without them.
    other.events |= {"b3": visit("b3", "bob", 2 * DAY + 1), "a9": visit("a9", "ann", 12)}
    other.write()
    assert not other.refresh().is_full
    found = starts(other)
    assert (found["ann"], found["bob"]) == (["a1", "a3"], ["b1", "b2"])
    assert set(other.lake.scan("sessions").collect()["bucket"]) <= {0, 1}


@pytest.mark.parametrize("commits", [0, 1, 2])
def test_killed_between_commits_nothing_is_lost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    history = History(settings)
    history.add(
        *passers_by(),
        visit("a1", "ann", 0),
        visit("a2", "phone", 5),
        visit("a3", "phone", 8, event_name="page_ping"),
        visit("a4", "ann", 50, event_name="page_ping"),
    )
    history.refresh()
    history.add(
        visit("a5", "phone", 12, user_id="ann"),
        visit("a6", "ann", 45),
        visit("a7", "ann", 4 * DAY, event_name="page_ping"),
    )
    with monkeypatch.context() as patch:
        die_after(patch, commits)
        with pytest.raises(KeyboardInterrupt):
            history.refresh()
    history.drop(["a1"])
    history.refresh()
    history.check()


def test_killed_while_a_device_turns_out_to_be_shared(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sessions are the kiosk's again while their events still lie with Ann, in another bucket.
    assert surrogate("kiosk") % BUCKETS != surrogate("ann") % BUCKETS
    history = History(settings)
    history.add(
        *passers_by(), visit("a1", "kiosk", 0), visit("a2", "kiosk", 3 * DAY, user_id="ann")
    )
    history.refresh()
    history.add(visit("b1", "kiosk", 9 * DAY, user_id="bob"))
    with monkeypatch.context() as patch:
        die_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            history.refresh()
    history.refresh()
    history.check()


@pytest.mark.parametrize("commits", [0, 1, 2])
def test_rebuild_killed_between_commits_is_made_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    history = History(settings)
    history.add(*passers_by(8))
    history.refresh()
    history.add(visit("a1", "ann", 0), *passers_by(20))
    with monkeypatch.context() as patch:
        die_after(patch, commits)
        with pytest.raises(KeyboardInterrupt):
            refresh_sessions(history.lake, settings, full=True)
    history.refresh()
    history.check()


def die_after(patch: pytest.MonkeyPatch, commits: int) -> None:
    """Let so many commits of sessions through, and then the process is gone."""
    left = [commits]

    def until_then(write: Callable[..., int]) -> Callable[..., int]:
        def writes(lake: Lake, table: str, *rows: object, **options: object) -> int:
            if table in TABLES:
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
            return write(lake, table, *rows, **options)

        return writes

    patch.setattr(Lake, "overwrite", until_then(Lake.overwrite))
    patch.setattr(Lake, "replace", until_then(Lake.replace))


@pytest.mark.parametrize(
    ("rows", "signing_in_cuts"),
    [
        pytest.param(1, False, id="a date at a time"),
        pytest.param(40, False, id="some dates at a time"),
        pytest.param(1, True, id="users seen so far"),
    ],
)
def test_rebuild_in_stretches_carries_open_sessions(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, rows: int, signing_in_cuts: object
) -> None:
    # Sessions run over midnight, one of them for three days; campaigns and users seen before a
    # cut for length go on being compared.
    policy = settings.sessions.model_copy(update={"cut_on_identity": signing_in_cuts})
    history = History(settings.model_copy(update={"sessions": policy}))
    midnight = 12 * 60
    known = {"campaign_source": "news", "user_id": "ann"}
    history.add(
        *passers_by(30),
        *(visit(f"a{i:03}", "ann", 29 * i) for i in range(160)),
        *(visit(f"a{i:03}", "ann", 29 * i, **known) for i in (3, 70, 120)),
        visit("b1", "bob", midnight - 5, campaign_source="news"),
        visit("b2", "bob", midnight + 5),
        visit("b3", "bob", midnight + 10, campaign_source="news"),
        visit("b4", "bob", midnight + 11, campaign_source="ads"),
        visit("c1", "cat", midnight, event_name="page_ping"),
        visit("c2", "cat", midnight + 30, event_name="page_ping"),
        visit("c3", "cat", midnight + 60),
        visit("n1", None, midnight - 1),
    )
    monkeypatch.setattr("clickstream_platform.sessions.rebuild.CHUNK_ROWS", rows)
    done = history.refresh(full=True)
    assert done.is_full
    history.check()


def test_dates_are_those_of_the_rows(history: History) -> None:
    assert history.lake.dates("sessions") == [date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)]


def test_done_names_its_table(history: History) -> None:
    done: Refreshed = history.refresh()
    assert (done.table, done.version) == ("sessions", history.lake.version("sessions"))
