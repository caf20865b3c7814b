"""Contract of the counts that need no consent."""

import pandera.polars as pa
import polars as pl


class CookielessCounts(pa.DataFrameModel):
    """Events that may not be measured by person, counted without identifiers.

    Events of people who do not allow measurement as of the last run, and events that came without
    identifiers. A count of fewer people than the policy asks is folded: first over pages and
    countries of one host and name, then over the whole date, and left out if it is still too small.

    Grain: event_date, page_host, page_path, country, event_name.
    Made by: `clickstream_platform.sessions`. Read by: reports.
    """

    event_date: pl.Date = pa.Field(description="UTC date of the events; partition.")
    page_host: str = pa.Field(description="Host of the page; (none), or (few) where folded.")
    page_path: str = pa.Field(description="Path of the page; (none), or (few) where folded.")
    country: str = pa.Field(description="Country; (unknown), or (few) where folded.")
    event_name: str = pa.Field(description="Kind of event; (few) where folded.")
    events: int = pa.Field(ge=1, description="Events.")

    class Config:
        """Exactly these columns, never cast."""

        name = "cookieless_counts"
        unique = ["event_date", "page_host", "page_path", "country", "event_name"]
        strict = True
        coerce = False
