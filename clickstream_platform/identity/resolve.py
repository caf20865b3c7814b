"""From links to people on one machine: relations on DuckDB, components in numpy."""

from functools import lru_cache
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import polars as pl
from ibis import _

from clickstream_platform.identity import graph
from clickstream_platform.identity.components import component_labels
from clickstream_platform.identity.decisions import denied_links
from clickstream_platform.identity.rules import IdentifierRules
from clickstream_platform.lake import Engine

INSTANT = "timestamp('UTC')"

LINK_TYPES = {
    name: INSTANT if name.endswith("_at") else "int64" if name.endswith("_key") else "string"
    for name in graph.LINK
}
"""Types of the columns of a link."""

DENIED_TYPES = {
    "identifier_key": "int64",
    "other_key": "int64",
    "decision_id": "string",
    "decided_at": INSTANT,
}
SPLIT = {"component_key": pl.Int64(), "reason": pl.String(), "since_at": pl.Datetime("us", "UTC")}

CONFLICT_TYPES = {
    "identifier_type": "string",
    "identifier_id": "string",
    "identifier_key": "int64",
    "reason": "string",
    "found_type": "string",
    "found": "int64",
    "allowed": "int64",
    "since_at": INSTANT,
}


class Around(NamedTuple):
    """What is known of identifiers beside those that are resolved, as tables of the connection."""

    affected: str
    """``key`` of every identifier whose links are all given."""
    conflicts: str
    """Contract: `clickstream_platform.tables.identity.IdentityConflicts`; as stored."""


class Resolved(NamedTuple):
    """What links make of people."""

    identity_map: ir.Table
    """Contract: `clickstream_platform.tables.identity.IdentityMap`."""
    identity_merges: ir.Table
    """Contract: `clickstream_platform.tables.identity.IdentityMerges`."""
    identity_conflicts: ir.Table
    """Contract: `clickstream_platform.tables.identity.IdentityConflicts`."""


def resolve(
    backend: Engine,
    links: str,
    decisions: pl.DataFrame,
    rules: IdentifierRules,
    *,
    around: Around | None = None,
) -> Resolved:
    """Decide who is who.

    Args:
        backend: Where the links are; everything between is a temporary table there.
        links: Table with columns of `graph.LINK`.
        decisions: Decisions that stand.
        rules: Limits.
        around: Where links are of some identifiers only: which, and what is known of the others.
            These must be whole components but for shared identifiers at their rim.
    """
    queries = statements(rules.model_dump_json(), links, around)

    def make(*names: str) -> None:
        for name in names:
            backend.fill(f"resolve_{name}", queries[name])

    def keep(name: str, rows: pl.DataFrame) -> None:
        backend.make_table(f"resolve_{name}", rows)

    pairs = pl.DataFrame(schema=dict.fromkeys(graph.PAIR, pl.Int64()))
    if not decisions.is_empty():
        pairs = _read(backend, f"SELECT identifier_key, other_key FROM {links}")  # noqa: S608 - name of our own
    keep("denied", denied_links(pairs, decisions))
    make("usable", "shared", "held")
    ends = _read(backend, "SELECT identifier_key, other_key FROM resolve_held")
    labels = component_labels(*(ends[name].to_numpy() for name in graph.PAIR))
    keep("components", pl.DataFrame({"key": labels.keys, "component_key": labels.labels}))
    make("members", "conflicts")
    keep("split", _since(backend, rules))
    make("people", "conflicting", "map", "merges", "all_conflicts")
    return Resolved(
        *(backend.table(f"resolve_{name}") for name in ("map", "merges", "all_conflicts"))
    )


@lru_cache(maxsize=16)
def statements(rules_json: str, links_table: str, around: Around | None) -> dict[str, str]:
    """The relations as DuckDB's SQL, compiled once: that takes longer than to run them."""
    rules = IdentifierRules.model_validate_json(rules_json)

    def table(name: str, types: dict[str, str]) -> ir.Table:
        return ibis.table(types, name=f"resolve_{name}")

    made: dict[str, ir.Table] = {}

    def step(name: str, expression: ir.Table) -> ir.Table:
        made[name] = expression
        return ibis.table(expression.schema(), name=f"resolve_{name}")

    links = ibis.table(LINK_TYPES, name=links_table)
    against = table("denied", DENIED_TYPES)
    usable = step("usable", links.anti_join(against, list(graph.PAIR)))
    shared = step("shared", _shared(usable, rules, around))
    held = step("held", graph.links_that_hold(usable, shared))
    components = table("components", {"key": "int64", "component_key": "int64"})
    members = step("members", graph.component_members(held, components, rules))
    found = step("conflicts", graph.conflicts(members, rules))
    split = table("split", {"component_key": "int64", "reason": "string", "since_at": INSTANT})
    people = step("people", graph.people(members, held, found))
    conflicting = step(
        "conflicting",
        members.inner_join(split, "component_key").select("key", "reason", "since_at"),
    )
    step("map", graph.map_people(usable, people))
    step("merges", graph.merges(links, people, graph.Undoing(shared, conflicting, against)))
    step("all_conflicts", all_conflicts(shared, members, found, split))
    return {name: str(ibis.to_sql(rows, dialect="duckdb")) for name, rows in made.items()}


