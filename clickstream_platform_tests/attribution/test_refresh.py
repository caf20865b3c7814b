"""Keeping the tables up to date: incremental equals full, whatever happened in between."""

from datetime import date
from decimal import Decimal
from importlib import resources
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from clickstream_platform.attribution import (
    NO_CONSENT,
    UNATTRIBUTED,
    refresh_conversions,
    refresh_credits,
    refresh_touchpoints,
)
from clickstream_platform.lake import Lake, Refreshed
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform_tests.attribution.world import (
    HOUR_US,
    Happening,
    World,
    hours,
    purchase,
    visit,
    write,
)
from clickstream_platform_tests.frames import day
from clickstream_platform_tests.stored import bring, rows_of

STAGES = {
    "touchpoints": refresh_touchpoints,
    "conversions": refresh_conversions,
    "attribution_credits": refresh_credits,
}


def refresh(lake: Lake, settings: Settings, *, full: bool = False) -> dict[str, Refreshed]:
    return {name: stage(lake, settings, full=full) for name, stage in STAGES.items()}


def stored(lake: Lake) -> dict[str, pl.DataFrame]:
    return rows_of(lake, STAGES)


def credit(lake: Lake, model: str) -> dict[str, dict[str, float]]:
    """Credit by conversion and channel."""
    rows = lake.scan("attribution_credits").filter(pl.col("model") == model).collect()
    found: dict[str, dict[str, float]] = {}
    for conversion, channel, share in rows.select("conversion_id", "channel", "credit").rows():
        found.setdefault(conversion, {})[channel] = share
    return found


def kept(lake: Lake) -> list[str]:
    return sorted(lake.scan("conversions").collect()["conversion_id"])


@pytest.fixture
def world() -> World:
    """Ann comes by e-mail, comes again directly two days later and buys."""
    world = World()
    world.add([visit("v1", "ann", 1, "Email"), visit("v2", "ann", 50, "Direct")])
    world.add([purchase("p1", "ann", 51, "o1", 30)])
    return world


def test_first_refresh_computes_everything(lake: Lake, settings: Settings, world: World) -> None:
    write(lake, world)
    done = refresh(lake, settings)
    assert [it.is_full for it in done.values()] == [True] * 3
    assert [it.rows_written for it in done.values()] == [2, 1, 9]
    assert credit(lake, "linear") == {"p1": {"Email": 0.5, "Direct": 0.5}}
    assert credit(lake, "last_non_direct") == {"p1": {"Email": 1.0}}
    stored(lake)


def test_nothing_new_writes_nothing(lake: Lake, settings: Settings, world: World) -> None:
    write(lake, world)
    first = refresh(lake, settings)
    again = refresh(lake, settings)
    assert {name: it.version for name, it in again.items()} == {
        name: it.version for name, it in first.items()
    }
    assert [it.rows_written for it in again.values()] == [0, 0, 0]


def test_nothing_upstream_writes_nothing(lake: Lake, settings: Settings) -> None:
    assert [it.version for it in refresh(lake, settings).values()] == [-1, -1, -1]


def test_only_touched_dates_are_rewritten(lake: Lake, settings: Settings, world: World) -> None:
    world.add([visit("b1", "bob", 26), purchase("p2", "bob", 27)])
    write(lake, world)
    refresh(lake, settings)
    world.add([visit("v3", "bob", 75), purchase("p3", "bob", 76)])
    write(lake, world)
    done = refresh(lake, settings)
    assert [it.dates for it in done.values()] == [(day(3),)] * 3


def test_late_touchpoint_moves_credit_of_a_later_conversion(
    lake: Lake, settings: Settings, world: World
) -> None:
    write(lake, world)
    refresh(lake, settings)
    world.add([visit("v0", "ann", -100, "Paid Search")])
    write(lake, world)
    done = refresh(lake, settings)
    assert done["attribution_credits"].dates == (day(2),)
    assert credit(lake, "first") == {"p1": {"Paid Search": 1.0}}


def test_late_touchpoint_of_one_who_never_converted_recomputes_no_credit(
    lake: Lake, settings: Settings, world: World
) -> None:
    write(lake, world)
    refresh(lake, settings)
    world.add([visit("b0", "bob", 1)])
    write(lake, world)
    done = refresh(lake, settings)
    assert done["touchpoints"].dates == (day(0),)
    assert done["conversions"].dates == ()
    assert done["attribution_credits"].dates == ()


