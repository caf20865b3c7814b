"""Loading: raw events become events, wait in quarantine, or are counted as repeated or too late.

A batch is loaded whole or not at all as far as anybody can see: the ledger says `loading` before
the first row is written and `loaded` after the last. What a crash leaves at `loading` is taken
out and loaded again, and the ledger is counted anew from the tables.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from clickstream_platform.attribution import load_channel_rules
from clickstream_platform.collection.bots import load_bot_rules
from clickstream_platform.collection.consent import COLUMNS as CONSENTS
from clickstream_platform.collection.consent import load_policy
from clickstream_platform.collection.consent_log import judged_consents, said_sql
from clickstream_platform.events.adapters import (
    Adapter,
    adapter_for,
    quoted,
    read_adapters,
    require_adapters,
)
from clickstream_platform.events.agents import parse_agents
from clickstream_platform.events.canonical import (
    computed_sql,
    event_columns,
    pages_sql,
    referrers_sql,
    violations_sql,
)
from clickstream_platform.events.landed import unfinished_batches
from clickstream_platform.events.ledger import FATES, Ledger, Progress
from clickstream_platform.events.records import each_tried_alone, open_duckdb
from clickstream_platform.lake import Lake, Refreshed, adapt, polars_schema, read_files, turn
from clickstream_platform.settings import Settings

CHUNK_ROWS = 400_000
"""Records that are loaded at once: about 400 MB in DuckDB."""

TABLES = ("events", "quarantined_events", "duplicate_events")
"""What one load writes."""

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


@dataclass(frozen=True)
class Chunk:
    """Records of one source that are loaded at once: whole batches, or a stretch of one."""

    source: str
    batch_ids: tuple[str, ...]
    arrival_dates: tuple[date, ...]
    ordinals: tuple[int, int] | None = None
    is_last: bool = True


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
    dates = {datetime.fromisoformat(str(batch["arrived_at"])).date() for batch in batches}
    ids = tuple(str(batch["batch_id"]) for batch in batches)
    return Chunk(source, ids, tuple(sorted(dates)), ordinals, is_last)


class Loader:
    """Loads chunks of raw events into the lake, one after another."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self.lake = lake
        self.settings = settings
        self.policy = load_policy(settings.definitions)
        self.bot_rules = load_bot_rules(settings.definitions)
        self.click_ids = tuple(load_channel_rules(settings.definitions).click_ids)

    def load(self, chunk: Chunk, adapter: Adapter, outcome: Outcome) -> None:
        """Load the raw events of one chunk."""
        files = self.lake.files("raw_events", dates=chunk.arrival_dates)
        if not files:
            return
        self.lake.require_sound("raw_events", files)
        chosen = f"batch_id IN ({', '.join(map(quoted, chunk.batch_ids))})"
        if chunk.ordinals:
            chosen += f" AND ordinal BETWEEN {chunk.ordinals[0]} AND {chunk.ordinals[1]}"
        rows = read_files(self.lake, "raw_events", files)
        raw = f"(SELECT * FROM ({rows}) WHERE {chosen})"
        self.load_relation(raw, adapter, outcome)

    def load_relation(self, raw: str, adapter: Adapter, outcome: Outcome) -> None:
        """Load a relation with the columns of raw_events."""
        spill = self.settings.state / "spill"
        spill.mkdir(parents=True, exist_ok=True)
        with open_duckdb(
            memory_limit=self.settings.lake.memory_limit, spill=str(spill)
        ) as connection:
            # A relation is computed on every thread; the result of execute() on one.
            try:
                rows = connection.sql(computed_sql(adapter, self.settings, raw)).to_arrow_table()
            except (duckdb.DataError, duckdb.InvalidInputException):  # the adapter's, for a record
                tried = computed_sql(adapter, self.settings, raw, tried=True)
                with each_tried_alone(connection):
                    rows = connection.sql(tried).to_arrow_table()
            rows = rows.append_column("row_id", pa.array(np.arange(rows.num_rows)))
            connection.register("staged", rows)
            self._settle_repetitions(connection)
            staged = pl.DataFrame(pl.from_arrow(rows, rechunk=False))
            self._write(connection, staged, adapter, outcome)

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
        for batch_id, became, number in fates.group_by("batch_id", "fate").len().iter_rows():
            outcome.add(batch_id, became, number)
        self._append(
            connection,
            "quarantined_events",
            "SELECT batch_id, ordinal, source, arrived_at, arrival_date, CASE WHEN is_bad THEN "
            "'quarantined' ELSE 'too_late' END AS fate, visitor_id, user_id, identifiers, "
            "left(event_name, 40) AS event_name, payload, CASE WHEN is_bad THEN "
            f"{violations_sql(adapter)} ELSE [{_TOO_LATE}] END AS violations "
            "FROM staged WHERE is_bad OR is_too_late",
        )
        self._append(
            connection,
            "duplicate_events",
            "SELECT batch_id, ordinal, source, arrival_date, event_id, visitor_id, user_id, "
            "identifiers, is_conflict FROM staged JOIN lost USING (row_id) UNION ALL "
            "SELECT batch_id, ordinal, source, (SELECT max(arrival_date) FROM staged), event_id, "
            "visitor_id, user_id, identifiers, is_conflict FROM beaten",
        )
        beaten = connection.execute("SELECT event_key, batch_id FROM beaten").fetchall()
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

    def _append(self, connection: duckdb.DuckDBPyConnection, table: str, query: str) -> None:
        rows = frame_of(connection, query)
        self._store(table, rows.cast(pl.Schema(polars_schema(table))))

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
