"""Asking the identity graph: one person's links, and who was who as of any moment."""

from datetime import datetime

import polars as pl

from clickstream_platform.identity.decisions import decisions_of, standing
from clickstream_platform.identity.graph import LINK
from clickstream_platform.identity.resolve import resolve
from clickstream_platform.identity.rules import identifier_rules
from clickstream_platform.lake import Lake, connect, polars_schema
from clickstream_platform.settings import Settings


def identity_as_of(
    lake: Lake,
    settings: Settings,
    *,
    recorded_at: datetime | None = None,
    valid_at: datetime | None = None,
) -> pl.DataFrame:
    """Say who was believed to be who.

    Links and decisions count if they had arrived by ``recorded_at``; links also only if what they
    rest on had happened by ``valid_at``. The rules are those of today.

    Args:
        lake: The lake.
        settings: Rules and memory.
        recorded_at: Moment of knowledge; now unless given.
        valid_at: Moment of the world; now unless given.

    Returns:
        Contract: `clickstream_platform.tables.identity.IdentityMap`; equal to the stored map
        where neither moment is given.
    """
    links = lake.scan("identity_merges").select(LINK)
    if recorded_at is not None:
        links = links.filter(pl.col("recorded_at") <= recorded_at)
    if valid_at is not None:
        links = links.filter(pl.col("valid_from_at") <= valid_at)
    decisions = standing(decisions_of(lake), recorded_at=recorded_at)
    backend = connect(settings.lake)
    try:
        backend.make_table("asked", links.collect())
        found = resolve(backend, "asked", decisions, identifier_rules(settings.definitions))
        schema = polars_schema("identity_map")
        rows: pl.DataFrame = found.identity_map.select(list(schema)).to_polars()
        return rows.cast(schema).sort("visitor_key", "user_key")  # type: ignore[arg-type]  # types by column
    finally:
        backend.disconnect()


def merges_around(lake: Lake, key: int) -> pl.DataFrame:
    """Find the links of everybody who is one person with an identifier.

    The walk goes along links that hold; links that do not are found too, and not followed.

    Args:
        lake: The lake.
        key: Surrogate of an identifier.

    Returns:
        Contract: `clickstream_platform.tables.identity.IdentityMerges`, in order of event time.
    """
    merges = lake.scan("identity_merges")
    seen, rim = {key}, {key}
    found = merges.head(0).collect()
    while rim:
        wanted = sorted(rim)
        ends = pl.col("identifier_key").is_in(wanted) | pl.col("other_key").is_in(wanted)
        found = merges.filter(ends).collect().vstack(found)
        holds = found.filter(pl.col("person_key").is_not_null())
        rim = {*holds["identifier_key"], *holds["other_key"]} - seen
        seen |= rim
    return found.unique(["identifier_id", "other_id"]).sort("valid_from_at", "evidence_event_id")
