"""Contract of the identity map."""

import pandera.polars as pa

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
    user_id: str = pa.Field(description="Pseudonym of the user.")
    user_key: int = pa.Field(description="Surrogate of user_id.")
    person_id: str = pa.Field(description="Person of the visitor's events without a user.")
    person_key: int = pa.Field(description="Surrogate of person_id.")
    is_shared: bool = pa.Field(description="Two users or more: the visitor is merged with none.")
    evidence_event_id: str = pa.Field(description="Earliest event that shows both together.")
    valid_from_at: Instant = pa.Field(description="Event time of the earliest evidence.")
    recorded_at: Instant = pa.Field(description="Earliest arrival time of any evidence.")

    class Config:
        """Exactly these columns, never cast."""

        name = "identity_map"
        unique = ["visitor_id", "user_id"]
        strict = True
        coerce = False
