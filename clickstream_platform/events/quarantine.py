"""Quarantine: what waits and why, and how it gets another chance after a fix."""

import polars as pl

from clickstream_platform.events.adapters import require_adapters
from clickstream_platform.events.ledger import Ledger, Progress
from clickstream_platform.events.loading import TABLES, refresh_events, take_out
from clickstream_platform.events.retaking import take_again
from clickstream_platform.lake import Lake, Refreshed, adapt, turn
from clickstream_platform.settings import Settings


def quarantine_summary(lake: Lake) -> pl.DataFrame:
    """Count what waits by source, rule and field, most first.

    Returns:
        ``source``, ``fate``, ``code``, ``field``, ``expected``, ``got`` (the shape or reason that
        most have), ``records``, ``last_arrived_at``.
    """
    return (
        lake.scan("quarantined_events")
        .explode("violations", empty_as_null=True, keep_nulls=True)
        .unnest("violations")
        .group_by("source", "fate", "code", "field", "expected")
        .agg(
            got=pl.col("got").drop_nulls().mode().min(),
            records=pl.len(),
            last_arrived_at=pl.col("arrived_at").max(),
        )
        .sort("records", "source", "code", descending=[True, False, False])
        .collect()
    )


def quarantine_rows(
    lake: Lake, *, source: str | None = None, code: str | None = None, limit: int = 20
) -> pl.DataFrame:
    """Show records that wait, youngest first, with everything that is wrong with each.

    Args:
        lake: The lake.
        source: Of this source only.
        code: That break this rule.
        limit: How many.
    """
    rows = lake.scan("quarantined_events")
    if source is not None:
        rows = rows.filter(pl.col("source") == source)
    if code is not None:
        has_code = pl.col("violations").list.eval(pl.element().struct.field("code") == code)
        rows = rows.filter(has_code.list.any())
    order = ["arrived_at", "batch_id", "ordinal"]
    return rows.sort(order, descending=[True, False, False]).head(limit).collect()


def replay_quarantine(
    settings: Settings,
    *,
    source: str | None = None,
    code: str | None = None,
    progress: Progress | None = None,
) -> Refreshed:
    """Give batches with waiting records another chance under today's adapters and rules.

    Whole batches are derived anew: from their landed file where it still lies there unchanged, so
    that a mended mapping of identifiers or format counts too; else from raw_events. What was
    loaded stays loaded, what is sound now is loaded, the rest waits on. Doing it twice is doing
    it once.

    Returns:
        The load; ``details`` has ``batches`` and, before and after, the records ``waiting``.
    """
    with turn(settings.state, progress=progress):
        return _replayed(settings, source, code, progress)


def _replayed(
    settings: Settings, source: str | None, code: str | None, progress: Progress | None
) -> Refreshed:
    lake, ledger = Lake(settings.lake_folder), Ledger(settings.state)
    adapt(lake, ("raw_events", *TABLES), is_derived=False)
    waiting = quarantine_rows(lake, source=source, code=code, limit=2**31)
    chosen = sorted(set(waiting["batch_id"]))
    require_adapters(sorted(set(waiting["source"])), settings.definitions)
    ledger.set_state(chosen, "loading")
    take_out(lake, chosen)
    take_again(settings, lake, ledger, chosen)
    loaded = refresh_events(settings, again=chosen, progress=progress)
    left = quarantine_rows(lake, source=source, code=code, limit=2**31)
    still = left.filter(pl.col("batch_id").is_in(chosen)).height
    return Refreshed(
        table=loaded.table,
        version=loaded.version,
        rows_written=loaded.rows_written,
        rows_read=loaded.rows_read,
        dates=loaded.dates,
        details={
            **loaded.details,
            "batches": len(chosen),
            "waiting_before": waiting.height,
            "waiting_after": still,
        },
    )
