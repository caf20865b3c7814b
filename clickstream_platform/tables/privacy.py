"""Contract of the register of subject requests, as far as it may be read by people."""

import pandera.polars as pa
import polars as pl

from clickstream_platform.tables.events import Instant


class SubjectRequests(pa.DataFrameModel):
    """Requests of people to see or erase their data, known by an opaque identifier alone.

    Grain: request_id.
    Made by: `clickstream_platform.privacy`. Read by: the privacy team.
    """

    request_id: str = pa.Field(description="Random identifier; says nothing of the person.")
    request_type: str = pa.Field(isin=["export", "erase"], description="What is asked.")
    status: str = pa.Field(
        isin=["received", "in_progress", "completed", "failed"], description="How far it is."
    )
    received_at: Instant = pa.Field(description="When it was registered.")
    due_date: pl.Date = pa.Field(description="Last day for the answer: one month.")
    completed_at: Instant = pa.Field(nullable=True, description="When it was answered.")
    rows_found: int = pa.Field(ge=0, description="Rows of the person, all stores.")
    rows_left: int = pa.Field(ge=0, description="Rows that the residual scan still found.")
    certificate_sha256: str = pa.Field(nullable=True, description="Hash of the certificate.")

    class Config:
        """Exactly these columns, never cast."""

        name = "subject_requests"
        unique = ["request_id"]
        strict = True
        coerce = False
