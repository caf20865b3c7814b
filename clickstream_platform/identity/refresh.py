"""Keeping the identity map up to date: only visitors with new or vanished evidence are touched."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ibis.expr.types as ir
import polars as pl
from ibis import _
from ibis.backends.duckdb import Backend

from clickstream_platform.identity.links import LINK, identity_links, merge_links
from clickstream_platform.identity.people import map_identities
from clickstream_platform.lake import (
    Changes,
    Lake,
    Refreshed,
    connect,
    polars_schema,
    stream,
    view,
)
from clickstream_platform.settings import Settings

MAX_NAMED_VISITORS = 2_000
"""Changed visitors that a commit names one by one; beyond, the table is written anew."""

EVIDENCE = ("event_id", "visitor_key", "user_key", "occurred_us", "received_at", "is_synthetic")
"""What an event says about identity."""


def refresh_identity(lake: Lake, settings: Settings, *, full: bool = False) -> Refreshed:
    """Bring `identity_map` up to date with `events`.

    New visitors are appended, visitors whose people or evidence changed are replaced; both in one
    commit, which also notes the version of `events` that was taken in. Where the removed files of
    `events` are gone already (after an erasure), links are found anew from all events.

    Args:
        lake: The lake.
        settings: Memory, threads, and where to spill.
        full: Find all links anew.

    Returns:
        What was done; ``rows_written`` counts links that are new or changed.
    """
    newest = lake.version("events")
    consumed = lake.consumed("identity_map", "events")
    if newest < 0 or (newest == consumed and not full):
        return Refreshed(table="identity_map", version=lake.version("identity_map"))
    changes = None if full else lake.changes("events", since=consumed)
    spill = settings.state / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    backend = connect(settings.lake, spill=spill)
    try:
        if changes is None or not 0 <= consumed <= newest or not _all_there(changes.removed):
            return _rebuild(backend, lake, newest)
        return _update(backend, lake, changes)
    finally:
        backend.disconnect()


def _all_there(files: Sequence[str]) -> bool:
    return all(Path(file).exists() for file in files)


def _rebuild(backend: Backend, lake: Lake, version: int) -> Refreshed:
    events = view(backend, lake, "events")
    links = identity_links(events)
    people = backend.create_table("rebuilt", map_identities(links), temp=True)
    written = lake.overwrite(
        "identity_map",
        stream(people.order_by("visitor_key", "user_key"), "identity_map"),
        consumed={"events": version},
    )
    return Refreshed(
        table="identity_map",
        version=written,
        rows_written=lake.row_count("identity_map"),
        rows_read=lake.row_count("events"),
        is_full=True,
    )


class Difference(NamedTuple):
    """What changes in the stored map."""

    rows: pl.DataFrame
    """Map of every visitor that differs."""
    stale: list[int]
    """Visitors whose stored rows go."""


def _update(backend: Backend, lake: Lake, changes: Changes) -> Refreshed:
    added = view(backend, lake, "events", files=changes.added, name="added_events")
    stored = view(backend, lake, "identity_map")
    fresh = backend.create_table("fresh", identity_links(added), temp=True)
    weakened = _weakened(backend, lake, changes, stored)
    found = fresh
    if not weakened.is_empty():
        lost = backend.create_table("lost", weakened.to_arrow(), temp=True)
        events = view(backend, lake, "events").semi_join(lost, "visitor_key")
        found = backend.create_table("found", merge_links(fresh, identity_links(events)), temp=True)
        kept = stored.anti_join(lost, "visitor_key")
        touched = found.select("visitor_key").union(lost.select("visitor_key"), distinct=True)
    else:
        kept, touched = stored, fresh.select("visitor_key").distinct()
    before = stored.semi_join(touched, "visitor_key")
    links = merge_links(kept.semi_join(touched, "visitor_key").select(LINK), found)
    difference = _difference(before, map_identities(links))
    version = _write(backend, lake, difference, changes.version)
    return Refreshed(
        table="identity_map",
        version=version,
        rows_written=difference.rows.height,
        rows_read=int(added.count().to_pyarrow().as_py()),
        details={"visitors_changed": len(difference.stale)},
    )


def _weakened(backend: Backend, lake: Lake, changes: Changes, stored: ir.Table) -> pl.DataFrame:
    """Visitors that lost an event which their links rest on."""
    empty = pl.DataFrame(schema={"visitor_key": pl.Int64})
    if not changes.removed:
        return empty
    removed = view(backend, lake, "events", files=changes.removed, name="removed_events")
    added = backend.table("added_events")
    gone = (
        removed.select(EVIDENCE)
        .filter(_.visitor_key.notnull(), _.user_key.notnull())
        .difference(added.select(EVIDENCE))
    )
    rests = gone.join(stored, ["visitor_key", "user_key"]).filter(
        (_.event_id == _.evidence_event_id) | (_.received_at <= _.recorded_at)
    )
    found: pl.DataFrame = rests.select("visitor_key").distinct().to_polars()
    return found


def _difference(before: ir.Table, after: ir.Table) -> Difference:
    """Compare the stored rows of some visitors with what they should be."""
    columns = list(polars_schema("identity_map"))
    old: pl.DataFrame = before.select(columns).to_polars()
    new: pl.DataFrame = after.select(columns).to_polars()
    rows = new.join(old, on=columns, how="anti")
    moved = old.join(new, on=columns, how="anti")["visitor_key"]
    stale = set(moved) | (set(rows["visitor_key"]) & set(old["visitor_key"]))
    changed = rows["visitor_key"].unique().to_list() + sorted(stale)
    return Difference(new.filter(pl.col("visitor_key").is_in(changed)), sorted(stale))


def _write(backend: Backend, lake: Lake, difference: Difference, version: int) -> int:
    consumed = {"events": version}
    rows = difference.rows.cast(polars_schema("identity_map")).sort("visitor_key", "user_key")  # type: ignore[arg-type]  # types by column
    if not difference.stale:
        return lake.append("identity_map", rows, consumed=consumed)
    # Only files that hold one of these visitors are written anew; the rows that come must match
    # the same condition, so new visitors are named as well.
    named = sorted({*difference.stale, *rows["visitor_key"]})
    if len(named) <= MAX_NAMED_VISITORS:
        where = f"visitor_key in ({', '.join(map(str, named))})"
        return lake.overwrite("identity_map", rows, where=where, consumed=consumed)
    stale = backend.create_table(
        "stale", pl.DataFrame({"visitor_key": difference.stale}).to_arrow(), temp=True
    )
    new = backend.create_table("new_rows", rows.to_arrow(), temp=True)
    whole = view(backend, lake, "identity_map").anti_join(stale, "visitor_key").union(new)
    whole = backend.create_table("whole", whole, temp=True)
    ordered = whole.order_by("visitor_key", "user_key")
    return lake.overwrite("identity_map", stream(ordered, "identity_map"), consumed=consumed)
