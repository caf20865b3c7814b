"""Loading: raw events become events, wait in quarantine, or are counted as repeated or too late.

A batch is loaded whole or not at all as far as anybody can see: the ledger says `loading` before
the first row is written and `loaded` after the last. What a crash leaves at `loading` is taken
out and loaded again, and the ledger is counted anew from the tables.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

from clickstream_platform.events.adapters import (
    adapter_for,
    quoted,
    read_adapters,
    require_adapters,
)
from clickstream_platform.events.landed import unfinished_batches
from clickstream_platform.events.ledger import FATES, Ledger, Progress
from clickstream_platform.events.loader import Chunk, Loader, Outcome
from clickstream_platform.lake import Lake, Refreshed, adapt, polars_schema, turn
from clickstream_platform.settings import Settings

CHUNK_ROWS = 400_000
"""Records that are loaded at once: about 400 MB in DuckDB."""

TABLES = ("events", "quarantined_events", "duplicate_events")
"""What one load writes."""


def refresh_events(
    settings: Settings,
    *,
    hours: Iterable[datetime] = (),
    again: Iterable[str] = (),
    full: bool = False,
    progress: Progress | None = None,
) -> Refreshed:
    """Load every landed batch that is not loaded yet.

    Args:
        settings: Where everything lies, currency, rates and horizon.
        hours: Derive anew what arrived in these hours (a backfill).
        again: Derive these batches anew.
        full: Derive everything anew.
        progress: Told after every chunk.

    Returns:
        What was loaded; ``details`` counts the fates, ``dates`` are event dates.

    A batch that does not add up afterwards raises `LedgerError`. One whose adapter cannot be used
    waits; where it is to be derived anew that is refused.
    """
    with turn(settings.state, progress=progress):
        return _loaded(settings, sorted(hours), set(again), full=full, progress=progress)


def _loaded(
    settings: Settings,
    hours: Sequence[datetime],
    again: set[str],
    *,
    full: bool,
    progress: Progress | None,
) -> Refreshed:
    lake, ledger = Lake(settings.lake_folder), Ledger(settings.state)
    adapt(lake, TABLES, is_derived=False)
    reopened = _reopened(settings, ledger, hours, again, full=full)
    todo = unfinished_batches(settings)
    interrupted = [str(row["batch_id"]) for row in todo if row["state"] == "loading"]
    take_out(lake, interrupted, everything=full)
    if interrupted or reopened:
        # A crash from here on is one of all of them, so that all are counted anew then, too.
        ledger.set_state([str(batch["batch_id"]) for batch in todo], "loading")
    outcome = Outcome()
    adapters = read_adapters(settings.definitions)
    loader = Loader(lake, settings)
    chunks = list(_chunks(todo))
    for number, chunk in enumerate(chunks):
        if progress:
            progress("loading events", number, len(chunks))
        ledger.set_state(chunk.batch_ids, "loading")
        loader.load(chunk, adapter_for(chunk.source, adapters), outcome)
        done = [batch_id for batch_id in chunk.batch_ids if chunk.is_last]
        ledger.count({b: outcome.fates[b] for b in done if b in outcome.fates})
        # Before the state says so: a batch that is loaded is not looked at again after a crash.
        if chunk is chunks[-1] and (interrupted or reopened):
            recount(lake, ledger)
        elif outcome.displaced:
            recount(lake, ledger, batch_ids=outcome.displaced)
        ledger.set_state(done, "loaded")
    ledger.require_balance()
    if progress:
        progress("loaded events", len(chunks), len(chunks))
    return Refreshed(
        table="events",
        version=lake.version("events"),
        rows_written=outcome.total("loaded"),
        rows_read=sum(sum(counts.values()) for counts in outcome.fates.values()),
        dates=tuple(sorted(outcome.dates)),
        is_full=full,
        details={fate: outcome.total(fate) for fate in FATES if fate != "suppressed"},
    )


def _reopened(
    settings: Settings, ledger: Ledger, hours: Sequence[datetime], again: set[str], *, full: bool
) -> list[str]:
    """Mark the batches that are to be derived anew as unfinished."""
    rows = [
        row
        for row in ledger.in_state("loaded", *(("landed", "loading") if full else ()))
        if full
        or row["batch_id"] in again
        or any(s <= datetime.fromisoformat(str(row["arrived_at"])) < s + HOUR for s in hours)
    ]
    require_adapters({str(row["source"]) for row in rows}, settings.definitions)
    chosen = [str(row["batch_id"]) for row in rows if row["state"] == "loaded"]
    if full:
        ledger.forget_deliveries()
    if chosen:
        ledger.set_state(chosen, "loading")
    return chosen + sorted(again)


HOUR = timedelta(hours=1)


def take_out(lake: Lake, batch_ids: Sequence[str], *, everything: bool = False) -> None:
    """Delete whatever the given batches, or all, have put into the tables of events."""
    if not batch_ids:
        return
    listed = ", ".join(map(quoted, batch_ids))
    for table in TABLES:
        if not everything:
            lake.delete(table, f"batch_id in ({listed})")
        elif lake.exists(table):  # without a look at what is there, which may be broken
            lake.overwrite(table, pl.DataFrame(schema=polars_schema(table)))
    if not everything:
        _forget_half_beaten(lake)


def _forget_half_beaten(lake: Lake) -> None:
    """Drop notes of stored events that were to give way, and are still there.

    A stored event is noted as a duplicate before it is deleted. A crash in between leaves both,
    and it would be noted again when its winner is loaded again.
    """
    place = ("batch_id", "ordinal")
    noted, stored = (lake.scan(name).select(place) for name in ("duplicate_events", "events"))
    both = noted.join(stored, on=place, how="semi").collect(engine="streaming")
    for (batch_id,), rows in both.partition_by("batch_id", as_dict=True).items():
        ordinals = ", ".join(map(str, rows["ordinal"]))
        lake.delete(
            "duplicate_events", f"batch_id = {quoted(str(batch_id))} AND ordinal IN ({ordinals})"
        )


def recount(lake: Lake, ledger: Ledger, *, batch_ids: Iterable[str] | None = None) -> None:
    """Count the fates of batches anew from the tables."""
    wanted = None if batch_ids is None else sorted(batch_ids)
    known = [str(row["batch_id"]) for row in ledger.in_state("loading", "loaded")]
    chosen = [batch_id for batch_id in known if wanted is None or batch_id in wanted]
    fates = {b: {"loaded": 0, "quarantined": 0, "duplicate": 0, "too_late": 0} for b in chosen}
    for table, column in (
        ("events", pl.lit("loaded")),
        ("duplicate_events", pl.lit("duplicate")),
        ("quarantined_events", pl.col("fate")),
    ):
        rows = lake.scan(table)
        if wanted is not None:
            rows = rows.filter(pl.col("batch_id").is_in(wanted))
        counted = rows.group_by("batch_id", fate=column).len().collect(engine="streaming")
        for batch_id, fate, number in counted.iter_rows():
            if batch_id in fates:
                fates[batch_id][fate] = number
    ledger.count(fates)


def _chunks(batches: Iterable[Mapping[str, object]]) -> Iterator[Chunk]:
    by_source: dict[str, list[Mapping[str, object]]] = {}
    for batch in batches:
        by_source.setdefault(str(batch["source"]), []).append(batch)
    for source, members in by_source.items():
        group: list[Mapping[str, object]] = []
        rows = 0
        for batch in members:
            received = int(str(batch["received"]))
            if group and rows + received > CHUNK_ROWS:
                yield _chunk(source, group)
                group, rows = [], 0
            if received > CHUNK_ROWS:
                for start in range(0, received, CHUNK_ROWS):
                    end = min(start + CHUNK_ROWS, received)
                    yield _chunk(source, [batch], (start, end - 1), is_last=end == received)
                continue
            group.append(batch)
            rows += received
        if group:
            yield _chunk(source, group)


def _chunk(
    source: str,
    batches: Sequence[Mapping[str, object]],
    ordinals: tuple[int, int] | None = None,
    *,
    is_last: bool = True,
) -> Chunk:
    arrived = [datetime.fromisoformat(str(batch["arrived_at"])) for batch in batches]
    dates = tuple(sorted({moment.date() for moment in arrived}))
    ids = tuple(str(batch["batch_id"]) for batch in batches)
    return Chunk(source, ids, min(arrived), dates, ordinals, is_last)
