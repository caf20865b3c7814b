"""The code location: everything that Dagster knows, assembled."""

import dagster as dg

from clickstream_platform.orchestration.assets import all_assets, all_contract_checks
from clickstream_platform.orchestration.jobs import (
    canary_job,
    daily_close,
    ingest_tick,
    leak_scan,
    replay_quarantine_job,
    subject_erase,
    subject_export,
)
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.schedules import retention, schedules, watch
from clickstream_platform.orchestration.sensors import sensors
from clickstream_platform.orchestration.watches import all_watches

definitions = dg.Definitions(
    assets=all_assets,
    asset_checks=[*all_contract_checks, *all_watches],
    jobs=[
        ingest_tick,
        daily_close,
        subject_export,
        subject_erase,
        replay_quarantine_job,
        leak_scan,
        canary_job,
        watch,
        retention,
    ],
    schedules=schedules,
    sensors=sensors,
    resources={"platform": Platform()},
    executor=dg.in_process_executor,
)
"""Loaded by `workspace.yaml` and by `[tool.dg]` in pyproject.toml."""
