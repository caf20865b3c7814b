"""Keeping sessions up to date: work is proportional to what changed.

Four tables are written in four commits. `session_events` comes last and alone decides what was
taken in, so after a crash in between the next run finds the same differences and writes the same
rows again.
"""

import hashlib
import tempfile
from collections.abc import Collection, Iterable
from datetime import date
from pathlib import Path

import polars as pl

from clickstream_platform.lake import (
    Changes,
    DataFile,
    Engine,
    Lake,
    Parts,
    Refreshed,
    opened_engine,
    part_of,
    polars_schema,
    rows_of,
    stream,
    view,
)
from clickstream_platform.sessions import islands
from clickstream_platform.sessions.making import MADE, make_sessions
from clickstream_platform.sessions.policy import SessionPolicy
from clickstream_platform.sessions.rebuild import is_bucketed, rebuild_sessions
from clickstream_platform.sessions.runaways import LIMITS, runaway_sessions
from clickstream_platform.sessions.sources import BEHAVIOUR, find_turned_days, view_events
from clickstream_platform.sessions.summary import SessionDefinitions, load_session_definitions
from clickstream_platform.settings import Settings

UPSTREAMS = ("events", "identity_map")
"""Tables that sessions are made from."""

DECIDING = "session_events"
"""Table whose commit says what was taken in."""

RUNAWAYS = "runaway_sessions"

MOST_BUCKETS = 256
"""More buckets cannot be set."""

MAX_POINTS_SHARE = 0.25
"""Share of all events beyond which everything is made anew."""


def refresh_sessions(
    lake: Lake, settings: Settings, *, dates: Iterable[date] | None = None, full: bool = False
) -> Refreshed:
    """Bring `sessions`, `session_events`, `sessionless_events`, `runaway_sessions` up to date.

    Args:
        lake: The lake.
        settings: Policy, definitions, memory, and where to spill.
        dates: Make the sessions of these dates anew, whatever was taken in (a backfill).
        full: Make everything anew.

    Returns:
        What was done to `sessions`; ``rows_read`` counts the events that entered sessions anew,
        ``details`` the events that differ.
    """
    upstreams: tuple[str, ...] = UPSTREAMS
    if SessionPolicy.of(settings).bots_by_behaviour:
        upstreams += (BEHAVIOUR,)
    versions = {name: lake.version(name) for name in upstreams}
    versions |= {"rules": _fingerprint(settings), "bucketed": lake.consumed(DECIDING, "bucketed")}
    consumed = {name: lake.consumed(DECIDING, name) for name in versions}
    chosen = None if dates is None else sorted(set(dates))
    is_current = versions == consumed and not full and chosen is None
    if versions["events"] < 0 or is_current or chosen == []:
        return Refreshed(table="sessions", version=lake.version("sessions"))
    with (
        opened_engine(settings) as backend,
        tempfile.TemporaryDirectory(dir=settings.state / "spill") as spool,
    ):
        run = _Run(lake, settings, backend, Path(spool), versions, consumed)
        is_new = consumed["events"] < 0 or consumed["rules"] != versions["rules"]
        is_new |= not lake.exists(RUNAWAYS)
        return run.rebuild() if full or is_new else run.update(chosen)


def _fingerprint(settings: Settings) -> int:
    """A number that is another one under other rules, which make everything anew."""
    definitions = load_session_definitions(settings.definitions)
    text = f"{SessionPolicy.of(settings)} {settings.lake.buckets} {definitions}"
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16)


