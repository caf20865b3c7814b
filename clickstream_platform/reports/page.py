"""The report: one page that holds everything it needs, and asks the network for nothing."""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import jinja2
import polars as pl
from markupsafe import Markup, escape

from clickstream_platform.events import FATES, Ledger
from clickstream_platform.lake import Lake
from clickstream_platform.reports import numbers, pictures, sections
from clickstream_platform.reports.figures import Figures, Period
from clickstream_platform.sessions import compare_policies, preset_policies
from clickstream_platform.settings import Settings

TEMPLATES = Path(__file__).parent / "page"
"""Page, style and script."""

COMPARED_DAYS = 14
"""Days whose sessions are made under every preset: a page must not cost what five rebuilds do."""

REPORT = "clickstream_report.html"
"""File in the folder of reports, unless another is asked for."""


def write_report(
    lake: Lake, settings: Settings, *, now: datetime, path: Path | None = None, days: int = 90
) -> Path:
    """Write the report of the last days of the lake as one HTML page.

    Args:
        lake: The lake.
        settings: Time zone, currency and the folder of reports.
        now: Time of writing; decides ages, and which day is not over yet.
        path: File to write; `REPORT` in the folder of reports unless given.
        days: Days to show at most, up to the day of the newest event.

    Returns:
        The file. It appears whole or not at all.
    """
    figures = Figures(lake, settings)
    period = figures.period(days)
    content = (
        _nothing(settings) if period is None else _everything(lake, figures, period, now, settings)
    )
    target = path or settings.reports / REPORT
    target.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(
        "w", dir=target.parent, prefix=".tmp-", suffix=".html", delete=False, encoding="utf-8"
    ) as file:
        written = numbers.instant(now, settings.zone)
        footer = (
            f"Written {written} ({settings.time_zone}) from the tables of the lake. People appear "
            "as counts alone. This page holds all it shows and loads nothing."
        )
        file.write(_render({"title": "Clickstream report", "footer": footer} | content))
    Path(file.name).chmod(0o644)
    return Path(file.name).replace(target)


def _everything(
    lake: Lake, figures: Figures, period: Period, now: datetime, settings: Settings
) -> dict[str, object]:
    subject = sections.Subject(figures=figures, period=period, settings=settings, now=now)
    ledger = ledger_frame(settings)
    days = min(period.days, COMPARED_DAYS)
    dates = [period.last_date - timedelta(days=back) for back in range(days)]
    compared = compare_policies(lake, settings, preset_policies(settings), dates=dates)
    ends = dict.fromkeys(map(numbers.day, (period.first_date, period.last_date)))
    return {
        "headline": " to ".join(ends),
        "about": f"{numbers.counted(period.days, 'day')} of {_sources(ledger)}, time zone "
        f"{settings.time_zone}. People are visitors and users believed to be one human; bots, and "
        "sessions of those who do not allow measurement, are left out unless named.",
        "cards": sections.cards(subject, ledger),
        "sections": [
            sections.traffic(subject),
            sections.visits(subject),
            sections.policies(subject, compared, days=days),
            sections.funnel(subject),
            sections.channels(subject),
            sections.segments(subject),
            sections.identity(subject),
            sections.quality(subject, ledger),
            sections.consent(subject),
        ],
    }


def _nothing(settings: Settings) -> dict[str, object]:
    received = sections.total(ledger_frame(settings)["received"])
    return {
        "headline": "No events yet",
        "about": f"{numbers.counted(received, 'record was', 'records were')} received, and none is "
        "an event of people or bots: `clickstream status` counts what became of them, "
        "`clickstream quarantine list` says what was wrong."
        if received
        else "Drop files into a source's folder below data/landing, or run "
        "`clickstream ingest FILE --source NAME`; then `clickstream materialize` and "
        "`clickstream report`. `clickstream simulate` makes a shop to look at.",
        "cards": [],
        "sections": [],
    }


def ledger_frame(settings: Settings) -> pl.DataFrame:
    """The ledger by source: what was received, and what became of it."""
    columns = ("received", *FATES)
    schema = {"source": pl.String()} | dict.fromkeys(columns, pl.Int64())
    rows = Ledger(settings.state).totals()
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)


def _sources(ledger: pl.DataFrame) -> str:
    names = ledger["source"].to_list()
    return f"{len(names)} sources" if len(names) != 1 else f"the source “{names[0]}”"


def _render(content: dict[str, object]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["code"] = _code
    colors = {
        name: Markup("".join(f"{key}: {value}; " for key, value in palette.items()))  # noqa: S704 - our constants
        for name, palette in (("light", pictures.LIGHT), ("dark", pictures.DARK))
    }
    style = environment.get_template("report.css").render(colors, font=Markup(pictures.FONT))  # noqa: S704 - a constant
    return environment.get_template("report.html").render(
        content,
        style=Markup(style),  # noqa: S704 - our file
        script=Markup((TEMPLATES / "report.js").read_text()),  # noqa: S704 - our file
        bundle=Markup(_bundle()),  # noqa: S704 - a pinned package
    )


def _code(text: str) -> Markup:
    """Escape text, and set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


@lru_cache(maxsize=1)
def _bundle() -> str:
    import vl_convert  # noqa: PLC0415 - 50 MB, needed once

    # Nothing inside may end the script element that it stands in.
    return (
        vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
        .replace("</script", "<\\/script")
        .replace("<!--", "<\\!--")
    )
