"""Further identifiers: what events that carry them say about who is who."""

import hashlib
import random
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.errors import ParameterError
from clickstream_platform.identity import (
    IdentifierRules,
    IdentifierType,
    identifier_rules,
    load_rules,
    refresh_identity,
)
from clickstream_platform.identity.links import further_links, further_pairs
from clickstream_platform.lake import Lake
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import events_frame, instant, surrogate
from clickstream_platform_tests.identity.graphs import RULES, RULES_TOML, Link, naive_people
from clickstream_platform_tests.identity.links import Event, seen
from clickstream_platform_tests.laws import lives
from clickstream_platform_tests.stored import bring

HOUR = 3_600
Form = Literal["text", "lower", "digits"]
TABLES = ("identity_map", "identity_merges", "identity_conflicts")
MANY = IdentifierRules(
    types=RULES.types | {"crm": IdentifierType(priority=2, limit=9)}, max_links_per_hour=99
)


def pseudonym(name: str) -> str:
    """What stands for an address, such as e1; its surrogate is that of the name."""
    return f"pi_{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"


NAMES = {
    pseudonym(f"{letter}{number}"): f"{letter}{number}" for letter in "ec" for number in range(9)
}


def shown(event_id: str, visitor: str | None, user: str | None, at: float, *names: str) -> Event:
    """An event that carries e-mail addresses (e1) and customer numbers (c1) as well."""
    kinds = {"e": "email", "c": "crm"}
    carried = ",".join(f"{kinds[name[0]]}:{pseudonym(name)}" for name in names) or None
    return seen(event_id, visitor, user, at, identifiers=carried)


class Kept:
    """Events by id, written to a lake whose rules have small limits."""

    def __init__(self, folder: Path) -> None:
        own = folder / "definitions" / "identity"
        own.mkdir(parents=True)
        (own / "identifiers.toml").write_text(RULES_TOML)
        (folder / "clickstream.toml").write_text(f'definitions = "{own.parent}"')
        self.settings = load_settings(folder)
        self.lake = Lake(self.settings.lake_folder)
        self.events: dict[str, Event] = {}

    def put(self, *events: Event) -> None:
        self.events |= {it["event_id"]: it for it in events}
        self.write()

    def drop(self, *event_ids: str) -> None:
        for event_id in event_ids:
            self.events.pop(event_id, None)
        self.write()

    def write(self) -> None:
        in_order: list[Any] = [it for _, it in sorted(self.events.items())]
        bring(self.lake, "events", events_frame(in_order).with_columns(ordinal=pl.lit(0, pl.Int64)))

    def refresh(self, *, full: bool = False) -> "Kept":
        refresh_identity(self.lake, self.settings, full=full)
        return self

    def stored(self) -> dict[str, pl.DataFrame]:
        frames = {name: self.lake.scan(name).collect() for name in TABLES}
        return {name: frame.sort(frame.columns) for name, frame in frames.items()}

    def persons(self) -> dict[str, str]:
        """Person of each visitor that is merged, by the names that tests use."""
        merged = self.lake.scan("identity_map").filter(~pl.col("is_shared")).collect()
        rows = merged.select("visitor_id", "person_id").rows()
        return {visitor: NAMES.get(person, person) for visitor, person in rows}

    def conflicts(self) -> set[tuple[str, str, str, int]]:
        """Who merges nobody, why, and how much of what there is."""
        rows = self.lake.scan("identity_conflicts").collect()
        named = rows.select("identifier_id", "reason", "found_type", "found").rows()
        return {(NAMES.get(who, who), *more) for who, *more in named}

    def check(self) -> None:
        """What is stored is what loops over the events find, and what a full refresh makes."""
        persons = naive_people(naive_links(self.events.values(), RULES))
        expected = {who: person for who, person in persons.items() if who[0] == "v" != person[0]}
        assert self.persons() == expected
        kept = self.stored()
        anew = self.refresh(full=True).stored()
        for name in TABLES:
            assert kept[name].equals(anew[name]), name


