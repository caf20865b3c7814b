"""Contracts of identity: who is who, since when and why, and what was not merged."""

import pandera.polars as pa
import polars as pl

from clickstream_platform.tables.events import Instant


class IdentityMap(pa.DataFrameModel):
    """Which visitor was seen signed in as which user, and whom the visitor's own events are of.

    A visitor that never signed in has no row: it is its own person. ``person_id`` is the user
    while the visitor has one user, and the visitor itself from the second user on (a shared
    device); events that carry a user are always that user's.

    Grain: visitor_id, user_id.
    Made by: `clickstream_platform.identity`. Read by: sessions, segments, subject requests.
    """

    visitor_id: str = pa.Field(description="Pseudonym of the visitor.")
    visitor_key: int = pa.Field(description="Surrogate of visitor_id.")
    user_id: str = pa.Field(
        description="Pseudonym of the user; of a person without one, of its strongest identifier."
    )
    user_key: int = pa.Field(description="Surrogate of user_id.")
    person_id: str = pa.Field(description="Person of the visitor's events without a user.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    is_shared: bool = pa.Field(
        description="Not merged: the visitor or the user is shared, or they are in conflict."
    )
    evidence_event_id: str = pa.Field(description="Earliest event that shows both together.")
    valid_from_at: Instant = pa.Field(description="Event time of the earliest evidence.")
    recorded_at: Instant = pa.Field(description="Earliest arrival time of any evidence.")

    class Config:
        """Exactly these columns, never cast."""

        name = "identity_map"
        unique = ["visitor_id", "user_id"]
        strict = True
        coerce = False


class IdentityMerges(pa.DataFrameModel):
    """Every link between two identifiers, and what became of it: the history of merges.

    A link merges its two identifiers into one person from the moment it arrived until the moment
    it was undone: by the arrival of what showed an identifier to be shared or a person to be two,
    or by somebody's decision. Evidence is never deleted but by erasure.

    Grain: identifier_id, other_id.
    Made by: `clickstream_platform.identity`. Read by: identity map, `clickstream identity`,
    subject requests.
    """

    identifier_type: str = pa.Field(description="Kind of the weaker identifier.")
    identifier_id: str = pa.Field(description="Pseudonym of the weaker identifier.")
    identifier_key: int = pa.Field(description="Surrogate of identifier_id.")
    other_type: str = pa.Field(description="Kind of the stronger identifier.")
    other_id: str = pa.Field(description="Pseudonym of the stronger identifier.")
    other_key: int = pa.Field(description="Surrogate of other_id.")
    cause: str = pa.Field(description="What shows them together: login, or the stronger kind.")
    evidence_event_id: str = pa.Field(description="Earliest event that shows both together.")
    valid_from_at: Instant = pa.Field(description="Event time of the earliest evidence.")
    recorded_at: Instant = pa.Field(description="Earliest arrival time of any evidence.")
    person_id: str = pa.Field(
        nullable=True, description="Person that both belong to; null if undone."
    )
    person_key: int = pa.Field(nullable=True, description="Surrogate of person_id.")
    undone_at: Instant = pa.Field(
        nullable=True, description="Since when the link merges nobody; null if it does."
    )
    undone_by: str = pa.Field(
        nullable=True,
        isin=["shared", "storm", "conflict", "oversize", "decision"],
        description="Why it merges nobody.",
    )
    decision_id: str = pa.Field(nullable=True, description="Decision that undid it.")

    @pa.dataframe_check(name="a link has a person or a reason why not")
    def _holds_or_not(cls, data: pa.PolarsData) -> pl.LazyFrame:
        holds = pl.col("person_id").is_not_null()
        return data.lazyframe.select(
            (holds == pl.col("undone_by").is_null())
            & (holds == pl.col("undone_at").is_null())
            & (holds == pl.col("person_key").is_not_null())
        )

    class Config:
        """Exactly these columns, never cast."""

        name = "identity_merges"
        unique = ["identifier_id", "other_id"]
        strict = True
        coerce = False


class IdentityConflicts(pa.DataFrameModel):
    """The quarantine of identity: identifiers and people that were not merged, and why.

    Grain: identifier_id, reason, found_type.
    Made by: `clickstream_platform.identity`. Read by: people who look after tracking, the report.
    """

    identifier_type: str = pa.Field(description="Kind of the identifier.")
    identifier_id: str = pa.Field(
        description="Pseudonym of what is shared; of a conflict, its strongest identifier."
    )
    identifier_key: int = pa.Field(description="Surrogate of identifier_id.")
    reason: str = pa.Field(
        isin=["shared", "storm", "conflict", "oversize"],
        description="shared or storm: of one identifier; conflict or oversize: of a component.",
    )
    found_type: str = pa.Field(description="Kind that there are too many of, or any.")
    found: int = pa.Field(description="How many there are.")
    allowed: int = pa.Field(description="How many there may be.")
    since_at: Instant = pa.Field(description="Arrival of the link that was one too many.")

    class Config:
        """Exactly these columns, never cast."""

        name = "identity_conflicts"
        unique = ["identifier_id", "reason", "found_type"]
        strict = True
        coerce = False


class IdentityDecisions(pa.DataFrameModel):
    """What people decided about identities; appended, never edited.

    Grain: decision_id.
    Made by: `clickstream identity`. Read by: identity map.
    """

    decision_id: str = pa.Field(description="Opaque identifier of the decision.")
    kind: str = pa.Field(
        isin=["unmerge", "split", "restore"],
        description="unmerge: one link; split: every link of an identifier; restore: takes back.",
    )
    identifier_id: str = pa.Field(nullable=True, description="Pseudonym that it is about.")
    identifier_key: int = pa.Field(nullable=True, description="Surrogate of identifier_id.")
    other_id: str = pa.Field(nullable=True, description="The other end of an unmerged link.")
    other_key: int = pa.Field(nullable=True, description="Surrogate of other_id.")
    restores: str = pa.Field(nullable=True, description="Decision that is taken back.")
    reason: str = pa.Field(str_length={"min_value": 1}, description="Why, minimised.")
    actor: str = pa.Field(str_length={"min_value": 1}, description="Who decided.")
    decided_at: Instant = pa.Field(description="When.")

    class Config:
        """Exactly these columns, never cast."""

        name = "identity_decisions"
        unique = ["decision_id"]
        strict = True
        coerce = False
