"""Which events must be looked at again: islands of a person's events around what changed.

DuckDB's SQL, because it is about the stored tables, not a relation that another engine would run.
Everything is a temporary table:

- ``moved_visitors``, ``suspects``: visitors whose person changed, and the persons they were or are;
- ``now``, ``before``, ``differences``: events and the places they have, and where these differ;
- ``edited``: events that are new or say something else;
- ``points``: where, in time, whose events appeared, vanished, moved or changed;
- ``stored_sessions``: the sessions so far of everybody with a point;
- ``hulls``: per person, the stretches of time that are made anew, and the session they start with.
"""

from collections.abc import Collection, Iterable
from datetime import date
from pathlib import Path

from clickstream_platform.lake import Changes, Engine, Lake, Parts, view
from clickstream_platform.sessions.boundaries import CAMPAIGN
from clickstream_platform.sessions.making import COLUMNS
from clickstream_platform.sessions.policy import SERVER, SessionPolicy

_PERSON = "coalesce(e.user_key, m.person_key, e.visitor_key)"
_PEOPLE = "(SELECT visitor_key, person_key FROM people WHERE NOT is_shared)"


def all_there(files: Iterable[str]) -> bool:
    """Whether files that a table no longer holds can still be read."""
    return all(Path(file).exists() for file in files)


def find_moved_visitors(backend: Engine, lake: Lake, changes: Changes) -> None:
    """Find the visitors whose person may have changed."""
    view(backend, lake, "identity_map", files=changes.added, name="people_added")
    view(backend, lake, "identity_map", files=changes.removed, name="people_removed")
    columns = "visitor_key, user_key, person_key, is_shared"
    backend.fill(
        "people_changed",
        f"(SELECT {columns} FROM people_added EXCEPT SELECT {columns} FROM people_removed) UNION "  # noqa: S608 - names of our own
        f"(SELECT {columns} FROM people_removed EXCEPT SELECT {columns} FROM people_added)",
    )
    backend.fill("moved_visitors", "SELECT DISTINCT visitor_key FROM people_changed")
    _find_pairs(backend, lake, "UNION SELECT visitor_key, user_key FROM people_changed")
    backend.fill(
        "suspects",
        "SELECT visitor_key AS person_key FROM people_changed UNION "
        "SELECT user_key FROM pairs WHERE visitor_key IN (FROM moved_visitors)",
    )


def no_moved_visitors(backend: Engine, lake: Lake) -> None:
    """Say that no visitor's person changed."""
    _find_pairs(backend, lake)
    backend.fill("moved_visitors", "SELECT CAST(NULL AS BIGINT) AS visitor_key WHERE false")
    backend.fill("suspects", "SELECT CAST(NULL AS BIGINT) AS person_key WHERE false")


def _find_pairs(backend: Engine, lake: Lake, more: str = "") -> None:
    """Find the visitors whose buckets may hold a user's events.

    Also those that somebody decided are not the user's: what the user did there is the user's yet.
    """
    view(backend, lake, "identity_merges")
    backend.fill(
        "pairs",
        "SELECT visitor_key, user_key FROM people UNION SELECT identifier_key, other_key "  # noqa: S608 - queries of our own
        f"FROM identity_merges WHERE decision_id IS NOT NULL {more}",
    )


def parts_of_suspects(backend: Engine, policy: SessionPolicy, buckets: int) -> Parts:
    """Find where suspects have events and places, by their sessions and sessionless events.

    Places are in the bucket of the person, events in that of the visitor, or of the user where
    there is none. A person's events are its own or those of visitors that the identity map links
    with it; whoever was linked before the change counts as well, because a refresh that was killed
    may have written half of it.
    """
    dates = (
        "SELECT person_key, unnest(generate_series(session_date, CAST(ended_at + "  # noqa: S608 - number of our own
        f"to_microseconds({policy.timeout_us}) AS DATE), INTERVAL 1 DAY))::DATE AS day "
        "FROM sessions WHERE person_key IN (FROM suspects) UNION "
        "SELECT person_key, event_date FROM sessionless_events "
        "WHERE person_key IN (FROM suspects)"
    )
    backend.fill("dates_of_suspects", dates)
    backend.fill("connected", _CONNECTED.format(persons="FROM suspects"))
    return _fetch_parts(
        backend,
        f"SELECT DISTINCT day, other_key % {buckets} "  # noqa: S608 - number of our own
        "FROM dates_of_suspects JOIN connected USING (person_key)",
    )