def test_late_event_of_an_order_takes_the_place_of_the_one_that_counted(
    lake: Lake, settings: Settings, world: World
) -> None:
    write(lake, world)
    refresh(lake, settings)
    world.add([purchase("p0", "ann", 3, "o1", 30)])
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == ["p0"]


def test_order_that_counted_before_does_not_count_again_where_another_one_moves(
    lake: Lake, settings: Settings, world: World
) -> None:
    world.add([purchase("a0", "ann", 3, "o2"), purchase("a2", "ann", 52, "o2")])
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == ["a0", "p1"]
    world.add([purchase("p0", "ann", 27, "o1", 30)])
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == ["a0", "p0"]


def test_event_of_an_order_counts_again_when_the_earlier_one_goes(
    lake: Lake, settings: Settings, world: World
) -> None:
    world.add([purchase("p0", "ann", 3, "o1", 30), purchase("p9", "ann", 200, "o1", 30)])
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == ["p0"]
    del world.happenings["p0"]
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == ["p1"]


def test_people_who_turn_out_to_be_one_share_orders_and_paths(
    lake: Lake, settings: Settings, world: World
) -> None:
    world.add([visit("w1", "device", 20, "Display"), purchase("p2", "device", 80, "o1")])
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == ["p1", "p2"]
    world.people["device"] = "ann"
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == ["p1"]
    assert set(credit(lake, "linear")["p1"]) == {"Email", "Display", "Direct"}


def test_session_that_turns_out_to_be_a_bots_counts_no_more(
    lake: Lake, settings: Settings, world: World
) -> None:
    write(lake, world)
    refresh(lake, settings)
    world.bots.add("ann")
    write(lake, world, order=("sessions",))
    refresh(lake, settings)
    assert [rows.height for rows in stored(lake).values()] == [0, 0, 0]


def test_rows_that_were_rewritten_and_then_went_are_seen_to_go(
    lake: Lake, settings: Settings, world: World
) -> None:
    # The purchase is in a file that came and went between two refreshes.
    write(lake, world)
    refresh(lake, settings)
    world.add([visit("w1", "bob", 52)])
    write(lake, world)
    world.erase("ann")
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == []
    assert lake.scan("attribution_credits").collect().is_empty()


def test_large_histories_are_computed_in_parts(
    lake: Lake, settings: Settings, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add([purchase(f"q{i}", "ann", 60 + 30 * i) for i in range(5)])
    write(lake, world)
    refresh(lake, settings)
    whole = stored(lake)
    monkeypatch.setattr("clickstream_platform.attribution.refresh.SESSIONS_AT_ONCE", 2)
    monkeypatch.setattr("clickstream_platform.attribution.refresh.CONVERSIONS_AT_ONCE", 1)
    done = refresh(lake, settings, full=True)
    assert done["attribution_credits"].rows_written == whole["attribution_credits"].height
    assert all(rows.equals(whole[name]) for name, rows in stored(lake).items())


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("events", "revenue", Decimal(7)),
        ("events", "order_id", "o2"),
        ("events", "is_synthetic", True),
        ("sessions", "is_bot", True),
        ("sessions", "country", "DE"),
        ("sessions", "channel", "Display"),
        ("sessions", "campaign_name", "spring"),
    ],
)
def test_whatever_decides_a_number_is_seen_to_change(  # noqa: PLR0913, PLR0917 - three say what
    lake: Lake, settings: Settings, world: World, table: str, column: str, value: object
) -> None:
    write(lake, world)
    refresh(lake, settings)
    before = stored(lake)
    rows = world.tables()[table]
    bring(lake, table, rows.with_columns(pl.lit(value, rows.schema[column]).alias(column)))
    refresh(lake, settings)
    incremental = stored(lake)
    refresh(lake, settings, full=True)
    assert all(rows.equals(incremental[name]) for name, rows in stored(lake).items())
    assert not all(rows.equals(before[name]) for name, rows in incremental.items())


