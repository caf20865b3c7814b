"""Contracts of the attribution tables."""

import pandera.polars as pa
import polars as pl

from clickstream_platform.tables.events import Instant, Money

CREDIT_TOLERANCE = 1e-9
"""Slack for adding up shares in floating point; far below one person in a billion."""


class Touchpoints(pa.DataFrameModel):
    """Contacts with marketing that can earn credit: one per session of a person who allows it.

    Sessions of bots are left out, and of people who do not allow measurement or attribution as of
    the last run, however old the session.

    Grain: touchpoint_id.
    Made by: `clickstream_platform.attribution`. Read by: attribution_credits, reports.
    """

    touchpoint_id: str = pa.Field(description="The session that is the touch.")
    person_id: str = pa.Field(description="Pseudonym of the person.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    touched_at: Instant = pa.Field(description="Start of the session.")
    touched_us: int = pa.Field(description="touched_at, microseconds since 1970-01-01 UTC.")
    touch_date: pl.Date = pa.Field(description="UTC date of touched_at; partition.")
    bucket: pl.Int32 = pa.Field(ge=0, description="Bucket of person_key; partition.")
    channel: str = pa.Field(description="Channel of the session.")
    campaign_source: str = pa.Field(nullable=True, description="utm_source.")
    campaign_medium: str = pa.Field(nullable=True, description="utm_medium.")
    campaign_name: str = pa.Field(nullable=True, description="utm_campaign.")
    is_direct: bool = pa.Field(description="Channel Direct: earns nothing in last non-direct.")

    class Config:
        """Exactly these columns, never cast."""

        name = "touchpoints"
        unique = ["touchpoint_id"]
        strict = True
        coerce = False


class Conversions(pa.DataFrameModel):
    """Events that the business has declared to count, once per order.

    Those of people who do not allow measurement as of the last run are left out.

    Grain: conversion_id.
    Made by: `clickstream_platform.attribution`. Read by: attribution_credits, reports.
    """

    conversion_id: str = pa.Field(description="Identifier of the event.")
    conversion_name: str = pa.Field(description="Name of the event.")
    person_id: str = pa.Field(description="Pseudonym of the person.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    session_id: str = pa.Field(
        nullable=True,
        description="Session in which it happened; null if a server reported it outside of any.",
    )
    converted_at: Instant = pa.Field(description="Event time.")
    converted_us: int = pa.Field(description="converted_at, microseconds since 1970-01-01 UTC.")
    conversion_date: pl.Date = pa.Field(description="UTC date of converted_at; partition.")
    order_id: str = pa.Field(nullable=True, description="Order, where there is one.")
    revenue: Money = pa.Field(description="Revenue, reporting currency; 0 where there is none.")
    is_attributable: bool = pa.Field(
        description="Its person allows attribution; else its credit goes to (no consent)."
    )

    class Config:
        """Exactly these columns, never cast."""

        name = "conversions"
        unique = ["conversion_id"]
        strict = True
        coerce = False


class AttributionCredits(pa.DataFrameModel):
    """Credit that each touchpoint earned for a conversion, by each model.

    Grain: model, conversion_id, touchpoint_id.
    Made by: `clickstream_platform.attribution`. Read by: reports, spend allocation.
    """

    model: str = pa.Field(description="Attribution model.")
    conversion_id: str = pa.Field(description="Conversion to explain.")
    touchpoint_id: str = pa.Field(
        nullable=True, description="Touchpoint; null if none is eligible."
    )
    person_key: int = pa.Field(description="Surrogate of the person.")
    conversion_date: pl.Date = pa.Field(description="UTC date of the conversion; partition.")
    channel: str = pa.Field(str_length={"min_value": 1}, description="Channel of the touchpoint.")
    campaign_name: str = pa.Field(nullable=True, description="Campaign of the touchpoint.")
    credit: float = pa.Field(
        ge=0, le=1 + CREDIT_TOLERANCE, description="Share of one conversion, 0 to 1."
    )
    revenue: float = pa.Field(description="The same share of its revenue, reporting currency.")

    @pa.dataframe_check(name="credits of a conversion sum to 1 in each model")
    def _credits_sum_to_one(cls, data: pa.PolarsData) -> pl.LazyFrame:
        total = pl.col("credit").sum().over("model", "conversion_id")
        return data.lazyframe.select((total - 1).abs() <= CREDIT_TOLERANCE)

    class Config:
        """Exactly these columns, never cast."""

        name = "attribution_credits"
        unique = ["model", "conversion_id", "touchpoint_id"]
        strict = True
        coerce = False
