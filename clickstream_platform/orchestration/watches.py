"""Checks that look at what arrived: the ledger, freshness by event time, completeness, ages."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.settings import Settings

LEDGER = "ledger"
"""Name of the check that every received record has exactly one fate."""

QUARANTINE_SHARE = "quarantine_share"
"""Name of the check that few records wait."""

RUNAWAY_WINDOW = timedelta(days=7)
"""Ends of sessions that the check of runaways looks at."""

COMPLETENESS_WINDOW = timedelta(days=7)
"""Event dates that completeness looks at."""


@dg.asset_check(
    asset="events",
    name=LEDGER,
    blocking=True,
    description="received = loaded + quarantined + duplicate + suppressed + too_late, per batch.",
)
def ledger_check(platform: Platform) -> dg.AssetCheckResult:
    """Add up the ledger."""
    found = ledger_evaluation(platform.settings())
    return dg.AssetCheckResult(passed=found.passed, metadata=found.metadata)


def ledger_evaluation(settings: Settings) -> dg.AssetCheckEvaluation:
    """Add up the ledger, for a run that is not a check's own."""
    from clickstream_platform.events import Ledger

    ledger = Ledger(settings.state)
    wrong = ledger.unbalanced()
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("events"),
        check_name=LEDGER,
        passed=not wrong,
        blocking=True,
        metadata={
            "unbalanced_batches": len(wrong),
            "by_source": dg.MetadataValue.json(
                {
                    str(row["source"]): {
                        name: row[name] for name in row if name not in {"source", "last_arrived_at"}
                    }
                    for row in ledger.totals()
                }
            ),
        },
    )


@dg.asset_check(
    asset="events",
    name="event_time_freshness",
    description="The newest event of every live source is young, by event time: loading a day of "
    "last month does not make a silent source look fresh.",
)
def event_time_freshness(platform: Platform) -> dg.AssetCheckResult:
    """Look at the newest event of each source."""
    from clickstream_platform.quality import watermarks

    found = watermarks(platform.lake(), platform.settings(), now=datetime.now(UTC))
    return dg.AssetCheckResult(
        passed=not any(mark.is_late for mark in found),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "late_sources": ", ".join(mark.source for mark in found if mark.is_late) or "none",
            **{
                f"newest_{mark.source}": dg.MetadataValue.timestamp(mark.newest_at)
                for mark in found
            },
        },
    )


@dg.asset_check(
    asset="events",
    name="completeness",
    description="Events of the last seven days carry what events of their kind should.",
)
def completeness_check(platform: Platform) -> dg.AssetCheckResult:
    """Count the events that carry what is expected."""
    from clickstream_platform.quality import completeness, load_expectations

    since = (datetime.now(UTC) - COMPLETENESS_WINDOW).date()
    expected = load_expectations(platform.settings().definitions)
    found = completeness(platform.lake(), expected, since=since)
    short = [one for one in found if not one.is_enough]
    return dg.AssetCheckResult(
        passed=not short,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "too_few": dg.MetadataValue.json(
                [
                    {
                        "source": one.source,
                        "of": ", ".join(one.expectation.event_names) or "every event",
                        "carry": " or ".join(one.expectation.any_of),
                        "share": round(one.share, 4),
                        "expected": one.expectation.share,
                        "why": one.expectation.why,
                    }
                    for one in short
                ]
            ),
            "expectations_met": len(found) - len(short),
        },
    )


@dg.asset_check(
    asset="quarantined_events",
    name=QUARANTINE_SHARE,
    description="Of what each source sent in the last day, at most 5 % waits in quarantine.",
)
def quarantine_share(platform: Platform) -> dg.AssetCheckResult:
    """Count what waits."""
    found = quarantine_evaluation(platform.settings(), now=datetime.now(UTC))
    return dg.AssetCheckResult(
        passed=found.passed, severity=found.severity, metadata=found.metadata
    )


def quarantine_evaluation(settings: Settings, *, now: datetime) -> dg.AssetCheckEvaluation:
    """Count what waits, for a run that is not a check's own."""
    from clickstream_platform.events import Ledger
    from clickstream_platform.quality import refusals

    found = refusals(Ledger(settings.state).batches(), now=now)
    alarming = [one for one in found if one.is_alarming]
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("quarantined_events"),
        check_name=QUARANTINE_SHARE,
        passed=not alarming,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "alarming_sources": ", ".join(one.source for one in alarming) or "none",
            "by_source": dg.MetadataValue.json(
                {
                    one.source: {
                        "received": one.received,
                        "refused": one.refused,
                        "share": round(one.share, 4),
                    }
                    for one in found
                }
            ),
        },
    )


@dg.asset_check(
    asset="raw_events",
    name="storage_period",
    description="No row of any table is older than its storage period.",
)
def storage_period(platform: Platform) -> dg.AssetCheckResult:
    """Look for rows that should be gone."""
    from clickstream_platform.quality import load_storage_periods, overdue

    settings = platform.settings()
    periods = load_storage_periods(settings.definitions)
    found = overdue(platform.lake(), periods, now=datetime.now(UTC))
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "overdue": dg.MetadataValue.json(
                [{"table": o.table, "oldest": o.oldest.isoformat(), "rows": o.rows} for o in found]
            ),
            "periods_days": dg.MetadataValue.json({t: p.days for t, p in periods.items()}),
        },
    )


@dg.asset_check(
    asset="runaway_sessions",
    name="runaways",
    description="No session of the last seven days ran away that is not flagged as a bot's.",
)
def runaways(platform: Platform) -> dg.AssetCheckResult:
    """Count sessions that no person has."""
    import polars as pl

    ended = pl.col("ended_at") >= datetime.now(UTC) - RUNAWAY_WINDOW
    found = platform.lake().scan("runaway_sessions").filter(ended, ~pl.col("is_bot")).collect()
    by_source = found.group_by("source").agg(runaways=pl.len(), events=pl.col("events").sum())
    return dg.AssetCheckResult(
        passed=found.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "by_source": dg.MetadataValue.json(by_source.sort("source").to_dicts()),
            "look": "clickstream quarantine sessions",
        },
    )


all_watches = [
    ledger_check,
    event_time_freshness,
    completeness_check,
    quarantine_share,
    storage_period,
    runaways,
]
"""Checks that are not of a contract."""