_CONNECTED = (
    "SELECT person_key, person_key AS other_key FROM ({persons}) UNION "
    "SELECT user_key, visitor_key FROM pairs WHERE user_key IN ({persons}) UNION "
    "SELECT visitor_key, user_key FROM pairs WHERE visitor_key IN ({persons})"
)
"""Whose buckets may hold events and places of a person: its own, and those of the visitors and
users that it is or was linked with."""


def find_points(backend: Engine, changed: Collection[date]) -> None:
    """Compare events with the places they have.

    Args:
        backend: Connection with ``people``, ``moved_visitors``, ``suspects``, and of the
            partitions to be compared ``compared_events``, ``compared_session_events`` and
            ``compared_sessionless_events``; and ``appeared_events``, which are among the first.
        changed: Dates on which any event may have appeared or vanished; on others, only those of
            suspects and those that appeared matter.
    """
    days = _listed(changed)
    backend.fill("appeared", "SELECT event_key FROM appeared_events")
    backend.fill(
        "now",
        f"SELECT e.event_key, e.occurred_us, {_PERSON} AS person_key, e.event_date "  # noqa: S608 - names of our own
        f"FROM compared_events e LEFT JOIN {_PEOPLE} m ON e.visitor_key = m.visitor_key "
        f"WHERE NOT e.is_synthetic AND (e.event_date IN {days} OR e.event_key IN (FROM appeared) "
        f"OR e.visitor_key IN (FROM moved_visitors) OR {_PERSON} IN (FROM suspects))",
    )
    place = "event_key, occurred_us, person_key, event_date"
    chosen = (
        f"event_date IN {days} OR event_key IN (FROM appeared) OR person_key IN (FROM suspects)"
    )
    backend.fill(
        "before",
        f"SELECT {place} FROM compared_session_events WHERE {chosen} UNION ALL "  # noqa: S608 - names of our own
        f"SELECT {place} FROM compared_sessionless_events WHERE {chosen}",
    )
    backend.fill(
        "differences",
        "SELECT coalesce(now.event_key, before.event_key) AS event_key, "
        "now.event_key IS NULL AS has_vanished, "
        "now.person_key AS person_key, now.occurred_us AS occurred_us, now.event_date, "
        "before.person_key AS old_person_key, before.occurred_us AS old_us, "
        "before.event_date AS old_date "
        "FROM now FULL JOIN before ON now.event_key = before.event_key "
        "WHERE now.event_key IS NULL OR before.event_key IS NULL "
        "OR now.person_key IS DISTINCT FROM before.person_key "
        "OR now.occurred_us <> before.occurred_us",
    )
    backend.fill("edited", "SELECT event_key FROM differences WHERE NOT has_vanished")
    backend.fill(
        "points",
        "SELECT person_key, occurred_us AS us FROM differences WHERE person_key IS NOT NULL UNION "
        "SELECT old_person_key, old_us FROM differences WHERE old_person_key IS NOT NULL",
    )


def add_edited(backend: Engine, lake: Lake, changes: Changes) -> None:
    """Add points for events that are where they were, but say something else."""
    if not changes.removed:
        return
    view(backend, lake, "events", files=changes.added, name="events_added")
    columns = ", ".join(COLUMNS)
    gone = ""
    if all_there(changes.removed):
        view(backend, lake, "events", files=changes.removed, name="events_removed")
        gone = f"EXCEPT SELECT {columns} FROM events_removed"  # noqa: S608 - names of our own
    backend.raw_sql(
        f"INSERT INTO edited SELECT event_key FROM (SELECT {columns} FROM events_added {gone})"  # noqa: S608 - names of our own
    )
    _add_points(
        backend,
        "SELECT person_key, occurred_us FROM now "
        "WHERE person_key IS NOT NULL AND event_key IN (FROM edited)",
    )


