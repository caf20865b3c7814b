"""The identity graph: worked by hand, against loops, and equal on both engines."""

import os
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import ibis.expr.types as ir
import polars as pl
import pytest
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.errors import DefinitionError
from clickstream_platform.identity import (
    component_labels,
    graph,
    identifier_rules,
    load_rules,
    map_identities,
)
from clickstream_platform.identity.resolve import all_conflicts, resolve
from clickstream_platform.lake import polars_schema
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform.tables.contracts import require
from clickstream_platform_tests.engines import INSTANT, run
from clickstream_platform_tests.frames import NOON
from clickstream_platform_tests.identity.graphs import (
    RULES,
    Link,
    links_frame,
    naive_people,
    random_links,
)

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NO_DECISIONS = pl.DataFrame(schema=polars_schema("identity_decisions"))
TABLES_MADE = ("identity_map", "identity_merges", "identity_conflicts")


def resolved(backend: Backend, links: list[Link]) -> dict[str, pl.DataFrame]:
    """The three tables of some links, after checking their contracts."""
    backend.create_table("given", links_frame(links).to_arrow(), temp=True, overwrite=True)
    tables = resolve(backend, "given", NO_DECISIONS, RULES)
    found = {}
    for name in TABLES_MADE:
        schema = polars_schema(name)
        frame = getattr(tables, name).select(list(schema)).to_polars().cast(schema)
        found[name] = require(TABLES[name].contract, frame)
    return found


def people(tables: dict[str, pl.DataFrame]) -> dict[str, str]:
    """Person of each visitor that is merged with somebody."""
    merged = tables["identity_map"].filter(~pl.col("is_shared"))
    rows = merged.select("visitor_id", "person_id").rows()
    assert len(rows) == len(dict(rows)), "a visitor has one person"
    return dict(rows)


def undone(tables: dict[str, pl.DataFrame]) -> dict[tuple[str, str], str]:
    """Why links do not hold."""
    merges = tables["identity_merges"].filter(pl.col("undone_by").is_not_null())
    return {
        (one, other): why
        for one, other, why in merges.select("identifier_id", "other_id", "undone_by").rows()
    }


def test_identifiers_that_hang_together_are_the_user(duckdb_backend: Backend) -> None:
    # v1 signs in as u1; u1 gives e1; v2 gives e1 and never signs in: both are u1.
    tables = resolved(duckdb_backend, [Link("v1", "u1"), Link("e1", "u1"), Link("v2", "e1")])
    assert people(tables) == {"v1": "u1", "v2": "u1"}
    assert set(tables["identity_merges"]["cause"]) == {"login", "email"}
    assert tables["identity_conflicts"].is_empty()


def test_without_a_user_the_strongest_identifier_names_the_person(duckdb_backend: Backend) -> None:
    tables = resolved(duckdb_backend, [Link("v1", "e1"), Link("v2", "e1")])
    assert people(tables) == {"v1": "e1", "v2": "e1"}


def test_visitor_with_two_users_is_shared_since_the_second_arrived(duckdb_backend: Backend) -> None:
    links = [Link("v1", "u1", NOON), Link("v1", "u2", NOON + DAY), Link("v2", "u2")]
    tables = resolved(duckdb_backend, links)
    assert people(tables) == {"v2": "u2"}
    assert undone(tables) == {("v1", "u1"): "shared", ("v1", "u2"): "shared"}
    first = tables["identity_merges"].filter(pl.col("other_id") == "u1").row(0, named=True)
    assert first["recorded_at"] == NOON, "merged for a day"
    assert first["undone_at"] == NOON + DAY
    conflict = tables["identity_conflicts"].row(0, named=True)
    assert (conflict["identifier_id"], conflict["reason"]) == ("v1", "shared")
    assert (conflict["found_type"], conflict["found"], conflict["allowed"]) == ("user", 2, 1)
    assert conflict["since_at"] == NOON + DAY


def test_chain_between_two_users_leaves_only_logins(duckdb_backend: Backend) -> None:
    # v3 gave the addresses of both: within every limit, yet u1 and u2 would be one person.
    links = [
        Link("v1", "u1"), Link("e1", "u1"), Link("e2", "u2"),
        Link("v3", "e1", recorded=NOON + DAY), Link("v3", "e2", recorded=NOON + 2 * DAY),
    ]  # fmt: skip
    tables = resolved(duckdb_backend, links)
    assert people(tables) == {"v1": "u1"}
    assert undone(tables) == {("v3", "e1"): "conflict", ("v3", "e2"): "conflict"}
    conflict = tables["identity_conflicts"].row(0, named=True)
    assert (conflict["reason"], conflict["found_type"], conflict["found"]) == (
        "conflict",
        "user",
        2,
    )
    assert conflict["since_at"] == NOON + 2 * DAY, "when the link came that joined both"


