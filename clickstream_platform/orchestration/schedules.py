"""Schedules: the hourly watch, the daily close, the retention check."""

import dagster as dg

from clickstream_platform.orchestration.jobs import canary_job, daily_close
from clickstream_platform.orchestration.watches import (
    adapters_check,
    canary_arrival,
    completeness_check,
    event_time_freshness,
    ledger_check,
    new_domains_check,
    quarantine_share,
    storage_period,
)

watch = dg.define_asset_job(
    "watch",
    selection=dg.AssetSelection.checks(
        adapters_check,
        ledger_check,
        event_time_freshness,
        completeness_check,
        quarantine_share,
        new_domains_check,
        canary_arrival,
    ),
    description="Look at what arrived: adapters, ledger, freshness by event time, completeness, "
    "quarantine.",
    executor_def=dg.in_process_executor,
)
"""What fires when nothing arrives any more cannot wait for an arrival."""

retention = dg.define_asset_job(
    "retention_check",
    selection=dg.AssetSelection.checks(storage_period),
    description="Look for rows that are older than their storage period; deletes nothing.",
    executor_def=dg.in_process_executor,
)

schedules = [
    dg.ScheduleDefinition(
        name="hourly_watch",
        job=watch,
        cron_schedule="10 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    ),
    dg.ScheduleDefinition(
        name="canary",
        job=canary_job,
        cron_schedule="*/15 * * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    ),
    dg.ScheduleDefinition(
        name="daily_close",
        job=daily_close,
        cron_schedule="15 2 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    ),
    dg.ScheduleDefinition(
        name="daily_retention_check",
        job=retention,
        cron_schedule="45 3 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    ),
]
"""All schedules; times are UTC, like partitions."""
