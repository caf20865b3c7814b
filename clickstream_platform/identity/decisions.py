"""Decisions of people about identities: what was merged wrongly, and stays apart.

Decisions are rows that are appended and never edited; every refresh applies those that stand. A
decision holds against evidence that comes later, until it is taken back.
"""

import secrets
from datetime import datetime

import polars as pl

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.lake import Lake, polars_schema

TABLE = "identity_decisions"

DENIED = {
    "identifier_key": pl.Int64(),
    "other_key": pl.Int64(),
    "decision_id": pl.String(),
    "decided_at": pl.Datetime("us", "UTC"),
}
"""Columns of a link that was decided against."""


class DecisionError(ClickstreamError, LookupError):
    """A decision cannot be made as asked."""

    def __init__(self, reason: str, *, remedy: str) -> None:
        super().__init__(f"{reason}. {remedy}")


def standing(decisions: pl.DataFrame, *, recorded_at: datetime | None = None) -> pl.DataFrame:
    """Keep decisions that stand: made by then, and not taken back by then.

    Args:
        decisions: Contract: `clickstream_platform.tables.identity.IdentityDecisions`.
        recorded_at: Moment of knowledge; now unless given.
    """
    made = decisions
    if recorded_at is not None:
        made = made.filter(pl.col("decided_at") <= recorded_at)
    taken_back = made["restores"].drop_nulls().unique().implode()
    return made.filter(pl.col("kind") != "restore", ~pl.col("decision_id").is_in(taken_back))


def denied_links(pairs: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """Find the links that standing decisions are against.

    Args:
        pairs: ``identifier_key``, ``other_key``. Grain: both.
        decisions: Rows of `standing`.

    Returns:
        Columns `DENIED`; of several decisions about a link the earliest. Grain: identifier_key,
        other_key.
    """
    told = decisions.select("kind", "decision_id", "decided_at", "identifier_key", "other_key")
    unmerged = told.filter(pl.col("kind") == "unmerge")
    turned = unmerged.with_columns(identifier_key="other_key", other_key="identifier_key")
    split = told.filter(pl.col("kind") == "split").drop("other_key")
    found = [
        pairs.join(pl.concat([unmerged, turned]), on=["identifier_key", "other_key"]),
        pairs.join(split, on="identifier_key"),
        pairs.join(split.rename({"identifier_key": "other_key"}), on="other_key"),
    ]
    return (
        pl.concat([rows.select(list(DENIED)) for rows in found])
        .sort("decided_at", "decision_id")
        .unique(["identifier_key", "other_key"], keep="first", maintain_order=True)
    )


def decide(  # noqa: PLR0913 - what a decision says
    lake: Lake,
    kind: str,
    *,
    reason: str,
    actor: str,
    now: datetime,
    identifier: tuple[str, int] | None = None,
    other: tuple[str, int] | None = None,
    restores: str | None = None,
) -> str:
    """Append a decision and return its identifier; the next refresh applies it.

    Args:
        lake: The lake.
        kind: ``unmerge``, ``split`` or ``restore``.
        reason: Why, in words without personal data.
        actor: Who decides.
        now: When.
        identifier: Pseudonym and surrogate of what is split, or of one end of a link.
        other: The other end of the link that is undone.
        restores: Decision that is taken back.

    Raises:
        DecisionError: There is no such link, identifier or decision.
    """
    if not reason.strip() or not actor.strip():
        what, remedy = "A decision needs a reason and an actor", "Say both."
        raise DecisionError(what, remedy=remedy)
    if kind == "restore":
        known = standing(lake.scan(TABLE).collect())["decision_id"]
        if restores not in known.to_list():
            what = "No decision of that identifier stands"
            remedy = "`clickstream identity decisions` lists them."
            raise DecisionError(what, remedy=remedy)
    elif kind == "unmerge" and other is None:
        what = "A link has two ends"
        raise DecisionError(what, remedy="Name both.")
    elif identifier is None or not _has_link(lake, identifier[1], other[1] if other else None):
        what = "No event shows these identifiers linked"
        raise DecisionError(what, remedy="`clickstream identity show` lists a person's links.")
    decision_id = f"dec_{secrets.token_hex(8)}"
    row = {
        "decision_id": decision_id,
        "kind": kind,
        "identifier_id": identifier[0] if identifier else None,
        "identifier_key": identifier[1] if identifier else None,
        "other_id": other[0] if other else None,
        "other_key": other[1] if other else None,
        "restores": restores,
        "reason": reason.strip(),
        "actor": actor.strip(),
        "decided_at": now,
    }
    lake.append(TABLE, pl.DataFrame([row], schema=polars_schema(TABLE)))
    return decision_id


def _has_link(lake: Lake, key: int, other: int | None) -> bool:
    one, two = pl.col("identifier_key"), pl.col("other_key")
    found = (one == key) | (two == key)
    if other is not None:
        found = ((one == key) & (two == other)) | ((one == other) & (two == key))
    return not lake.scan("identity_merges").filter(found).head(1).collect().is_empty()


def ensure_decisions(lake: Lake) -> int:
    """Version of the decisions; the empty table is written first, so that it can be followed."""
    if not lake.exists(TABLE):
        lake.append(TABLE, pl.DataFrame(schema=polars_schema(TABLE)))
    return lake.version(TABLE)


def decisions_of(lake: Lake) -> pl.DataFrame:
    """Every decision, in order."""
    return lake.scan(TABLE).collect().sort("decided_at", "decision_id")
