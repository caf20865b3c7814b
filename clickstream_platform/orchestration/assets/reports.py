"""Report asset: one page of figures and pictures."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from clickstream_platform.orchestration.checks import CONTRACT
from clickstream_platform.orchestration.conditions import when_changed
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.tables import TRANSIENT, freshness

REPORT = "report"

ASKS_THE_NETWORK = re.compile(
    rb"""(?:src|href)\s*=\s*["']https?:|@import|url\(\s*["']?https?:""", re.IGNORECASE
)
"""What would make a page load something from elsewhere."""


@dg.asset(
    name=REPORT,
    group_name="reports",
    deps=[
        "events",
        "quarantined_events",
        "sessions",
        "attribution_credits",
        "segments",
        "crm_syncs",
    ],
    owners=["team:web-analytics"],
    kinds={"html", "altair"},
    tags={"stage": "reports", "pseudonyms": "no"},
    automation_condition=when_changed("5 * * * *"),
    freshness_policy=freshness(timedelta(hours=26)),
    pool=REPORT,
    retry_policy=TRANSIENT,
    code_version="1",
)
def report(platform: Platform) -> dg.MaterializeResult[None]:
    """One self-contained HTML page: traffic, sessions, funnel, channels, segments, data quality."""
    return dg.MaterializeResult(metadata=written(platform))


def written(platform: Platform) -> dict[str, Any]:
    """Write the page, and say where it lies."""
    from clickstream_platform.reports import write_report

    path = write_report(platform.lake(), platform.settings(), now=datetime.now(UTC))
    return {
        "path": dg.MetadataValue.path(path),
        "dagster/uri": path.resolve().as_uri(),
        "bytes": path.stat().st_size,
    }


@dg.asset_check(
    asset=report,
    name=CONTRACT,
    blocking=True,
    description="A whole HTML page that holds all it shows and loads nothing from the network.",
)
def report_contract(platform: Platform) -> dg.AssetCheckResult:
    """Look at the page that was written last."""
    from clickstream_platform.reports.page import REPORT as NAME

    page = (platform.settings().reports / NAME).read_bytes()
    is_whole = page.rstrip().lower().endswith(b"</html>")
    loads = len(ASKS_THE_NETWORK.findall(page))
    return dg.AssetCheckResult(
        passed=is_whole and not loads, metadata={"is_whole": is_whole, "loads": loads}
    )