def add_turned(backend: Engine) -> None:
    """Add points for events of ``turned_days``, in ``turned_files``: another verdict about bots."""
    _add_points(
        backend,
        f"SELECT {_PERSON}, e.occurred_us FROM turned_files e "  # noqa: S608 - names of our own
        "SEMI JOIN turned_days t ON t.visitor_key = e.visitor_key "
        f"AND t.event_date = e.event_date LEFT JOIN {_PEOPLE} m ON e.visitor_key = m.visitor_key "
        f"WHERE NOT e.is_synthetic AND {_PERSON} IS NOT NULL",
    )


def add_whole_dates(backend: Engine, dates: Collection[date]) -> None:
    """Add every event and every session of some dates as a point."""
    days = _listed(dates)
    _add_points(
        backend,
        f"SELECT person_key, occurred_us FROM now WHERE event_date IN {days} "  # noqa: S608 - dates
        "AND person_key IS NOT NULL UNION SELECT person_key, epoch_us(started_at) "
        f"FROM sessions WHERE session_date IN {days}",
    )


def _add_points(backend: Engine, query: str) -> None:
    backend.fill("more_points", f"SELECT * FROM points UNION ({query})")  # noqa: S608 - queries of our own
    backend.fill("points", "FROM more_points")


def find_hulls(backend: Engine, policy: SessionPolicy) -> None:
    """Find the stretches of time, per person, in which sessions must be made anew.

    The events of a person that are connected by gaps of the timeout at most form an island. All
    old events lie in a stored session or are stored as sessionless, all new ones are points, so
    the islands follow from those without looking at events. What comes before the first point of
    an island is as it was; so the hull starts with the last session that starts before it, and
    takes over the campaign so far. Which users were seen so far, sessions do not say; where that
    cuts, an island is made anew as a whole. Events of servers join nothing to an island: they
    follow what their person did, and are looked for up to the timeout after its end.
    """
    known_so_far = "false" if policy.cut_on_identity else "true"
    campaign = " || chr(31) || ".join(f"coalesce({name}, '')" for name in CAMPAIGN)
    named = " OR ".join(f"{name} IS NOT NULL" for name in CAMPAIGN)
    backend.fill(
        "stored_sessions",
        "SELECT person_key, session_key, epoch_us(started_at) AS start_us, "  # noqa: S608 - names of our own
        "epoch_us(ended_at) AS end_us, cut_reason, session_date, "
        f"CASE WHEN {named} THEN {campaign} END AS campaign "
        "FROM sessions WHERE person_key IN (SELECT person_key FROM points)",
    )
    backend.fill(
        "intervals",
        "SELECT person_key, start_us, end_us, false AS is_point FROM stored_sessions UNION ALL "
        "SELECT person_key, occurred_us, occurred_us, false FROM sessionless_events "
        "WHERE reason <> 'no_open_session' AND person_key IN (SELECT person_key FROM points) "
        "UNION ALL SELECT person_key, us, us, true FROM points",
    )
    in_time = "PARTITION BY person_key ORDER BY start_us, end_us"
    backend.fill(
        "islands",
        # Intervals that start together share an island, in whichever order they come.
        "SELECT person_key, min(start_us) AS low_us, max(end_us) AS high_us, "  # noqa: S608 - names of our own
        "min(start_us) FILTER (WHERE is_point) AS point_us FROM ("
        "SELECT *, max(CASE WHEN is_start THEN start_us END) OVER "
        "(PARTITION BY person_key ORDER BY start_us RANGE UNBOUNDED PRECEDING) AS island "
        "FROM (SELECT *, coalesce(start_us - max(end_us) OVER "
        f"({in_time} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) > {policy.timeout_us}, "
        "true) AS is_start FROM intervals)) GROUP BY person_key, island HAVING bool_or(is_point)",
    )
    # Of sessions that start at one instant, the first: the hull begins with that instant.
    backend.fill(
        "restarting",
        "SELECT i.person_key, i.low_us, i.high_us, max(s.start_us) AS restart_us, "  # noqa: S608 - names of our own
        "arg_max(s.session_key, (s.start_us, -s.session_key)) AS restart_key, "
        "arg_max(s.cut_reason, (s.start_us, -s.session_key)) AS restart_reason "
        "FROM islands i LEFT JOIN stored_sessions s ON s.person_key = i.person_key "
        f"AND s.start_us >= i.low_us AND s.start_us < i.point_us AND {known_so_far} "
        "GROUP BY i.person_key, i.low_us, i.high_us",
    )
    so_far = (
        "arg_max(c.campaign, (c.start_us, c.session_key))"
        if policy.cut_on_campaign
        else "CAST(NULL AS VARCHAR)"
    )
    backend.fill(
        "hulls",
        "SELECT r.person_key, coalesce(r.restart_us, r.low_us) AS low_us, r.high_us, "  # noqa: S608 - names of our own
        f"r.high_us + {policy.timeout_us} AS reach_us, r.restart_key, r.restart_reason, "
        f"{so_far} AS campaign_so_far "
        "FROM restarting r LEFT JOIN stored_sessions c ON c.person_key = r.person_key "
        "AND c.start_us >= r.low_us AND c.campaign IS NOT NULL "
        "AND (c.start_us < r.restart_us OR c.session_key = r.restart_key) "
        "GROUP BY r.person_key, r.low_us, r.high_us, r.restart_us, r.restart_key, "
        "r.restart_reason",
    )


