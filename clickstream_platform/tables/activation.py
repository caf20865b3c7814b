"""Contract of the outbound ledger."""

import pandera.polars as pa
import polars as pl

from clickstream_platform.tables.events import Instant


class CrmSyncs(pa.DataFrameModel):
    """What was sent to a CRM about whom, or why it was not; no identifier of the CRM.

    Grain: destination, person_key, idempotency_key.
    Made by: `clickstream_platform.activation`. Read by: the next diff, subject requests.
    """

    destination: str = pa.Field(description="Where it goes, from the settings.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    person_id: str = pa.Field(description="Pseudonym of the person.")
    operation: str = pa.Field(isin=["upsert", "remove"], description="What is asked of the CRM.")
    content_hash: str = pa.Field(
        description="SHA-256 of id_property and properties, for the next diff."
    )
    idempotency_key: str = pa.Field(description="Equal for equal effects: a resend is one.")
    status: str = pa.Field(
        isin=["delivered", "failed", "withheld", "pending"],
        description="Delivered; refused for good; withheld by consent or suppression; to retry.",
    )
    reason: str = pa.Field(nullable=True, description="Why it was withheld or failed.")
    synced_at: Instant = pa.Field(description="Time of the sync.")
    sync_date: pl.Date = pa.Field(description="UTC date of synced_at; partition.")

    class Config:
        """Exactly these columns, never cast."""

        name = "crm_syncs"
        unique = ["destination", "person_key", "idempotency_key"]
        strict = True
        coerce = False
