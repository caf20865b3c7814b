"""Clusters of matched records, and how right matches are where the truth is known."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl


def known_apart(pairs: pl.DataFrame, users: Mapping[str, str]) -> pl.DataFrame:
    """Drop pairs of two known users: a login outweighs any likeness.

    Args:
        pairs: ``left_id``, ``right_id``.
        users: User of each record that has one.
    """
    names = pl.DataFrame(
        {"record_id": list(users), "user": list(users.values())},
        schema={"record_id": pl.String(), "user": pl.String()},
    )
    marked = pairs.join(
        names.rename({"record_id": "left_id", "user": "one"}), on="left_id", how="left"
    )
    marked = marked.join(
        names.rename({"record_id": "right_id", "user": "other"}), on="right_id", how="left"
    )
    is_apart = (pl.col("one") != pl.col("other")).fill_null(value=False)
    return marked.filter(~is_apart).drop("one", "other")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Records that are believed to be one person."""

    records: tuple[str, ...]
    """In order."""
    matches: int
    """Pairs of them that match."""
    density: float
    """Matches of all pairs there could be, 0 to 1; low where a chain holds it together."""
    least_probability: float
    """Of the weakest match that it needs to hang together."""


def cluster_matches(pairs: pl.DataFrame, users: Mapping[str, str]) -> list[Cluster]:
    """Join matches, the surest first, unless that would join two known users.

    Args:
        pairs: ``left_id``, ``right_id``, ``match_probability``; matches only.
        users: User of each record that has one.

    Returns:
        Clusters of two records or more, largest first.
    """
    parent: dict[str, str] = {}
    user: dict[str, str | None] = {}
    weakest: dict[str, float] = {}

    def root(record: str) -> str:
        if record not in parent:
            parent[record], user[record], weakest[record] = record, users.get(record), 1.0
        while parent[record] != record:
            parent[record] = parent[parent[record]]
            record = parent[record]
        return record

    kept: list[tuple[str, str]] = []
    ordered = pairs.sort(
        "match_probability", "left_id", "right_id", descending=[True, False, False]
    )
    for left, right, probability in ordered.select(
        "left_id", "right_id", "match_probability"
    ).iter_rows():
        one, other = root(left), root(right)
        if user[one] and user[other] and user[one] != user[other]:
            continue
        kept.append((left, right))
        if one != other:
            parent[other] = one
            user[one] = user[one] or user[other]
            weakest[one] = min(weakest[one], weakest[other], probability)
    return _clusters(parent, root, kept, weakest)


def _clusters(
    parent: Collection[str],
    root: Callable[[str], str],
    kept: Sequence[tuple[str, str]],
    weakest: Mapping[str, float],
) -> list[Cluster]:
    members: dict[str, list[str]] = {}
    for record in sorted(parent):
        members.setdefault(root(record), []).append(record)
    matches: dict[str, int] = {}
    for left, _ in kept:
        matches[root(left)] = matches.get(root(left), 0) + 1
    found = [
        Cluster(
            records=tuple(records),
            matches=matches[name],
            density=matches[name] / math.comb(len(records), 2),
            least_probability=weakest[name],
        )
        for name, records in members.items()
        if len(records) > 1
    ]
    return sorted(found, key=lambda it: (-len(it.records), it.records))


class Score(NamedTuple):
    """How good matches are, by pairs whose truth is known."""

    true_pairs: int
    """Pairs that are the same."""
    found_pairs: int
    """Pairs that were matched."""
    right_pairs: int
    """Pairs that were matched and are the same."""

    @property
    def precision(self) -> float:
        """Share of matches that are right; 1 where there are none."""
        return self.right_pairs / self.found_pairs if self.found_pairs else 1.0

    @property
    def recall(self) -> float:
        """Share of same pairs that were matched; 1 where there are none."""
        return self.right_pairs / self.true_pairs if self.true_pairs else 1.0


def score_matches(found: Collection[tuple[str, str]], truth: Mapping[str, str]) -> Score:
    """Compare matched pairs with the truth.

    Args:
        found: Pairs of records; of pairs with a record whose truth is not known, nothing is said.
        truth: Person of each record.
    """
    known = {tuple(sorted(pair)) for pair in found if pair[0] in truth and pair[1] in truth}
    sizes: dict[str, int] = {}
    for person in truth.values():
        sizes[person] = sizes.get(person, 0) + 1
    right = sum(truth[one] == truth[other] for one, other in known)
    return Score(sum(math.comb(size, 2) for size in sizes.values()), len(known), right)


def pairs_of(clusters: Sequence[Cluster]) -> set[tuple[str, str]]:
    """Every pair of records that clusters hold together."""
    return {
        (one, other)
        for cluster in clusters
        for place, one in enumerate(cluster.records)
        for other in cluster.records[place + 1 :]
    }