@pytest.mark.parametrize("hours_before", [0, 30 * 24])
def test_late_touchpoint_at_either_end_of_the_window_moves_credit(
    lake: Lake, settings: Settings, hours_before: int
) -> None:
    world = World()
    world.add([purchase("p1", "ann", 1)])
    write(lake, world)
    refresh(lake, settings)
    touch = lake.scan("touchpoints").collect()
    bring(lake, "touchpoints", touch.clear())
    refresh_credits(lake, settings)
    assert credit(lake, "linear") == {"p1": {UNATTRIBUTED: 1.0}}
    bring(lake, "touchpoints", touch.with_columns(touched_us=pl.lit(hours(1 - hours_before))))
    refresh_credits(lake, settings)
    assert credit(lake, "linear") == {"p1": {"Email": 1.0}}


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(("sessions", "session_events", "events"), id="sessions first"),
        pytest.param(("session_events", "events", "sessions"), id="sessions last"),
    ],
)
def test_upstream_tables_may_arrive_one_by_one(
    lake: Lake, settings: Settings, world: World, order: tuple[str, ...]
) -> None:
    write(lake, World())
    for name in order:
        lake.append(name, world.tables()[name].clear())
    refresh(lake, settings)
    for name in order:
        write(lake, world, order=(name,))
        refresh(lake, settings)
    assert kept(lake) == ["p1"]


def test_backfill_restores_its_dates_and_takes_nothing_in(
    lake: Lake, settings: Settings, world: World
) -> None:
    write(lake, world)
    refresh(lake, settings)
    before = stored(lake)
    for name in STAGES:
        column = TABLES[name].date_column
        lake.delete(name, f"{column} = '2026-03-03'")
    for stage in STAGES.values():
        assert stage(lake, settings, dates=[day(2)]).dates == (day(2),)
    after = stored(lake)
    assert all(after[name].equals(before[name]) for name in STAGES)
    assert lake.consumed("conversions", "events") == lake.version("events")


def test_erased_and_vacuumed_people_leave_no_rows(
    lake: Lake, settings: Settings, world: World
) -> None:
    world.add([visit("b1", "bob", 2), purchase("p2", "bob", 3)])
    write(lake, world)
    refresh(lake, settings)
    world.erase("ann")
    write(lake, world)
    for name in ("events", "session_events", "sessions"):
        lake.vacuum(name)
    done = refresh(lake, settings)
    assert not any(it.is_full for it in done.values())
    assert kept(lake) == ["p2"]
    assert lake.scan("touchpoints").collect()["person_id"].to_list() == ["bob"]


def test_withdrawal_takes_effect_for_old_data_and_sums_stay(
    lake: Lake, settings: Settings, world: World
) -> None:
    world.add([visit("b1", "bob", 2, "Display"), purchase("p2", "bob", 3)])
    world.choices = {"ann": "yy", "bob": "yy"}
    write(lake, world)
    refresh(lake, settings)
    assert credit(lake, "first") == {"p1": {"Email": 1.0}, "p2": {"Display": 1.0}}
    # Ann may be counted but not credited any more: her conversion stays, with its revenue.
    world.choices["ann"] = "yn"
    write(lake, world)
    done = refresh(lake, settings)
    assert not any(it.is_full for it in done.values())
    assert done["touchpoints"].dates == (day(0), day(2))
    assert credit(lake, "first") == {"p1": {NO_CONSENT: 1.0}, "p2": {"Display": 1.0}}
    assert lake.scan("touchpoints").collect()["person_id"].to_list() == ["bob"]
    first = lake.scan("attribution_credits").filter(pl.col("model") == "first").collect()
    assert first["revenue"].sum() == 40
    # Without consent to measurement it leaves as a whole; given again, all of it is back.
    world.choices["ann"] = "ny"
    write(lake, world)
    refresh(lake, settings)
    assert kept(lake) == ["p2"]
    world.choices["ann"] = "yy"
    write(lake, world)
    refresh(lake, settings)
    assert credit(lake, "first")["p1"] == {"Email": 1.0}


def test_other_purposes_recompute_everything(
    lake: Lake, settings: Settings, world: World, tmp_path: Path
) -> None:
    write(lake, world)
    refresh(lake, settings)
    shipped = resources.files("clickstream_platform.collection.consent") / "purposes.toml"
    strict = shipped.read_text().replace('rule = "opt_out"', 'rule = "opt_in"')
    (tmp_path / "purposes.toml").write_text(strict)
    done = refresh(lake, settings.model_copy(update={"definitions": tmp_path}))
    assert [it.is_full for it in done.values()] == [True, True, False]
    assert [rows.height for rows in stored(lake).values()] == [0, 0, 0]


