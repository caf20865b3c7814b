"""Ops of the daily close: what keeps tables small, and Dagster and the lake of one mind."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from clickstream_platform.orchestration.assets.reports import REPORT, written
from clickstream_platform.orchestration.conditions import behind_tables
from clickstream_platform.orchestration.partitions import EVENT_DAYS, day_key, shown
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import STAGES

KEEP = timedelta(days=2)
"""Age at which files of old snapshots go: no reader is that slow, no refresh that late."""


@dg.op(out=dg.Out(dg.Nothing))
def note_what_is_behind(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Compare every table with those before it, by the versions that it has taken in."""
    behind = sorted(behind_tables(platform.settings()))
    if behind:
        context.log.warning(
            "Behind the tables before them: %s. The next stages bring them up to date; if this "
            "recurs, look for failed runs.",
            ", ".join(behind),
        )
    else:
        context.log.info("Every table has taken in what the tables before it hold.")


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def verify_files(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Read every file of every table, and compare it with what was written."""
    found = platform.lake().broken_tables()
    for table, files in found.items():
        context.log.error("%s: %d files are not what was written: %s", table, len(files), files[0])
    if found:
        message = (
            f"Files of {', '.join(found)} are not what was written; the log names them. Nothing is "
            "made of them before `clickstream doctor --mend` has made anew what can be, and a "
            "backup has brought back the rest."
        )
        raise dg.Failure(message, allow_retries=False)
    context.log.info("Every file is what was written.")


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def tell_of_untold_partitions(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Tell Dagster of days that hold rows but were never told of: a crash came in between."""
    lake, now = platform.lake(), datetime.now(UTC)
    for table in (t for stage in STAGES if stage.partitions is EVENT_DAYS for t in stage.tables):
        held = shown(EVENT_DAYS, map(day_key, lake.dates(table)), now=now)
        told = context.instance.get_materialized_partitions(dg.AssetKey(table))
        for key in sorted(set(held) - told):
            context.log_event(
                dg.AssetMaterialization(
                    table, partition=key, description="Written by an earlier run that was cut off."
                )
            )


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
def compact_tables(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Join small files, and remove files of snapshots that nobody reads any more."""
    from clickstream_platform.lake import rewriting

    lake, state = platform.lake(), platform.settings().state
    for table in (table for stage in STAGES for table in stage.tables):
        with rewriting(state):
            joined = lake.compact(table)
            removed = len(lake.vacuum(table, keep=KEEP))
        if joined or removed:
            context.log.info("%s: %d files fewer, %d old ones gone.", table, joined, removed)


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool=REPORT)
def render_report(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Write the report of the day."""
    context.log_event(dg.AssetMaterialization(REPORT, metadata=written(platform)))
