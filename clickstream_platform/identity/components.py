"""Connected components: which identifiers hang together, on one machine and on many.

`component_labels` and `merge_components` are numpy on int64 keys; `spread_components` is the same
relation for any Ibis backend, in rounds.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ibis import _
from numpy.typing import NDArray

from clickstream_platform.errors import ClickstreamError

Keys: TypeAlias = NDArray[np.int64]
"""Surrogates."""

MAX_ROUNDS = 64
"""Rounds of `spread_components`; they grow with the square of the logarithm of a component."""


class Components(NamedTuple):
    """Which component each key belongs to."""

    keys: Keys
    """Distinct keys, ascending."""
    labels: Keys
    """Least key of the component of each."""


def component_labels(left: Keys, right: Keys) -> Components:
    """Find the connected components of an undirected graph.

    Every edge hooks the larger label onto the smaller, then labels jump to the label of their
    label; edges inside one component are dropped, so each round has fewer of them.

    Args:
        left: One end of each edge.
        right: The other end.

    Returns:
        Every key that is an end, with the least key of its component.

    Source:
        FastSV (Zhang, Azad, Hu 2020), with arrays in place of sparse matrices.
    """
    if not len(left):
        return Components(np.empty(0, np.int64), np.empty(0, np.int64))
    keys, codes = _coded(np.concatenate([left, right]))
    labels = _hook(len(keys), codes[: len(left)], codes[len(left) :])
    # Codes ascend with keys, so the least code of a component is its least key.
    return Components(keys, keys[labels])


def _coded(ends: Keys) -> tuple[Keys, NDArray[np.int32]]:
    """Distinct keys in order, and the place of each end among them.

    As `numpy.unique` with its inverse, at four fifths of the time: the sort need not be stable.
    """
    order = np.argsort(ends)
    ordered = ends[order]
    is_first = np.empty(len(ends), bool)
    is_first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    codes = np.empty(len(ends), np.int32)
    codes[order] = np.cumsum(is_first, dtype=np.int32) - 1
    return ordered[is_first], codes


def _hook(size: int, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.int32]:
    labels = np.arange(size, dtype=np.int32)
    ends, others = left, right
    while True:
        differ = ends != others
        if not differ.any():
            return labels
        left, right = left[differ], right[differ]
        ends, others = ends[differ], others[differ]
        np.minimum.at(labels, np.maximum(ends, others), np.minimum(ends, others))
        while True:
            jumped = labels[labels]
            if np.array_equal(jumped, labels):
                break
            labels = jumped
        ends, others = labels[left], labels[right]


def merge_components(known: Components, left: Keys, right: Keys) -> Components:
    """Find what new edges change, without looking at the old ones.

    Args:
        known: Components so far.
        left: One end of each new edge.
        right: The other end.

    Returns:
        Keys that are new, and labels that joined a lesser one, each with its label now: a key
        of ``known`` whose label is among these keys follows it. Nothing else changes.
    """
    found = component_labels(_labels_of(known, left), _labels_of(known, right))
    is_known = np.zeros(len(found.keys), bool)
    if len(known.keys):
        is_known = known.keys[_places(known, found.keys)] == found.keys
    moved = (found.keys != found.labels) | ~is_known
    return Components(found.keys[moved], found.labels[moved])


def _labels_of(known: Components, keys: Keys) -> Keys:
    """Label of each key; a key that is not known is its own."""
    if not len(known.keys):
        return keys
    places = _places(known, keys)
    return np.where(known.keys[places] == keys, known.labels[places], keys)


def _places(known: Components, keys: Keys) -> NDArray[np.intp]:
    return np.minimum(np.searchsorted(known.keys, keys), len(known.keys) - 1)


class TooManyRoundsError(ClickstreamError, RuntimeError):
    """Components did not settle in time."""

    def __init__(self, rounds: int) -> None:
        super().__init__(
            f"Components still changed after {rounds} rounds. A path of millions of identifiers "
            f"needs more: raise rounds, or lower max_identifiers so that it is cut."
        )


def spread_components(
    links: ir.Table,
    *,
    keep: Callable[[ir.Table], ir.Table],
    fetch: Callable[[ir.Table], pa.Table] = ir.Table.to_pyarrow,
    rounds: int = MAX_ROUNDS,
) -> ir.Table:
    """Find connected components by joins alone, on any engine.

    Every round turns edges towards the least neighbour: large-star tells larger neighbours of it,
    small-star tells the rest, until every component is a star around its least key.

    Args:
        links: One row per edge: ``identifier_key``, ``other_key``.
        keep: Stores what a round made, and gives it back; without it plans double every round.
        fetch: Reads one row of figures.
        rounds: Rounds at most.

    Returns:
        ``key``, ``component_key`` (least key of the component). Grain: key.

    Raises:
        TooManyRoundsError: Components still changed in the last round.

    Source:
        Kiveris et al., Connected Components in MapReduce and Beyond (SoCC 2014), alternating.
    """
    ends = links.filter(_.identifier_key != _.other_key)
    edges = keep(
        ends.select(
            u=ibis.greatest(ends.identifier_key, ends.other_key),
            v=ibis.least(ends.identifier_key, ends.other_key),
        ).distinct()
    )
    state = _figures(edges, fetch)
    for _round in range(rounds):
        edges = keep(_small_star(keep(_large_star(edges))))
        before, state = state, _figures(edges, fetch)
        if state == before:
            stars = edges.select(key="u", component_key="v")
            least = edges.select(key="v", component_key="v").distinct()
            loops = links.filter(_.identifier_key == _.other_key)
            alone = loops.select(key="identifier_key", component_key="identifier_key").distinct()
            known = stars.union(least)
            return known.union(alone.anti_join(known, "key"))
    raise TooManyRoundsError(rounds)


def _large_star(edges: ir.Table) -> ir.Table:
    """Tell every larger neighbour of a node of the node's least neighbour."""
    both = edges.select(u="u", v="v").union(edges.select(u="v", v="u"))
    least = both.group_by("u").aggregate(m=_.v.min())
    least = least.mutate(m=ibis.least(least.u, least.m))
    told = both.filter(_.v > _.u).inner_join(least, "u")
    return told.select(u="v", v="m").distinct()


def _small_star(edges: ir.Table) -> ir.Table:
    """Tell every smaller neighbour of a node, and the node, of the least of them."""
    least = edges.group_by("u").aggregate(m=_.v.min())
    told = edges.inner_join(least, "u").filter(_.v != _.m).select(u="v", v="m")
    return told.union(least.select(u="u", v="m")).distinct()


def _figures(edges: ir.Table, fetch: Callable[[ir.Table], pa.Table]) -> dict[str, object]:
    """Figures that stand still when edges do: their number, and the sum of what they point to."""
    figures = edges.aggregate(
        edges=edges.count(), u=(edges.u % 1_000_003).sum(), v=(edges.v % 1_000_003).sum()
    )
    row: dict[str, object] = fetch(figures).to_pylist()[0]
    return row