class _Run:
    """One refresh."""

    def __init__(  # noqa: PLR0913, PLR0917 - everything that one refresh is about
        self,
        lake: Lake,
        settings: Settings,
        backend: Engine,
        spool: Path,
        versions: dict[str, int],
        consumed: dict[str, int],
    ) -> None:
        self.lake, self.backend, self.spool = lake, backend, spool
        self.versions, self.consumed = versions, consumed
        self.policy = SessionPolicy.of(settings)
        self.buckets = settings.lake.buckets
        self.definitions: SessionDefinitions = load_session_definitions(settings.definitions)
        view(backend, lake, "identity_map")
        self._table("people", "FROM identity_map")

    @property
    def taken_in(self) -> dict[str, int]:
        """Versions that this refresh has taken in."""
        return {name: version for name, version in self.versions.items() if version >= 0}

    # -- Everything ----------------------------------------------------------------------------

    def rebuild(self) -> Refreshed:
        """Make everything anew."""
        made = rebuild_sessions(
            self.backend,
            self.lake,
            self.spool,
            policy=self.policy,
            definitions=self.definitions,
            buckets=self.buckets,
        )
        bucketed = is_bucketed(self.backend, self.lake, self.buckets)
        self.versions["bucketed"] = int(bucketed)
        self._write_rebuilt(made)
        return Refreshed(
            table="sessions",
            version=self.lake.version("sessions"),
            rows_written=self.lake.row_count("sessions"),
            rows_read=self.lake.row_count("events"),
            dates=tuple(self.lake.dates("sessions")),
            is_full=True,
            details={"sessionless_events": self.lake.row_count("sessionless_events")},
        )

    def _write_rebuilt(self, made: dict[str, list[DataFile]]) -> None:
        for name in MADE:
            if name == DECIDING:
                sessions = view(self.backend, self.lake, "sessions")
                rows = stream(runaway_sessions(sessions, policy=self.policy), RUNAWAYS)
                self.lake.overwrite(RUNAWAYS, rows, consumed=self.taken_in)
            self.lake.replace(name, made[name], consumed=self.taken_in)

    # -- What changed --------------------------------------------------------------------------

    def update(self, dates: Collection[date] | None) -> Refreshed:
        """Make anew what changed, or the given dates."""
        backend, lake = self.backend, self.lake
        for name in (*MADE, RUNAWAYS):
            view(backend, lake, name)
        if dates is None:
            events = self._changes("events")
            if events is None:
                # Nobody knows what events said before, so any of them may say something else.
                return self.rebuild()
            self._find_changes(events)
            if self.policy.bots_by_behaviour:
                told = self._changes(BEHAVIOUR)
                if told is None or not islands.all_there(told.removed):
                    return self.rebuild()
                find_turned_days(backend, lake, told)
                islands.add_turned(backend)
        else:
            islands.no_moved_visitors(backend)
            self._find_points(set(dates))
            islands.add_whole_dates(backend, dates)
        points = self._count("points")
        if points > MAX_POINTS_SHARE * lake.row_count("events"):
            return self.rebuild()
        islands.find_hulls(backend, self.policy)
        touched = self._make_hulls()
        written = self._write(None if dates is not None else self.taken_in)
        return Refreshed(
            table="sessions",
            version=lake.version("sessions"),
            rows_written=self._count("made_sessions"),
            rows_read=touched,
            dates=written,
            details={"differing_events": self._count("differences"), "touched_events": touched},
        )

    def _find_changes(self, events: Changes) -> None:
        backend, lake = self.backend, self.lake
        people = self._changes("identity_map")
        islands.no_moved_visitors(backend)
        if people is not None and islands.all_there(people.removed):
            if people.added or people.removed:
                islands.find_moved_visitors(backend, lake, people)
            suspected = islands.parts_of_suspects(backend, self.policy, self.buckets)
            self._find_points(set(events.dates), suspected)
        else:
            # Anybody may have been somebody else before.
            everything = {*lake.dates("events"), *lake.dates("session_events")}
            self._find_points(everything | set(lake.dates("sessionless_events")))
        islands.add_edited(backend, lake, events)

    def _find_points(self, changed: set[date], suspected: Iterable[tuple[date, int]] = ()) -> None:
        """Compare events with their places, on dates that changed and in parts of suspects."""
        parts = {(day, bucket) for day in changed for bucket in range(MOST_BUCKETS)}
        parts |= set(suspected)
        for name in ("events", "session_events", "sessionless_events"):
            by_date = {(day, 0) for day, _ in parts}
            files = self._files(name, by_date if name == "sessionless_events" else parts)
            view(self.backend, self.lake, name, files=files, name=f"compared_{name}")
        islands.find_points(self.backend, changed)

    def _changes(self, upstream: str) -> Changes | None:
        since, newest = self.consumed[upstream], self.versions[upstream]
        if newest < 0 and since < 0:
            return Changes(newest, [], [], [])
        return None if since > newest else self.lake.changes(upstream, since=since)

    def _make_hulls(self) -> int:
        """Make the sessions of all hulls; return how many events that took."""
        parts = islands.parts_of_hulls(self.backend, self.buckets)
        files = self._files("events", parts)
        view_events(self.backend, self.lake, self.policy, files=files, name="hull_files")
        islands.find_hull_events(self.backend)
        make_sessions(
            self.backend, policy=self.policy, definitions=self.definitions, buckets=self.buckets
        )
        return self._count("source_events")

    # -- Writing -------------------------------------------------------------------------------

    def _write(self, consumed: dict[str, int] | None) -> tuple[date, ...]:
        """Replace what the hulls held, partition by partition; return the dates of `sessions`."""
        self._table(
            "stale_sessions",
            "SELECT DISTINCT s.* FROM stored_sessions s JOIN hulls h "
            "ON s.person_key = h.person_key AND s.start_us BETWEEN h.low_us AND h.high_us",
        )
        self._name_first()
        self._table(
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
        theirs = view(self.backend, self.lake, "sessions", files=self._files("sessions", parts))
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
        self._table(
            "openings",
            "SELECT person_key, session_key, start_us, session_date, cut_reason, false AS is_made "
            "FROM stored_sessions ANTI JOIN stale_sessions USING (person_key, session_key) "
            "UNION ALL SELECT person_key, session_key, epoch_us(started_at), session_date, "
            "cut_reason, true FROM made_sessions",
        )
        self._table(
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
        files = self._files(name, parts)
        self.lake.require_sound(name, files)
        view(self.backend, self.lake, name, files=files, name=f"rewritten_{name}")
        columns = ", ".join(polars_schema(name))
        old = kept.format(old=f"rewritten_{name}")
        whole = f"SELECT {columns} FROM ({old}) UNION ALL SELECT {columns} FROM made_{name}"  # noqa: S608 - columns of the contract
        self.backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW whole_{name} AS {whole}")
        rows = stream(self.backend.shaped(f"whole_{name}", name), name)
        self.lake.overwrite(name, rows, where=rows_of(name, parts), consumed=consumed)

    def _files(self, table: str, parts: Parts) -> list[str]:
        """Data files of some partitions."""
        files = self.lake.files(table, dates={day for day, _ in parts})
        if table == "events" and self.consumed["bucketed"] != 1:
            return files
        return [file for file in files if part_of(file) in parts]

    def _parts(self, query: str) -> Parts:
        """Partitions of the dates and persons that a query lists."""
        rows = self.backend.raw_sql(
            f"SELECT DISTINCT d, p % {self.buckets} FROM ({query}) q(d, p)"  # noqa: S608 - queries of our own
        ).fetchall()
        return {(day, bucket) for day, bucket in rows}

    def _table(self, name: str, query: str) -> None:
        self.backend.raw_sql(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")

    def _count(self, table: str) -> int:
        rows = self.backend.raw_sql(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - name of our own
        return int(rows[0][0])