def _shared(usable: ir.Table, rules: IdentifierRules, around: Around | None) -> ir.Table:
    """Shared identifiers: counted where all links are given, as stored for the others."""
    counted = graph.shared_identifiers(usable, rules)
    if around is None:
        return counted
    affected = ibis.table({"key": "int64"}, name=around.affected)
    known = ibis.table(CONFLICT_TYPES, name=around.conflicts)
    known = known.filter(_.reason.isin(["shared", "storm"])).rename(key="identifier_key")
    known = known.anti_join(affected, "key")
    own = counted.semi_join(affected, "key")
    return own.union(known.select(own.columns), distinct=False)


def _since(backend: Engine, rules: IdentifierRules) -> pl.DataFrame:
    """When each conflict arose: the arrival of the link that broke a limit.

    Links are joined in order of arrival, so this is a walk; conflicts are few.
    """
    found = _read(
        backend, "SELECT component_key, min(reason) AS reason FROM resolve_conflicts GROUP BY ALL"
    )
    if found.is_empty():
        return pl.DataFrame(schema=SPLIT)
    reasons: dict[int, str] = dict(found.rows())
    rows = _read(
        backend,
        "SELECT c.component_key, h.recorded_at, h.identifier_key, h.identifier_type, h.other_key, "
        "h.other_type FROM resolve_held h JOIN resolve_components c ON h.identifier_key = c.key "
        "WHERE c.component_key IN (SELECT component_key FROM resolve_conflicts) "
        "ORDER BY h.recorded_at, h.identifier_key, h.other_key",
    ).rows()
    walk = _Walk(rules)
    since: dict[int, object] = {}
    for component, recorded_at, one, kind, other, other_kind in rows:
        if component not in since and walk.breaks((one, kind), (other, other_kind)):
            since[component] = recorded_at
    return pl.DataFrame(
        [(component, reasons[component], at) for component, at in sorted(since.items())],
        schema=SPLIT,
        orient="row",
    )


class _Walk:
    """Union-find that counts the values of each type."""

    def __init__(self, rules: IdentifierRules) -> None:
        self.limits, self.most = rules.limits, rules.max_identifiers
        self.parent: dict[int, int] = {}
        self.counts: dict[int, dict[str, int]] = {}

    def breaks(self, one: tuple[int, str], other: tuple[int, str]) -> bool:
        """Join two identifiers; whether what they join is over a limit."""
        low, high = sorted((self._root(*one), self._root(*other)))
        if low != high:
            self.parent[high] = low
            for kind, number in self.counts.pop(high).items():
                self.counts[low][kind] = self.counts[low].get(kind, 0) + number
        counts = self.counts[low]
        least_trusted = max(self.limits.values())
        over = any(number > self.limits.get(kind, least_trusted) for kind, number in counts.items())
        return over or sum(counts.values()) > self.most

    def _root(self, key: int, kind: str) -> int:
        if key not in self.parent:
            self.parent[key] = key
            self.counts[key] = {kind: 1}
        while self.parent[key] != key:
            self.parent[key] = self.parent[self.parent[key]]
            key = self.parent[key]
        return key


def all_conflicts(
    shared: ir.Table, members: ir.Table, found: ir.Table, split: ir.Table
) -> ir.Table:
    """Shared identifiers, and conflicts under the name of their strongest identifier."""
    first = ibis.window(group_by="component_key", order_by=["priority", "first_at", "key"])
    named = members.mutate(rank=ibis.row_number().over(first)).filter(_["rank"] == 0)
    since = split.select("component_key", "since_at")
    of_components = (
        found.inner_join(named, "component_key")
        .inner_join(since, "component_key")
        .select(
            "identifier_type",
            "identifier_id",
            identifier_key="key",
            reason="reason",
            found_type="found_type",
            found="found",
            allowed="allowed",
            since_at="since_at",
        )
    )
    own = shared.rename(identifier_key="key").select(of_components.columns)
    return own.union(of_components, distinct=False)


def _read(backend: Engine, query: str) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(backend.raw_sql(query).to_arrow_table()))
