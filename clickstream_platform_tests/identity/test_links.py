"""Identity links: the earliest evidence that a visitor was signed in as a user."""

import random
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.identity import identity_links, map_identities, merge_links
from clickstream_platform_tests.engines import run
from clickstream_platform_tests.frames import NOON, events_frame
from clickstream_platform_tests.identity.links import Event, logins, naive_map, seen

LINK = ["visitor_id", "user_id", "evidence_event_id"]


def links(backend: Backend, folder: Path, *events: Event) -> pl.DataFrame:
    frames = {"events": events_frame([*events])}
    return run(backend, folder, frames, identity_links).sort("visitor_id", "user_id")


def test_earliest_event_that_shows_both_is_the_evidence(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    late = NOON + timedelta(days=1)
    found = links(
        duckdb_backend,
        tmp_path,
        seen("later", "phone", "ann", 9),
        seen("earliest", "phone", "ann", 5, received_at=late),
        seen("before", "phone", None, 1),
        seen("other", "laptop", "ann", 7),
    )
    assert found.select(LINK).rows() == [("laptop", "ann", "other"), ("phone", "ann", "earliest")]
    # Valid from the earliest evidence, known since the first that arrived.
    assert found.select("valid_from_at", "recorded_at").rows()[1] == (
        NOON + timedelta(seconds=5),
        NOON + timedelta(seconds=9),
    )


def test_of_several_at_one_instant_the_least_id_is_the_evidence(
    duckdb_backend: Backend, tmp_path: Path
) -> None:
    at_once = [seen(it, "phone", "ann", 5) for it in ("b", "a", "c")]
    assert links(duckdb_backend, tmp_path, *at_once)["evidence_event_id"].to_list() == ["a"]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(seen("a", "phone", "ann", 0, is_synthetic=True), id="synthetic"),
        pytest.param(seen("a", None, "ann", 0), id="no visitor"),
        pytest.param(seen("a", "phone", None, 0), id="no user"),
        pytest.param(seen("a", "undefined", "ann", 0), id="visitor that stands for nobody"),
        pytest.param(seen("a", "phone", "null", 0), id="user that stands for nobody"),
    ],
)
def test_event_proves_nothing(duckdb_backend: Backend, tmp_path: Path, event: Event) -> None:
    assert links(duckdb_backend, tmp_path, event).is_empty()


def test_further_identifiers_can_be_blocked(duckdb_backend: Backend, tmp_path: Path) -> None:
    frames = {"events": events_frame([seen("a", "kiosk", "ann", 0), seen("b", "phone", "ann", 1)])}
    found = run(
        duckdb_backend, tmp_path, frames, lambda events: identity_links(events, blocked=["kiosk"])
    )
    assert found["visitor_id"].to_list() == ["phone"]


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_a_loop_over_events(duckdb_backend: Backend, tmp_path: Path, seed: int) -> None:
    events = events_frame(logins(random.Random(seed), 60))
    found = run(
        duckdb_backend,
        tmp_path,
        {"events": events},
        lambda events: map_identities(identity_links(events)),
    )
    assert found.sort(found.columns).equals(naive_map(events))


@pytest.mark.parametrize("seed", range(4))
def test_links_of_two_sets_merge_into_the_links_of_both(
    duckdb_backend: Backend, tmp_path: Path, seed: int
) -> None:
    events = events_frame(logins(random.Random(seed), 60))
    cut = random.Random(seed).randrange(60)
    halves = {"one": events[:cut], "other": events[cut:]}
    merged = run(
        duckdb_backend,
        tmp_path,
        halves,
        lambda one, other: map_identities(merge_links(identity_links(one), identity_links(other))),
    )
    assert merged.sort(merged.columns).equals(naive_map(events))


@pytest.mark.spark
def test_engines_agree(duckdb_backend: Backend, spark_backend: SQLBackend, tmp_path: Path) -> None:
    events = events_frame(logins(random.Random(99), 300))
    frames = {"one": events[:120], "other": events[100:]}

    def merged(backend: SQLBackend) -> pl.DataFrame:
        found = run(
            backend,
            tmp_path,
            frames,
            lambda one, other: map_identities(
                merge_links(identity_links(one), identity_links(other))
            ),
        )
        return found.sort(found.columns)

    assert merged(spark_backend).equals(merged(duckdb_backend))
    assert merged(duckdb_backend).equals(naive_map(events))
