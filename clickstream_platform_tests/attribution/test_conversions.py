"""Conversions: declared events of people, once per order."""

from decimal import Decimal
from pathlib import Path

import ibis.expr.types as ir
import polars as pl
import pytest
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.attribution import (
    ConversionRule,
    conversions,
    load_conversion_rules,
    touchpoints,
)
from clickstream_platform.collection.consent import load_policy
from clickstream_platform.collection.consent_log import silence_of
from clickstream_platform.errors import DefinitionError
from clickstream_platform.tables.attribution import Conversions, Touchpoints
from clickstream_platform.tables.contracts import require
from clickstream_platform_tests.attribution.world import (
    Happening,
    World,
    hours,
    purchase,
    visit,
)
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import surrogate

ODD_NAME = "${x}"
"""Name that Spark would take for a variable of its own."""
RULES = {**load_conversion_rules(), ODD_NAME: ConversionRule(counts_revenue=True)}
SILENCE = silence_of(load_policy())


def found(backend: SQLBackend, folder: Path, frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return require(
        Conversions,
        run(
            backend,
            folder,
            frames,
            lambda events, session_events, sessions, person_consents, reported=None: conversions(
                events, session_events, sessions, person_consents, RULES, SILENCE, reported=reported
            ),
        )
        # Spark hands instants out in the machine's zone and unit; they are the same instants.
        .with_columns(pl.col("converted_at").cast(pl.Datetime("us", "UTC")))
        .sort("conversion_id"),
    )


def tables_of(world: World) -> dict[str, pl.DataFrame]:
    return world.tables() | {"person_consents": world.person_consents()}


def ids(backend: SQLBackend, folder: Path, *happenings: Happening) -> list[str]:
    world = World()
    world.add(happenings)
    return found(backend, folder, tables_of(world))["conversion_id"].to_list()


def test_declared_events_convert_and_bring_revenue_where_it_counts(
    tmp_path: Path, duckdb_backend: Backend
) -> None:
    world = World()
    sign_up = Happening("s", "ann", hours(2), "sign_up", None, Decimal(5))
    world.add([visit("v", "ann", 1), purchase("p", "ann", 3, "o1", 25), sign_up])
    rows = found(duckdb_backend, tmp_path, tables_of(world))
    assert rows.select("conversion_id", "conversion_name", "order_id", "revenue").rows() == [
        ("p", "purchase", "o1", Decimal(25)),
        ("s", "sign_up", None, Decimal(0)),
    ]
    assert rows["session_id"].n_unique() == 1


def test_purchase_without_revenue_brings_nothing(tmp_path: Path, duckdb_backend: Backend) -> None:
    world = World()
    world.add([Happening("p", "ann", hours(1), "purchase")])
    assert found(duckdb_backend, tmp_path, tables_of(world))["revenue"].to_list() == [Decimal(0)]


def test_order_of_a_person_counts_once_at_its_earliest_event(
    tmp_path: Path, duckdb_backend: Backend
) -> None:
    repeated = [purchase("late", "ann", 30, "o1"), purchase("early", "ann", 1, "o1")]
    same_order_of_bob = purchase("bobs", "bob", 2, "o1")
    assert ids(duckdb_backend, tmp_path, *repeated, same_order_of_bob) == ["bobs", "early"]


def test_events_of_an_order_at_one_instant_stand_in_order_of_their_keys(
    tmp_path: Path, duckdb_backend: Backend
) -> None:
    world = World()
    world.add(purchase(f"p{number}", "ann", 1, "o1") for number in range(9))
    tables = tables_of(world)
    tables["events"] = tables["events"].sort("event_key", descending=True)
    first = min(world.happenings, key=surrogate)
    assert found(duckdb_backend, tmp_path, tables)["conversion_id"].to_list() == [first]


def test_events_without_an_order_all_count(tmp_path: Path, duckdb_backend: Backend) -> None:
    none = [purchase("a", "ann", 1), purchase("b", "ann", 1), purchase("c", "ann", 2, "")]
    assert ids(duckdb_backend, tmp_path, *none) == ["a", "b", "c"]


def test_bots_and_synthetic_events_do_not_count(tmp_path: Path, duckdb_backend: Backend) -> None:
    world = World(bots={"crawler"})
    world.add([purchase("a", "ann", 1), purchase("b", "bob", 1), purchase("c", "crawler", 1)])
    tables = tables_of(world)
    tables["events"] = tables["events"].with_columns(is_synthetic=pl.col("event_id") == "b")
    assert found(duckdb_backend, tmp_path, tables)["conversion_id"].to_list() == ["a"]


def test_touchpoints_are_sessions_of_people(tmp_path: Path, duckdb_backend: Backend) -> None:
    world = World(bots={"crawler"})
    world.add([visit("a", "ann", 1, "Direct"), visit("b", "bob", 2), visit("c", "crawler", 1)])
    frames = of_touchpoints(world)
    rows = require(Touchpoints, run(duckdb_backend, tmp_path, frames, ordered_touchpoints))
    assert rows.select("person_id", "is_direct", "touched_us").sort("person_id").rows() == [
        ("ann", True, hours(1)),
        ("bob", False, hours(2)),
    ]


def of_touchpoints(world: World) -> dict[str, pl.DataFrame]:
    tables = tables_of(world)
    return {name: tables[name] for name in ("sessions", "person_consents")}


def ordered_touchpoints(sessions: ir.Table, person_consents: ir.Table) -> ir.Table:
    return touchpoints(sessions, person_consents, SILENCE)


def test_own_rules_replace_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "conversions.toml").write_text("[search]\ncounts_revenue = false")
    assert load_conversion_rules(tmp_path) == {"search": ConversionRule(counts_revenue=False)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"conversions\.toml: file: .*at least 1"),
        ("[purchase]", r"conversions\.toml: purchase\.counts_revenue: is missing"),
        ("[x]\ncounts_revenue = 1\ncolour = 2", r"conversions\.toml: x\.colour: is no key here"),
        ("[x", r"conversions\.toml: syntax: .*It must be TOML"),
    ],
)
def test_rules_that_cannot_be_used_name_file_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "conversions.toml").write_text(text)
    with pytest.raises(DefinitionError, match=message):
        load_conversion_rules(tmp_path)


