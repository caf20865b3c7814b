"""Engagement scores: how much each person has done, worth half as much with every half-life."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.collection.consent import load_policy
from clickstream_platform.collection.consent_log import Silence, permitted, silence_of
from clickstream_platform.errors import ParameterError
from clickstream_platform.lake import (
    Engine,
    Lake,
    Refreshed,
    changed_rows,
    net_changes,
    opened_engine,
    stream,
    view,
)
from clickstream_platform.settings import Settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = ibis.timestamp("1970-01-01 00:00:00", timezone="UTC")
MICROSECOND = timedelta(microseconds=1)

MEASURED = "consent_analytics"
"""Consent without which a person has no score."""

CONSENTS = ("consent_analytics", "consent_marketing", "consent_personalization")
"""Consent of a person, one column for each purpose."""

TABLE = "engagement_scores"

COUNTED = ("person_key", "person_id", "session_key", "started_at", "ended_at", "engagement_points",
           "conversions", *CONSENTS)  # fmt: skip
"""What is read of a session that counts."""

READ = {
    "sessions": (*COUNTED, "is_bot", "country"),
    "person_consents": ("person_key", MEASURED),
}
"""What scores are made from, and the columns that decide about them."""


def microseconds(at: ir.TimestampValue) -> ir.IntegerValue:
    """An instant as whole microseconds since 1970-01-01 UTC, equal on every engine.

    Counted as what lies between, because engines round the seconds of an instant differently.
    """
    return at.delta(START, unit="microsecond")


def engagement_scores(sessions: ir.Table, *, half_life: timedelta, buckets: int = 16) -> ir.Table:
    """Add up what each person's sessions are worth at the end of the last one.

    A session that ended an age ``a`` before the person's last one counts its points times
    ``2 ** -(a / half_life)``. The score does not depend on the order or the batches in which
    sessions became known, and time alone does not change it (see `score_at`).

    Args:
        sessions: One row per session, as in `clickstream_platform.tables.sessions.Sessions`.
            Sessions of bots do not count; who has no other is left out.
        half_life: Age at which a session is worth half of one that ends now.
        buckets: Number of partitions; a person is in ``person_key % buckets``.

    Returns:
        One row per person, as in `clickstream_platform.tables.segments.EngagementScores`.
    """
    half_life_us = whole_microseconds(half_life)
    counted = (
        sessions.filter(~_.is_bot)
        .mutate(ended_us=microseconds(_.ended_at))
        .select("ended_us", *COUNTED)
    )
    # One session is last even if two end together: consent must come out of one row.
    newest_first = ibis.window(
        group_by="person_key", order_by=[ibis.desc("ended_us"), ibis.desc("session_key")]
    )
    ranked = counted.mutate(
        rank=ibis.row_number().over(newest_first),
        age_us=counted.ended_us.max().over(ibis.window(group_by="person_key")) - counted.ended_us,
    )
    is_last = ranked["rank"] == 0
    return (
        ranked.group_by("person_key")
        .agg(
            person_id=_.person_id.max(),
            anchored_at=_.ended_at.max(),
            score=(ranked.engagement_points * halvings(ranked.age_us, half_life_us)).sum(),
            sessions=ranked.count(),
            first_seen_at=_.started_at.min(),
            conversions=ranked.conversions.sum().cast("int64"),
            **{name: ranked[name].any(where=is_last) for name in CONSENTS},
        )
        .mutate(bucket=(_.person_key % buckets).cast("int32"))
        .select(
            "person_key",
            "person_id",
            "bucket",
            "anchored_at",
            "score",
            "sessions",
            "first_seen_at",
            "conversions",
            *CONSENTS,
        )
    )


def score_at(
    score: ir.FloatingValue,
    anchored_at: ir.TimestampValue,
    *,
    now: datetime,
    half_life: timedelta,
) -> ir.FloatingValue:
    """The score as of a later moment: it halves with every half-life since ``anchored_at``.

    A moment before ``anchored_at`` gives the score itself, not a larger one.
    """
    now_us = (now - EPOCH) // MICROSECOND
    age_us = ibis.greatest(ibis.literal(0, "int64"), now_us - microseconds(anchored_at))
    return score * halvings(age_us, whole_microseconds(half_life))


def halvings(age_us: ir.IntegerValue, half_life_us: int) -> ir.FloatingValue:
    """The share that is left after an age."""
    exponent = age_us.cast("float64") / ibis.literal(-float(half_life_us), "float64")
    return ibis.literal(2.0, "float64") ** exponent


def whole_microseconds(half_life: timedelta) -> int:
    """A half-life in microseconds.

    Raises:
        ParameterError: It is not longer than zero.
    """
    if half_life <= timedelta(0):
        name = "half_life"
        raise ParameterError(name, half_life, "must be longer than zero", instead="timedelta(7)")
    return half_life // MICROSECOND


def refresh_scores(lake: Lake, settings: Settings, *, full: bool = False) -> Refreshed:
    """Bring `engagement_scores` up to date with `sessions` and `person_consents`, in one commit.

    Only persons of whom a session differs, or who now say something else about measurement, are
    computed again, and only their buckets are rewritten. A person without
    sessions left loses the row, and who does not allow measurement. Another half-life, number of
    buckets or rule about silence recomputes everything.

    Args:
        lake: The lake; reads ``sessions`` and ``person_consents``, writes ``engagement_scores``.
        settings: Half-life, buckets, and the user's definitions.
        full: Recompute every person.
    """
    half_life = timedelta(days=settings.engagement.half_life_days)
    buckets = settings.lake.buckets
    silence = silence_of(load_policy(settings.definitions))
    policy = _policy(half_life, buckets, silence[MEASURED])
    versions = {name: lake.version(name) for name in READ}
    newest = {name: version for name, version in versions.items() if version >= 0}
    consumed = {name: lake.consumed(TABLE, name) for name in newest}
    is_known = lake.consumed(TABLE, "policy") == policy and not full
    if "sessions" not in newest or (is_known and consumed == newest):
        return Refreshed(table=TABLE, version=lake.version(TABLE))
    with opened_engine(settings) as backend:
        touched = _touched(backend, lake, consumed) if is_known else None
        sessions = view(backend, lake, "sessions")
        if touched is not None:
            sessions = sessions.semi_join(touched, "person_key")
        held = view(backend, lake, "person_consents")
        measured = permitted(sessions, held, {"may_measure": MEASURED}, silence)
        scores = engagement_scores(
            measured.filter(_.may_measure), half_life=half_life, buckets=buckets
        )
        rows = computed = backend.make_table("computed", scores)
        where = None
        if touched is not None:
            parts = touched.select(part=_.person_key % buckets).distinct().to_polars()["part"]
            if parts.is_empty():
                return Refreshed(table=TABLE, version=lake.note(TABLE, newest))
            where = f"bucket in ({', '.join(map(str, parts.sort()))})"
            lake.require_sound(TABLE)
            kept = view(backend, lake, TABLE).filter(_.bucket.isin(parts.to_list()))
            rows = kept.anti_join(touched, "person_key").union(computed)
        committed = lake.overwrite(
            TABLE,
            stream(rows.order_by("bucket", "person_key"), TABLE),
            where=where,
            consumed=newest | {"policy": policy},
        )
        return Refreshed(
            table=TABLE,
            version=committed,
            rows_written=_count(computed),
            rows_read=int(computed.sessions.sum().to_pyarrow().as_py() or 0),
            is_full=touched is None,
            details={"persons": lake.row_count(TABLE)},
        )


def _count(rows: ir.Table) -> int:
    return int(rows.count().to_pyarrow().as_py())


def _touched(backend: Engine, lake: Lake, since: Mapping[str, int]) -> ir.Table | None:
    """Persons whose sessions or whose choice differ since then; None if that is not known."""
    persons = []
    for name, columns in READ.items():
        changes = net_changes(lake, name, since=since.get(name, -1))
        rows = None if changes is None else changed_rows(backend, lake, name, changes, columns)
        if rows is None:
            return None
        persons.append(rows.select("person_key"))
    return backend.make_table("touched", ibis.union(*persons, distinct=True))


def _policy(half_life: timedelta, buckets: int, silence: Silence) -> int:
    """The settings as a number, to be noted in the commit like a version."""
    text = f"{half_life // MICROSECOND} {buckets} {silence}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
