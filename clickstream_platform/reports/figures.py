"""The figures behind the pictures: one SQL file each, answered by DuckDB over the lake.

Dates are those of the reporting time zone, which is the time zone of the connection.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import polars as pl
from ibis import _

from clickstream_platform.collection.consent import load_policy
from clickstream_platform.collection.consent_log import permitted, silence_of
from clickstream_platform.lake import Engine, Lake, open_tables, view
from clickstream_platform.settings import Settings

QUERIES = Path(__file__).parent / "queries"
"""One SQL file per figure, with what it reads and its grain in its header."""


@dataclass(frozen=True, kw_only=True)
class Period:
    """The days that a report shows, both ends included."""

    first_date: date
    last_date: date

    @property
    def days(self) -> int:
        """How many days it shows."""
        return (self.last_date - self.first_date).days + 1


class Figures:
    """Small frames of figures by name, over one snapshot of the lake.

    ``sessions`` are those of people who allow measurement as of the last run; all of them, for
    figures about consent itself, are ``all_sessions``.
    """

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self._backend: Engine = open_tables(lake, settings)
        everybody = view(self._backend, lake, "sessions", name="all_sessions")
        measured = permitted(
            everybody,
            self._backend.table("person_consents"),
            {"may_measure": "consent_analytics"},
            silence_of(load_policy(settings.definitions)),
        )
        rows = ibis.to_sql(measured.filter(_.may_measure).drop("may_measure"), dialect="duckdb")
        self._backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW sessions AS {rows}")

    def period(self, days: int) -> Period | None:
        """The last days of the table of events, or None while it is empty."""
        first, last = self.frame("period").row(0)
        if last is None:
            return None
        return Period(first_date=max(first, last - timedelta(days=days - 1)), last_date=last)

    def frame(self, name: str, period: Period | None = None, **parameters: object) -> pl.DataFrame:
        """Answer one of the queries.

        Args:
            name: Name of the file in `QUERIES`, without its ending.
            period: Days to show, for queries that name `$first_date` and `$last_date`.
            parameters: Values of further parameters that the query names.
        """
        query = (QUERIES / f"{name}.sql").read_text()
        values: dict[str, Any] = dict(parameters)
        if period is not None:
            values |= {"first_date": period.first_date, "last_date": period.last_date}
        answer: pl.DataFrame = self._backend.con.execute(query, values).pl()
        return answer


def consent_rates(lake: Lake, settings: Settings, *, days: int) -> pl.DataFrame:
    """Who agreed to measurement, by page, country and consent platform, in the last days.

    Columns: ``dimension``, ``value``, ``visitors``, ``granted``, ``refused``, ``unanswered``,
    ``opt_in_rate`` (of who answered; null if nobody did), ``lost_visitors_share`` and
    ``lost_events`` (of who did not agree). Grain: dimension, value. Empty without events.
    """
    figures = Figures(lake, settings)
    period = figures.period(days)
    return pl.DataFrame() if period is None else figures.frame("consent_rates", period)


def change(series: pl.Series) -> float | None:
    """How the mean of the last seven values differs from that of the seven before, as a share.

    None where there are fewer than fourteen values, or nothing before to compare with.
    """
    if len(series) < 14:  # noqa: PLR2004 - two weeks
        return None
    before, after = series[-14:-7].mean(), series[-7:].mean()
    if not isinstance(before, float) or not isinstance(after, float) or before <= 0:
        return None
    return after / before - 1


def complete_days(frame: pl.DataFrame, *, now: datetime, settings: Settings) -> pl.DataFrame:
    """Leave out today, of which only a part has passed."""
    return frame.filter(pl.col("day") < now.astimezone(settings.zone).date())


def fold(frame: pl.DataFrame, label: str, *, by: str, keep: int, into: str) -> pl.DataFrame:
    """Keep the largest labels by the sum of a column, and rename the others to one label."""
    largest = (
        frame.group_by(label).agg(pl.col(by).sum()).sort([by, label], descending=[True, False])
    )
    kept = largest[label][: keep if len(largest) > keep + 1 else keep + 1].to_list()
    name = pl.when(pl.col(label).is_in(kept)).then(label).otherwise(pl.lit(into))
    return frame.with_columns(name.alias(label))
