"""Contracts of the event tables: what arrived, what is sound, what waits, what was repeated."""

from typing import Annotated

import pandera.polars as pa
import polars as pl

Instant = Annotated[pl.Datetime, "us", "UTC"]
Money = Annotated[pl.Decimal, 18, 4]

IDENTIFIERS = "Further identifiers of the person, as type:pseudonym, by comma."


class RawEvents(pa.DataFrameModel):
    """What arrived, one row per record, after minimisation; never edited afterwards.

    Grain: batch_id, ordinal.
    Made by: `clickstream_platform.events.landing`. Read by: events, subject requests.
    """

    batch_id: str = pa.Field(description="Landed file or collector segment, hash of its content.")
    ordinal: int = pa.Field(ge=0, description="Position of the record in its batch, from 0.")
    source: str = pa.Field(description="Source whose adapter reads the record.")
    arrived_at: Instant = pa.Field(description="When the platform took the batch.")
    arrival_date: pl.Date = pa.Field(description="UTC date of arrived_at; partition.")
    visitor_id: str = pa.Field(nullable=True, description="Pseudonym of the visitor.")
    user_id: str = pa.Field(nullable=True, description="Pseudonym of the user.")
    identifiers: str = pa.Field(nullable=True, description=IDENTIFIERS)
    payload: str = pa.Field(description="The record as JSON, minimised and pseudonymised.")
    read_error: str = pa.Field(
        nullable=True, description="Why the record could not be read; null if it could."
    )

    class Config:
        """Exactly these columns, never cast."""

        name = "raw_events"
        unique = ["batch_id", "ordinal"]
        strict = True
        coerce = False


class Events(pa.DataFrameModel):
    """Canonical, validated, deduplicated events; people only by pseudonym.

    Grain: event_id.
    Made by: `clickstream_platform.events`. Read by: every later stage.
    """

    # What and when.
    event_id: str = pa.Field(str_length={"min_value": 1}, description="Identifier of the event.")
    event_key: int = pa.Field(ge=0, description="Surrogate of event_id: 60 bits of its MD5.")
    event_name: str = pa.Field(str_length={"min_value": 1}, description="Kind, from the taxonomy.")
    occurred_at: Instant = pa.Field(description="Event time, corrected for clock skew.")
    occurred_us: int = pa.Field(description="occurred_at as microseconds since 1970-01-01 UTC.")
    event_date: pl.Date = pa.Field(description="UTC date of occurred_at; partition.")
    received_at: Instant = pa.Field(description="Arrival time at the collector.")
    created_at: Instant = pa.Field(nullable=True, description="Time on the device's own clock.")
    sent_at: Instant = pa.Field(nullable=True, description="Sending time on the device's clock.")
    clock_skew_ms: int = pa.Field(description="Correction added to created_at, milliseconds.")
    is_late: bool = pa.Field(description="Arrived after its date had been closed.")
    # Where from.
    source: str = pa.Field(description="Source whose adapter read the event.")
    batch_id: str = pa.Field(description="Batch of the raw event.")
    ordinal: int = pa.Field(ge=0, description="Position of the raw event in its batch.")
    collection_source: str = pa.Field(
        isin=["client", "server", "import"], description="Which side observed it."
    )
    app_id: str = pa.Field(nullable=True, description="Site or app that sent it.")
    platform: str = pa.Field(
        nullable=True, isin=["web", "app", "server", "other"], description="Kind of app."
    )
    # Who.
    visitor_id: str = pa.Field(nullable=True, description="Pseudonym of the visitor.")
    visitor_key: int = pa.Field(nullable=True, description="Surrogate of visitor_id.")
    user_id: str = pa.Field(nullable=True, description="Pseudonym of the signed-in user.")
    user_key: int = pa.Field(nullable=True, description="Surrogate of user_id.")
    identifiers: str = pa.Field(nullable=True, description=IDENTIFIERS)
    bucket: pl.Int32 = pa.Field(
        ge=0, description="Bucket of the visitor (else user) surrogate; partition."
    )
    tracker_session_id: str = pa.Field(
        nullable=True, description="Session identifier of the tracker; not our session."
    )
    ip_address: str = pa.Field(nullable=True, description="Truncated: /24 or /48.")
    country: str = pa.Field(nullable=True, description="ISO 3166-1 alpha-2 country.")
    language: str = pa.Field(nullable=True, description="Preferred language, BCP 47.")
    # Page and campaign.
    page_url: str = pa.Field(nullable=True, description="Address of the page, minimised.")
    page_host: str = pa.Field(nullable=True, description="Host of page_url, lower case.")
    page_path: str = pa.Field(nullable=True, description="Path of page_url, minimised.")
    page_title: str = pa.Field(nullable=True, description="Title of the page, minimised.")
    referrer_url: str = pa.Field(nullable=True, description="Page that led here, minimised.")
    referrer_host: str = pa.Field(nullable=True, description="Host of referrer_url, lower case.")
    campaign_source: str = pa.Field(nullable=True, description="utm_source, or from a click id.")
    campaign_medium: str = pa.Field(nullable=True, description="utm_medium, or from a click id.")
    campaign_name: str = pa.Field(nullable=True, description="utm_campaign.")
    campaign_term: str = pa.Field(nullable=True, description="utm_term.")
    campaign_content: str = pa.Field(nullable=True, description="utm_content.")
    click_id_type: str = pa.Field(nullable=True, description="Parameter of the click id: gclid …")
    # Device.
    browser_name: str = pa.Field(nullable=True, description="Browser family.")
    browser_version: str = pa.Field(nullable=True, description="Browser major version.")
    os_name: str = pa.Field(nullable=True, description="Operating system family.")
    device_type: str = pa.Field(
        nullable=True, isin=["desktop", "mobile", "tablet", "other"], description="Kind of device."
    )
    is_bot: bool = pa.Field(description="Flagged as not a person; never deleted for it.")
    bot_reason: str = pa.Field(nullable=True, description="Rule that flagged it.")
    bot_score: int = pa.Field(
        ge=0, le=100, description="Points of the enforced bot rules that match."
    )
    bot_signals: str = pa.Field(
        nullable=True, description="Every bot rule that matches, also in shadow, by comma."
    )
    # What was done.
    engaged_time_ms: int = pa.Field(
        nullable=True, ge=0, description="Time in the foreground that the event reports, ms."
    )
    product_id: str = pa.Field(nullable=True, description="Product concerned.")
    order_id: str = pa.Field(nullable=True, description="Order concerned.")
    revenue: Money = pa.Field(nullable=True, description="In the reporting currency.")
    revenue_original: Money = pa.Field(nullable=True, description="As sent.")
    currency_original: str = pa.Field(nullable=True, description="ISO 4217 code as sent.")
    # Consent travels with every row; null is unknown and counts as no.
    consent_analytics: bool = pa.Field(nullable=True, description="Consent to measurement.")
    consent_marketing: bool = pa.Field(nullable=True, description="Consent to marketing contact.")
    consent_personalization: bool = pa.Field(nullable=True, description="Consent to profiles.")
    # The rest.
    is_synthetic: bool = pa.Field(description="Sent by a test or canary; in no mart.")
    repairs: str = pa.Field(nullable=True, description="Repairs made, as field:repair, by comma.")
    properties: str = pa.Field(nullable=True, description="Further properties, JSON object.")
    entities: str = pa.Field(nullable=True, description="Attached entities, JSON array.")

    class Config:
        """Exactly these columns, never cast."""

        name = "events"
        unique = ["event_id"]
        strict = True
        coerce = False