def naive_links(events: Iterable[Event], rules: IdentifierRules) -> list[Link]:
    """Links between all identifiers of each event, by loops."""
    evidence: dict[tuple[str, str], list[Event]] = {}
    for it in events:
        if it.get("is_synthetic"):
            continue
        carried = (it.get("identifiers") or "").split(",")
        names = [part.split(":")[1] for part in carried if part]
        ids = [NAMES[name] for name in names] + [it["visitor_id"], it["user_id"]]
        for pair in combinations([name for name in ids if name], 2):
            one, other = sorted(pair, key=lambda name: -rules.ranks[kind_of(name)])
            evidence.setdefault((one, other), []).append(it)
    found = []
    for (one, other), its in sorted(evidence.items()):
        first = min(its, key=lambda it: (it["occurred_us"], it["event_id"]))
        recorded = min(it["received_at"] for it in its)
        at = instant(first["occurred_us"])
        found.append(Link(one, other, at, recorded, first["event_id"]))
    return found


def kind_of(name: str) -> str:
    return {"v": "visitor", "u": "user", "e": "email", "c": "crm"}[name[0]]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


# -- By hand ---------------------------------------------------------------------------------------


def test_two_devices_that_give_one_address_are_one_person_without_a_login(kept: Kept) -> None:
    kept.put(shown("a", "v1", None, 0, "e1"), shown("b", "v2", None, HOUR, "e1"))
    assert kept.refresh().persons() == {"v1": "e1", "v2": "e1"}
    # Then one of them signs in: both are the user's, from the beginning on.
    kept.put(shown("c", "v2", "u1", 2 * HOUR))
    assert kept.refresh().persons() == {"v1": "u1", "v2": "u1"}
    merges = kept.stored()["identity_merges"].select("identifier_id", "other_id", "cause")
    assert {(NAMES.get(a, a), NAMES.get(b, b), cause) for a, b, cause in merges.rows()} == {
        ("v1", "e1", "email"),
        ("v2", "e1", "email"),
        ("v2", "u1", "login"),
    }
    kept.check()


def test_two_users_with_one_address_stay_two_people(kept: Kept) -> None:
    # e1 is seen with two users; a user is unique, so e1 is nobody's, and v3 nobody's either.
    kept.put(
        shown("a", "v1", "u1", 0, "e1"),
        shown("b", "v2", "u2", HOUR, "e1"),
        shown("c", "v3", None, 2 * HOUR, "e1"),
    )
    assert kept.refresh().persons() == {"v1": "u1", "v2": "u2"}
    assert kept.conflicts() == {("e1", "shared", "user", 2)}
    kept.check()


def test_visitor_between_the_addresses_of_two_users_joins_neither(kept: Kept) -> None:
    # v3 gave e1 of u1 and e2 of u2: within every limit, yet two users: only logins hold.
    kept.put(
        shown("a", "v1", "u1", 0, "e1"),
        shown("b", "v2", "u2", HOUR, "e2"),
        shown("c", "v3", None, 2 * HOUR, "e1"),
        shown("d", "v3", None, 3 * HOUR, "e2"),
    )
    assert kept.refresh().persons() == {"v1": "u1", "v2": "u2"}
    assert {(why, kind, found) for _, why, kind, found in kept.conflicts()} == {
        ("conflict", "user", 2)
    }
    kept.check()


@pytest.mark.parametrize(("addresses", "merged"), [(2, True), (3, False)])
def test_visitor_with_more_addresses_than_the_limit_merges_nobody(
    kept: Kept, addresses: int, *, merged: bool
) -> None:
    # The limit of the rules here is 2: at it v1 and v2 are one, beyond it v1 is a till's.
    for number in range(addresses):
        kept.put(shown(f"a{number}", "v1", None, number * HOUR, f"e{number}"))
    kept.put(shown("b", "v2", None, 9 * HOUR, "e0"))
    assert kept.refresh().persons() == ({"v1": "e0", "v2": "e0"} if merged else {"v2": "e0"})
    assert kept.conflicts() == (set() if merged else {("v1", "shared", "email", addresses)})
    kept.check()


