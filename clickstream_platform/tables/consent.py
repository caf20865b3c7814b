"""Contracts of the consent tables: what each person chose, and the log that proves it."""

import pandera.polars as pa

from clickstream_platform.tables.events import Instant

SOURCES = ["tcf", "gpp", "gpc", "consent_mode", "event"]


class Consents(pa.DataFrameModel):
    """Choices of visitors and users, one row where a choice differs from the one before it.

    A choice holds from ``valid_from_at`` until the next one of the same visitor and user, or until
    it expires. Erasure deletes rows of a person here; what they chose stays proven in
    ``consent_log``, where nothing leads back to them.

    Grain: commitment.
    Made by: `clickstream_platform.collection.consent_log`. Read by: segments, CRM sync, reports.
    """

    commitment: str = pa.Field(
        description="SHA-256 of nonce, visitor, user and event; names the entry of the log."
    )
    nonce: str = pa.Field(description="128 random bits: without them the commitment says nothing.")
    visitor_id: str = pa.Field(nullable=True, description="Pseudonym of the visitor.")
    visitor_key: int = pa.Field(nullable=True, description="Surrogate of visitor_id.")
    user_id: str = pa.Field(nullable=True, description="Pseudonym of the signed-in user.")
    user_key: int = pa.Field(nullable=True, description="Surrogate of user_id.")
    event_id: str = pa.Field(description="Event that carries the choice.")
    valid_from_at: Instant = pa.Field(description="Event time of that event.")
    valid_from_us: int = pa.Field(description="valid_from_at as microseconds since 1970 UTC.")
    valid_until_at: Instant = pa.Field(
        nullable=True, description="When the choice expires by itself; null if it does not."
    )
    received_at: Instant = pa.Field(description="Arrival time of the event.")
    consent_analytics: bool = pa.Field(nullable=True, description="Measurement; null: not said.")
    consent_marketing: bool = pa.Field(nullable=True, description="Marketing; null: not said.")
    consent_personalization: bool = pa.Field(nullable=True, description="Profiles; null: not said.")
    consent_attribution: bool = pa.Field(
        nullable=True, description="Crediting advertising; null: not said."
    )
    is_opted_out: bool = pa.Field(
        nullable=True, description="Opted out of sale, sharing or targeting; null: not said."
    )
    source: str = pa.Field(isin=SOURCES, description="Signal that carries most of the choice.")
    string_hash: str = pa.Field(nullable=True, description="SHA-256 of the strings that were sent.")
    jurisdiction: str = pa.Field(description="Regime that judged: eu, uk, us …, or unknown.")
    tcf_policy_version: int = pa.Field(nullable=True, description="Policy version of TCF.")
    notice_version: str = pa.Field(nullable=True, description="Notice that the person saw.")
    cmp_version: str = pa.Field(nullable=True, description="Consent platform and its version.")
    rules_version: str = pa.Field(description="First 12 digits of the SHA-256 of the rules.")

    class Config:
        """Exactly these columns, never cast."""

        name = "consents"
        unique = ["commitment"]
        strict = True
        coerce = False


class PersonConsents(pa.DataFrameModel):
    """What each person consents to as of the last run, on whichever device they said so.

    Who never chose has no row: the law of the country decides about them.

    Grain: person_key.
    Made by: `clickstream_platform.collection.consent_log`. Read by: touchpoints, conversions,
    scores, reports, probabilistic matches.
    """

    person_id: str = pa.Field(description="Pseudonym of the person.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    consent_analytics: bool = pa.Field(nullable=True, description="Measurement; null: never said.")
    consent_marketing: bool = pa.Field(nullable=True, description="Marketing; null: never said.")
    consent_personalization: bool = pa.Field(
        nullable=True, description="Profiles; null: never said."
    )
    consent_attribution: bool = pa.Field(
        nullable=True, description="Crediting advertising; null: never said."
    )

    class Config:
        """Exactly these columns, never cast."""

        name = "person_consents"
        unique = ["person_key"]
        strict = True
        coerce = False


class ConsentLog(pa.DataFrameModel):
    """Every choice that was recorded, chained by hash: appended to, never edited.

    It holds no identifier, nor anything that leads to one once the row of ``consents`` is erased.

    Grain: number.
    Made by: `clickstream_platform.collection.consent_log`. Read by: `clickstream consent verify`.
    """

    number: int = pa.Field(ge=1, description="Place in the chain, from 1.")
    commitment: str = pa.Field(unique=True, description="Names the row of consents, while it is.")
    valid_from_at: Instant = pa.Field(description="When the choice was made.")
    valid_until_at: Instant = pa.Field(nullable=True, description="When it expires by itself.")
    received_at: Instant = pa.Field(description="When it arrived.")
    consent_analytics: bool = pa.Field(nullable=True, description="Measurement; null: not said.")
    consent_marketing: bool = pa.Field(nullable=True, description="Marketing; null: not said.")
    consent_personalization: bool = pa.Field(nullable=True, description="Profiles; null: not said.")
    consent_attribution: bool = pa.Field(
        nullable=True, description="Crediting advertising; null: not said."
    )
    is_opted_out: bool = pa.Field(
        nullable=True, description="Opted out of sale, sharing or targeting; null: not said."
    )
    source: str = pa.Field(isin=SOURCES, description="Signal that carries most of the choice.")
    string_hash: str = pa.Field(nullable=True, description="SHA-256 of the strings that were sent.")
    jurisdiction: str = pa.Field(description="Regime that judged.")
    tcf_policy_version: int = pa.Field(nullable=True, description="Policy version of TCF.")
    notice_version: str = pa.Field(nullable=True, description="Notice that the person saw.")
    cmp_version: str = pa.Field(nullable=True, description="Consent platform and its version.")
    rules_version: str = pa.Field(description="First 12 digits of the SHA-256 of the rules.")
    previous_hash: str = pa.Field(description="Hash of the entry before; zeros before the first.")
    entry_hash: str = pa.Field(description="SHA-256 of the hash before and of this entry.")

    class Config:
        """Exactly these columns, never cast."""

        name = "consent_log"
        unique = ["number"]
        strict = True
        coerce = False