def test_other_definitions_recompute_everything(
    lake: Lake, tmp_path: Path, settings: Settings, world: World
) -> None:
    write(lake, world)
    refresh(lake, settings)
    (tmp_path / "conversions.toml").write_text("[page_view]\ncounts_revenue = false")
    other = settings.model_copy(
        update={
            "definitions": tmp_path,
            "attribution": settings.attribution.model_copy(update={"lookback_days": 0.5}),
        }
    )
    done = refresh(lake, other)
    assert [it.is_full for it in done.values()] == [False, True, True]
    assert kept(lake) == ["v1", "v2"]


# -- Incremental equals full -------------------------------------------------------------------

VISITORS = st.sampled_from(["ann", "bob", "v1", "v2"])
HAPPENINGS = st.builds(
    lambda number, visitor, hour, name, order, revenue, channel, country: Happening(
        f"e{number}",
        visitor,
        hours(0) + hour * HOUR_US // 2,
        name,
        order if name == "purchase" else None,
        Decimal(revenue),
        channel,
        country,
    ),
    st.integers(0, 60),
    VISITORS,
    st.integers(0, 48 * 40),
    st.sampled_from(["page_view", "purchase"]),
    st.sampled_from([None, "o1", "o2"]),
    st.integers(0, 100),
    st.sampled_from(["Direct", "Email", "Display"]),
    st.sampled_from(["US", "US", "DE"]),
)
CHANGES = st.one_of(
    st.tuples(st.just("add"), st.lists(HAPPENINGS, min_size=1, max_size=12)),
    st.tuples(st.just("erase"), VISITORS),
    st.tuples(st.just("merge"), st.sampled_from(["v1", "v2"])),
    st.tuples(st.just("part"), st.sampled_from(["v1", "v2"])),
    st.tuples(st.just("bot"), VISITORS),
    st.tuples(
        st.just("choose"),
        st.dictionaries(
            VISITORS, st.sampled_from(["yy", "yn", "ny", "nn", "y-", "--"]), min_size=1
        ),
    ),
    st.tuples(st.just("vacuum"), st.sampled_from(["events", "sessions", "person_consents"])),
    st.tuples(st.just("compact"), st.sampled_from(["session_events", "touchpoints"])),
    st.tuples(st.just("refresh"), st.sampled_from([*STAGES])),
)


def apply(lake: Lake, settings: Settings, world: World, change: tuple[str, object]) -> None:
    kind, what = change
    match kind, what:
        case "add", list():
            world.add(what)
        case "erase", str():
            world.erase(what)
        case "merge", str():
            world.people[what] = "ann"
        case "part", str():
            world.people.pop(what, None)
        case "bot", str():
            world.bots ^= {what}
        case "choose", dict():
            world.choices |= what
        case "vacuum", str():
            lake.vacuum(what)
        case "compact", str():
            lake.compact(what)
        case "refresh", str():
            STAGES[what](lake, settings)
        case _:
            raise AssertionError(change)
    write(lake, world)


@pytest.mark.slow
@example_settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=st.lists(HAPPENINGS, min_size=1, max_size=25),
    changes=st.lists(CHANGES, min_size=1, max_size=5),
)
def test_incremental_equals_full(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[Happening],
    changes: list[tuple[str, object]],
) -> None:
    settings = load_settings(tmp_path_factory.mktemp("world"))
    lake, world = Lake(settings.lake_folder), World()
    world.add(first)
    write(lake, world)
    refresh(lake, settings)
    for change in changes:
        apply(lake, settings, world, change)
    refresh(lake, settings)
    incremental = stored(lake)
    refresh(lake, settings, full=True)
    for name, full in stored(lake).items():
        assert incremental[name].equals(full), name


def test_dates_are_those_of_the_rows(lake: Lake, settings: Settings, world: World) -> None:
    write(lake, world)
    refresh(lake, settings)
    assert lake.dates("touchpoints") == [date(2026, 3, 1), date(2026, 3, 3)]
    assert lake.dates("attribution_credits") == [date(2026, 3, 3)]
