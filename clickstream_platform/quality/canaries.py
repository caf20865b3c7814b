"""Canaries that arrived: what is in the tables of those that were sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from clickstream_platform.collection.probes import PREFIX, Arrival, Canary, arrivals
from clickstream_platform.events import Ledger
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings

WINDOW = timedelta(days=1)
"""Age of the oldest canaries that are asked about."""


def canary_arrivals(
    lake: Lake, settings: Settings, canaries: Sequence[Canary], *, now: datetime
) -> list[Arrival]:
    """Look canaries up among the events, and say when the platform took them.

    Args:
        lake: The lake.
        settings: How long a canary may take, and where the ledger lies.
        canaries: What was sent.
        now: Time of asking.
    """
    if not canaries:
        return []
    first = min(canary.sent_at for canary in canaries).date()
    found = (
        lake.scan("events", dates=[day for day in lake.dates("events") if day >= first])
        .filter(pl.col("is_synthetic"), pl.col("event_id").str.starts_with(PREFIX))
        .select("event_id", "batch_id")
        .collect()
    )
    taken = {
        str(batch["batch_id"]): datetime.fromisoformat(str(batch["arrived_at"]))
        for batch in Ledger(settings.state).batches()
    }
    return arrivals(
        canaries,
        {event_id: taken[batch_id] for event_id, batch_id in found.iter_rows()},
        now=now,
        within=timedelta(minutes=settings.canary.within_minutes),
    )
