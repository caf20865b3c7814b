"""One chunk of raw events becomes events: judged, told from repetitions, completed, stored."""

from dataclasses import dataclass, field
from datetime import date, datetime

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from clickstream_platform.attribution import load_channel_rules
from clickstream_platform.collection.bots import load_bot_rules
from clickstream_platform.collection.consent import COLUMNS as CONSENTS
from clickstream_platform.collection.consent import load_policy
from clickstream_platform.collection.consent_log import judged_consents, said_sql
from clickstream_platform.events.adapters import Adapter, quoted
from clickstream_platform.events.agents import parse_agents
from clickstream_platform.events.canonical import (
    computed_sql,
    event_columns,
    lateness_horizon,
    pages_sql,
    referrers_sql,
    staged_sql,
    violations_sql,
)
from clickstream_platform.events.lateness import JUDGED, VERDICTS, judged_lateness
from clickstream_platform.events.ledger import FATES, Ledger
from clickstream_platform.events.records import each_tried_alone, open_duckdb
from clickstream_platform.lake import Lake, polars_schema, read_files
from clickstream_platform.settings import Settings

CONTENT = {
    "event_name": "event_name",
    "created_at": "make_timestamp(created_at_us)",
    "visitor_id": "visitor_id",
    "user_id": "user_id",
    "page_url": "page_url",
    "product_id": "product_id",
    "order_id": "order_id",
    "revenue_original": "revenue_number",
    "engaged_time_ms": "engaged_ms",
    "properties": "properties",
}
"""What must be equal for a repetition to be one: column of events, and the same of staged rows."""


@dataclass
class Outcome:
    """What became of the records of one load."""

    fates: dict[str, dict[str, int]] = field(default_factory=dict)
    dates: set[date] = field(default_factory=set)
    displaced: set[str] = field(default_factory=set)
    """Batches that lost an event to an earlier arrival."""

    def add(self, batch_id: str, fate: str, number: int) -> None:
        """Count records of a batch."""
        counts = self.fates.setdefault(batch_id, dict.fromkeys(FATES[:3] + FATES[4:], 0))
        counts[fate] += number

    def total(self, fate: str) -> int:
        """Records of one fate, all batches."""
        return sum(counts[fate] for counts in self.fates.values())


@dataclass(frozen=True)
class Chunk:
    """Records of one source that are loaded at once: whole batches, or a stretch of one."""

    source: str
    batch_ids: tuple[str, ...]
    first_arrived_at: datetime
    arrival_dates: tuple[date, ...]
    ordinals: tuple[int, int] | None = None
    is_last: bool = True