@pytest.mark.parametrize(
    ("visitors", "minutes", "reason"),
    [
        pytest.param(4, 0, None, id="as many as allowed"),
        pytest.param(5, 61, "shared", id="one visitor too many"),
        pytest.param(6, 12, "storm", id="six links within an hour"),
    ],
)
def test_user_on_too_many_visitors_merges_nobody(
    visitors: int, minutes: int, reason: str | None, duckdb_backend: Backend
) -> None:
    links = [Link(f"v{i}", "u1", NOON + i * minutes * MINUTE) for i in range(visitors)]
    tables = resolved(duckdb_backend, links)
    assert len(people(tables)) == (0 if reason else visitors)
    assert (reason in set(tables["identity_conflicts"]["reason"])) is (reason is not None)


@pytest.mark.parametrize(
    ("apart", "is_storm"),
    [
        pytest.param(timedelta(minutes=12), True, id="six within exactly an hour"),
        pytest.param(timedelta(minutes=12, microseconds=1), False, id="just over an hour"),
    ],
)
def test_hour_of_a_storm_includes_both_ends(
    apart: timedelta, *, is_storm: bool, duckdb_backend: Backend
) -> None:
    links = [Link(f"v{i}", "u1", NOON + i * apart) for i in range(6)]
    reasons = set(resolved(duckdb_backend, links)["identity_conflicts"]["reason"])
    assert ("storm" in reasons) is is_storm


def test_storm_is_known_when_the_last_of_its_links_has_arrived(duckdb_backend: Backend) -> None:
    # Six of five allowed: the sixth by event time came first, the first last, three days later.
    arrivals = [NOON + 3 * DAY, *(NOON + DAY + i * MINUTE for i in range(4)), NOON + 10 * MINUTE]
    links = [Link(f"v{i}", "u1", NOON + i * MINUTE, recorded=at) for i, at in enumerate(arrivals)]
    tables = resolved(duckdb_backend, links)
    storms = tables["identity_conflicts"].filter(reason="storm")
    assert storms["since_at"].to_list() == [NOON + 3 * DAY]


def test_component_that_is_too_large_leaves_only_logins(duckdb_backend: Backend) -> None:
    # 9 identifiers of at most 8, no type over its limit but visitors (5 of 4).
    links = [Link(f"v{i}", "u1", NOON + i * DAY) for i in range(4)]
    links += [Link("e1", "u1"), Link("e2", "u1"), Link("v4", "e1"), Link("v5", "e2")]
    tables = resolved(duckdb_backend, links)
    assert people(tables) == {f"v{i}": "u1" for i in range(4)}
    reasons = tables["identity_conflicts"].select("reason", "found_type", "found").rows()
    assert sorted(reasons) == [("conflict", "visitor", 6), ("oversize", "any", 9)]


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_loops(seed: int, duckdb_backend: Backend) -> None:
    rng = random.Random(seed)
    links = random_links(rng, rng.randrange(2, 22))
    tables = resolved(duckdb_backend, links)
    expected = naive_people(links)
    apart = {v: who for v, who in expected.items() if v[0] == "v" and who != v}
    assert people(tables) == apart
    holds = tables["identity_merges"].filter(pl.col("person_id").is_not_null())
    assert {
        (one, other): person
        for one, other, person in holds.select("identifier_id", "other_id", "person_id").rows()
    } == {
        (it.one, it.other): expected[it.one]
        for it in links
        if it.one in expected and expected[it.one] == expected.get(it.other)
    }
    assert tables["identity_merges"].height == len(links), "no link is lost"


@pytest.mark.parametrize("seed", range(10))
def test_two_users_are_never_one_person(seed: int, duckdb_backend: Backend) -> None:
    rng = random.Random(seed)
    tables = resolved(duckdb_backend, random_links(rng, 25))
    holds = tables["identity_merges"].filter(pl.col("person_id").is_not_null())
    users = holds.filter(pl.col("other_type") == "user")
    assert (users["person_id"] == users["other_id"]).all()


@pytest.mark.parametrize("seed", range(5))
def test_logins_alone_give_the_plain_map(seed: int, duckdb_backend: Backend) -> None:
    rng = random.Random(seed)
    links = [it for it in random_links(rng, 12) if it.one[0] == "v" and it.other[0] == "u"]
    links = [
        Link(it.one, it.other, it.at + number * DAY, event=it.event)
        for number, it in enumerate(links)
    ]
    tables = resolved(duckdb_backend, links)
    plain = duckdb_backend.table("given").select(
        visitor_id="identifier_id", visitor_key="identifier_key", user_id="other_id",
        user_key="other_key", evidence_event_id="evidence_event_id",
        valid_from_at="valid_from_at", recorded_at="recorded_at",
    )  # fmt: skip
    columns = list(polars_schema("identity_map"))
    expected = map_identities(plain).select(columns).to_polars().sort("visitor_id", "user_id")
    found = tables["identity_map"].select(columns).sort("visitor_id", "user_id")
    assert found.rows() == expected.rows()


