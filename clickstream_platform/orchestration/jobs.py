"""Jobs: everything in one run, the daily close, and what people start by hand."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from clickstream_platform.orchestration.conditions import ALL_STAGES
from clickstream_platform.orchestration.maintenance import (
    compact_tables,
    note_what_is_behind,
    render_report,
    tell_of_untold_partitions,
    verify_files,
)
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import (
    EVENTS,
    REQUESTS,
    SEGMENTS,
    STAGES,
    SYNCS,
    Stage,
    Work,
)
from clickstream_platform.orchestration.tables import TRANSIENT, refusals, tick
from clickstream_platform.orchestration.watches import canary_evaluation
from clickstream_platform.settings import Settings

if TYPE_CHECKING:
    from clickstream_platform.lake import Refreshed

TICK = "ingest_tick"
"""Job that brings everything up to date."""

REQUEST_ID = re.compile(r"req_[0-9a-f]{24}")
"""What a request identifier looks like. Run configuration is kept, and shown to everybody."""


def stage_op(stage: Stage) -> dg.OpDefinition:
    """Build the op that brings the tables of one stage up to date, after the one before if any."""

    @dg.op(
        name=stage.name,
        ins={"after": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        pool=stage.pool,
        retry_policy=TRANSIENT,
        # The sync does not wait for segments to succeed, only for its turn.
        tags={"dagster/priority": "1"} if stage is SEGMENTS else {},
        description=f"Bring {' and '.join(stage.tables)} up to date.",
    )
    def op(context: dg.OpExecutionContext, platform: Platform) -> None:
        tick(context, platform, stage)

    return op


def in_order(ops: Sequence[dg.OpDefinition]) -> None:
    """Run ops one after another, inside the definition of a job.

    The sync runs even if segments cannot be evaluated: a broken file of theirs must not keep who
    withdrew in the CRM. What comes later needs both.
    """
    before: list[object] = []
    latest: list[object] = []
    for op in ops:
        is_sync = op.name == SYNCS.name
        after = before if is_sync else latest
        done = op(after) if after else op()
        before, latest = latest, [*latest, done] if is_sync else [done]


STAGE_OPS = [stage_op(stage) for stage in STAGES]


@dg.job(
    name=TICK,
    description="Take what has landed and bring every table up to date, in one run: from a file "
    "to the CRM. Asked for by the landing sensor; `clickstream materialize` runs the same.",
    tags=ALL_STAGES | {"dagster/priority": "10"},
    executor_def=dg.in_process_executor,
)
def ingest_tick() -> None:
    """Every stage, in order."""
    in_order(STAGE_OPS)


@dg.job(
    name="daily_close",
    description="Once a day: compare every file with what was written; note what is behind and "
    "bring it up to date, as of today; join small files and remove old ones; tell of partitions "
    "that were never told of; render the report.",
    tags=ALL_STAGES,
    executor_def=dg.in_process_executor,
)
def daily_close() -> None:
    """Reconcile, then tidy up."""
    in_order(
        [
            note_what_is_behind,
            verify_files,
            *STAGE_OPS,
            tell_of_untold_partitions,
            compact_tables,
            render_report,
        ]
    )


# -- Subject requests and replay ------------------------------------------------------------------


class SubjectRequest(dg.Config):
    """Which request to work on."""

    request_id: str = Field(
        description="Identifier of a registered request, such as `clickstream subject` prints. "
        "Never a name, address or account: run configuration is kept and shown."
    )


class Replay(dg.Config):
    """Which waiting records to give another chance."""

    source: str | None = Field(None, description="Of this source; of all unless given.")
    code: str | None = Field(None, description="That break this rule; all unless given.")


def require_choice(config: Replay, settings: Settings) -> None:
    """Refuse a source that never delivered and has no adapter, and a rule that is none."""
    from clickstream_platform.events import Ledger, read_adapters, violation_codes

    with refusals():
        sources = {str(row["source"]) for row in Ledger(settings.state).totals()}
        sources |= {*read_adapters(settings.definitions)}
    chosen = (("source", config.source, sources), ("code", config.code, violation_codes()))
    for name, value, known in chosen:
        if value is not None and value not in known:
            message = (
                f"{name}: there is none of that name. One of {', '.join(sorted(known))}; or leave "
                "it out for all. `clickstream quarantine list` shows what waits."
            )
            raise dg.Failure(message, allow_retries=False)


def opaque(request_id: str) -> str:
    """The identifier, if it can be one; what else was given is not repeated."""
    if REQUEST_ID.fullmatch(request_id) is None:
        message = (
            "request_id: is not the identifier of a request. Register the request first, by "
            "`clickstream subject`, and give the identifier that it prints. If it was something "
            "of a person that was typed here, delete this run: its configuration is kept."
        )
        raise dg.Failure(message, allow_retries=False)
    return request_id


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool=REQUESTS.pool)
def export_subject_data(
    context: dg.OpExecutionContext, config: SubjectRequest, platform: Platform
) -> None:
    """Write the answer to an export request into the folder of exports."""
    from clickstream_platform.events import load_adapters
    from clickstream_platform.privacy import export_subject

    with refusals():
        load_adapters(platform.settings().definitions)  # what waits is part of the answer
        export_subject(platform.settings(), opaque(config.request_id), now=datetime.now(UTC))
    tick(context, platform, REQUESTS)


@dg.op(ins={"after": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool=EVENTS.pool)
def erase_subject_data(
    context: dg.OpExecutionContext, config: SubjectRequest, platform: Platform
) -> None:
    """Suppress the person, then erase them from every store, and tell the CRM to."""
    from clickstream_platform.connectors import crm_eraser
    from clickstream_platform.events import load_adapters
    from clickstream_platform.privacy import erase_subject

    settings = platform.settings()
    with refusals():
        load_adapters(settings.definitions)  # whose a record is that waits, says its adapter
        erase_subject(
            settings,
            opaque(config.request_id),
            now=datetime.now(UTC),
            destination=crm_eraser(settings),
        )
    tick(context, platform, REQUESTS)


class LeakScan(dg.Config):
    """What to do about personal values that are stored."""

    mend: bool = Field(
        default=False, description="Mask what is found; the tables' past is removed too."
    )


@dg.op(out=dg.Out(dg.Nothing), pool=EVENTS.pool)
def scan_stored_texts(context: dg.OpExecutionContext, config: LeakScan, platform: Platform) -> None:
    """Look for personal values in every stored text; count them, and mask them if asked to."""
    from clickstream_platform.privacy import mend_leaks, scan_leaks

    settings = platform.settings()
    found = mend_leaks(settings).found if config.mend else scan_leaks(settings)
    for leak in found.iter_rows(named=True):
        context.log.warning("%(table)s.%(column)s: %(rows)d rows hold: %(kind)s", leak)
    if found.height and not config.mend:
        message = (
            f"Personal values are stored in {found.height} columns and kinds; the log counts them. "
            "Launch this job again with mend: true, or run `clickstream privacy scan --mend`."
        )
        raise dg.Failure(message, allow_retries=False)


@dg.op(out=dg.Out(dg.Nothing), pool=EVENTS.pool)
def replay_waiting_records(
    context: dg.OpExecutionContext, config: Replay, platform: Platform
) -> None:
    """Derive batches with waiting records anew, under today's adapters and rules."""
    from clickstream_platform.events import replay_quarantine

    require_choice(config, platform.settings())

    def replay(work: Work) -> "list[Refreshed]":
        return [replay_quarantine(work.settings, source=config.source, code=config.code)]

    tick(context, platform, replace(EVENTS, refresh=replay))


