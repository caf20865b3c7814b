"""Keeping `bot_behaviour` up to date with events: only visitors of changed files are measured."""

import hashlib
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import polars as pl

from clickstream_platform.collection.bot_behaviour.measures import KEY, bot_behaviour
from clickstream_platform.collection.bots import BotRules, load_bot_rules
from clickstream_platform.lake import (
    Changes,
    Lake,
    Refreshed,
    opened_engine,
    polars_schema,
    scan_files,
    stream,
    view,
)
from clickstream_platform.settings import Settings

TABLE = "bot_behaviour"


def refresh_bot_behaviour(lake: Lake, settings: Settings, *, full: bool = False) -> Refreshed:
    """Bring `bot_behaviour` up to date with `events`, in one commit.

    Only the days of visitors with an event in a file that came or went are measured again, and only
    their dates are rewritten. A day without events left loses its row. Other rules measure
    everything anew.

    Args:
        lake: The lake; reads ``events``, writes ``bot_behaviour``.
        settings: Definitions, memory, and where to spill.
        full: Measure every visitor and day.
    """
    rules = load_bot_rules(settings.definitions)
    consumed = {"events": lake.version("events"), "rules": _fingerprint(rules)}
    unchanged = Refreshed(table=TABLE, version=lake.version(TABLE))
    if consumed["events"] < 0:
        return unchanged
    changes: Changes | None = None
    if not full and lake.consumed(TABLE, "rules") == consumed["rules"]:
        changes = lake.changes("events", since=lake.consumed(TABLE, "events"))
    touched = None if changes is None else _touched(changes.added, changes.removed)
    if touched is not None and touched.is_empty():
        if changes is not None and (changes.added or changes.removed):  # of nobody
            nothing = pl.DataFrame(schema=polars_schema(TABLE))
            lake.append(TABLE, nothing, consumed=consumed)
        return unchanged
    dates = lake.dates("events") if touched is None else _dates(touched)
    with opened_engine(settings) as backend:
        events = view(backend, lake, "events", files=lake.files("events", dates=dates))
        if touched is not None:
            days = backend.make_table("touched", touched)
            events = events.semi_join(days, KEY)
        rows = made = backend.make_table("made", bot_behaviour(events, rules))
        if touched is not None:
            stored = view(backend, lake, TABLE, files=lake.files(TABLE, dates=dates))
            rows = stored.anti_join(days, KEY).union(made.select(stored.columns))
        batches = stream(rows.order_by(*KEY), TABLE)
        if touched is None:
            version = lake.overwrite(TABLE, batches, consumed=consumed)
        else:
            version = lake.overwrite_dates(TABLE, batches, dates=dates, consumed=consumed)
        return Refreshed(
            table=TABLE,
            version=version,
            rows_written=int(made.count().to_pyarrow().as_py()),
            rows_read=int(events.count().to_pyarrow().as_py()),
            dates=tuple(dates),
            is_full=touched is None,
        )


def _touched(added: Iterable[str], removed: Iterable[str]) -> pl.DataFrame | None:
    """Visitors and dates of files, or None if one that went is no longer there."""
    files = [*added, *removed]
    if not all(Path(file).exists() for file in files):
        return None
    return scan_files("events", files).select(KEY).unique().drop_nulls().collect()


def _dates(touched: pl.DataFrame) -> list[date]:
    return sorted(touched["event_date"].unique())


def _fingerprint(rules: BotRules) -> int:
    """The rules about behaviour as a number, to be noted in the commit like a version."""
    chosen = [rule for rule in rules.rule if rule.layer == "behaviour"]
    told = [(rule.id, rule.mode, rule.weight, rule.at_least) for rule in chosen]
    text = f"{rules.threshold} {told}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
