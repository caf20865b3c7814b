"""Who was in which segment, and when: each evaluation closes and opens intervals."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import polars as pl

from clickstream_platform.attribution import load_conversion_rules
from clickstream_platform.collection.consent_log import current_consents
from clickstream_platform.lake import Lake, Refreshed, opened_engine, polars_schema, view
from clickstream_platform.segments.matching import segment_matches
from clickstream_platform.segments.rules import Segment, describe, load_segments
from clickstream_platform.settings import Settings

UPSTREAM = ("engagement_scores", "sessions", "session_events", "sessionless_events", "events")
"""Tables that rules can read."""

INSIDE = ("segment", "person_key", "person_id")
ORDER = ["segment", "person_key", "since_at"]


def refresh_segments(lake: Lake, settings: Settings, *, now: datetime) -> Refreshed:
    """Evaluate every segment and note who entered and who left, in `segment_members`.

    The catalogue `segments` follows in a second commit, made from the first alone: a crash
    between the two is mended by the next evaluation. Both note the versions that were evaluated,
    so that whoever changes one meanwhile is not overlooked. Evaluating the same data twice at one
    moment writes nothing. A clock that went back counts as standing still.

    Args:
        lake: The lake; reads scores, consents, sessions and events.
        settings: Definitions, half-life, time zone of the expiry date.
        now: Time of the evaluation.
    """
    now = max([now.astimezone(UTC), *_last_evaluation(lake)])
    today = now.astimezone(settings.zone).date()
    segments = load_segments(settings.definitions)
    living = [segment for segment in segments.values() if not segment.is_expired(today)]
    versions = lake.versions(*UPSTREAM, "consents")
    inside = _inside(lake, settings, living, now)

    lake.require_sound("segment_members")
    before = lake.scan("segment_members").collect().sort(ORDER)
    after = update_members(before, inside, now=now)
    if not after.equals(before):
        lake.overwrite("segment_members", after, consumed=versions)
    lake.note("segment_members", versions)
    catalogue = describe_segments(segments.values(), after, now=now, today=today)
    if not catalogue.equals(lake.scan("segments").collect().sort("segment")):
        lake.overwrite("segments", catalogue)
    lake.note("segments", versions | lake.versions("segment_members"))
    changed = {name: int(catalogue[name].sum()) for name in ("joined", "departed", "members")}
    return Refreshed(
        table="segment_members",
        version=lake.version("segment_members"),
        rows_written=changed["joined"] + changed["departed"],
        rows_read=lake.row_count("engagement_scores"),
        is_full=True,
        details={**changed, "segments": len(segments), "expired": len(segments) - len(living)},
    )


def update_members(before: pl.DataFrame, inside: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
    """Close the intervals of who left, open one for who entered, and keep the others.

    What an earlier evaluation at the very same moment had written is taken back first, so the
    result depends on the state before ``now`` and on who is inside, not on how often it is
    asked.

    Args:
        before: Rows as in `SegmentMembers`.
        inside: Who matches: ``segment``, ``person_key``, ``person_id``.
        now: Time of the evaluation; none of the rows may be later.

    Returns:
        Rows as in `SegmentMembers`, in order of segment, person and time.
    """
    moment = pl.lit(now, dtype=pl.Datetime("us", "UTC"))
    never = pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    until_at = pl.when(pl.col("until_at") < moment).then("until_at")
    earlier = before.filter(pl.col("since_at") < moment).with_columns(until_at=until_at)
    is_open = pl.col("until_at").is_null()
    was_inside, closed = earlier.filter(is_open), earlier.filter(~is_open)
    key = ["segment", "person_key"]
    stayed = was_inside.join(inside, on=key, how="semi")
    left = was_inside.join(inside, on=key, how="anti").with_columns(until_at=moment)
    entered = (
        inside.select(INSIDE)
        .join(was_inside, on=key, how="anti")
        .with_columns(since_at=moment, until_at=never)
    )
    return pl.concat([closed, stayed, left, entered]).sort(ORDER)


def describe_segments(
    segments: Iterable[Segment], members: pl.DataFrame, *, now: datetime, today: date
) -> pl.DataFrame:
    """The catalogue at an evaluation, with counts taken from the membership it left behind."""
    counts = members.group_by("segment").agg(
        members=pl.col("until_at").is_null().sum(),
        joined=(pl.col("since_at") == now).sum(),
        departed=(pl.col("until_at") == now).sum(),
    )
    rows = [
        {
            "segment": segment.name,
            "description": segment.description,
            "owner": segment.owner,
            "purpose": segment.purpose,
            "expires_on": segment.expires,
            "is_expired": segment.is_expired(today),
            "rule": describe(segment),
            "evaluated_at": now,
        }
        for segment in segments
    ]
    schema = polars_schema("segments")
    head = {name: kind for name, kind in schema.items() if name not in counts.columns[1:]}
    return (
        pl.DataFrame(rows, schema=head)
        .join(counts, on="segment", how="left")
        .with_columns(pl.col(counts.columns[1:]).fill_null(0))
        .select(pl.col(name).cast(kind) for name, kind in schema.items())
        .sort("segment")
    )


def _inside(
    lake: Lake, settings: Settings, segments: Sequence[Segment], now: datetime
) -> pl.DataFrame:
    """Who matches which segment. Grain: segment, person_key."""
    schema: Mapping[str, pl.DataType] = polars_schema("segment_members")
    nobody = pl.DataFrame(schema={name: schema[name] for name in INSIDE})
    if not segments or not lake.exists("engagement_scores"):
        return nobody
    with opened_engine(settings) as backend:
        current = backend.make_table("current_consents", current_consents(lake, now=now))
        matches = segment_matches(
            {table: view(backend, lake, table) for table in UPSTREAM}
            | {"current_consents": current},
            segments,
            now=now,
            half_life=timedelta(days=settings.engagement.half_life_days),
            conversions=[*load_conversion_rules(settings.definitions)],
        )
        wide = pl.DataFrame(matches.to_pyarrow())
    return pl.concat(
        [
            nobody,
            *(
                wide.filter(segment.name).select(
                    pl.lit(segment.name).alias("segment"), "person_key", "person_id"
                )
                for segment in segments
            ),
        ]
    )


def _last_evaluation(lake: Lake) -> list[datetime]:
    """Latest time at which the membership was changed or looked at; empty before the first."""
    times = [
        lake.scan("segments").select("evaluated_at").collect().to_series(),
        *lake.scan("segment_members").select("since_at", "until_at").collect().iter_columns(),
    ]
    latest = pl.concat(times).max()
    return [latest] if isinstance(latest, datetime) else []
