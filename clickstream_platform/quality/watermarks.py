"""Event-time freshness: how old the newest event of each source is."""

from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from clickstream_platform.events import Ledger, read_adapters
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings

ALLOWED_AGE = timedelta(hours=26)
"""Age at which a live source is late: a day, and two hours for who delivers once a day."""


class Watermark(NamedTuple):
    """The newest event of one source; canaries do not make a silent source look alive."""

    source: str
    newest_at: datetime
    """Event time of it; what lies in the future by a wrong clock does not count."""
    age: timedelta
    is_live: bool
    """Events come as they happen, and have begun to: history that was imported is never late."""

    @property
    def is_late(self) -> bool:
        """Whether a live source has been silent for too long."""
        return self.is_live and self.age > ALLOWED_AGE


def watermarks(lake: Lake, settings: Settings, *, now: datetime) -> list[Watermark]:
    """Find the newest event of each source, whatever was loaded last.

    A table that was written to a minute ago looks fresh even if it was a day of last month that
    was loaded; event time is not fooled by that.

    Args:
        lake: The lake.
        settings: Where the user's own adapters lie.
        now: Time to measure ages by.
    """
    adapters, ledger = read_adapters(settings.definitions).sound, Ledger(settings.state)
    newest = (
        lake.scan("events")
        .filter(pl.col("occurred_at") <= now, ~pl.col("is_synthetic"))
        .group_by("source")
        .agg(newest_at=pl.col("occurred_at").max())
        .sort("source")
        .collect(engine="streaming")
    )
    return [
        Watermark(
            source=source,
            newest_at=newest_at,
            age=now - newest_at,
            is_live=(source not in adapters or adapters[source].live)
            and not ledger.has_history_only(source),
        )
        for source, newest_at in newest.iter_rows()
    ]
