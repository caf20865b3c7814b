"""Judging records without loading them: the verdict of the row rules, for tests of tracking."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from clickstream_platform.events.adapters import adapter_for, read_adapters
from clickstream_platform.events.canonical import staged_sql, violations_sql
from clickstream_platform.events.records import each_tried_alone, open_duckdb
from clickstream_platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ingestion would do with a record."""

    event_name: str | None
    """Its name in the taxonomy."""
    violations: tuple[dict[str, str | None], ...]
    """Every rule that it breaks: code, field, expected, got (masked)."""

    @property
    def is_good(self) -> bool:
        """Whether it would become an event."""
        return not self.violations


def judge(
    payloads: Sequence[str], source: str, settings: Settings, *, now: datetime
) -> list[Verdict]:
    """Judge records of one source by the rules that ingestion applies, in the order given.

    Args:
        payloads: JSON objects as text, fields named as the source's adapter expects.
        source: Says which adapter reads them.
        settings: Currency, rates and definitions.
        now: Time of arrival where a record names none.
    """
    if not payloads:
        return []
    adapter = adapter_for(source, read_adapters(settings.definitions))
    people = [json.loads(payload) for payload in payloads]
    raw = pl.DataFrame(
        {
            "ordinal": range(len(payloads)),
            "payload": payloads,
            "visitor_id": [person.get("visitor_id") for person in people],
            "user_id": [person.get("user_id") for person in people],
        },
        schema_overrides={"visitor_id": pl.String, "user_id": pl.String, "ordinal": pl.Int64},
        strict=False,
    ).with_columns(
        batch_id=pl.lit("judged"),
        source=pl.lit(source),
        arrived_at=pl.lit(now).dt.cast_time_unit("us"),
        arrival_date=pl.lit(now.date()),
        identifiers=pl.lit(None, pl.String),
        read_error=pl.lit(None, pl.String),
    )
    with open_duckdb() as connection, each_tried_alone(connection):
        connection.register("judged", raw.to_arrow())
        staged = staged_sql(adapter, settings, "judged", tried=True)
        connection.execute(f"CREATE TEMP TABLE staged AS {staged}")
        rows = connection.execute(
            # Staged rows that are sound have lost the texts that the rules look at.
            f"SELECT event_name, CASE WHEN is_bad THEN {violations_sql(adapter)} END FROM staged "
            "ORDER BY ordinal"
        ).fetchall()
    return [Verdict(name, tuple(violations or ())) for name, violations in rows]