def test_identifiers_of_one_event_are_linked_with_each_other(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    # Of two types with one priority the name decides: crm before email.
    frames = {"events": events_frame([shown("a", "v1", "u1", 0, "e1", "c1")])}
    links = run(duckdb_backend, tmp_path, frames, lambda events: further_links(events, MANY))
    assert {
        (NAMES.get(a, a), NAMES.get(b, b))
        for a, b in links.select("identifier_id", "other_id").rows()
    } == {("v1", "e1"), ("v1", "c1"), ("e1", "u1"), ("c1", "u1"), ("e1", "c1")}
    for row in links.to_dicts():
        assert row["identifier_key"] == surrogate(row["identifier_id"])
        assert row["other_key"] == surrogate(row["other_id"])


@pytest.mark.parametrize(
    "identifiers",
    [
        pytest.param(None, id="none"),
        pytest.param(f"loyalty:{pseudonym('e1')}", id="a type that the rules do not know"),
        pytest.param("email:[erased]", id="what an erasure left"),
    ],
)
def test_event_carries_nothing(
    duckdb_backend: Backend, tmp_path: Path, identifiers: str | None
) -> None:
    frames = {"events": events_frame([seen("a", "v1", "u1", 0, identifiers=identifiers)])}
    links = run(duckdb_backend, tmp_path, frames, lambda events: further_links(events, RULES))
    assert links.is_empty()


def test_synthetic_event_proves_nothing(duckdb_backend: Backend, tmp_path: Path) -> None:
    event = shown("a", "v1", None, 0, "e1") | {"is_synthetic": True}
    frames = {"events": events_frame([event])}
    assert run(
        duckdb_backend, tmp_path, frames, lambda events: further_pairs(events, RULES)
    ).is_empty()


def test_link_rests_on_the_next_evidence_when_the_first_goes(kept: Kept) -> None:
    kept.put(shown("a", "v1", None, 0, "e1"), shown("b", "v1", None, HOUR, "e1"))
    kept.put(shown("c", "v2", None, 9 * HOUR, "e1"))
    kept.refresh().drop("a")
    assert kept.refresh().persons() == {"v1": "e1", "v2": "e1"}
    merges = kept.stored()["identity_merges"]
    assert set(merges["evidence_event_id"]) == {"b", "c"}
    kept.check()
    kept.drop("b")
    assert kept.refresh().persons() == {"v2": "e1"}
    kept.check()


# -- Laws ------------------------------------------------------------------------------------------


def crowd(rng: random.Random, number: int, first: int = 0) -> list[Event]:
    """Events of a few visitors, users and addresses; some of them at one instant."""
    events = []
    for event_id in range(first, first + number):
        carried = rng.choice([(), (), ("e1",), ("e2",), (f"e{rng.randrange(4)}",)])
        visitor = rng.choice(["v1", "v2", "v3", "v4", "v5", None])
        user = rng.choice([None, None, None, "u1", "u2"])
        at = HOUR * rng.randrange(40) + rng.choice([0, 0, 1])
        it = shown(f"e{event_id}", visitor, user, at, *carried)
        late = it["occurred_us"] + rng.choice([0, 1_000_000])
        events.append(it | {"received_at": instant(late), "is_synthetic": rng.random() < 0.1})
    return events


@pytest.mark.parametrize("seed", range(4))
def test_pairs_agree_with_a_loop_over_events(
    duckdb_backend: Backend, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    events = [
        shown(f"e{n}", rng.choice(["v1", "v2", None]), rng.choice(["u1", None]), n % 7,
              *rng.choice([(), ("e1",), ("e1", "c1"), ("e2", "c1"), ("c2",)]))
        for n in range(60)
    ]  # fmt: skip
    frames = {"events": events_frame([*events])}
    found = run(duckdb_backend, tmp_path, frames, lambda events: further_links(events, MANY))
    rows = found.select(
        "identifier_id", "other_id", "valid_from_at", "recorded_at", "evidence_event_id"
    ).rows()
    assert {(NAMES.get(a, a), NAMES.get(b, b), *more) for a, b, *more in rows} == {
        (it.one, it.other, it.at, it.recorded, it.event)
        for it in naive_links(events, MANY)
        if (it.one[0], it.other[0]) != ("v", "u")
    }


STEPS = ("arrive", "arrive", "change", "vanish", "refresh", "compact")


@pytest.mark.slow
@lives(10)
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=5))
def test_incremental_equals_full(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: list[str]
) -> None:
    rng, kept = random.Random(seed), Kept(tmp_path_factory.mktemp("life"))
    kept.put(*crowd(rng, 12))
    kept.refresh()
    for name in steps:
        known = [it for _, it in sorted(kept.events.items())]
        some = rng.sample(known, min(len(known), 3))
        match name:
            case "arrive":
                kept.put(*crowd(rng, rng.randint(1, 5), first=rng.randrange(40)))
            case "change":
                other = f"email:{pseudonym('e3')}"
                kept.put(*(it | {"identifiers": rng.choice([None, other])} for it in some))
            case "vanish":
                kept.drop(*[it["event_id"] for it in some])
            case "compact":
                kept.lake.compact("events")
            case _:
                kept.refresh()
    kept.refresh()
    kept.check()


