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
        backend.create_table("asked", links.collect().to_arrow(), temp=True)
        found = resolve(backend, "asked", decisions, identifier_rules(settings.definitions))
        schema = polars_schema("identity_map")
        rows: pl.DataFrame = found.identity_map.select(list(schema)).to_polars()
        return rows.cast(schema).sort("visitor_key", "user_key")  # type: ignore[arg-type]  # types by column
    finally:
        backend.disconnect()


def merges_around(lake: Lake, key: int) -> pl.DataFrame:
    """Find the links of an identifier and of everybody it hangs together with.

    The walk goes over links whether or not they hold, and stops at shared identifiers: whoever
    else was seen with those is somebody else.

    Args:
        lake: The lake.
        key: Surrogate of an identifier.

    Returns:
        Contract: `clickstream_platform.tables.identity.IdentityMerges`, in order of event time.
    """
    merges = lake.scan("identity_merges")
    walls = lake.scan("identity_conflicts").filter(pl.col("reason").is_in(["shared", "storm"]))
    walls_found = set(walls.select("identifier_key").collect().to_series()) - {key}
    seen, rim = {key}, {key}
    found = merges.head(0).collect()
    while rim:
        wanted = sorted(rim)
        ends = pl.col("identifier_key").is_in(wanted) | pl.col("other_key").is_in(wanted)
        found = merges.filter(ends).collect().vstack(found)
        rim = {*found["identifier_key"], *found["other_key"]} - seen
        seen |= rim
        rim -= walls_found
    return found.unique(["identifier_id", "other_id"]).sort("valid_from_at", "evidence_event_id")
