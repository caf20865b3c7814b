"""Small PNGs of the tables people look at, for places that run no scripts."""

from collections.abc import Callable, Mapping

import polars as pl

from clickstream_platform.lake import Lake
from clickstream_platform.reports import pictures
from clickstream_platform.reports.figures import Figures, Period, fold
from clickstream_platform.settings import Settings

SHOWN_DAYS = 30
"""Days in a picture, up to the day of the newest event."""

MODEL = "last_non_direct"
"""Model of the picture of channels: what most tools show by default."""


def events_by_day_png(lake: Lake, settings: Settings) -> bytes | None:
    """Events of people and of bots by day; None while there are none."""
    return _image(lake, settings, "events_by_day", pictures.events_by_day, "Events by day")


def sessions_by_day_png(lake: Lake, settings: Settings) -> bytes | None:
    """Sessions and people by day; None while there are none."""
    return _image(
        lake, settings, "sessions_by_day", pictures.sessions_by_day, "Sessions and people by day"
    )


def session_durations_png(lake: Lake, settings: Settings) -> bytes | None:
    """Sessions by how long they last; None while there are none."""
    return _image(
        lake, settings, "session_durations", pictures.session_durations, "How long sessions last"
    )


def channels_png(lake: Lake, settings: Settings) -> bytes | None:
    """Conversions by channel, last non-direct; None while there are none."""

    def draw(frame: pl.DataFrame) -> pictures.Picture:
        of_model = frame.filter(pl.col("model") == MODEL)
        folded = fold(of_model, "channel", by="conversions", keep=7, into=pictures.OTHER)
        summed = folded.group_by("model", "channel").agg(pl.col("conversions", "revenue").sum())
        return pictures.channel_credits(summed, MODEL, settings.currency)

    return _image(lake, settings, "channel_credits", draw, "Conversions by channel")


def segments_png(lake: Lake) -> bytes | None:
    """Members of each segment; None while there are none."""
    frame = lake.scan("segments").select("segment", "members", "owner", "purpose").collect()
    if frame.is_empty():
        return None
    shown = (
        frame.with_columns(joined=pl.lit(0), departed=pl.lit(0))
        .sort("members", descending=True)
        .head(12)
    )
    return pictures.png(pictures.segments(shown), title="Members by segment")


def clusters_png(lake: Lake, settings: Settings) -> bytes | None:
    """People by number of identifiers; None while nobody was merged."""
    frame = Figures(lake, settings).frame("cluster_sizes")
    if frame.is_empty():
        return None
    return pictures.png(pictures.cluster_sizes(frame), title="Identifiers of a person")


def person_png(merges: pl.DataFrame) -> bytes | None:
    """The graph of one person, from rows of `identity_merges`; None where there are no links."""
    if merges.is_empty():
        return None
    return pictures.png(pictures.person_graph(merges), title="Identifiers of one person")


def match_png(pair: Mapping[str, object]) -> bytes:
    """Why two visitors match without a login, from a row of `Matches.pairs`."""
    probability = pair["match_probability"]
    return pictures.png(pictures.match_waterfall(pair), title=f"Probability {probability:.4f}")


def _image(
    lake: Lake,
    settings: Settings,
    query: str,
    draw: Callable[[pl.DataFrame], pictures.Picture],
    title: str,
) -> bytes | None:
    figures = Figures(lake, settings)
    period: Period | None = figures.period(SHOWN_DAYS)
    frame = pl.DataFrame() if period is None else figures.frame(query, period)
    return None if frame.is_empty() else pictures.png(draw(frame), title=title)