SAID = {
    "refused": "nn",
    "agreed": "yy",
    "measured": "yn",
    "withdrawn": "ny",
    "half": "y-",
    "silent": "--",
}
"""Somebody for each way to answer about measurement and attribution."""


def test_consent_decides_who_is_counted_and_credited(
    tmp_path: Path, duckdb_backend: Backend
) -> None:
    # In Germany who says nothing says no, in the US yes; everybody visits once and buys once.
    world = World(choices={f"{said}-{code}": SAID[said] for said in SAID for code in ("DE", "US")})
    for name in [*world.choices, "nobody-DE", "nobody-US", "nobody-ZZ"]:
        at = {"visitor": name, "country": name[-2:]}
        bought = {"us": hours(1), "name": "purchase", "revenue": Decimal(1)}
        world.add([Happening(event_id=name, **at, **bought)])  # type: ignore[arg-type]
    counted = found(duckdb_backend, tmp_path, tables_of(world))
    assert dict(counted.select("conversion_id", "is_attributable").rows()) == {
        "agreed-DE": True,
        "agreed-US": True,
        "measured-DE": False,
        "measured-US": False,
        "half-DE": False,
        "half-US": True,
        "silent-US": True,
        "nobody-US": True,
    }
    touched = run(duckdb_backend, tmp_path, of_touchpoints(world), ordered_touchpoints)
    attributable = counted.filter("is_attributable")
    assert set(touched["person_id"]) == set(attributable["person_id"])


@pytest.mark.spark
@pytest.mark.slow
def test_engines_agree(tmp_path: Path, duckdb_backend: Backend, spark_backend: SQLBackend) -> None:
    world = World(bots={"v3"}, choices={"v1": "yn", "v2": "nn", "v4": "yy"})
    for i in range(200):
        order = [None, "", f"o{i % 23}"][i % 3]
        at = i**3 % 479 / 3.7
        world.add([purchase(f"p{i}", f"v{i % 5}", at, order, i), visit(f"v{i}", f"v{i % 7}", at)])
    world.add([Happening("odd", "v1", hours(9), ODD_NAME, None, Decimal(7))])
    frames = tables_of(world)
    is_out = pl.col("event_key") % 5 == 0
    outside = frames["session_events"].filter(is_out)
    frames["session_events"] = frames["session_events"].filter(~is_out)
    frames["reported"] = outside.select(
        "event_key",
        "person_key",
        person_id=pl.format("p{}", "person_key"),
        country=pl.when(pl.col("occurred_us") % 2 == 0).then(pl.lit("us")),
    )
    one, other = (found(engine, tmp_path, frames) for engine in (duckdb_backend, spark_backend))
    assert one.height > 100
    assert one["session_id"].null_count() > 5
    assert one.filter(conversion_name=ODD_NAME)["revenue"].to_list() == [Decimal(7)]
    assert one.equals(other)
    one, other = (
        run(engine, tmp_path, of_touchpoints(world), ordered_touchpoints).sort("touchpoint_id")
        for engine in (duckdb_backend, spark_backend)
    )
    assert one.height > 30
    assert one.equals(other)
