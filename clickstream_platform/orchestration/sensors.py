"""Sensors: what has landed or was decided, what automation asks for, an alarm about quarantine."""

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from clickstream_platform.orchestration.jobs import ingest_tick
from clickstream_platform.orchestration.processes import at_work
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.watches import (
    adapters_evaluation,
    new_domains_evaluation,
    quarantine_evaluation,
)
from clickstream_platform.settings import Settings

if TYPE_CHECKING:
    from clickstream_platform.events import LandedFile

WAITING = "clickstream/waiting"
"""Tag of a tick: digest of what waited when it was asked for."""

MAX_COUNTED = 12
"""Attempts that are counted; later ones wait as long as the last of these."""

PATIENCE_S = 4.0
"""How long one look lasts while nothing waits: the daemon looks every five seconds at best."""

GLANCE_S = 0.5
"""Pause between the glances of a look."""

FIRST_PAUSE = timedelta(seconds=10)
"""Pause after the first failed attempt at the same files; doubles with each."""


@dg.sensor(
    name="landing",
    job=ingest_tick,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for one run when files have landed, or a run that took some was cut off.",
)
def landing(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    """Compare what has landed with what the ledger has committed.

    There is no cursor to lose: attempts at the same files are counted by the tag of their runs.
    Each has a run key of its own, so that a failed run is asked for again, ever less often, and a
    daemon that dies in between asks for the same one.
    """
    files, unfinished = _waiting(platform.settings())
    if not files and not unfinished:
        return dg.SkipReason("Nothing waits.")
    if busy := at_work(context.instance):
        return dg.SkipReason(f"Run {busy} is at work; what waits is taken after it.")
    digest = _digest(
        [f"{file.relative} {file.size} {file.mtime_ns}" for file in files]
        + [str(row["batch_id"]) for row in unfinished]
    )
    earlier = context.instance.get_run_records(
        dg.RunsFilter(tags={WAITING: digest}), limit=MAX_COUNTED
    )
    if earlier:
        pause = FIRST_PAUSE * 2 ** (len(earlier) - 1)
        waited = datetime.now(UTC) - earlier[0].create_timestamp.astimezone(UTC)
        if waited < pause:
            return dg.SkipReason(
                f"{len(earlier)} runs of the same files have failed; the next is tried in "
                f"{(pause - waited).total_seconds():,.0f} s. See why in the last of them."
            )
    key = f"{digest}:{earlier[0].dagster_run.run_id if earlier else 'first'}"
    return dg.RunRequest(run_key=key, tags={WAITING: digest})


def _waiting(settings: Settings) -> "tuple[list[LandedFile], list[dict[str, object]]]":
    """Files that wait and batches that are unfinished, as soon as there are any."""
    from clickstream_platform.events import pending_files, unfinished_batches

    patient_until = time.monotonic() + PATIENCE_S
    while True:
        files, unfinished = pending_files(settings), unfinished_batches(settings)
        if files or unfinished or time.monotonic() >= patient_until:
            return files, unfinished
        time.sleep(GLANCE_S)


def _digest(waiting: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(waiting).encode()).hexdigest()[:16]


@dg.sensor(
    name="decisions",
    job=ingest_tick,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for one run when somebody split, unmerged or restored identities.",
)
def decisions(
    context: dg.SensorEvaluationContext, platform: Platform
) -> dg.RunRequest | dg.SkipReason:
    """Compare what was decided with what the identity map has taken in.

    The command line writes decisions and Dagster is not told of them. Each version is asked for
    once; if its run fails, the next tick applies it.
    """
    lake = platform.lake()
    newest = lake.version("identity_decisions")
    applied = lake.consumed("identity_map", "identity_decisions")
    if newest <= applied or not lake.exists("identity_map"):
        return dg.SkipReason("Every decision is applied.")
    if busy := at_work(context.instance):
        return dg.SkipReason(f"Run {busy} is at work; decisions are applied after it.")
    return dg.RunRequest(run_key=f"decisions:{newest}")


@dg.sensor(
    name="quarantine_alarm",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails the check quarantine_share as soon as a source sends too much that is "
    "refused, and passes it when that is over; says which source, and how to look.",
)
def quarantine_alarm(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
    """Add up the ledger; report when what alarms has changed."""
    evaluation = quarantine_evaluation(platform.settings(), now=datetime.now(UTC))
    return _told_of(
        context,
        evaluation,
        "alarming_sources",
        sound="Few records wait in quarantine.",
        else_="Too many records of {} wait in quarantine: `clickstream quarantine list`.",
    )


@dg.sensor(
    name="adapter_alarm",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails the check adapters as soon as an adapter cannot be used as written, and "
    "passes it when it is mended; says which source waits, and why.",
)
def adapter_alarm(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
    """Read the adapters; report when other sources than before are stopped."""
    return _told_of(
        context,
        adapters_evaluation(platform.settings()),
        "stopped_sources",
        sound="Every adapter can be used.",
        else_="What lands for {} waits until the adapter is mended: `clickstream doctor`.",
    )


@dg.sensor(
    name="new_domain_alarm",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails the check new_domains within minutes of the first report of a domain that "
    "no page loaded from before and that belongs to no known vendor.",
)
def new_domain_alarm(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
    """Look at the reports; tell when what alarms has changed."""
    evaluation = new_domains_evaluation(platform.lake(), platform.settings(), now=datetime.now(UTC))
    return _told_of(
        context,
        evaluation,
        "new_domains",
        sound="Pages load from known domains.",
        else_="Pages load from {}: approve it in tag_vendors.toml, or find the tag by "
        "`clickstream tags lint`.",
    )


def _told_of(
    context: dg.SensorEvaluationContext,
    evaluation: dg.AssetCheckEvaluation,
    key: str,
    *,
    sound: str,
    else_: str,
) -> dg.SensorResult:
    """Report a check when what alarms, under a key of its metadata, is not what it was."""
    alarming = str(evaluation.metadata[key].value)
    if alarming != (context.cursor or "none"):
        context.instance.report_runless_asset_event(evaluation)
    words = sound if evaluation.passed else else_.format(alarming)
    return dg.SensorResult(skip_reason=words, cursor=alarming)


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    use_user_code_server=True,  # its conditions look into the lake
    description="Asks for tables that are behind the tables before them.",
)

sensors = [landing, decisions, quarantine_alarm, adapter_alarm, new_domain_alarm, automation]
"""All sensors."""
