"""Asking the identity graph: one person's links, and who was who as of any moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import ibis.expr.types as ir
import polars as pl

from clickstream_platform.identity.decisions import decisions_of, standing
from clickstream_platform.identity.graph import LINK
from clickstream_platform.identity.resolve import Resolved, resolve
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
    with _resolved_as_of(lake, settings, recorded_at, valid_at) as found:
        return _rows(found.identity_map, "identity_map").sort("visitor_key", "user_key")


def merges_as_of(
    lake: Lake,
    settings: Settings,
    key: int,
    *,
    recorded_at: datetime | None = None,
    valid_at: datetime | None = None,
) -> pl.DataFrame:
    """Find the links of everybody who was believed to be one person with an identifier.

    Args:
        lake: The lake.
        settings: Rules and memory.
        key: Surrogate of an identifier.
        recorded_at: As for `identity_as_of`.
        valid_at: As for `identity_as_of`.

    Returns:
        As `merges_around`; equal to it where neither moment is given.
    """
    with _resolved_as_of(lake, settings, recorded_at, valid_at) as found:
        return _around(_rows(found.identity_merges, "identity_merges").lazy(), key)


@contextmanager
def _resolved_as_of(
    lake: Lake, settings: Settings, recorded_at: datetime | None, valid_at: datetime | None
) -> Iterator[Resolved]:
    links = lake.scan("identity_merges").select(LINK)
    if recorded_at is not None:
        links = links.filter(pl.col("recorded_at") <= recorded_at)
    if valid_at is not None:
        links = links.filter(pl.col("valid_from_at") <= valid_at)
    decisions = standing(decisions_of(lake), recorded_at=recorded_at)
    backend = connect(settings.lake)
    try:
        backend.make_table("asked", links.collect())
        yield resolve(backend, "asked", decisions, identifier_rules(settings.definitions))
    finally:
        backend.disconnect()


def _rows(found: ir.Table, table: str) -> pl.DataFrame:
    schema = polars_schema(table)
    rows: pl.DataFrame = found.select(list(schema)).to_polars()
    return rows.cast(schema)  # type: ignore[arg-type]  # types by column


def merges_around(lake: Lake, key: int) -> pl.DataFrame:
    """Find the links of everybody who is one person with an identifier.

    The walk goes along links that hold; links that do not are found too, and not followed.

    Args:
        lake: The lake.
        key: Surrogate of an identifier.

    Returns:
        Contract: `clickstream_platform.tables.identity.IdentityMerges`, in order of event time.
    """
    return _around(lake.scan("identity_merges"), key)


def _around(merges: pl.LazyFrame, key: int) -> pl.DataFrame:
    seen, rim = {key}, {key}
    found = merges.head(0).collect()
    while rim:
        wanted = sorted(rim)
        ends = pl.col("identifier_key").is_in(wanted) | pl.col("other_key").is_in(wanted)
        found = merges.filter(ends).collect().vstack(found)
        holds = found.filter(pl.col("person_key").is_not_null())
        rim = {*holds["identifier_key"], *holds["other_key"]} - seen
        seen |= rim
    # One event may show several links.
    order = ("valid_from_at", "evidence_event_id", "identifier_key", "other_key")
    return found.unique(["identifier_id", "other_id"]).sort(order)
