"""Contracts of engagement scores and segments."""

import pandera.polars as pa
import polars as pl

from clickstream_platform.tables.events import Instant


class EngagementScores(pa.DataFrameModel):
    """How engaged each person is: weighted events, decayed by age.

    ``score`` holds at ``anchored_at``; at a later time ``t`` it is
    ``score * 2 ** -((t - anchored_at) / half_life)``, so that time alone changes no row.

    Grain: person_key.
    Made by: `clickstream_platform.segments`. Read by: segments, CRM syncs.
    """

    person_key: int = pa.Field(description="Surrogate of person_id.")
    person_id: str = pa.Field(description="Pseudonym of the person.")
    bucket: pl.Int32 = pa.Field(ge=0, description="Bucket of person_key; partition.")
    anchored_at: Instant = pa.Field(description="End of the person's last session.")
    score: float = pa.Field(ge=0, description="Sum of weights, decayed to anchored_at.")
    sessions: int = pa.Field(ge=1, description="Sessions that count.")
    first_seen_at: Instant = pa.Field(description="Start of the first session.")
    conversions: int = pa.Field(
        ge=0, description="Conversions of these sessions; an order that is in two counts in both."
    )
    consent_analytics: bool = pa.Field(nullable=True, description="As of the last session.")
    consent_marketing: bool = pa.Field(nullable=True, description="As of the last session.")
    consent_personalization: bool = pa.Field(nullable=True, description="As of the last session.")

    class Config:
        """Exactly these columns, never cast."""

        name = "engagement_scores"
        unique = ["person_key"]
        strict = True
        coerce = False


class SegmentMembers(pa.DataFrameModel):
    """Who was in which segment, and when.

    Grain: segment, person_key, since_at.
    Made by: `clickstream_platform.segments`. Read by: CRM syncs, reports.
    """

    segment: str = pa.Field(description="Name of the segment.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    person_id: str = pa.Field(description="Pseudonym of the person.")
    since_at: Instant = pa.Field(description="Evaluation at which the person entered.")
    until_at: Instant = pa.Field(
        nullable=True, description="Evaluation at which the person left; null while inside."
    )

    class Config:
        """Exactly these columns, never cast."""

        name = "segment_members"
        unique = ["segment", "person_key", "since_at"]
        strict = True
        coerce = False


class Segments(pa.DataFrameModel):
    """The catalogue of segments at the last evaluation.

    Grain: segment.
    Made by: `clickstream_platform.segments`. Read by: people, CRM syncs.
    """

    segment: str = pa.Field(description="Name of the segment.")
    description: str = pa.Field(description="Who is in it, in words.")
    owner: str = pa.Field(description="Team that answers for it.")
    purpose: str = pa.Field(description="Purpose for which it may be used.")
    expires_on: pl.Date = pa.Field(description="Date after which it is empty until renewed.")
    is_expired: bool = pa.Field(description="Past its date at the evaluation.")
    rule: str = pa.Field(description="The rule as evaluated.")
    members: int = pa.Field(ge=0, description="Persons inside.")
    joined: int = pa.Field(ge=0, description="Persons who entered at the evaluation.")
    departed: int = pa.Field(ge=0, description="Persons who departed at the evaluation.")
    evaluated_at: Instant = pa.Field(description="Time of the evaluation.")

    class Config:
        """Exactly these columns, never cast."""

        name = "segments"
        unique = ["segment"]
        strict = True
        coerce = False