def parts_of_hulls(backend: Engine, buckets: int) -> Parts:
    """Find the partitions of events that hold the hulls, and new events of nobody."""
    backend.fill("connected", _CONNECTED.format(persons="SELECT person_key FROM hulls"))
    return _fetch_parts(
        backend,
        f"SELECT DISTINCT day, other_key % {buckets} FROM (SELECT person_key, unnest("  # noqa: S608 - number of our own
        "generate_series(CAST(make_timestamp(low_us) AS DATE), "
        "CAST(make_timestamp(reach_us) AS DATE), INTERVAL 1 DAY))::DATE AS day FROM hulls) "
        "JOIN connected USING (person_key) UNION SELECT event_date, 0 FROM now "
        "WHERE person_key IS NULL AND event_key IN (FROM edited)",
    )


def _fetch_parts(backend: Engine, query: str) -> Parts:
    return {(day, bucket) for day, bucket in backend.raw_sql(query).fetchall()}


def find_hull_events(backend: Engine) -> None:
    """Gather ``source_events`` and ``restarts`` of the hulls, from the events of their dates.

    Of what happened in the instant with which a hull starts, what comes before the event that
    starts its session belongs to the session before. What a server reports comes after all of it.
    """
    backend.fill(
        "source_events",
        f"SELECT {', '.join(f'e.{name}' for name in COLUMNS)} "  # noqa: S608 - names of our own
        f"FROM hull_files e LEFT JOIN {_PEOPLE} m ON e.visitor_key = m.visitor_key "
        f"JOIN hulls h ON h.person_key = {_PERSON} "
        "AND e.occurred_us BETWEEN h.low_us AND h.reach_us AND NOT coalesce("
        "e.occurred_us = h.low_us AND e.event_key < h.restart_key "
        f"AND e.platform IS DISTINCT FROM '{SERVER}', false) WHERE NOT e.is_synthetic UNION ALL "
        f"SELECT {', '.join(COLUMNS)} FROM hull_files e WHERE NOT is_synthetic "
        "AND visitor_key IS NULL AND user_key IS NULL AND event_key IN (FROM edited)",
    )
    backend.fill(
        "restarts",
        "SELECT restart_key AS event_key, restart_reason, campaign_so_far, "
        "CAST(NULL AS BIGINT) AS user_so_far FROM hulls WHERE restart_key IS NOT NULL",
    )


def _listed(dates: Collection[date]) -> str:
    return "(" + ", ".join([*(f"DATE '{day}'" for day in sorted(dates)), "NULL"]) + ")"
