"""Checks that look at what arrived: the ledger, freshness by event time, completeness, ages."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.settings import Settings

if TYPE_CHECKING:
    from clickstream_platform.lake import Lake

LEDGER = "ledger"
"""Name of the check that every received record has exactly one fate."""

QUARANTINE_SHARE = "quarantine_share"
"""Name of the check that few records wait."""

ADAPTERS = "adapters"
"""Name of the check that every source can be read."""

CANARY_ARRIVAL = "canary_arrival"
"""Name of the check that what is sent for a test arrives."""

NEW_DOMAINS = "new_domains"
"""Name of the check that pages load from no domain that nobody knows."""

NEW_DOMAIN_ALARM = timedelta(days=7)
"""How long a domain that was never reported before alarms, unless its vendor is approved."""

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
    asset="raw_events",
    name=ADAPTERS,
    description="The adapter of every source can be used as written. What lands for one that "
    "cannot waits until it is mended; the other sources go on.",
)
def adapters_check(platform: Platform) -> dg.AssetCheckResult:
    """Read the adapters."""
    found = adapters_evaluation(platform.settings())
    return dg.AssetCheckResult(passed=found.passed, metadata=found.metadata)


def adapters_evaluation(settings: Settings) -> dg.AssetCheckEvaluation:
    """Read the adapters, for a run that is not a check's own."""
    from clickstream_platform.events import read_adapters

    faults = read_adapters(settings.definitions).faults
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("raw_events"),
        check_name=ADAPTERS,
        passed=not faults,
        metadata={
            "stopped_sources": ", ".join(faults) or "none",
            "why": dg.MetadataValue.json({name: str(fault) for name, fault in faults.items()}),
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
    asset="events",
    name=NEW_DOMAINS,
    description="Browsers have reported no domain that was not reported before and belongs to no "
    "known vendor.",
)
def new_domains_check(platform: Platform) -> dg.AssetCheckResult:
    """Look at what browsers reported."""
    found = new_domains_evaluation(platform.lake(), platform.settings(), now=datetime.now(UTC))
    return dg.AssetCheckResult(
        passed=found.passed, severity=found.severity, metadata=found.metadata
    )


def new_domains_evaluation(
    lake: "Lake", settings: Settings, *, now: datetime
) -> dg.AssetCheckEvaluation:
    """Look at what browsers reported, for a run that is not a check's own."""
    from clickstream_platform.collection.tags import blocked_sources, load_vendors, new_domains

    vendors = load_vendors(settings.definitions)
    seen = blocked_sources(lake.scan("events"))
    found = new_domains(seen, vendors, now=now, alarm_for=NEW_DOMAIN_ALARM)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("events"),
        check_name=NEW_DOMAINS,
        passed=found.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "new_domains": ", ".join(found["domain"]) or "none",
            "reported": dg.MetadataValue.json(
                [
                    {name: str(row[name]) for name in ("domain", "directives", "first_seen_at")}
                    | {"reports": row["reports"]}
                    for row in found.iter_rows(named=True)
                ]
            ),
        },
    )


@dg.asset_check(
    asset="events",
    name=CANARY_ARRIVAL,
    description="Every canary of the last day was taken by the collector and is among the events, "
    "in time; one that was sent a moment ago may be on its way.",
)
def canary_arrival(platform: Platform) -> dg.AssetCheckResult:
    """Look canaries up."""
    found = canary_evaluation(platform.lake(), platform.settings(), now=datetime.now(UTC))
    return dg.AssetCheckResult(passed=found.passed, metadata=found.metadata)


def canary_evaluation(
    lake: "Lake", settings: Settings, *, now: datetime
) -> dg.AssetCheckEvaluation:
    """Look canaries up, for a run that is not a check's own."""
    from clickstream_platform.collection.probes import FAULTY
    from clickstream_platform.connectors import CanaryLog
    from clickstream_platform.quality import CANARY_WINDOW, canary_arrivals

    canaries = CanaryLog(settings.state).sent(since=now - CANARY_WINDOW)
    found = canary_arrivals(lake, settings, canaries, now=now)
    states = {state: sum(it.state == state for it in found) for state in ("arrived", *FAULTY)}
    slowest = max((it.took.total_seconds() for it in found if it.took), default=None)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("events"),
        check_name=CANARY_ARRIVAL,
        passed=not any(it.state in FAULTY for it in found),
        metadata={
            "sent": len(found),
            **{str(state): number for state, number in states.items()},
            "slowest_s": slowest if slowest is not None else "none",
            "within_minutes": settings.canary.within_minutes,
            "faulty": ", ".join(it.canary_id for it in found if it.state in FAULTY) or "none",
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
    adapters_check,
    canary_arrival,
    new_domains_check,
    ledger_check,
    event_time_freshness,
    completeness_check,
    quarantine_share,
    storage_period,
    runaways,
]
"""Checks that are not of a contract."""
