"""What should be sent to a destination: the state that is wanted, less the state that is there."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

import polars as pl

from clickstream_platform.collection.consent_log import current_consents
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.settings import Settings

CONSENT_TABLES = ("consents", "identity_map", "sessions")
"""Tables that tell who consents."""

USER_PREFIX = "pu_"
"""Start of a user's pseudonym; a person that is only a visitor is unknown to any CRM."""

BANDS = ((20.0, "high"), (5.0, "medium"), (0.0, "low"))
"""Least score of each engagement band: by default a purchase is worth about one band."""

PROPERTIES = ("clickstream_segments", "engagement_band", "engagement_score", "last_seen_date")
"""Properties that a sync sets, and clears for who has left."""

CLEARED: Mapping[str, str] = dict.fromkeys(PROPERTIES, "")
"""Properties of a person who is in no segment any more."""

NO_CONSENT = "no_consent"
SUPPRESSED = "suppressed"
UNKNOWN = "unknown_user"
"""Reason of a row whose pseudonym the vault does not hold; it will not hold it again."""

SUPERSEDED = "superseded"
"""Reason of a row that never got an answer and was overtaken by a newer one."""


class SuppressionList(Protocol):
    """Who must not be written to."""

    def mask_tokens(self, tokens: pl.Series) -> pl.Series:
        """Tell of each pseudonym whether it is suppressed."""


def plan_sync(
    lake: Lake,
    settings: Settings,
    *,
    suppression: SuppressionList,
    destination: str,
    now: datetime,
) -> pl.DataFrame:
    """What a sync would do, and to whom; nothing is sent, revealed or written.

    Wanted is everybody who is inside a segment for marketing and has a user. Against the last
    rows of the ledger this gives whom to set (``upsert``), whom to clear (``remove``: they left,
    or withdrew their consent), and whom to leave alone though wanted (``withheld``). Who was
    refused stays refused until there is something else to say.

    Args:
        lake: The lake; reads members, segments, scores, consents, sessions and the ledger.
        settings: Half-life and time zone of what is said about a person, and how the CRM knows
            them.
        suppression: People who must not be written to.
        destination: Name of the destination in the ledger.
        now: Time of the sync.

    Returns:
        One row per person with something to do: ``person_key``, ``person_id``, ``operation``,
        ``properties`` (JSON), ``content_hash``, ``idempotency_key``, ``reason`` (why withheld,
        else null), ``is_resend`` (it may have arrived before). The key follows from the
        destination, the person, the content, and the key before it.
    """
    standing = ledger_state(lake, destination)
    wanted = desired_state(lake, settings, now=now)
    people = wanted.join(standing, on=["person_key", "person_id"], how="full", coalesce=True)
    people = people.with_columns(
        is_suppressed=suppression.mask_tokens(people["person_id"]),
        has_consent=people["person_key"].is_in(
            consenting(lake, people["person_key"], now=now).implode()
        ),
    )
    is_wanted = pl.col("properties").is_not_null()
    holds = pl.col("holds").fill_null(value=False)
    people = people.with_columns(
        operation=pl.when(is_wanted & pl.col("has_consent") & ~pl.col("is_suppressed"))
        .then(pl.lit("upsert"))
        .when(holds & ~pl.col("is_suppressed"))
        .then(pl.lit("remove"))
        .when(is_wanted)
        .then(pl.lit("withheld")),
    ).filter(pl.col("operation").is_not_null())
    withheld = pl.col("operation") == "withheld"
    people = people.with_columns(
        reason=pl.when(withheld & pl.col("is_suppressed"))
        .then(pl.lit(SUPPRESSED))
        .when(withheld)
        .then(pl.lit(NO_CONSENT)),
        properties=pl.when(pl.col("operation") == "remove")
        .then(pl.lit(_json(CLEARED)))
        .otherwise("properties"),
    )
    # Under another identifier the same properties are of a contact that does not have them yet.
    content = pl.lit(f"{settings.crm.id_property} ") + pl.col("properties")
    people = people.with_columns(content_hash=content.map_elements(_sha256, return_dtype=pl.String))
    is_said = (
        (pl.col("last_operation") == pl.col("operation"))
        & (pl.col("last_content_hash") == pl.col("content_hash"))
    ).fill_null(value=False)
    # Suppression and forgotten users are for good; consent may be given again.
    is_known = (
        (withheld & (pl.col("latest_reason") == pl.col("reason")))
        | pl.col("latest_reason").is_in([SUPPRESSED, UNKNOWN])
    ).fill_null(value=False)
    is_answered = is_said & pl.col("last_status").is_in(["delivered", "failed"])
    people = people.filter(~is_known & ~is_answered).with_columns(
        is_resend=is_said & (pl.col("last_status") == "pending")
    )
    keys = [
        row["last_key"] if row["is_resend"] else _key(destination, row)
        for row in people.iter_rows(named=True)
    ]
    return people.select(
        "person_key",
        "person_id",
        "operation",
        "properties",
        "content_hash",
        pl.Series("idempotency_key", keys, dtype=pl.String),
        "reason",
        "is_resend",
    ).sort(["is_resend", "operation", "person_key"], descending=[True, False, False])