@dg.job(
    description="Answer a person who asks for their data: what waits in landing is taken, then a "
    "zip of JSON, CSV and a summary is written.",
    executor_def=dg.in_process_executor,
)
def subject_export() -> None:
    """Take what waits, export, mirror the register."""
    in_order([STAGE_OPS[0], export_subject_data])


@dg.job(
    description="Erase a person: what waits in landing is taken, then suppression, every store, "
    "proof. What others' rows say differently without the person is brought up to date in the "
    "same run.",
    tags=ALL_STAGES | {"dagster/priority": "20"},
    executor_def=dg.in_process_executor,
)
def subject_erase() -> None:
    """Take what waits, erase, mirror the register, then every stage after events."""
    in_order([STAGE_OPS[0], erase_subject_data, *STAGE_OPS[2:]])


@dg.job(
    description="Look for personal values in every stored text; with mend: true, mask them and "
    "bring the tables after them up to date. Fails where something is found and not mended.",
    tags=ALL_STAGES,
    executor_def=dg.in_process_executor,
)
def leak_scan() -> None:
    """Scan, then every stage after events."""
    in_order([scan_stored_texts, *STAGE_OPS[2:]])


@dg.op(out=dg.Out(dg.Nothing))
def send_a_canary(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Send a canary, then say whether those before it arrived."""
    from clickstream_platform.connectors import send_canary

    settings, now = platform.settings(), datetime.now(UTC)
    with refusals():
        canary = send_canary(settings, now=now)
    context.instance.report_runless_asset_event(
        canary_evaluation(platform.lake(), settings, now=now)
    )
    if canary.refusal is not None:
        message = f"{canary.canary_id} was not taken: {canary.refusal}. Is the collector running?"
        raise dg.Failure(message, allow_retries=False)


@dg.job(
    name="canary",
    description="Send a small journey of nobody to the collector, marked synthetic, and look "
    "whether those before it arrived. Its schedule is off until CLICKSTREAM_CANARY_KEY is set.",
    executor_def=dg.in_process_executor,
)
def canary_job() -> None:
    """Send one, look at the others."""
    send_a_canary()


@dg.job(
    name="replay_quarantine",
    description="Give waiting records another chance after a rule or a mapping was mended, and "
    "bring every table up to date.",
    tags=ALL_STAGES,
    executor_def=dg.in_process_executor,
)
def replay_quarantine_job() -> None:
    """Replay, then the stages after events."""
    in_order([replay_waiting_records, *STAGE_OPS[2:]])