def test_people_do_not_depend_on_the_order_of_events(tmp_path: Path) -> None:
    events = crowd(random.Random(3), 40)
    orders = [events, events[::-1], events[20:] + events[:20]]
    found = []
    for number, order in enumerate(orders):
        kept = Kept(tmp_path / str(number))
        kept.put(*order[:15])
        kept.refresh().put(*order[15:])
        kept.refresh().check()
        found.append(kept.stored())
    for name in TABLES:
        assert found[0][name].equals(found[1][name])
        assert found[0][name].equals(found[2][name])


@pytest.mark.spark
def test_engines_agree(duckdb_backend: Backend, spark_backend: SQLBackend, tmp_path: Path) -> None:
    left = ("[erased]", "email:[erased]", "email", "email:", ":", ",", "", f"{pseudonym('e1')}")
    odd = [seen(f"odd{n}", "v1", "u1", n, identifiers=it) for n, it in enumerate(left)]
    frames = {"events": events_frame([*crowd(random.Random(9), 200), *odd])}

    def found(backend: SQLBackend) -> pl.DataFrame:
        links = run(backend, tmp_path, frames, lambda events: further_links(events, RULES))
        return links.sort("identifier_id", "other_id")

    assert found(duckdb_backend).height > 8
    assert found(spark_backend).equals(found(duckdb_backend))


# -- Rules -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "given", "normal"),
    [
        ("text", " AbC ", "AbC"),
        ("lower", " Ann@Example.org\n", "ann@example.org"),
        ("digits", "+49 (170) 555-01 00", "491705550100"),
        ("digits", "0049 170 5550100", "491705550100"),
        ("digits", "0170 5550100", "01705550100"),
        ("digits", "none", ""),
    ],
)
def test_normal_form_of_a_type(form: Form, given: str, normal: str) -> None:
    kind = IdentifierType(priority=2, limit=5, form=form)
    assert kind.normalised(given) == normal


@given(st.text(), st.sampled_from(["text", "lower", "digits"]))
def test_normal_form_is_normal(text: str, form: Form) -> None:
    kind = IdentifierType(priority=2, limit=5, form=form)
    assert kind.normalised(kind.normalised(text)) == kind.normalised(text)


def test_rules_as_a_file_are_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(RULES_TOML)
    assert load_rules(tmp_path / "rules.toml") == RULES


def test_shipped_limits_are_one_user_and_five_of_the_others() -> None:
    limits = dict(identifier_rules().limits)
    assert (limits.pop("user"), limits.pop("visitor")) == (1, 100)
    assert set(limits.values()) == {5}


def test_further_types_are_written_with_their_values() -> None:
    assert RULES.further == ["email"]
    assert RULES.written("email", "Ann@example.org") == "email:Ann@example.org"
    with pytest.raises(ParameterError, match="type is one of email, got 'fax'"):
        RULES.written("fax", "1")
    with pytest.raises(ParameterError, match="email must not be blank"):
        RULES.written("email", " ")
    with pytest.raises(ParameterError, match="phone must hold digits, got ''"):
        identifier_rules().written("phone", "none of ours")
