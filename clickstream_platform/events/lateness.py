"""Lateness: what a live source delivers beyond its horizon, and when a source is live."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import polars as pl

VERDICTS = ("is_too_late", "is_late")
"""Columns that are judged."""

JUDGED = ("batch_id", "arrived_at", "occurred_us", "received_at_us", "is_bad", *VERDICTS)
"""What the judgement looks at, of rows of `canonical.staged_sql`."""


class Lateness(NamedTuple):
    """Which rows are late and too late, and since when their source is live."""

    verdicts: pl.DataFrame
    live_since: datetime | None


def judged_lateness(
    rows: pl.DataFrame,
    *,
    horizon: int,
    live_since: datetime | None,
    newest: Mapping[str, int] | None = None,
) -> Lateness:
    """Tell imported history from what a live source delivers too late.

    A source is live from the first file on that brings something younger than the horizon. What
    arrives after that is too late beyond the horizon. Until then a file of older events is
    history, of which nothing is late; and in the first file that is young, age counts from its
    newest event, since what led up to it is history as well. A record that names its own arrival
    is late by that alone: it was collected then, whenever its file came.

    Args:
        rows: Rows of one source, columns `JUDGED`; the last two by arrival alone.
        horizon: Age of the oldest event that may still come, in microseconds.
        live_since: Arrival of the first young file, if there was one.
        newest: Newest event of batches of which only a part is in ``rows``.

    Returns:
        `VERDICTS` of each row, and ``live_since`` with these rows.
    """
    of_batch = pl.col("occurred_us").filter(~pl.col("is_bad")).max().over("batch_id")
    if newest:
        of_batch = pl.col("batch_id").replace_strict(dict(newest), default=of_batch)
    judged = rows.select(
        *JUDGED, newest_us=of_batch, arrived_us=pl.col("arrived_at").dt.epoch("us")
    ).with_columns(is_young=pl.col("arrived_us") - pl.col("newest_us") <= horizon)
    young_at = judged.filter("is_young")["arrived_at"].min()
    moments = [moment for moment in (live_since, young_at) if isinstance(moment, datetime)]
    since = min(moments, default=None)
    is_before = pl.lit(value=True) if since is None else pl.col("arrived_at") <= since
    leads_up = pl.col("newest_us") - pl.col("occurred_us") <= horizon
    is_history = is_before & (~pl.col("is_young") | leads_up) & pl.col("received_at_us").is_null()
    return Lateness(judged.select(pl.col(VERDICTS) & ~is_history.fill_null(value=False)), since)