class Loader:
    """Loads chunks of raw events into the lake, one after another."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self.lake = lake
        self.settings = settings
        self.ledger = Ledger(settings.state)
        self.policy = load_policy(settings.definitions)
        self.bot_rules = load_bot_rules(settings.definitions)
        self.click_ids = tuple(load_channel_rules(settings.definitions).click_ids)
        self.newest: dict[str, int] = {}

    def load(self, chunk: Chunk, adapter: Adapter, outcome: Outcome) -> None:
        """Load the raw events of one chunk."""
        files = self.lake.files("raw_events", dates=chunk.arrival_dates)
        if not files:
            return
        self.lake.require_sound("raw_events", files)
        chosen = f"batch_id IN ({', '.join(map(quoted, chunk.batch_ids))})"
        raw = f"(SELECT * FROM ({read_files(self.lake, 'raw_events', files)}) WHERE {chosen})"
        stretch = raw
        if chunk.ordinals:
            first, last = chunk.ordinals
            stretch = f"(SELECT * FROM {raw} WHERE ordinal BETWEEN {first} AND {last})"
        spill = self.settings.state / "spill"
        spill.mkdir(parents=True, exist_ok=True)
        with open_duckdb(
            memory_limit=self.settings.lake.memory_limit, spill=str(spill)
        ) as connection:
            # A relation is computed on every thread; the result of execute() on one.
            try:
                rows = connection.sql(
                    computed_sql(adapter, self.settings, stretch)
                ).to_arrow_table()
            except (duckdb.DataError, duckdb.InvalidInputException):  # the adapter's, for a record
                tried = computed_sql(adapter, self.settings, stretch, tried=True)
                with each_tried_alone(connection):
                    rows = connection.sql(tried).to_arrow_table()
            if adapter.live:
                rows = self._late_judged(connection, rows, chunk, adapter, raw)
            rows = rows.append_column("row_id", pa.array(np.arange(rows.num_rows)))
            connection.register("staged", rows)
            self._settle_repetitions(connection)
            staged = pl.DataFrame(pl.from_arrow(rows, rechunk=False))
            self._write(connection, staged, adapter, outcome)

    def _late_judged(
        self,
        connection: duckdb.DuckDBPyConnection,
        rows: pa.Table,
        chunk: Chunk,
        adapter: Adapter,
        raw: str,
    ) -> pa.Table:
        """Take what is history of a source, not late, from what is too late by arrival."""
        since = self.ledger.live_since(chunk.source)
        if since is not None and since < chunk.first_arrived_at:
            return rows
        if chunk.ordinals and chunk.batch_ids[0] not in self.newest:
            staged = staged_sql(adapter, self.settings, raw, tried=True)
            query = f"SELECT max(occurred_us) FROM ({staged}) WHERE NOT is_bad"
            with each_tried_alone(connection):
                ((newest,),) = connection.execute(query).fetchall()
            self.newest = {} if newest is None else {chunk.batch_ids[0]: newest}
        judged = judged_lateness(
            pl.DataFrame(pl.from_arrow(rows.select(JUDGED))),
            horizon=lateness_horizon(adapter, self.settings),
            live_since=since,
            newest=self.newest if chunk.ordinals else None,
        )
        self.ledger.note_delivery(chunk.source, live_since=judged.live_since)
        for name in VERDICTS:
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, name, judged.verdicts[name].to_arrow())
        return rows

    def _settle_repetitions(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Decide which of several arrivals of an event stays: the earliest, wherever it lies.

        Leaves ``lost`` (staged rows that repeat), ``beaten`` (stored events that a staged row
        arrived before), each with whether it says something else than the one that stays.
        """
        order = "received_us, batch_id, ordinal"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE keyed AS SELECT row_id, event_id, event_key, {order} "
            "FROM staged WHERE NOT is_bad AND NOT is_too_late"
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE ranked AS SELECT row_id, event_id, "
            f"first_value(row_id) OVER (PARTITION BY event_id ORDER BY {order}) AS kept FROM keyed "
            "WHERE event_key IN (SELECT event_key FROM keyed GROUP BY ALL HAVING count(*) > 1)"
        )
        differs = " OR ".join(
            f"lost.{staged} IS DISTINCT FROM kept.{staged}"
            for staged in ("event_name", "created_at_us", "visitor_id", "user_id", "page_url",
                           "product_id", "order_id", "revenue_number", "engaged_ms", "properties")
        )  # fmt: skip
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE lost AS SELECT ranked.row_id, "
            f"({differs}) AS is_conflict FROM ranked "
            "JOIN staged lost ON lost.row_id = ranked.row_id "
            "JOIN staged kept ON kept.row_id = ranked.kept WHERE ranked.row_id <> ranked.kept"
        )
        self._meet_stored(connection)

    def _meet_stored(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE beaten (batch_id VARCHAR, ordinal BIGINT, source VARCHAR,"
            " event_id VARCHAR, event_key BIGINT, visitor_id VARCHAR, user_id VARCHAR,"
            " identifiers VARCHAR, is_conflict BOOLEAN)"
        )
        files = self.lake.files("events")
        if not files:
            return
        listed = f"[{', '.join(map(quoted, files))}]"
        try:
            hits = connection.execute(
                f"SELECT DISTINCT filename FROM read_parquet({listed}, filename = true, "
                "hive_partitioning = false) WHERE event_key IN (SELECT event_key FROM keyed)"
            ).fetchall()
        except duckdb.Error:
            self.lake.require_sound("events", files)
            raise
        if not hits:
            return
        self.lake.require_sound("events", [str(name) for (name,) in hits])
        held = read_files(self.lake, "events", [str(name) for (name,) in hits])
        differs = " OR ".join(
            f"stored.{column} IS DISTINCT FROM {_of(staged, 'staged')}"
            for column, staged in CONTENT.items()
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE met AS SELECT keyed.row_id, stored.batch_id, "
            "stored.ordinal, stored.source, stored.event_id, stored.event_key, stored.visitor_id, "
            f"stored.user_id, stored.identifiers, ({differs}) AS is_conflict, "
            "(epoch_us(stored.received_at), stored.batch_id, stored.ordinal) "
            "<= (keyed.received_us, keyed.batch_id, keyed.ordinal) AS stored_stays "
            f"FROM ({held}) stored "
            "JOIN keyed USING (event_key, event_id) JOIN staged ON staged.row_id = keyed.row_id "
            "WHERE keyed.row_id NOT IN (SELECT row_id FROM lost)"
        )
        connection.execute(
            "INSERT INTO lost SELECT row_id, is_conflict FROM met WHERE stored_stays"
        )
        connection.execute(
            "INSERT INTO beaten SELECT batch_id, ordinal, source, event_id, event_key, visitor_id, "
            "user_id, identifiers, is_conflict FROM met WHERE NOT stored_stays"
        )

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        staged: pl.DataFrame,
        adapter: Adapter,
        outcome: Outcome,
    ) -> None:
        lost = frame_of(connection, "SELECT row_id FROM lost")["row_id"]
        beaten = connection.execute("SELECT event_key, batch_id FROM beaten").fetchall()
        fate = (
            pl.when("is_bad")
            .then(pl.lit("quarantined"))
            .when("is_too_late")
            .then(pl.lit("too_late"))
            .when(pl.col("row_id").is_in(lost.implode()))
            .then(pl.lit("duplicate"))
            .otherwise(pl.lit("loaded"))
        )
        fates = staged.select("batch_id", fate=fate)
        for batch_id, fate_of, number in fates.group_by("batch_id", "fate").len().iter_rows():
            outcome.add(batch_id, fate_of, number)
        became = set(fates["fate"])
        self._append(
            connection,
            "quarantined_events",
            "SELECT batch_id, ordinal, source, arrived_at, arrival_date, CASE WHEN is_bad THEN "
            "'quarantined' ELSE 'too_late' END AS fate, visitor_id, user_id, identifiers, "
            "left(event_name, 40) AS event_name, payload, CASE WHEN is_bad THEN "
            f"{violations_sql(adapter)} ELSE [{_TOO_LATE}] END AS violations "
            "FROM staged WHERE is_bad OR is_too_late",
            has_rows=bool(became & {"quarantined", "too_late"}),
        )
        self._append(
            connection,
            "duplicate_events",
            "SELECT batch_id, ordinal, source, arrival_date, event_id, visitor_id, user_id, "
            "identifiers, is_conflict FROM staged JOIN lost USING (row_id) UNION ALL "
            "SELECT batch_id, ordinal, source, (SELECT max(arrival_date) FROM staged), event_id, "
            "visitor_id, user_id, identifiers, is_conflict FROM beaten",
            has_rows=bool(beaten) or "duplicate" in became,
        )
        if beaten:
            outcome.displaced |= {batch_id for _, batch_id in beaten}
            keys = ", ".join(str(key) for key, _ in beaten)
            batches = ", ".join(sorted({quoted(batch_id) for _, batch_id in beaten}))
            self.lake.delete("events", f"event_key in ({keys}) and batch_id in ({batches})")
        kept = staged.filter(fates["fate"] == "loaded")
        events = self._beside(connection, kept).select(**event_columns())
        outcome.dates |= set(events["event_date"].unique())
        self._store("events", events)

    def _beside(self, connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> pl.DataFrame:
        """Put beside rows what is found once for each distinct address, user agent and signal."""
        found: list[pl.DataFrame] = []
        for column, query in (
            ("page_url", pages_sql(self.click_ids)),
            ("referrer_url", referrers_sql()),
        ):
            distinct = rows.select(pl.col(column).drop_nulls().unique())
            connection.register(f"{column}s", distinct.to_arrow())
            prefix = column.removesuffix("_url")
            parts = frame_of(connection, query).rename({n: f"{prefix}_{n}" for n in _PARTS})
            found.append(_matched(rows.select(column), parts))
            connection.unregister(f"{column}s")
        said = rows.select("user_agent", noted="bot_signals")
        found.append(_matched(said, parse_agents(said.unique().iter_rows(), self.bot_rules)))
        self._judge_consent(connection)
        judged = frame_of(connection, "SELECT * FROM judged")
        found.append(_matched(rows.select("row_id"), judged))
        return pl.concat([rows.drop("bot_signals"), *found], how="horizontal")

    def _judge_consent(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Leave ``judged``: what the signals of staged rows come to, for rows that have any."""
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE said AS SELECT * FROM (SELECT row_id, "
            f"{said_sql()} AS said, country, date_trunc('day', make_timestamp(occurred_us)) "
            "AS occurred_at, analytics_given AS consent_analytics, marketing_given AS "
            "consent_marketing, personalization_given AS consent_personalization "
            "FROM staged WHERE NOT is_bad) WHERE said IS NOT NULL"
        )
        key = ", ".join(("said", "country", "occurred_at", *CONSENTS))
        distinct = connection.execute(f"SELECT {key} FROM said GROUP BY ALL").to_arrow_table()
        verdicts = judged_consents(pl.DataFrame(distinct), self.policy)
        connection.register("verdicts", verdicts.to_arrow())
        same = " AND ".join(
            f"said.{name} IS NOT DISTINCT FROM verdicts.{name}" for name in key.split(", ")
        )
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE judged AS SELECT row_id, judged_analytics, "
            f"judged_marketing, judged_personalization FROM said JOIN verdicts ON {same}"
        )
        connection.unregister("verdicts")

    def _append(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        query: str,
        *,
        has_rows: bool,
    ) -> None:
        """Store what a query finds; where it is known to find nothing it is not even planned."""
        schema = pl.Schema(polars_schema(table))
        self._store(
            table, frame_of(connection, query).cast(schema) if has_rows else schema.to_frame()
        )

    def _store(self, table: str, rows: pl.DataFrame) -> None:
        if rows.height or not self.lake.exists(table):
            self.lake.append(table, rows)


_PARTS = ("host", "path")
"""Columns of `pages_sql` and `referrers_sql` that are named after the address."""


def frame_of(connection: duckdb.DuckDBPyConnection, query: str) -> pl.DataFrame:
    """The rows of a query."""
    return pl.DataFrame(pl.from_arrow(connection.sql(query).to_arrow_table()))


def _matched(rows: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """What was found for each row, by the columns of the row, in the order of the rows."""
    on = rows.columns
    return rows.join(found, on=on, how="left", maintain_order="left", nulls_equal=True).drop(on)


_TOO_LATE = (
    "{'code': 'too_late', 'field': 'occurred_at', 'expected': 'within the lateness horizon', "
    "'got': CAST((received_us - occurred_us) // 86400000000 AS VARCHAR) || ' days'}"
)


def _of(expression: str, table: str) -> str:
    """Qualify the one column of an expression."""
    if "(" not in expression:
        return f"{table}.{expression}"
    function, column = expression.rstrip(")").split("(")
    return f"CAST({function}({table}.{column}) AS TIMESTAMPTZ)"
