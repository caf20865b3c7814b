"""Contract of what visitors' behaviour says about whether they are people."""

import pandera.polars as pa
import polars as pl


class BotBehaviour(pa.DataFrameModel):
    """What each visitor did on each day, and which bot rules that matches.

    Grain: visitor_key, event_date.
    Made by: `clickstream_platform.collection.bot_behaviour`. Read by: `clickstream bots`.
    """

    visitor_id: str = pa.Field(description="Pseudonym of the visitor.")
    visitor_key: int = pa.Field(description="Surrogate of visitor_id.")
    event_date: pl.Date = pa.Field(description="UTC date of the events; partition.")
    events: int = pa.Field(ge=1, description="Events of the day.")
    page_views: int = pa.Field(ge=0, description="Page views of the day.")
    pages: int = pa.Field(ge=0, description="Different pages viewed.")
    peak_page_views: int = pa.Field(ge=0, description="Page views of the busiest minute.")
    active_hours: int = pa.Field(ge=1, le=24, description="Hours of the day with an event.")
    gaps: int = pa.Field(ge=0, description="Gaps between page views: one less than those.")
    gap_variation: float = pa.Field(
        nullable=True,
        ge=0,
        description="Standard deviation of the gaps by their mean; null without any.",
    )
    engagements: int = pa.Field(
        ge=0, description="Events in which something was done on a page, or time spent."
    )
    event_score: int = pa.Field(ge=0, le=100, description="Highest bot_score of the events.")
    bot_score: int = pa.Field(
        ge=0, le=100, description="event_score and the points of enforced rules about behaviour."
    )
    is_bot: bool = pa.Field(description="Not a person, by events and behaviour together.")
    bot_signals: str = pa.Field(
        nullable=True, description="Rules about behaviour that match, also in shadow, by comma."
    )

    class Config:
        """Exactly these columns, never cast."""

        name = "bot_behaviour"
        unique = ["visitor_key", "event_date"]
        strict = True
        coerce = False
