"""Connected components: by hand, against merged sets, when edges are added, and by joins."""

import random
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp

import ibis.expr.types as ir
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.identity import (
    Components,
    component_labels,
    merge_components,
    spread_components,
)
from clickstream_platform.identity.components import TooManyRoundsError
from clickstream_platform_tests.identity.graphs import groups

EDGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40)


def labels(edges: list[tuple[int, int]]) -> dict[int, int]:
    """Label of each key."""
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    found = component_labels(left, right)
    return dict(zip(found.keys.tolist(), found.labels.tolist(), strict=True))


def naive(edges: list[tuple[int, int]]) -> dict[int, int]:
    named = groups((str(one), str(other)) for one, other in edges)
    return {int(key): min(map(int, group)) for group in named for key in group}


def test_label_is_the_least_key_of_the_component() -> None:
    # 7-5-9 hang together, 2-8 too; 4 has an edge to itself alone.
    assert labels([(7, 5), (9, 5), (8, 2), (4, 4)]) == {7: 5, 5: 5, 9: 5, 8: 2, 2: 2, 4: 4}


@given(EDGES)
def test_agrees_with_merged_sets(edges: list[tuple[int, int]]) -> None:
    assert labels(edges) == naive(edges)


def test_keys_may_be_any_int64() -> None:
    low, high = -(2**63), 2**63 - 1
    assert labels([(high, 0), (0, low)]) == dict.fromkeys((low, 0, high), low)


def test_long_path_is_one_component() -> None:
    keys = np.random.default_rng(7).permutation(100_000)
    found = component_labels(keys[:-1], keys[1:])
    assert len(found.keys) == 100_000
    assert found.labels.tolist() == [0] * 100_000


@given(EDGES, EDGES)
def test_added_edges_give_what_all_edges_give(
    edges: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    before = labels(edges)
    known = Components(
        np.array(sorted(before), np.int64),
        np.array([before[key] for key in sorted(before)], np.int64),
    )
    left, right = (np.array([edge[side] for edge in more], np.int64) for side in (0, 1))
    changed = merge_components(known, left, right)
    now = dict(zip(changed.keys.tolist(), changed.labels.tolist(), strict=True))
    after = {key: now.get(label, label) for key, label in before.items()}
    after |= {key: label for key, label in now.items() if key not in before}
    assert after == labels(edges + more)
    touched = {end for edge in more for end in edge}
    assert set(now) <= touched | set(before.values()), "only what new edges reach"


def spread(backend: SQLBackend, folder: Path, edges: list[tuple[int, int]]) -> dict[int, int]:
    """Components by joins, on an engine; through files, since Spark's way to Arrow is pandas."""
    schema = {"identifier_key": pl.Int64(), "other_key": pl.Int64()}

    def write(rows: ir.Table) -> Path:
        place = Path(mkdtemp(dir=folder)) / "rows.parquet"
        backend.to_parquet(rows, str(place))
        return place

    def keep(rows: ir.Table) -> ir.Table:
        return backend.read_parquet(str(write(rows)))

    def fetch(rows: ir.Table) -> pa.Table:
        place = write(rows)
        return pl.read_parquet(place / "*.parquet" if place.is_dir() else place).to_arrow()

    place = Path(mkdtemp(dir=folder)) / "links.parquet"
    pl.DataFrame(edges, schema=schema, orient="row").write_parquet(place)
    found = spread_components(backend.read_parquet(str(place)), keep=keep, fetch=fetch)
    rows = fetch(found)
    keys = rows["key"].to_pylist()
    assert len(keys) == len(set(keys))
    return dict(zip(keys, rows["component_key"].to_pylist(), strict=True))


def graph_with_a_path(seed: int) -> list[tuple[int, int]]:
    rng = random.Random(seed)
    path = rng.sample(range(1_000, 2_000), 60)
    edges = [(rng.randrange(300), rng.randrange(300)) for _ in range(200)]
    return edges + list(pairwise(path)) + [(5_000, 5_000)]


@pytest.mark.parametrize("seed", range(3))
def test_joins_find_the_same_components(seed: int, duckdb_backend: Backend, tmp_path: Path) -> None:
    edges = graph_with_a_path(seed)
    assert spread(duckdb_backend, tmp_path, edges) == labels(edges)


@pytest.mark.spark
def test_spark_finds_the_same_components(spark_backend: SQLBackend, tmp_path: Path) -> None:
    edges = [(1, 2), (2, 3), (9, 3), (7, 8), (20, 8), (5, 5)]
    assert spread(spark_backend, tmp_path, edges) == labels(edges)


def test_too_few_rounds_are_an_error(duckdb_backend: Backend) -> None:
    edges = pl.DataFrame({"identifier_key": range(200), "other_key": range(1, 201)})
    links = duckdb_backend.create_table("links", edges.to_arrow(), temp=True)
    with pytest.raises(TooManyRoundsError, match="still changed after 2 rounds"):
        spread_components(links, keep=lambda rows: rows.cache(), rounds=2)
