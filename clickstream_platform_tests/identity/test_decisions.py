"""Decisions and history through the lake: incremental equals full, splits undo merges."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from clickstream_platform.identity import (
    METHOD,
    DecisionError,
    decide,
    decisions_of,
    merges_around,
    refresh_identity,
    standing,
)
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform.tables.contracts import require
from clickstream_platform_tests.frames import NOON, events_frame, surrogate

MADE = ("identity_merges", "identity_conflicts", "identity_map")
HOUR = timedelta(hours=1)
RULES = """
max_identifiers = 6
max_links_per_hour = 3
[types.user]
priority = 1
limit = 1
[types.visitor]
priority = 9
limit = 3
"""


def event(event_id: str, visitor: str | None, user: str | None, hours: float) -> dict[str, object]:
    at = NOON + hours * HOUR
    return {
        "event_id": event_id, "visitor_id": visitor, "user_id": user,
        "occurred_at": at, "received_at": at + HOUR,
    }  # fmt: skip


def add(lake: Lake, rows: list[dict[str, object]]) -> None:
    lake.append("events", events_frame(rows))


def stored(lake: Lake) -> dict[str, pl.DataFrame]:
    """The tables in one order, after checking their contracts."""
    return {
        name: require(TABLES[name].contract, frame).sort(TABLES[name].contract.to_schema().unique)
        for name in MADE
        for frame in [lake.scan(name).collect()]
    }


def people(lake: Lake) -> dict[str, str]:
    """Person of each visitor that is merged."""
    rows = lake.scan("identity_map").filter(~pl.col("is_shared")).collect()
    return dict(rows.select("visitor_id", "person_id").rows())


def told(lake: Lake, kind: str, *names: str, hours: float = 100) -> str:
    """Decide something about identifiers."""
    ends = [(name, surrogate(name)) for name in names]
    return decide(
        lake, kind, reason="a test", actor="ann", now=NOON + hours * HOUR,
        identifier=ends[0], other=ends[1] if len(ends) > 1 else None,
    )  # fmt: skip


def equals_full(lake: Lake, settings: Settings) -> None:
    before = stored(lake)
    refresh_identity(lake, settings, full=True)
    after = stored(lake)
    for name in MADE:
        assert before[name].rows() == after[name].rows(), name


@pytest.fixture
def household(lake: Lake, settings: Settings) -> Lake:
    """Ann on her phone and the tablet, where Bob came later."""
    add(lake, [event("a", "phone", "ann", 0), event("b", "tablet", "ann", 1)])
    refresh_identity(lake, settings)
    return lake


def test_unmerge_undoes_one_link_and_restore_brings_it_back(
    household: Lake, settings: Settings
) -> None:
    assert people(household) == {"phone": "ann", "tablet": "ann"}
    decision = told(household, "unmerge", "tablet", "ann")
    done = refresh_identity(household, settings)
    assert not done.is_full
    assert people(household) == {"phone": "ann"}
    row = household.scan("identity_merges").filter(pl.col("identifier_id") == "tablet").collect()
    assert row.select("undone_by", "decision_id", "undone_at").row(0) == (
        "decision", decision, NOON + 100 * HOUR
    )  # fmt: skip
    equals_full(household, settings)
    decide(
        household, "restore", reason="a mistake", actor="bob", now=NOON + 101 * HOUR,
        restores=decision,
    )  # fmt: skip
    refresh_identity(household, settings)
    assert people(household) == {"phone": "ann", "tablet": "ann"}
    equals_full(household, settings)


def test_unmerging_one_user_of_a_shared_visitor_gives_it_to_the_other(
    household: Lake, settings: Settings
) -> None:
    add(household, [event("c", "tablet", "bob", 2)])
    refresh_identity(household, settings)
    assert people(household) == {"phone": "ann"}
    assert household.row_count("identity_conflicts") == 1
    told(household, "unmerge", "ann", "tablet")
    refresh_identity(household, settings)
    assert people(household) == {"phone": "ann", "tablet": "bob"}
    assert household.row_count("identity_conflicts") == 0
    equals_full(household, settings)


def test_taking_one_device_off_an_overfull_account_gives_it_the_others_back(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    # Four devices of an account for three: shared, until one is taken off, and again after that.
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "identifiers.toml").write_text(RULES)
    strict = settings.model_copy(update={"definitions": tmp_path})
    add(lake, [event(f"e{i}", f"v{i}", "u", 5 * i) for i in range(4)])
    refresh_identity(lake, strict)
    assert people(lake) == {}
    decision = told(lake, "split", "v0")
    assert not refresh_identity(lake, strict).is_full
    assert people(lake) == dict.fromkeys(("v1", "v2", "v3"), "u")
    equals_full(lake, strict)
    decide(lake, "restore", reason="x", actor="ann", now=NOON + 101 * HOUR, restores=decision)
    refresh_identity(lake, strict)
    assert people(lake) == {}
    equals_full(lake, strict)


def test_decision_looks_only_at_people_whom_it_changes(household: Lake, settings: Settings) -> None:
    add(household, [event(f"o{i}", f"v{i}", f"u{i}", i) for i in range(9)])
    refresh_identity(household, settings)
    told(household, "split", "tablet")
    told(household, "unmerge", "v1", "u1")
    refresh_identity(household, settings)
    told(household, "split", "v1", hours=101)
    assert refresh_identity(household, settings).details["identifiers_affected"] == 0
    told(household, "split", "v2")
    assert refresh_identity(household, settings).details["identifiers_affected"] == 2
    equals_full(household, settings)


def test_link_that_arrives_after_the_decision_never_held(
    household: Lake, settings: Settings
) -> None:
    told(household, "split", "tablet", hours=100)
    add(household, [event("c", "tablet", "bob", 200)])
    refresh_identity(household, settings)
    row = household.scan("identity_merges").filter(pl.col("other_id") == "bob").collect()
    assert row["undone_at"].item() == row["recorded_at"].item() == NOON + 201 * HOUR


def test_links_around_somebody_come_in_one_order(lake: Lake, settings: Settings) -> None:
    add(lake, [event("e", f"v{i}", "u", 0) for i in range(9)])
    refresh_identity(lake, settings)
    keys = sorted(surrogate(f"v{i}") for i in range(9))
    assert merges_around(lake, surrogate("u"))["identifier_key"].to_list() == keys


def test_decision_holds_against_later_evidence(household: Lake, settings: Settings) -> None:
    told(household, "split", "tablet")
    add(household, [event("c", "tablet", "ann", 200), event("d", "tablet", "bob", 201)])
    refresh_identity(household, settings)
    assert people(household) == {"phone": "ann"}
    equals_full(household, settings)


@pytest.mark.parametrize("kind", ["split", "unmerge"])
@pytest.mark.parametrize("seed", range(3))
def test_split_undoes_a_merge(kind: str, seed: int, tmp_path: Path) -> None:
    # Before: two people. Merge: a new visitor of b signs in as a. Split: as before.
    settings = load_settings(tmp_path)
    lake = Lake(settings.lake_folder)
    add(lake, [event(f"a{i}", f"a-visitor{i}", "a", i) for i in range(seed + 1)])
    add(lake, [event("b", "b-visitor", None, 3)])
    refresh_identity(lake, settings)
    before = stored(lake)["identity_map"].rows()
    add(lake, [event("m", "b-visitor", "a", 5)])
    refresh_identity(lake, settings)
    assert people(lake)["b-visitor"] == "a"
    told(lake, kind, *(["b-visitor"] if kind == "split" else ["b-visitor", "a"]))
    refresh_identity(lake, settings)
    assert stored(lake)["identity_map"].rows() == before
    equals_full(lake, settings)


def test_decisions_that_stand_are_those_of_the_moment(household: Lake) -> None:
    decision = told(household, "split", "tablet", hours=10)
    decide(
        household, "restore", reason="a mistake", actor="bob", now=NOON + 20 * HOUR,
        restores=decision,
    )  # fmt: skip
    rows = decisions_of(household)
    assert standing(rows, recorded_at=NOON + 9 * HOUR).is_empty()
    assert standing(rows, recorded_at=NOON + 15 * HOUR)["decision_id"].to_list() == [decision]
    assert standing(rows).is_empty()


def test_only_people_who_are_concerned_are_looked_at(lake: Lake, settings: Settings) -> None:
    add(lake, [event(f"e{i}", f"v{i}", f"u{i}", i) for i in range(300)])
    refresh_identity(lake, settings)
    add(lake, [event("late", "other-v7", "u7", 1), event("again", "v9", "u9", 900)])
    done = refresh_identity(lake, settings)
    assert done.details == {"visitors_changed": 0, "identifiers_affected": 3}
    assert done.rows_written == 1
    equals_full(lake, settings)


def test_shared_identifiers_beyond_a_shared_one_stay_as_they_are(
    lake: Lake, settings: Settings, tmp_path: Path
) -> None:
    # u9 is shared (4 visitors of 3) before v meets it; v is shared once it meets u1 as well. Then
    # u1 changes: v is at the rim, u9 beyond it, and few of its links are looked at.
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "identifiers.toml").write_text(RULES)
    strict = settings.model_copy(update={"definitions": tmp_path})
    add(lake, [event(f"w{i}", f"w{i}", "u9", 5 * i) for i in range(4)])
    add(lake, [event("v9", "v", "u9", 50), event("v1", "v", "u1", 60)])
    refresh_identity(lake, strict)
    add(lake, [event("x", "x", "u1", 70)])
    done = refresh_identity(lake, strict)
    assert done.details["identifiers_affected"] == 3, "x, u1 and v; not u9 and its visitors"
    row = lake.scan("identity_merges").filter(pl.col("evidence_event_id") == "v9").collect()
    assert row["undone_at"].item() == NOON + 51 * HOUR, "never held: u9 was shared already"
    equals_full(lake, strict)


def test_nothing_new_writes_nothing(household: Lake, settings: Settings) -> None:
    versions = {name: household.version(name) for name in MADE}
    refresh_identity(household, settings)
    assert versions == {name: household.version(name) for name in MADE}


def test_other_rules_make_everything_anew(
    household: Lake, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "identifiers.toml").write_text(RULES.replace("limit = 3", "limit = 1"))
    strict = settings.model_copy(update={"definitions": tmp_path})
    assert refresh_identity(household, strict).is_full
    assert people(household) == {}


def test_people_of_an_older_release_are_found_anew(
    household: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickstream_platform.identity.refresh.METHOD", METHOD + 1)
    assert refresh_identity(household, settings).is_full


@pytest.mark.parametrize(
    ("kind", "names", "words"),
    [
        pytest.param("unmerge", ("phone", "bob"), "No event shows these", id="never linked"),
        pytest.param("split", ("laptop",), "No event shows these", id="never seen"),
        pytest.param("unmerge", ("phone", "phone"), "No event shows these", id="with itself"),
        pytest.param("unmerge", ("phone",), "A link has two ends", id="one end"),
    ],
)
def test_decision_about_nothing_is_refused(
    kind: str, names: tuple[str, ...], words: str, household: Lake
) -> None:
    with pytest.raises(DecisionError, match=words):
        told(household, kind, *names)


def test_decision_without_a_reason_or_to_restore_nothing_is_refused(household: Lake) -> None:
    with pytest.raises(DecisionError, match="needs a reason"):
        decide(household, "split", reason=" ", actor="ann", now=NOON, identifier=("phone", 1))
    with pytest.raises(DecisionError, match="No decision of that identifier stands"):
        decide(household, "restore", reason="x", actor="ann", now=NOON, restores="dec_0")


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from([None, "v0", "v1", "v2", "v3", "v4", "v5"]),
        st.sampled_from([None, "u0", "u1", "u2"]),
        st.sampled_from([0, 0.3, 0.6, 5, 9, 17, 26]),
    ),
    max_size=9,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("events"), EVENTS),
        st.tuples(st.just("split"), st.sampled_from(["v0", "v1", "u0"])),
        st.tuples(st.just("unmerge"), st.sampled_from([("v0", "u0"), ("v1", "u1"), ("v2", "u0")])),
        st.tuples(st.just("restore"), st.integers(0, 2)),
        st.tuples(st.just("erase"), st.sampled_from(["v0", "v3", "u1"])),
    ),
    min_size=1,
    max_size=5,
)


@example_settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_incremental_equals_full_whatever_happened(
    steps: list[tuple[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    (folder / "own" / "identity").mkdir(parents=True)
    (folder / "own" / "identity" / "identifiers.toml").write_text(RULES)
    settings = load_settings(folder).model_copy(update={"definitions": folder / "own"})
    lake = Lake(settings.lake_folder)
    add(lake, [event("first", "v0", "u0", 0)])
    refresh_identity(lake, settings)
    for number, (kind, what) in enumerate(steps):
        try:
            step(lake, number, kind, what)
        except DecisionError:
            continue
        refresh_identity(lake, settings)
    equals_full(lake, settings)
    rows = lake.scan("identity_map").filter(~pl.col("is_shared")).collect()
    assert rows["visitor_id"].is_unique().all()


def step(lake: Lake, number: int, kind: str, what: object) -> None:
    if kind == "events":
        assert isinstance(what, list)
        rows = [
            event(f"{number}-{i}-{place}", v, u, at) for place, (i, v, u, at) in enumerate(what)
        ]
        if rows:
            add(lake, rows)
    elif kind == "erase":
        lake.delete("events", f"visitor_id = '{what}' OR user_id = '{what}'")
    elif kind == "restore":
        assert isinstance(what, int)
        known = standing(decisions_of(lake))["decision_id"].to_list()
        told_id = known[what] if what < len(known) else "dec_none"
        decide(lake, "restore", reason="r", actor="ann", now=NOON, restores=told_id)
    else:
        told(lake, kind, *([what] if isinstance(what, str) else what), hours=number)  # type: ignore[misc]  # a pair