def whole_graph(
    backend: SQLBackend, folder: Path, links: pl.DataFrame, denied: pl.DataFrame
) -> dict[str, list[tuple[object, ...]]]:
    """Every relation between links and the tables, step by step, as any engine runs them."""
    frames = {"links": links, "denied": denied}

    def step(name: str, transform: Callable[..., ir.Table], **read: str) -> None:
        given = {as_what: frames[it] for as_what, it in read.items()}
        frames[name] = run(backend, folder, given, transform)

    step(
        "usable",
        lambda links, denied: links.anti_join(denied, list(graph.PAIR)),
        links="links",
        denied="denied",
    )
    step("shared", lambda links: graph.shared_identifiers(links, RULES), links="usable")
    step("held", graph.links_that_hold, links="usable", shared="shared")
    labels = component_labels(*(frames["held"][name].to_numpy() for name in graph.PAIR))
    frames["components"] = pl.DataFrame({"key": labels.keys, "component_key": labels.labels})
    step(
        "members",
        lambda held, components: graph.component_members(held, components, RULES),
        held="held",
        components="components",
    )
    step("found", lambda members: graph.conflicts(members, RULES), members="members")
    step("people", graph.people, members="members", held="held", conflicting="found")
    step("map", graph.map_people, links="usable", found="people")
    least = frames["found"].group_by("component_key").agg(pl.col("reason").min())
    frames["split"] = least.with_columns(since_at=pl.lit(NOON + 9 * DAY, INSTANT))
    frames["apart"] = frames["members"].join(frames["split"], on="component_key")
    step(
        "merges",
        lambda links, found, shared, conflicting, denied: graph.merges(
            links, found, graph.Undoing(shared, conflicting, denied)
        ),
        links="links",
        found="people",
        shared="shared",
        conflicting="apart",
        denied="denied",
    )
    step(
        "conflicts",
        all_conflicts,
        shared="shared",
        members="members",
        found="found",
        split="split",
    )
    names = ("shared", "members", "people", "map", "merges", "conflicts")
    return {name: frames[name].select(sorted(frames[name].columns)).sort(pl.all()).rows()
            for name in names}  # fmt: skip


@pytest.mark.spark
def test_spark_finds_the_same_people(
    spark_backend: SQLBackend, duckdb_backend: Backend, tmp_path: Path
) -> None:
    links = []
    for seed in range(6):
        rng = random.Random(seed)
        links += [
            Link(f"{it.one}-{seed}", f"{it.other}-{seed}", it.at, it.recorded, it.event)
            for it in random_links(rng, 20)
        ]
    frame = links_frame(links)
    denied = frame.filter(pl.col("identifier_key") % 7 == 0).select(
        *graph.PAIR, decision_id=pl.lit("d1"), decided_at=pl.lit(NOON - DAY, INSTANT)
    )
    found = whole_graph(spark_backend, tmp_path, frame, denied)
    expected = whole_graph(duckdb_backend, tmp_path, frame, denied)
    assert found == expected
    assert len(found["map"]) > 20
    assert len(found["conflicts"]) > 5


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        pytest.param("types = 3", "types", "table", id="no table of types"),
        pytest.param(
            "[types.user]\npriority = 1\nlimit = 1", "types", "misses the type `visitor`",
            id="visitors missing",
        ),
        pytest.param(
            "[types.user]\npriority = 1\nlimit = 2\n[types.visitor]\npriority = 2\nlimit = 1",
            "types", "never merged", id="two users in one person",
        ),
        pytest.param(
            "[types.user]\npriority = 3\nlimit = 1\n[types.visitor]\npriority = 2\nlimit = 1",
            "types", "strongest priority", id="a visitor stronger than a user",
        ),
        pytest.param("max = 3\n[types]", "types", "misses", id="an unknown key"),
        pytest.param("types = [", "syntax", "TOML", id="no TOML"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_used_are_named(
    text: str, key: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "identifiers.toml"
    file.write_text(text)
    with pytest.raises(DefinitionError, match=rf"(?s)identifiers.toml.*{key}.*{words}"):
        load_rules(file)


def test_own_rules_replace_the_shipped_ones(tmp_path: Path) -> None:
    own = tmp_path / "identity" / "identifiers.toml"
    own.parent.mkdir()
    own.write_text(
        "[types.user]\npriority = 1\nlimit = 1\n[types.visitor]\npriority = 2\nlimit = 7"
    )
    assert identifier_rules(tmp_path).limits == {"user": 1, "visitor": 7}
    # A process that takes run after run sees what was changed in between.
    own.write_text(own.read_text().replace("limit = 7", "limit = 8"))
    os.utime(own, ns=(1, 1))
    assert identifier_rules(tmp_path).limits == {"user": 1, "visitor": 8}
    assert identifier_rules(None).limits["user"] == 1
