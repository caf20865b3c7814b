"""Writing anew the partitions in which sessions change: what was stale gives way to what was made.

DuckDB's SQL over the tables of `islands` and the ``made_`` tables of `making`. Every partition is
read, freed of what the hulls held and written with what was made, so a second time changes nothing.
"""

from datetime import date

import polars as pl

from clickstream_platform.lake import (
    Engine,
    Lake,
    Parts,
    part_of,
    polars_schema,
    rows_of,
    stream,
    view,
)
from clickstream_platform.sessions.policy import SessionPolicy
from clickstream_platform.sessions.runaways import LIMITS, runaway_sessions

DECIDING = "session_events"
"""Table whose commit says what was taken in; it is written last."""

RUNAWAYS = "runaway_sessions"


class SessionParts:
    """Partitions of the tables of sessions, by date and bucket of persons.

    Args:
        lake: The lake.
        backend: Connection that holds what was found and made.
        policy: How sessions were made.
        buckets: Buckets of persons, of each date.
        is_bucketed: Whether events lie in buckets of the persons that sessions are of.
    """

    def __init__(
        self, lake: Lake, backend: Engine, *, policy: SessionPolicy, buckets: int, is_bucketed: bool
    ) -> None:
        self.lake, self.backend, self.policy = lake, backend, policy
        self.buckets, self.is_bucketed = buckets, is_bucketed

    def files(self, table: str, parts: Parts) -> list[str]:
        """Data files of some partitions."""
        files = self.lake.files(table, dates={day for day, _ in parts})
        if table == "events" and not self.is_bucketed:
            return files
        return [file for file in files if part_of(file) in parts]

    def write(self, consumed: dict[str, int] | None) -> tuple[date, ...]:
        """Replace what the hulls held, partition by partition.

        Args:
            consumed: Versions that are taken in with it; none, where only some dates were made.

        Returns:
            Dates of `sessions` that were written.
        """
        self.backend.fill(
            "stale_sessions",
            "SELECT DISTINCT s.* FROM stored_sessions s JOIN hulls h "
            "ON s.person_key = h.person_key AND s.start_us BETWEEN h.low_us AND h.high_us",
        )
        self._name_first()
        self.backend.fill(
            "stale_events",
            "SELECT event_key FROM source_events UNION SELECT event_key FROM differences",
        )
        sessions = self._parts(
            "SELECT session_date, person_key FROM stale_sessions UNION "
            "SELECT session_date, person_key FROM made_sessions UNION "
            "SELECT session_date, person_key FROM renamed"
        )
        kept = (
            "SELECT o.* REPLACE (coalesce(r.cut_reason, o.cut_reason) AS cut_reason) FROM "
            "(SELECT * FROM {old} t WHERE NOT EXISTS (SELECT 1 FROM stale_sessions s "
            "WHERE s.person_key = t.person_key AND s.session_key = t.session_key)) o "
            "LEFT JOIN renamed r ON r.person_key = o.person_key AND r.session_key = o.session_key"
        )
        self._replace("sessions", sessions, kept, consumed)
        # What an event was before is either as it is now, or a difference.
        events = self._parts(
            "SELECT event_date, person_key FROM made_session_events UNION "
            "SELECT event_date, person_key FROM made_sessionless_events "
            "WHERE person_key IS NOT NULL UNION "
            "SELECT old_date, old_person_key FROM differences WHERE old_person_key IS NOT NULL"
        )
        unplaced = "SELECT * FROM {old} WHERE event_key NOT IN (SELECT event_key FROM stale_events)"
        self._replace("sessionless_events", self._sessionless(events), unplaced, consumed)
        self._write_runaways(consumed)
        self._replace("session_events", events, unplaced, consumed)
        return tuple(sorted({day for day, _ in sessions}))

    def _write_runaways(self, consumed: dict[str, int] | None) -> None:
        """Put together anew the runaways of everybody who had or may have one.

        What comes after a point in its island is made anew. So a runaway that is new or grows has
        sessions among those that were made; one that shrinks or ends is stored.
        """
        limits = ", ".join(f"'{reason}'" for reason in LIMITS)
        concerned = self.backend.raw_sql(
            f"SELECT person_key FROM made_sessions WHERE cut_reason IN ({limits}) UNION "  # noqa: S608 - names of our own
            f"SELECT person_key FROM {RUNAWAYS} WHERE person_key IN (SELECT person_key FROM points)"
        ).fetchall()
        if not concerned:
            return
        persons = [key for (key,) in concerned]
        buckets = {key % self.buckets for key in persons}
        parts = {(day, bucket) for day in self.lake.dates("sessions") for bucket in buckets}
        theirs = view(self.backend, self.lake, "sessions", files=self.files("sessions", parts))
        made = runaway_sessions(theirs.filter(theirs.person_key.isin(persons)), policy=self.policy)
        self.backend.make_table(f"made_{RUNAWAYS}", made)
        listed = ", ".join(map(str, persons))
        rows = self.backend.raw_sql(
            f"SELECT session_date FROM made_{RUNAWAYS} UNION "  # noqa: S608 - names of our own
            f"SELECT session_date FROM {RUNAWAYS} WHERE person_key IN ({listed})"
        ).fetchall()
        kept = f"SELECT * FROM {{old}} WHERE person_key NOT IN ({listed})"  # noqa: S608 - numbers
        self._replace(RUNAWAYS, {(day, 0) for (day,) in rows}, kept, consumed)

    def _sessionless(self, events: Parts) -> Parts:
        """Dates on which events without a session come or go."""
        dates = ", ".join(f"DATE '{day}'" for day in sorted({day for day, _ in events}))
        rows = self.backend.raw_sql(
            "SELECT event_date FROM made_sessionless_events UNION SELECT event_date "  # noqa: S608 - dates
            f"FROM sessionless_events WHERE event_date IN ({dates or 'NULL'}) "
            "AND event_key IN (SELECT event_key FROM stale_events) UNION SELECT old_date "
            "FROM differences WHERE old_date IS NOT NULL AND old_person_key IS NULL"
        ).fetchall()
        return {(day, 0) for (day,) in rows}

    def _name_first(self) -> None:
        """Find the first session of everybody concerned, and the stored rows that say otherwise."""
        self.backend.fill(
            "openings",
            "SELECT person_key, session_key, start_us, session_date, cut_reason, false AS is_made "
            "FROM stored_sessions ANTI JOIN stale_sessions USING (person_key, session_key) "
            "UNION ALL SELECT person_key, session_key, epoch_us(started_at), session_date, "
            "cut_reason, true FROM made_sessions",
        )
        self.backend.fill(
            "renamed",
            "SELECT person_key, session_key, session_date, is_made, should AS cut_reason FROM ("
            "SELECT *, CASE WHEN row_number() OVER (PARTITION BY person_key "
            "ORDER BY start_us, session_key) = 1 THEN 'first' ELSE 'timeout' END AS should "
            "FROM openings) WHERE cut_reason IN ('first', 'timeout') AND cut_reason <> should",
        )
        self.backend.raw_sql(
            "UPDATE made_sessions SET cut_reason = r.cut_reason FROM renamed r "
            "WHERE r.is_made AND r.person_key = made_sessions.person_key "
            "AND r.session_key = made_sessions.session_key"
        )
        self.backend.raw_sql("DELETE FROM renamed WHERE is_made")

    def _replace(self, name: str, parts: Parts, kept: str, consumed: dict[str, int] | None) -> None:
        """Write partitions anew: what is kept of them, and what was made."""
        if not parts:
            if name == DECIDING and consumed is not None:
                self.lake.append(name, pl.DataFrame(schema=polars_schema(name)), consumed=consumed)
            return
        files = self.files(name, parts)
        self.lake.require_sound(name, files)
        view(self.backend, self.lake, name, files=files, name=f"rewritten_{name}")
        columns = ", ".join(polars_schema(name))
        old = kept.format(old=f"rewritten_{name}")
        whole = f"SELECT {columns} FROM ({old}) UNION ALL SELECT {columns} FROM made_{name}"  # noqa: S608 - columns of the contract
        self.backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW whole_{name} AS {whole}")
        rows = stream(self.backend.shaped(f"whole_{name}", name), name)
        self.lake.overwrite(name, rows, where=rows_of(name, parts), consumed=consumed)

    def _parts(self, query: str) -> Parts:
        """Partitions of the dates and persons that a query lists."""
        rows = self.backend.raw_sql(
            f"SELECT DISTINCT d, p % {self.buckets} FROM ({query}) q(d, p)"  # noqa: S608 - queries of our own
        ).fetchall()
        return {(day, bucket) for day, bucket in rows}
