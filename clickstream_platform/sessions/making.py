"""Making sessions in DuckDB: the statements of `make_sessions.sql`, in order.

The definition of a session is `place_events` and `summarize_sessions`, which run on any engine.
Through Ibis they cost three times as much, so stored tables are made by these statements; a test
holds both to the same rows.
"""

import re
from functools import lru_cache
from pathlib import Path

import ibis
import polars as pl

from clickstream_platform.attribution import with_channel
from clickstream_platform.lake import Engine
from clickstream_platform.sessions.policy import (
    LOGOUTS,
    PAGE_VIEWS,
    PINGS,
    RESOLUTION,
    SERVER,
    SessionPolicy,
    zone_offsets,
)
from clickstream_platform.sessions.summary import MILLISECOND, POINT_STEPS, READ, SessionDefinitions

COLUMNS = tuple(dict.fromkeys(("visitor_key", "user_key", "user_id", "occurred_us", "is_synthetic",
                               *(name for name in READ if name != "person_id"))))  # fmt: skip
"""Columns of `events` that sessions are made from."""

MADE = ("sessions", "sessionless_events", "session_events")
"""Tables that are made, in the order in which they are written."""

NO_RESTARTS = (
    "CREATE OR REPLACE TEMP TABLE restarts AS SELECT CAST(NULL AS BIGINT) AS event_key, "
    "CAST(NULL AS VARCHAR) AS restart_reason, CAST(NULL AS VARCHAR) AS campaign_so_far, "
    "CAST(NULL AS BIGINT) AS user_so_far WHERE false"
)

UNBOUNDED_US = -(2**62)
"""An instant before all others."""

AS_VIEW = ("CREATE OR REPLACE TEMP TABLE made_", "CREATE OR REPLACE TEMP VIEW made_")
"""What to replace, and by what, so that a table that is made becomes a view."""

LINK = ("campaign_source", "campaign_medium", "campaign_name", "click_id_type", "referrer_host",
        "landing_host")  # fmt: skip


@lru_cache(maxsize=1)
def statements() -> dict[str, str]:
    """The statements of `make_sessions.sql` by name, in order."""
    text = Path(__file__).with_name("make_sessions.sql").read_text(encoding="utf-8")
    return dict(re.findall(r"-- name: (\w+)\n(.*?)(?=-- name:|\Z)", text, re.DOTALL))


_CHANNELS: dict[int, tuple[SessionDefinitions, str]] = {}


def channels_sql(definitions: SessionDefinitions) -> str:
    """The statement that names the channel of each of ``links``; compiled once."""
    known = _CHANNELS.get(id(definitions))
    if known is None or known[0] is not definitions:
        links = ibis.table(dict.fromkeys(LINK, "string"), name="links")
        query = ibis.to_sql(with_channel(links, definitions.channels), dialect="duckdb")
        known = (definitions, f"CREATE OR REPLACE TEMP TABLE channels AS {query}")
        _CHANNELS.clear()
        _CHANNELS[id(definitions)] = known
    return known[1]


def make_sessions(  # noqa: PLR0913 - a connection, the rules, and how it will be read
    backend: Engine,
    *,
    policy: SessionPolicy,
    definitions: SessionDefinitions,
    buckets: int,
    open_from_us: int | None = None,
    is_read_once: bool = False,
) -> None:
    """Make the tables ``made_sessions``, ``made_session_events``, ``made_sessionless_events``.

    A person's last session stays open, and is not made, if its last event lies at or after
    ``open_from_us``: its events are then in ``carried_events``, and how it started in
    ``carried_restarts``.

    Args:
        backend: Connection with ``source_events``, ``people`` and ``restarts``.
        policy: The session policy.
        definitions: Channels, conversions and weights.
        buckets: Number of buckets; a person is in ``person_key % buckets``.
        open_from_us: See above; None where no further events can come.
        is_read_once: Leave the last step to whoever reads what is made: views, which cost their
            reader what a table would cost, and spare writing it down.
    """
    offsets = zone_offsets(policy.time_zone)
    since = [UNBOUNDED_US, *(it.from_us for it in offsets[1:])]
    variables = {
        "timeout_us": policy.timeout_us,
        "max_duration_us": policy.max_duration_us,
        "max_events": "CAST(NULL AS BIGINT)" if policy.max_events is None else policy.max_events,
        "half_life_us": policy.half_life // RESOLUTION,
        "engaged_after_ms": policy.engaged_after.total_seconds() * 1_000,
        "cuts_on_campaign": policy.cut_on_campaign,
        "cuts_on_logout": policy.cut_on_logout,
        "cuts_on_identity": policy.cut_on_identity,
        "cuts_at_midnight": policy.cut_at_midnight,
        "zone_from_us": since,
        "zone_offset_us": [it.offset_us for it in offsets],
        "heartbeat_us": (policy.heartbeat or RESOLUTION) // RESOLUTION,
        "min_visit_ms": policy.min_visit // MILLISECOND,
        "point_steps": float(POINT_STEPS),
        "buckets": buckets,
        "server": f"'{SERVER}'",
        "open_from_us": "CAST(NULL AS BIGINT)" if open_from_us is None else open_from_us,
    }
    for name, value in variables.items():
        backend.raw_sql(f"SET VARIABLE {name} = {value}")
    _name_events(backend, definitions)
    for name, statement in statements().items():
        if not _is_needed(backend, name, policy):
            continue
        if name == "sessions":
            backend.raw_sql(channels_sql(definitions))
        backend.raw_sql(statement.replace(*AS_VIEW) if is_read_once else statement)


def _is_needed(backend: Engine, statement: str, policy: SessionPolicy) -> bool:
    """Whether a statement has anything to do under this policy; most always have."""
    match statement:
        case "cut_long_stretches" | "place_long_stretches":
            return _has_rows(backend, "long_stretches")
        case "zone" | "marks" | "other_cuts":
            return policy.has_other_cuts
        case "carried_users":
            return policy.cut_on_identity
        case "heartbeats":
            return policy.heartbeat is not None
        case _:
            return True


def _name_events(backend: Engine, definitions: SessionDefinitions) -> None:
    """Say of each event name what sessions must know of it."""
    found = backend.raw_sql("SELECT DISTINCT event_name FROM source_events").fetchall()
    rules = definitions.conversions
    rows = [
        (
            number,
            name,
            name in PINGS,
            name in PAGE_VIEWS,
            name in LOGOUTS,
            definitions.weights.weight(name),
            name in rules,
            name in rules and rules[name].counts_revenue,
        )
        for number, (name,) in enumerate(found)
    ]
    schema = {
        "name_id": pl.Int32,
        "event_name": pl.String,
        "is_ping": pl.Boolean,
        "is_page_view": pl.Boolean,
        "is_logout": pl.Boolean,
        "weight": pl.Float64,
        "is_conversion": pl.Boolean,
        "counts_revenue": pl.Boolean,
    }
    names = pl.DataFrame(rows, schema=schema, orient="row")
    backend.make_table("names", names)


def _has_rows(backend: Engine, table: str) -> bool:
    return bool(backend.raw_sql(f"SELECT 1 FROM {table} LIMIT 1").fetchall())  # noqa: S608 - name of our own
