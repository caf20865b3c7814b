"""Keeping the identity tables up to date: only people with new or vanished evidence are touched.

`identity_merges` holds every link and is what a refresh starts from. `identity_map` is written
last and decides what was taken in; where the others have taken in something else, a run was killed
between its commits, and everything is made anew.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import polars as pl

from clickstream_platform.identity.decisions import (
    decisions_of,
    denied_links,
    ensure_decisions,
    standing,
)
from clickstream_platform.identity.graph import LINK, PAIR, typed_links
from clickstream_platform.identity.links import (
    further_links,
    further_pairs,
    identity_links,
    merge_links,
)
from clickstream_platform.identity.resolve import LINK_TYPES, Around, Resolved, resolve
from clickstream_platform.identity.rules import IdentifierRules, identifier_rules
from clickstream_platform.lake import (
    Changes,
    Engine,
    Lake,
    Refreshed,
    opened_engine,
    polars_schema,
    stream,
    view,
)
from clickstream_platform.settings import Settings

METHOD = 5
"""Rises where the same events come to other people than before: stored ones are made anew."""

MAX_NAMED = 2_000
"""Changed identifiers that a commit names one by one; beyond, the table is written anew."""

EVIDENCE = ("event_id", "visitor_key", "user_key", "identifiers", "occurred_us", "received_at",
            "is_synthetic")  # fmt: skip
"""What an event says about identity."""

WRITTEN = ("identity_merges", "identity_conflicts", "identity_map")
"""Tables of a refresh, in the order in which they are written."""

KEY = {
    "identity_merges": "identifier_key",
    "identity_conflicts": "identifier_key",
    "identity_map": "visitor_key",
}
"""Column by which rows of each table are replaced."""

ORDER = {
    "identity_merges": ("identifier_key", "other_key"),
    "identity_conflicts": ("identifier_key", "reason", "found_type"),
    "identity_map": ("visitor_key", "user_key"),
}
"""Order of the rows of each table as written."""


def refresh_identity(lake: Lake, settings: Settings, *, full: bool = False) -> Refreshed:
    """Bring `identity_map`, `identity_merges` and `identity_conflicts` up to date.

    Rows of identifiers whose people or evidence changed are replaced, table by table; each commit
    notes the versions of `events` and `identity_decisions` that were taken in. Where the removed
    files of `events` are gone already (after an erasure), or the rules are others, links are found
    anew from all events.

    Args:
        lake: The lake.
        settings: Rules, memory, threads, and where to spill.
        full: Find all links anew.

    Returns:
        What was done; ``rows_written`` counts rows of the map that are new or changed,
        ``details`` the identifiers that were looked at.
    """
    newest = lake.version("events")
    if newest < 0:
        return Refreshed(table="identity_map", version=lake.version("identity_map"))
    rules = identifier_rules(settings.definitions)
    versions = {
        "events": newest,
        "identity_decisions": ensure_decisions(lake),
        "rules": _fingerprint(rules),
    }
    consumed = {name: lake.consumed("identity_map", name) for name in versions}
    if versions == consumed and not full:
        return Refreshed(table="identity_map", version=lake.version("identity_map"))
    with opened_engine(settings) as backend:
        run = _Run(backend, lake, rules, versions)
        changes = None if full else _changes(lake, versions, consumed)
        if changes is None:
            return run.rebuild()
        decided = versions["identity_decisions"] != consumed["identity_decisions"]
        return run.update(changes, decided=decided)


def _fingerprint(rules: IdentifierRules) -> int:
    """A number that is another one under other rules, which make everything anew."""
    text = f"{METHOD} {rules.model_dump_json()}"
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16)


def _changes(lake: Lake, versions: dict[str, int], consumed: dict[str, int]) -> Changes | None:
    """What happened to the events; None where that is not known or would not be enough."""
    if versions["rules"] != consumed["rules"] or not lake.exists("identity_merges"):
        return None
    taken_in = [{name: lake.consumed(table, name) for name in consumed} for table in WRITTEN]
    if any(each != consumed for each in taken_in):
        return None  # a run was killed between its commits: links that are stored look familiar
    found: dict[str, Changes] = {}
    for name in ("events", "identity_decisions"):
        changes = lake.changes(name, since=consumed[name])
        is_known = changes is not None and 0 <= consumed[name] <= versions[name]
        if changes is None or not is_known or not _all_there(changes.removed):
            return None
        found[name] = changes
    return None if found["identity_decisions"].removed else found["events"]


def _all_there(files: Sequence[str]) -> bool:
    return all(Path(file).exists() for file in files)


class Difference(NamedTuple):
    """What changes in a stored table."""

    rows: pl.DataFrame
    """Rows of every key that differs."""
    stale: list[int]
    """Keys whose stored rows go."""


class _Run:
    """One refresh. Its own queries are SQL: they are about stored tables, not about people."""

    def __init__(
        self, backend: Engine, lake: Lake, rules: IdentifierRules, versions: dict[str, int]
    ) -> None:
        self.backend, self.lake, self.rules, self.versions = backend, lake, rules, versions
        self.rules_json = rules.model_dump_json()
        self.decisions = standing(decisions_of(lake))

    def rebuild(self) -> Refreshed:
        """Find everything anew."""
        view(self.backend, self.lake, "events", name="read_events")
        self.backend.fill("links", self._links_query("read_events"))
        resolved = resolve(self.backend, "links", self.decisions, self.rules)
        for name in WRITTEN:
            ordered = getattr(resolved, name).order_by(*ORDER[name])
            self.lake.overwrite(name, stream(ordered, name), consumed=self.versions)
        return Refreshed(
            table="identity_map",
            version=self.lake.version("identity_map"),
            rows_written=self.lake.row_count("identity_map"),
            rows_read=self.lake.row_count("events"),
            is_full=True,
            details={"conflicts": self.lake.row_count("identity_conflicts")},
        )

    def update(self, changes: Changes, *, decided: bool) -> Refreshed:
        """Make anew whoever may have changed."""
        for name in WRITTEN:
            view(self.backend, self.lake, name)
        self._find_links(changes)
        self._find_touched(decided=decided)
        affected = self.backend.height("touched")
        changed = 0
        if affected:
            self._find_affected()
            affected = self.backend.height("affected")
            resolved = resolve(
                self.backend,
                "near",
                self.decisions,
                self.rules,
                around=Around("affected", "identity_conflicts"),
            )
            differences = self._differences(resolved)
            changed = differences["identity_map"].rows.height
            visitors = len(differences["identity_map"].stale)
        else:
            empty = {name: pl.DataFrame(schema=polars_schema(name)) for name in WRITTEN}
            differences = {name: Difference(rows, []) for name, rows in empty.items()}
            visitors = 0
        for name in WRITTEN:
            self._write(name, differences[name])
        return Refreshed(
            table="identity_map",
            version=self.lake.version("identity_map"),
            rows_written=changed,
            rows_read=self.backend.height("read_events"),
            details={"visitors_changed": visitors, "identifiers_affected": affected},
        )

    # -- Who is concerned ----------------------------------------------------------------------

    def _find_links(self, changes: Changes) -> None:
        """Find ``found``: links of new events, and of all events where evidence has gone.

        ``lost`` are links that lost an event which they rest on.
        """
        view(self.backend, self.lake, "events", files=changes.added, name="read_events")
        self.backend.fill("found", self._links_query("read_events"))
        if not changes.removed:
            self.backend.fill("lost", "SELECT identifier_key, other_key FROM found WHERE false")
            return
        view(self.backend, self.lake, "events", files=changes.removed, name="removed_events")
        evidence = ", ".join(EVIDENCE)
        self.backend.fill(
            "gone",
            f"SELECT {evidence} FROM removed_events EXCEPT SELECT {evidence} FROM read_events",  # noqa: S608 - columns of our own
        )
        rests = "gone.event_id = m.evidence_event_id OR gone.received_at <= m.recorded_at"
        self.backend.fill(
            "lost",
            "SELECT DISTINCT m.identifier_key, m.other_key FROM gone JOIN identity_merges m "  # noqa: S608 - columns of our own
            "ON m.identifier_key = gone.visitor_key AND m.other_key = gone.user_key "
            f"WHERE {rests}",
        )
        if self._has_further("gone"):
            self.backend.fill("gone_events", "FROM removed_events SEMI JOIN gone USING (event_id)")
            self.backend.fill("gone_pairs", pairs_query("gone_events", self.rules_json))
            self.backend.raw_sql(
                "INSERT INTO lost SELECT DISTINCT m.identifier_key, m.other_key "  # noqa: S608 - columns of our own
                "FROM gone_pairs gone JOIN identity_merges m USING (identifier_id, other_id) "
                f"WHERE {rests}"
            )
        if self.backend.height("lost"):
            self._find_again()

    def _find_again(self) -> None:
        """Find lost links again in all events that show both of their ends."""
        view(self.backend, self.lake, "events", name="all_events")
        columns = ", ".join(polars_schema("events"))
        self.backend.fill(
            "lost_pairs",
            "SELECT identifier_id, other_id FROM identity_merges "  # noqa: S608 - names of our own
            f"SEMI JOIN lost USING {_PAIR} WHERE cause <> 'login' OR identifier_type <> 'visitor'",
        )
        self.backend.fill("shown", "SELECT NULL::VARCHAR AS event_id WHERE false")
        if self.backend.height("lost_pairs"):
            self.backend.fill("all_pairs", pairs_query("all_events", self.rules_json))
            self.backend.fill(
                "shown", "FROM all_pairs SEMI JOIN lost_pairs USING (identifier_id, other_id)"
            )
        self.backend.fill(
            "evidence",
            f"SELECT {columns} FROM all_events e SEMI JOIN lost "  # noqa: S608 - columns of the contract
            "ON e.visitor_key = lost.identifier_key AND e.user_key = lost.other_key "
            f"UNION ALL SELECT {columns} FROM all_events SEMI JOIN shown USING (event_id)",
        )
        self.backend.fill("again", self._links_query("evidence"))
        self.backend.fill("fresh", "FROM found")
        self.backend.fill("found", merge_query("fresh", "again"))

    def _find_touched(self, *, decided: bool) -> None:
        """Find both ends of every link that is new, changed or gone, or that is decided about."""
        link = ", ".join(LINK)
        told = ""
        if decided:
            self._find_decided()
            told = "UNION SELECT identifier_key FROM decided UNION SELECT other_key FROM decided"
        kept = f"SELECT {link} FROM identity_merges ANTI JOIN lost USING {_PAIR}"  # noqa: S608 - names of our own
        self.backend.fill("kept", kept)
        self.backend.fill("kept_of_found", f"FROM kept SEMI JOIN found USING {_PAIR}")
        self.backend.fill("merged", merge_query("kept_of_found", "found"))
        self.backend.fill(
            "touched",
            f"WITH fresh AS (SELECT {link} FROM merged EXCEPT SELECT {link} FROM kept_of_found) "  # noqa: S608 - names of our own
            "SELECT identifier_key AS key FROM fresh UNION SELECT other_key FROM fresh UNION "
            f"SELECT identifier_key FROM lost UNION SELECT other_key FROM lost {told}",
        )

    def _find_decided(self) -> None:
        """Find ``decided``: links that other decisions are against, or none, than when stored."""
        view(self.backend, self.lake, "identity_decisions")
        stored = self._read(
            "WITH named AS (SELECT unnest([identifier_key, other_key]) FROM identity_decisions) "
            "SELECT identifier_key, other_key, decision_id FROM identity_merges "
            "WHERE identifier_key IN (FROM named) OR other_key IN (FROM named)"
        )
        now = denied_links(stored.select(PAIR), self.decisions)
        both = stored.join(now, on=PAIR, how="left", suffix="_now")
        other = both.filter(pl.col("decision_id").ne_missing(pl.col("decision_id_now")))
        self.backend.make_table("decided", other.select(PAIR))

    def _find_affected(self) -> None:
        """Find everybody who hangs together with a touched identifier, before or now.

        The walk stops at identifiers that are shared and not touched: they join nobody. ``near``
        are all links of everybody affected.
        """
        self.backend.fill(
            "walls",
            "SELECT DISTINCT identifier_key AS key FROM identity_conflicts "
            "WHERE reason IN ('shared', 'storm')",
        )
        self.backend.fill(
            "pairs",
            "SELECT identifier_key AS a, other_key AS b FROM identity_merges UNION ALL "
            "SELECT identifier_key, other_key FROM found",
        )
        self.backend.fill("affected", "FROM touched")
        self.backend.fill("rim", "FROM touched")
        while self.backend.height("rim"):
            self.backend.fill(
                "next_rim",
                "SELECT DISTINCT key FROM (SELECT b AS key FROM pairs WHERE a IN (FROM rim) "
                "UNION ALL SELECT a FROM pairs WHERE b IN (FROM rim)) "
                "WHERE key NOT IN (FROM affected)",
            )
            self.backend.raw_sql("INSERT INTO affected FROM next_rim")
            self.backend.fill("rim", "FROM next_rim ANTI JOIN walls USING (key)")
        self.backend.fill(
            "near_kept",
            "FROM kept WHERE identifier_key IN (FROM affected) OR other_key IN (FROM affected)",
        )
        self.backend.fill("near", merge_query("near_kept", "found"))
        # Links of new events that say nothing new are of people who are not affected.
        self.backend.raw_sql(
            "DELETE FROM near WHERE identifier_key NOT IN (FROM affected) "
            "AND other_key NOT IN (FROM affected)"
        )

    # -- Writing -------------------------------------------------------------------------------

    def _differences(self, resolved: Resolved) -> dict[str, Difference]:
        """Compare the stored rows of everybody concerned with what they should be."""
        self.backend.fill(
            "concerned",
            "SELECT identifier_key, other_key FROM near UNION "
            "SELECT identifier_key, other_key FROM lost",
        )
        chosen = {
            "identity_merges": f"SEMI JOIN concerned USING {_PAIR}",
            "identity_conflicts": "WHERE identifier_key IN (FROM affected)",
            "identity_map": "WHERE visitor_key IN (FROM affected)",
        }
        made = dict(zip(resolved._fields, (rows.get_name() for rows in resolved), strict=True))
        return {
            name: self._difference(name, f"{name} {chosen[name]}", f"{made[name]} {chosen[name]}")
            for name in WRITTEN
        }

    def _difference(self, table: str, before: str, after: str) -> Difference:
        columns, key = list(polars_schema(table)), KEY[table]
        listed = ", ".join(columns)
        old = self._read(f"SELECT {listed} FROM {before}")  # noqa: S608 - names of our own
        new = self._read(f"SELECT {listed} FROM {after}")  # noqa: S608 - names of our own
        rows = new.join(old, on=columns, how="anti", nulls_equal=True)
        moved = old.join(new, on=columns, how="anti", nulls_equal=True)[key]
        stale = set(moved) | (set(rows[key]) & set(old[key]))
        changed = pl.Series(key, sorted({*rows[key], *stale}), pl.Int64())
        whole = new.filter(pl.col(key).is_in(changed.implode()))
        if table == "identity_merges" and stale:
            # Rows go by identifier: those of its links that are not concerned stay as they are.
            self.backend.make_table("changed", changed.to_frame())
            others = self._read(
                f"SELECT {listed} FROM identity_merges SEMI JOIN changed USING ({key}) "  # noqa: S608 - names of our own
                f"ANTI JOIN concerned USING {_PAIR}"
            )
            whole = pl.concat([whole, others.cast(dict(whole.schema))])  # type: ignore[arg-type]  # types by column
        return Difference(whole, sorted(stale))

    def _write(self, table: str, difference: Difference) -> None:
        key = KEY[table]
        rows = difference.rows.cast(polars_schema(table)).sort(*ORDER[table])  # type: ignore[arg-type]  # types by column
        if not difference.stale:
            self.lake.append(table, rows, consumed=self.versions)
            return
        # Only files that hold one of these keys are written anew; the rows that come must match
        # the same condition, so new keys are named as well.
        named = sorted({*difference.stale, *rows[key]})
        if len(named) <= MAX_NAMED:
            where = f"{key} in ({', '.join(map(str, named))})"
            self.lake.overwrite(table, rows, where=where, consumed=self.versions)
            return
        self.lake.require_sound(table)
        stale = pl.DataFrame({key: difference.stale})
        stored = view(self.backend, self.lake, table)
        gone = self.backend.make_table("stale", stale)
        new = self.backend.make_table("new_rows", rows)
        whole = self.backend.make_table("whole", stored.anti_join(gone, key).union(new))
        ordered = whole.order_by(*ORDER[table])
        self.lake.overwrite(table, stream(ordered, table), consumed=self.versions)

    def _links_query(self, events: str) -> str:
        """SQL: links of events; without further identifiers where those carry none.

        To compile what makes links of those takes longer than to look.
        """
        return links_query(events, self.rules_json if self._has_further(events) else None)

    def _has_further(self, events: str) -> bool:
        query = f"SELECT 1 FROM {events} WHERE identifiers IS NOT NULL LIMIT 1"  # noqa: S608 - name of our own
        return bool(self.backend.raw_sql(query).fetchall())

    def _read(self, query: str) -> pl.DataFrame:
        return pl.DataFrame(pl.from_arrow(self.backend.raw_sql(query).to_arrow_table()))


_PAIR = f"({', '.join(PAIR)})"


@lru_cache(maxsize=8)
def links_query(events: str, rules_json: str | None) -> str:
    """SQL: typed links of a table of events, those of further identifiers if there are rules."""
    table = _events(events)
    links = typed_links(identity_links(table))
    if rules_json is not None:
        rules = IdentifierRules.model_validate_json(rules_json)
        links = links.union(further_links(table, rules).select(LINK), distinct=False)
    return str(ibis.to_sql(links, dialect="duckdb"))


@lru_cache(maxsize=8)
def pairs_query(events: str, rules_json: str) -> str:
    """SQL: pairs of further identifiers in a table of events; compiled once."""
    rules = IdentifierRules.model_validate_json(rules_json)
    return str(ibis.to_sql(further_pairs(_events(events), rules), dialect="duckdb"))


def _events(name: str) -> ir.Table:
    schema = {name: _ibis_type(kind) for name, kind in polars_schema("events").items()}
    return ibis.table(schema, name=name)


@lru_cache(maxsize=8)
def merge_query(links: str, more: str) -> str:
    """SQL: the links of two tables of typed links; compiled once."""
    before, now = (ibis.table(LINK_TYPES, name=name).select(LINK) for name in (links, more))
    return str(ibis.to_sql(merge_links(before, now, pair=PAIR), dialect="duckdb"))


def _ibis_type(kind: pl.DataType) -> str:
    if isinstance(kind, pl.Datetime):
        return "timestamp('UTC')"
    if isinstance(kind, pl.Decimal):
        return "decimal(18, 4)"
    return {pl.Int64: "int64", pl.Int32: "int32", pl.Boolean: "boolean", pl.Date: "date"}.get(
        kind.base_type(), "string"
    )
