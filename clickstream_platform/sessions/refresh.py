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

from clickstream_platform.lake import (
    Changes,
    DataFile,
    Engine,
    Lake,
    Parts,
    Refreshed,
    opened_engine,
    stream,
    view,
)
from clickstream_platform.sessions import islands
from clickstream_platform.sessions.making import MADE, make_sessions
from clickstream_platform.sessions.parts import DECIDING, RUNAWAYS, SessionParts
from clickstream_platform.sessions.policy import SessionPolicy
from clickstream_platform.sessions.rebuild import is_bucketed, rebuild_sessions
from clickstream_platform.sessions.runaways import runaway_sessions
from clickstream_platform.sessions.sources import BEHAVIOUR, find_turned_days, view_events
from clickstream_platform.sessions.summary import SessionDefinitions, load_session_definitions
from clickstream_platform.settings import Settings

METHOD = 2
"""Rises where the same events come to other sessions than before: stored ones are made anew."""

DECIDED_BY = dict.fromkeys((*MADE, RUNAWAYS), DECIDING)
"""Table whose commits say what each table has taken in: its own do where its rows changed."""

UPSTREAMS = ("events", "identity_map")
"""Tables that sessions are made from."""

MOST_BUCKETS = 256
"""More buckets cannot be set."""

NO_CHANGES = Changes(-1, [], [], [])
"""What happened to a table that was never written."""

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
    text = f"{METHOD} {SessionPolicy.of(settings)} {settings.lake.buckets} {definitions}"
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16)


def _whole(dates: Iterable[date]) -> Parts:
    """All parts of some dates."""
    return {(day, bucket) for day in dates for bucket in range(MOST_BUCKETS)}


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
        self.parts = SessionParts(
            lake,
            backend,
            policy=self.policy,
            buckets=self.buckets,
            # Until identity has seen an event, nobody knows in whose buckets its user has any.
            is_bucketed=consumed["bucketed"] == 1
            and lake.consumed("identity_map", "events") == versions["events"],
        )
        view(backend, lake, "identity_map")
        self.backend.fill("people", "FROM identity_map")

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
            islands.no_moved_visitors(backend, lake)
            self._find_points(set(dates))
            islands.add_whole_dates(backend, dates)
        points = self.backend.height("points")
        if points > MAX_POINTS_SHARE * lake.row_count("events"):
            return self.rebuild()
        islands.find_hulls(backend, self.policy)
        touched = self._make_hulls()
        written = self.parts.write(None if dates is not None else self.taken_in)
        return Refreshed(
            table="sessions",
            version=lake.version("sessions"),
            rows_written=self.backend.height("made_sessions"),
            rows_read=touched,
            dates=written,
            details={
                "differing_events": self.backend.height("differences"),
                "touched_events": touched,
            },
        )

    def _find_changes(self, events: Changes) -> None:
        backend, lake = self.backend, self.lake
        people = self._changes("identity_map")
        islands.no_moved_visitors(backend, lake)
        if people is not None and islands.all_there(people.removed):
            if people.added or people.removed:
                islands.find_moved_visitors(backend, lake, people)
            suspected = islands.parts_of_suspects(backend, self.policy, self.buckets)
            if events.removed:
                self._find_points(set(events.dates), suspected)
            else:
                # What is placed stays as it is: only what was added and suspects are compared.
                self._find_points(set(), suspected, added=events)
        else:
            # Anybody may have been somebody else before.
            everything = {*lake.dates("events"), *lake.dates("session_events")}
            self._find_points(everything | set(lake.dates("sessionless_events")))
        islands.add_edited(backend, lake, events)

    def _find_points(
        self,
        changed: set[date],
        suspected: Iterable[tuple[date, int]] = (),
        *,
        added: Changes = NO_CHANGES,
    ) -> None:
        """Compare events with their places, where these may differ.

        Args:
            changed: Dates of which every event is compared.
            suspected: Parts in which suspects have events.
            added: Changes of which the events that were added are compared.
        """
        parts = _whole(changed) | set(suspected)
        places = parts | _whole(added.dates)
        listed = {
            "events": sorted({*self.parts.files("events", parts), *added.added}),
            "session_events": self.parts.files("session_events", places),
            "sessionless_events": self.lake.files(
                "sessionless_events", dates={day for day, _ in places}
            ),
        }
        for name, files in listed.items():
            view(self.backend, self.lake, name, files=files, name=f"compared_{name}")
        view(self.backend, self.lake, "events", files=added.added, name="appeared_events")
        islands.find_points(self.backend, changed)

    def _changes(self, upstream: str) -> Changes | None:
        since, newest = self.consumed[upstream], self.versions[upstream]
        if newest < 0 and since < 0:
            return NO_CHANGES
        return None if since > newest else self.lake.changes(upstream, since=since)

    def _make_hulls(self) -> int:
        """Make the sessions of all hulls; return how many events that took."""
        parts = islands.parts_of_hulls(self.backend, self.buckets)
        files = self.parts.files("events", parts)
        view_events(self.backend, self.lake, self.policy, files=files, name="hull_files")
        islands.find_hull_events(self.backend)
        make_sessions(
            self.backend, policy=self.policy, definitions=self.definitions, buckets=self.buckets
        )
        return self.backend.height("source_events")
