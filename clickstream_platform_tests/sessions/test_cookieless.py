"""Counts without identifiers: by hand, as laws, and up to date whatever people choose."""

import random
from collections import defaultdict
from datetime import timedelta
from importlib import resources
from pathlib import Path

import ibis.expr.types as ir
import polars as pl
import pytest
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.collection import consent
from clickstream_platform.collection.consent import load_policy
from clickstream_platform.identity import with_person
from clickstream_platform.lake import Lake
from clickstream_platform.sessions import cookieless_counts, counting_of, refresh_cookieless
from clickstream_platform.settings import Settings
from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.cookieless import CookielessCounts
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import (
    NOON,
    events_frame,
    identity_frame,
    person_consents_frame,
)
from clickstream_platform_tests.stored import rows_of

COUNTING = counting_of(load_policy())._replace(least=3)
DAY = timedelta(days=1)
Row = dict[str, object]
Cell = tuple[str, str, str, str]


def page(number: int, visitor: str | None, path: str = "/a", **more: object) -> Row:
    return {
        "event_id": f"e{number}",
        "visitor_id": visitor,
        "page_host": "shop.example",
        "page_path": path,
        "country": "DE",
    } | more


def counted(
    backend: SQLBackend, folder: Path, events: list[Row], choices: dict[str, str]
) -> pl.DataFrame:
    """Counts, after checking their contract."""
    frames = {
        "events": events_frame(events),
        "identity_map": identity_frame([{"visitor_id": "ann-phone", "user_id": "ann"}]),
        "person_consents": person_consents_frame(choices),
    }

    def transform(events: ir.Table, identity_map: ir.Table, person_consents: ir.Table) -> ir.Table:
        return cookieless_counts(with_person(events, identity_map), person_consents, COUNTING)

    # DuckDB adds integers up to a wider type; what is stored is cast.
    rows = run(backend, folder, frames, transform).cast({"events": pl.Int64})
    return require(CookielessCounts, rows).sort(pl.all())


def cells(rows: pl.DataFrame) -> dict[Cell, int]:
    columns = ("page_host", "page_path", "country", "event_name")
    return {row[:4]: row[4] for row in rows.select(*columns, "events").iter_rows()}


def test_who_refused_is_counted_where_enough_did(tmp_path: Path, duckdb_backend: Backend) -> None:
    # On /a four people refused, with five events. On /b two did and on /c one: three on the host.
    # Eva agreed and is measured; a search on another host stands alone and is left out.
    events = [
        *[page(n, f"v{n}") for n in range(4)],
        page(4, "v0"),
        *[page(5 + n, f"w{n}", "/b") for n in range(2)],
        page(7, "x", "/c", country="FR"),
        page(8, "eva"),
        page(9, "v1", "/s", page_host="help.example", event_name="search"),
        page(10, "crawler", is_bot=True),
        page(11, "canary", is_synthetic=True),
    ]
    rows = counted(duckdb_backend, tmp_path, events, {"eva": "yy", "x": "nn"})
    assert cells(rows) == {
        ("shop.example", "/a", "DE", "page_view"): 5,
        ("shop.example", "(few)", "(few)", "page_view"): 3,
    }


def test_people_count_once_however_many_events_or_devices(
    tmp_path: Path, duckdb_backend: Backend
) -> None:
    # Twenty events of two people, one of them on two devices.
    who = ["ann-phone", "bob", "ann-phone"]
    events = [page(n, who[n % 3]) for n in range(20)]
    events += [page(20, "ann-laptop", user_id="ann")]
    assert counted(duckdb_backend, tmp_path, events, {}).is_empty()


def test_events_without_identifiers_are_each_somebody(
    tmp_path: Path, duckdb_backend: Backend
) -> None:
    nobody = [page(n, None, country="US") for n in range(3)]
    silent = [page(3 + n, f"v{n}", country="US") for n in range(3)]  # may be measured there
    rows = counted(duckdb_backend, tmp_path, nobody + silent, {})
    assert cells(rows) == {("shop.example", "/a", "US", "page_view"): 3}