VIOLATION = pl.Struct(
    {"code": pl.String(), "field": pl.String(), "expected": pl.String(), "got": pl.String()}
)
"""One broken rule of one record; ``got`` is masked."""


class QuarantinedEvents(pa.DataFrameModel):
    """Records that broke a row rule, each with every violation, waiting for a fix and a replay.

    Grain: batch_id, ordinal.
    Made by: `clickstream_platform.events`. Read by: `clickstream quarantine`.
    """

    batch_id: str = pa.Field(description="Batch of the raw event.")
    ordinal: int = pa.Field(ge=0, description="Position of the raw event in its batch.")
    source: str = pa.Field(description="Source whose adapter read the record.")
    arrived_at: Instant = pa.Field(description="When the platform took the batch.")
    arrival_date: pl.Date = pa.Field(description="UTC date of arrived_at; partition.")
    fate: str = pa.Field(
        isin=["quarantined", "too_late"], description="Why it waits: rules, or the horizon."
    )
    visitor_id: str = pa.Field(nullable=True, description="Pseudonym of the visitor.")
    user_id: str = pa.Field(nullable=True, description="Pseudonym of the user.")
    identifiers: str = pa.Field(nullable=True, description=IDENTIFIERS)
    event_name: str = pa.Field(nullable=True, description="Kind of event, where it was readable.")
    payload: str = pa.Field(description="The record as JSON, minimised and pseudonymised.")
    violations: Annotated[pl.List, VIOLATION] = pa.Field(description="Every rule that it breaks.")

    class Config:
        """Exactly these columns, never cast."""

        name = "quarantined_events"
        unique = ["batch_id", "ordinal"]
        strict = True
        coerce = False


class DuplicateEvents(pa.DataFrameModel):
    """Repetitions of an event that is already kept; the earliest arrival stays.

    Grain: batch_id, ordinal.
    Made by: `clickstream_platform.events`. Read by: the ledger, people who look for conflicts.
    """

    batch_id: str = pa.Field(description="Batch of the repetition.")
    ordinal: int = pa.Field(ge=0, description="Position of the repetition in its batch.")
    source: str = pa.Field(description="Source whose adapter read it.")
    arrival_date: pl.Date = pa.Field(description="UTC date on which it was taken; partition.")
    event_id: str = pa.Field(description="Identifier that it repeats.")
    visitor_id: str = pa.Field(nullable=True, description="Pseudonym of the visitor.")
    user_id: str = pa.Field(nullable=True, description="Pseudonym of the user.")
    identifiers: str = pa.Field(nullable=True, description=IDENTIFIERS)
    is_conflict: bool = pa.Field(description="Says something else under the same identifier.")

    class Config:
        """Exactly these columns, never cast."""

        name = "duplicate_events"
        unique = ["batch_id", "ordinal"]
        strict = True
        coerce = False
