"""Who matches a segment: worked by hand."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from ibis.backends.duckdb import Backend

from clickstream_platform_tests.frames import (
    NOON,
    surrogate,
)
from clickstream_platform_tests.segments.worlds import (
    ASKED,
    DAY,
    TICK,
    WEEK,
    Row,
    World,
    asked,
    matches,
    properties_world,
    segment,
)

Matches = Callable[..., set[str]]


@pytest.fixture
def inside(duckdb_backend: Backend, tmp_path: Path) -> Matches:
    """Persons who match one rule at noon."""

    def persons(world: World, *, now: datetime = NOON, **rule: object) -> set[str]:
        return matches(duckdb_backend, tmp_path, world, segment("s", rule), now=now)["s"]

    return persons


def test_counts_sessions_that_are_as_asked(inside: Matches) -> None:
    world = World()
    for person, channels in {"ann": ["Email", "Email"], "bob": ["Email", "Direct"]}.items():
        world.person(person)
        for channel in channels:
            world.session(person, channel=channel)
    assert inside(world, table="sessions", count={"min": 2}, where={"channel": "Email"}) == {"ann"}
    assert inside(world, table="sessions", count={"max": 1}, where={"channel": "Email"}) == {"bob"}
    either = {"channel": ["Email", "Direct"]}
    assert inside(world, table="sessions", count={"min": 2}, where=either) == {"ann", "bob"}


def test_who_never_did_something_has_no_such_event_in_the_window(inside: Matches) -> None:
    world = World()
    for person, ago in {"ann": 3 * DAY, "bob": 8 * DAY}.items():
        world.person(person)
        world.session(person, "purchase", ago=ago)
    world.person("carol")
    assert inside(world, never="purchase", within_days=7) == {"bob", "carol"}
    assert inside(world, never="purchase") == {"carol"}
    assert inside(world, never="purchase", before_days=7) == {"ann", "carol"}


def test_totals_add_up_a_column(inside: Matches) -> None:
    world = World()
    for person, revenue in {"ann": Decimal("60.00"), "bob": Decimal("49.99")}.items():
        world.person(person)
        world.session(person, "purchase", revenue=revenue)
        world.session(person, "purchase", revenue=Decimal(40))
    # Ann: 60 + 40 = 100; Bob: 49.99 + 40 = 89.99.
    assert inside(world, did="purchase", total={"revenue": {"min": 100}}) == {"ann"}
    assert inside(world, table="sessions", total={"revenue": {"max": 90}}) == {"bob"}


def test_an_order_reported_twice_counts_once(inside: Matches) -> None:
    world = World()
    world.person()
    world.session("ann", "purchase", ago=DAY, order_id="o1", revenue=Decimal(60))
    world.outside("ann", "purchase", order_id="o1", revenue=Decimal(61))
    # The earlier report says 60.
    assert inside(world, did="purchase", total={"revenue": {"min": 60, "max": 60}}) == {"ann"}
    assert inside(world, did="purchase", count={"min": 2}) == set()
    assert inside(world, table="events", count={"min": 1, "max": 1}) == {"ann"}
    assert inside(world, did="purchase") == {"ann"}


@pytest.mark.parametrize(
    ("name", "order_id", "times"),
    [
        pytest.param("purchase", "o2", 1, id="another order"),
        pytest.param("purchase", "", 2, id="a blank order"),
        pytest.param("purchase", None, 2, id="no order"),
        pytest.param("refund", "o1", 2, id="an event that does not convert"),
        pytest.param("sign_up", "o1", 1, id="a conversion of another name"),
    ],
)
def test_what_is_no_repeated_order_counts_again(
    inside: Matches, name: str, order_id: str | None, times: int
) -> None:
    world = World()
    for person in ("ann", "bob"):
        world.person(person)
        world.session(person, "purchase", ago=DAY, order_id="o1", revenue=Decimal(60))
    for _ in range(2):
        world.session("ann", name, order_id=order_id, revenue=Decimal(40))
    count, total = 1 + times, 60 + 40 * times
    assert inside(world, table="events", count={"min": count, "max": count}) == {"ann"}
    exactly = {"revenue": {"min": total, "max": total}}
    assert inside(world, table="events", total=exactly) == {"ann"}


def test_an_order_counts_if_any_report_of_it_fits(inside: Matches) -> None:
    world = World()
    world.person()
    world.session("ann", "purchase", ago=DAY, order_id="o1", country="DE", revenue=Decimal(60))
    world.session("ann", "purchase", order_id="o1", country="AT", revenue=Decimal(60))
    for country in ("DE", "AT", ["DE", "AT"]):
        once = {"where": {"country": country}, "count": {"min": 1, "max": 1}}
        assert inside(world, did="purchase", **once) == {"ann"}


def test_columns_of_an_event_beyond_its_name(inside: Matches) -> None:
    world = World()
    for person, country in {"ann": "DE", "bob": None}.items():
        world.person(person)
        world.session(person, "search", country=country)
    assert inside(world, did="search", where={"country": ["DE", "AT"]}) == {"ann"}
    assert inside(world, never="search", where={"country": "DE"}) == {"bob"}


def test_properties_beginnings_and_values_that_are_there(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    found = matches(duckdb_backend, tmp_path, properties_world(), *asked())
    for number, (column, test, expected) in enumerate(ASKED):
        assert found[f"asked{number}"] == expected, (column, test)


def test_a_category_is_seen_three_times(inside: Matches) -> None:
    world = World()
    for person, times in {"ann": 3, "bob": 2}.items():
        world.person(person)
        for category in ["shoes"] * times + ["hats"]:
            world.session(person, "view_item", properties=f'{{"category":"{category}"}}')
    often = {"where": {"properties.category": "shoes"}, "count": {"min": 3}}
    assert inside(world, did="view_item", **often) == {"ann"}


@pytest.mark.parametrize("order", [(0.1, 0.2, 0.3), (0.3, 0.2, 0.1)])
def test_total_of_fractions_does_not_depend_on_their_order(
    inside: Matches, order: tuple[float, ...]
) -> None:
    # In floating point 0.1 + 0.2 + 0.3 is more than 0.3 + 0.2 + 0.1, which is 0.6.
    world = World()
    world.person()
    for seconds in order:
        world.session(engaged_time_s=seconds)
    exactly = {"engaged_time_s": {"min": 0.6, "max": 0.6}}
    assert inside(world, table="sessions", total=exactly) == {"ann"}


def test_last_digits_of_a_score_do_not_decide(inside: Matches) -> None:
    world = World()
    world.person("ann", score=0.1 + 0.2 + 0.3)
    world.person("bob", score=0.3 + 0.2 + 0.1)
    assert inside(world, score={"min": 0.6, "max": 0.6}) == {"ann", "bob"}


def test_what_a_server_reported_counts_without_a_session(inside: Matches) -> None:
    world = World()
    for person in ("ann", "bob"):
        world.person(person)
        world.session(person, "add_to_cart")
    world.outside("ann", "purchase", revenue=Decimal(40))
    world.outside("bob", "purchase", revenue=Decimal(40), reason="only_pings")
    assert inside(world, did="purchase", within_days=7) == {"ann"}
    assert inside(world, never="purchase") == {"bob"}
    assert inside(world, did="purchase", total={"revenue": {"min": 40}}) == {"ann"}


def test_score_has_decayed_until_now(inside: Matches) -> None:
    world = World()
    world.person("ann", score=8)
    world.person("bob", score=7.9)
    assert inside(world, score={"min": 4}, now=NOON + WEEK) == {"ann"}


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        pytest.param(0 * DAY, {"ann"}, id="now"),
        pytest.param(-TICK, set(), id="after now"),
        pytest.param(7 * DAY, {"ann"}, id="at the far end"),
        pytest.param(7 * DAY + TICK, set(), id="just outside"),
    ],
)
@pytest.mark.parametrize("rule", [{"table": "sessions"}, {"did": "search"}])
def test_window_includes_both_ends(
    inside: Matches, rule: Row, ago: timedelta, expected: set[str]
) -> None:
    world = World()
    world.person()
    world.session("ann", "search", ago=ago)
    assert inside(world, **rule, within_days=7) == expected


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        pytest.param(3 * DAY, {"ann"}, id="at the near end"),
        pytest.param(3 * DAY - TICK, set(), id="too young"),
    ],
)
def test_rows_may_have_to_be_old(inside: Matches, ago: timedelta, expected: set[str]) -> None:
    world = World()
    world.person()
    world.session("ann", "search", ago=ago)
    assert inside(world, did="search", before_days=3) == expected


def test_without_consent_to_the_purpose_nobody_matches(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    world = World()
    for person, consent in {"ann": True, "bob": False, "carol": None}.items():
        world.person(person, marketing=consent)
        world.session(person)
    marketing = segment("marketing", {"table": "sessions"})
    analytics = segment("analytics", {"table": "sessions"}, purpose="analytics")
    found = matches(duckdb_backend, tmp_path, world, marketing, analytics)
    assert found == {"marketing": {"ann"}, "analytics": {"ann", "bob", "carol"}}


def test_what_a_person_chose_since_their_last_session_counts(inside: Matches) -> None:
    world = World()
    for person, scored, chosen in [
        ("ann", True, False),
        ("bob", False, True),
        ("carol", True, None),
        ("dan", True, True),
    ]:
        world.person(person, marketing=scored)
        world.session(person)
        world.choices.append({"person_key": surrogate(person), "consent_marketing": chosen})
    assert inside(world, table="sessions") == {"bob", "dan"}


def test_sessions_of_bots_do_not_count(inside: Matches) -> None:
    world = World()
    world.person()
    world.session("ann", "search", is_bot=True)
    assert inside(world, table="sessions") == set()
    assert inside(world, did="search") == set()
