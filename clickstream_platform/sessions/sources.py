"""Events as sessions read them: of the lake, with what the policy lets behaviour say of them."""

from collections.abc import Sequence

from clickstream_platform.lake import Changes, Engine, Lake, view
from clickstream_platform.sessions.policy import SessionPolicy

BEHAVIOUR = "bot_behaviour"
"""Table that says of visitors' days whether they are a bot's."""

_BOTS = "SELECT visitor_key, event_date FROM {table} WHERE is_bot"


def view_events(
    backend: Engine, lake: Lake, policy: SessionPolicy, *, files: Sequence[str], name: str
) -> None:
    """Make data files of events a view, each event a bot's if the policy takes it for one."""
    if not policy.bots_by_behaviour:
        view(backend, lake, "events", files=files, name=name)
        return
    view(backend, lake, "events", files=files, name=f"stored_{name}")
    view(backend, lake, BEHAVIOUR)
    backend.raw_sql(
        f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT e.* "  # noqa: S608 - names of our own
        "REPLACE (e.is_bot OR b.visitor_key IS NOT NULL AS is_bot) "
        f"FROM stored_{name} e LEFT JOIN ({_BOTS.format(table=BEHAVIOUR)}) b "
        "ON b.visitor_key = e.visitor_key AND b.event_date = e.event_date"
    )


def find_turned_days(backend: Engine, lake: Lake, changes: Changes) -> None:
    """Leave ``turned_days``: visitors and dates of which behaviour says something else now.

    Files that went must still be there.
    """
    for name, files in (("told_now", changes.added), ("told_before", changes.removed)):
        view(backend, lake, BEHAVIOUR, files=files, name=name)
    now, before = (_BOTS.format(table=name) for name in ("told_now", "told_before"))
    backend.fill("turned_days", f"({now} EXCEPT {before}) UNION ({before} EXCEPT {now})")
    dates = [
        day
        for (day,) in backend.raw_sql(
            "SELECT DISTINCT event_date FROM turned_days ORDER BY 1"
        ).fetchall()
    ]
    view(backend, lake, "events", files=lake.files("events", dates=dates), name="turned_files")