def desired_state(lake: Lake, settings: Settings, *, now: datetime) -> pl.DataFrame:
    """What should be known about whom: ``person_key``, ``person_id``, ``properties`` (JSON).

    The score is that of the person's last session, so that a person is sent again when they
    did something, not because a day went by; the band is as of now, and does change with time.
    """
    for_marketing = lake.scan("segments").filter(
        (pl.col("purpose") == "marketing") & ~pl.col("is_expired")
    )
    inside = (
        lake.scan("segment_members")
        .filter(pl.col("until_at").is_null() & pl.col("person_id").str.starts_with(USER_PREFIX))
        .join(for_marketing, on="segment", how="semi")
        .group_by("person_key", "person_id")
        .agg(pl.col("segment").unique().sort().str.join(";"))
    )
    half_life = timedelta(days=settings.engagement.half_life_days)
    age = pl.max_horizontal(pl.lit(now) - pl.col("anchored_at"), pl.lit(timedelta(0)))
    # Sums of floats differ in their last digits; cut them off before they can decide a rounding.
    current = (pl.col("score") * 2.0 ** -(age / half_life)).round(6)
    band: pl.Expr = pl.when(current.is_not_null()).then(pl.lit(BANDS[-1][1]))
    for least, name in reversed(BANDS[:-1]):
        band = pl.when(current >= least).then(pl.lit(name)).otherwise(band)
    seen = pl.col("anchored_at").dt.convert_time_zone(settings.time_zone)
    known = inside.join(
        lake.scan("engagement_scores").select("person_key", "score", "anchored_at"),
        on="person_key",
        how="left",
    ).select(
        "person_key",
        "person_id",
        clickstream_segments="segment",
        engagement_band=band,
        engagement_score=pl.col("score").round(6).round(0).cast(pl.Int64).cast(pl.String),
        last_seen_date=seen.dt.date().cast(pl.String),
    )
    frame = known.collect()
    texts = [
        _json({name: row[name] or "" for name in PROPERTIES}) for row in frame.iter_rows(named=True)
    ]
    properties = pl.Series("properties", texts, dtype=pl.String)
    return frame.select("person_key", "person_id", properties)


def ledger_state(lake: Lake, destination: str) -> pl.DataFrame:
    """What the ledger says of each person, from their last rows.

    Columns: ``last_operation``, ``last_content_hash``, ``last_status``, ``last_key`` (of the
    last row that was not withheld), ``holds`` (whether the destination may hold something of
    ours), ``latest_key`` and ``latest_reason`` (of the last row of any kind; the reason only if
    it was withheld).
    """
    rows = (
        lake.scan("crm_syncs")
        .filter(pl.col("destination") == destination)
        .sort("synced_at", "idempotency_key")
    )
    withheld, delivered = pl.col("status") == "withheld", pl.col("status") == "delivered"
    # Without an answer it may have arrived, or not: an upsert counts as there, a removal does not.
    unclear = (pl.col("status") == "pending") | (pl.col("reason") == SUPERSEDED).fill_null(
        value=False
    )
    last_answer = pl.col("synced_at").filter(delivered).max()
    is_current = (delivered & (pl.col("synced_at") == last_answer)) | (
        unclear & (pl.col("synced_at") > last_answer).fill_null(value=True)
    )

    def last(column: str) -> pl.Expr:
        return pl.col(column).filter(~withheld).last()

    return (
        rows.group_by("person_key", "person_id", maintain_order=True)
        .agg(
            last_operation=last("operation"),
            last_content_hash=last("content_hash"),
            last_status=last("status"),
            last_key=last("idempotency_key"),
            holds=(is_current & (pl.col("operation") == "upsert")).any(),
            latest_key=pl.col("idempotency_key").last(),
            latest_reason=pl.when(withheld.last()).then(pl.col("reason").last()),
        )
        .collect()
    )


def overtaken(lake: Lake, destination: str, *, planned: pl.DataFrame) -> pl.DataFrame:
    """Rows without an answer that are not to be sent again: something newer takes their place."""
    schema = polars_schema("crm_syncs")
    again = planned.filter("is_resend")
    return (
        lake.scan("crm_syncs")
        .filter((pl.col("destination") == destination) & (pl.col("status") == "pending"))
        .join(again.lazy(), on="idempotency_key", how="anti")
        .select(schema.keys())
        .collect()
    )


def consenting(lake: Lake, persons: pl.Series, *, now: datetime) -> pl.Series:
    """Persons who consent to marketing at sending time, whatever was collected before.

    Their last recorded choice counts, on any device; of who never made one that was recorded, the
    last session, a bot's or not.
    """
    asked = persons.unique().to_frame("person_key").lazy()
    last_session = (
        lake.scan("sessions")
        .select("person_key", "ended_at", "session_key", "consent_marketing")
        .join(asked, on="person_key", how="semi")
        .sort("ended_at", "session_key")
        .group_by("person_key")
        .agg(pl.col("consent_marketing").last())
        .collect()
    )
    recorded = current_consents(lake, now=now).select("person_key", "consent_marketing")
    chosen = pl.concat([recorded, last_session.join(recorded, on="person_key", how="anti")])
    return chosen.filter(pl.col("consent_marketing").fill_null(value=False))["person_key"]


def _key(destination: str, row: Mapping[str, object]) -> str:
    """Deterministic, and chained: saying the same again after something else is another key."""
    said = [destination, *(row[name] for name in ("person_id", "operation", "content_hash"))]
    return _sha256(_json([*said, row["reason"], row["latest_key"]]))[:32]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