def test_policy_says_where_nothing_is_counted(tmp_path: Path, duckdb_backend: Backend) -> None:
    policy = load_policy()
    elsewhere = policy.cookieless.model_copy(update={"regimes": frozenset({"us"})})
    counting = counting_of(policy.model_copy(update={"cookieless": elsewhere}))
    frames = {
        "events": events_frame([page(n, f"v{n}") for n in range(20)]),
        "held": person_consents_frame({}),
    }
    rows = run(
        duckdb_backend,
        tmp_path,
        frames,
        lambda events, held: cookieless_counts(
            events.mutate(person_key=events.visitor_key), held, counting
        ),
    )
    assert rows.is_empty()
    assert counting.countries == ("US",)
    assert not counting.elsewhere


def world(rng: random.Random) -> tuple[list[Row], dict[str, str]]:
    """Some events of some people, who answer in every way."""
    people = [None, "ann-phone", *(f"v{n}" for n in range(8))]
    events = [
        page(
            number,
            rng.choice(people),
            rng.choice(["/a", "/b", "/c"]),
            country=rng.choice(["DE", "US", None]),
            event_name=rng.choice(["page_view", "search"]),
            occurred_at=NOON + rng.randrange(3) * DAY,
        )
        for number in range(rng.randrange(5, 90))
    ]
    choices = {
        name: rng.choice(["yy", "yn", "nn", "--"])
        for name in ["ann", *people[2:]]
        if rng.random() < 0.6
    }
    return events, choices


@pytest.mark.parametrize("seed", range(12))
def test_cells_are_of_enough_people_and_none_counts_twice(
    seed: int, tmp_path: Path, duckdb_backend: Backend
) -> None:
    events, choices = world(random.Random(seed))
    rows = counted(duckdb_backend, tmp_path, events, choices)

    def refuses(row: Row) -> bool:
        person = "ann" if row["visitor_id"] == "ann-phone" else row["visitor_id"]
        said = choices.get(str(person), "--")[0]
        return person is None or said == "n" or (said == "-" and row["country"] != "US")

    refused = [row for row in events if refuses(row)]
    assert rows["events"].sum() <= len(refused)
    assert (rows["events"] >= COUNTING.least).all()
    whole: dict[tuple[object, ...], set[object]] = defaultdict(set)
    for number, row in enumerate(refused):
        at = row["occurred_at"]
        cell = (at.date(), row["page_path"], row["country"] or "(unknown)", row["event_name"])  # type: ignore[attr-defined]  # an instant
        whole[cell].add(row["visitor_id"] or number)
    enough = {cell for cell, who in whole.items() if len(who) >= COUNTING.least}
    columns = ("event_date", "page_path", "country", "event_name")
    unfolded = rows.filter(pl.col("page_path") != "(few)").select(columns)
    assert set(unfolded.iter_rows()) == enough


@pytest.mark.parametrize("seed", range(6))
def test_incremental_equals_full(seed: int, lake: Lake, settings: Settings, tmp_path: Path) -> None:
    text = (resources.files(consent) / "purposes.toml").read_text()
    text = text.replace("least = 10", "least = 2")
    (tmp_path / "purposes.toml").write_text(text)
    settings = settings.model_copy(update={"definitions": tmp_path})
    rng = random.Random(seed)
    for step in range(4):
        events, choices = world(rng)
        for row in events:
            row["event_id"] = f"{step}-{row['event_id']}"
        lake.append("events", events_frame(events))
        lake.overwrite("person_consents", person_consents_frame(choices))
        links = [
            {"visitor_id": v, "user_id": "ann"} for v in rng.sample(["ann-phone", "v1", "v2"], 2)
        ]
        lake.overwrite("identity_map", identity_frame(links))  # type: ignore[arg-type]  # texts are objects
        if step > 1:  # somebody is erased
            lake.delete("events", f"visitor_id = 'v{rng.randrange(8)}'")
            lake.vacuum("events")
        refresh_cookieless(lake, settings)
    incremental = rows_of(lake, ["cookieless_counts"])["cookieless_counts"]
    assert refresh_cookieless(lake, settings).rows_written == 0, "nothing is new"
    done = refresh_cookieless(lake, settings, full=True)
    assert done.is_full
    assert rows_of(lake, ["cookieless_counts"])["cookieless_counts"].equals(incremental)
    assert not incremental.is_empty()


@pytest.mark.spark
@pytest.mark.slow
def test_engines_agree(tmp_path: Path, duckdb_backend: Backend, spark_backend: SQLBackend) -> None:
    events, choices = world(random.Random(7))
    one, other = (
        counted(engine, tmp_path, events, choices) for engine in (duckdb_backend, spark_backend)
    )
    assert one.height > 3
    assert one.equals(other)
