"""How a stored table is declared to Dagster, and how what became of it is told."""

import base64
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg

from clickstream_platform.errors import ClickstreamError, told
from clickstream_platform.orchestration.checks import (
    CONTRACT,
    contract_breaches,
    contract_evaluations,
)
from clickstream_platform.orchestration.contracts import contracts
from clickstream_platform.orchestration.partitions import (
    ARRIVAL_HOURS,
    day_of,
    hour_of,
    shown,
)
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import (
    EVENTS,
    Outcome,
    Stage,
    Work,
    bring_up_to_date,
)
from clickstream_platform.orchestration.watches import ledger_evaluation
from clickstream_platform.settings import Settings

if TYPE_CHECKING:
    from clickstream_platform.lake import Lake

TRANSIENT = dg.RetryPolicy(
    max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""For what may pass by itself, such as two writers of one table; mistakes are not retried."""

ONE_RUN = dg.BackfillPolicy.single_run()
"""A backfill of many partitions is one run: starting one costs more than most partitions."""

FROM_AUTOMATION = "dagster/from_automation_condition"
"""Tag of runs that automation asks for."""

PSEUDONYMS = {"visitor_id", "user_id", "person_id", "person_key"}
"""Columns that stand for a person; tables with one are tagged, and erasure reaches them."""

PICTURE_EVERY = timedelta(minutes=15)
"""How often a picture of a table is stored with a materialisation: every tick would fill a disk."""


def table(  # noqa: PLR0913 - what there is to say of a table
    name: str,
    *,
    stage: Stage,
    owner: str,
    kinds: set[str],
    deps: Iterable[str | dg.AssetDep] = (),
    condition: dg.AutomationCondition[dg.AssetKey] | None = None,
    fresh_within: timedelta | None = None,
    code_version: str = "1",
) -> dg.AssetSpec:
    """Declare a stored table: its contract gives the words, columns and lineage.

    Args:
        name: Table of the catalog.
        stage: Who writes it, and by which partitions.
        owner: Team that answers for it.
        kinds: Engines and formats, shown as icons.
        deps: Tables that it is made from.
        condition: When automation asks for it.
        fresh_within: Age at which it is stale, where somebody waits for it.
        code_version: Changes when the numbers may change.
    """
    contract = contracts()[name]
    metadata: dict[str, Any] = {"dagster/column_schema": contract.columns}
    if contract.lineage is not None:
        metadata["dagster/column_lineage"] = contract.lineage
    names = {column.name for column in contract.columns.columns}
    return dg.AssetSpec(
        name,
        deps=list(deps),
        description=contract.description,
        metadata=metadata,
        group_name=stage_group(stage),
        owners=[f"team:{owner}"],
        kinds=kinds | {"deltalake"},
        tags={"stage": stage.name, "pseudonyms": "yes" if names & PSEUDONYMS else "no"},
        partitions_def=stage.partitions,
        automation_condition=condition,
        freshness_policy=None if fresh_within is None else freshness(fresh_within),
        code_version=code_version,
    )


GROUPS = {
    "raw_events": "landing",
    "person_consents": "consent",
    "cookieless": "consent",
    "touchpoints": "attribution",
    "conversions": "attribution",
    "credits": "attribution",
    "scores": "segments",
    "syncs": "activation",
    "decisions": "identity",
    "behaviour": "events",
}
"""Group of a stage, where it has not the stage's name."""


def stage_group(stage: Stage) -> str:
    """Group in which the tables of a stage are shown."""
    return GROUPS.get(stage.name, stage.name)


def freshness(fail: timedelta) -> dg.FreshnessPolicy:
    """Warn at half of the age at which a table is stale."""
    return dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=fail / 2)


Materialized: TypeAlias = Iterator[dg.MaterializeResult[None]]
"""Results of nothing: tables are in the lake, and a value would be pickled into Dagster's."""


# -- Running a stage ------------------------------------------------------------------------------


def materialize(
    context: dg.AssetExecutionContext, platform: Platform, stage: Stage
) -> Materialized:
    """Bring the tables of a stage up to date, and tell of each.

    Partitions that a person asks for are computed from scratch; a run that automation asks for
    takes in what is new, whatever partition it names. Partitions that changed beside the run's
    own are told of as well, with their checks.
    """
    work = _work(context, platform, stage)
    own = set(context.partition_keys) if stage.partitions is not None else set()
    with refusals():
        outcomes = bring_up_to_date(stage, work)
        for outcome in outcomes:
            others = _narrowed(outcome, set(outcome.partitions) - own)
            if stage.partitions is not None and others.partitions:
                tell(context, others, stage, work)
            yield dg.MaterializeResult(
                asset_key=outcome.table, metadata=_metadata(outcome, work, with_picture=True)
            )


def tick(context: dg.OpExecutionContext, platform: Platform, stage: Stage) -> None:
    """Bring the tables of a stage up to date as part of a run that does all of them.

    The run stops if what was written breaks its contract: later stages read no broken table.
    """
    work = Work(settings=platform.settings(), now=datetime.now(UTC))
    files = {table: work.lake.files(table) for table in stage.sound_before}
    _require_contracts(table for table in files if contract_breaches(table, files[table]))
    with refusals():
        try:
            outcomes = bring_up_to_date(stage, work)
        finally:
            if stage.name == EVENTS.name:  # it refuses to go on unless the ledger adds up
                context.log_event(ledger_evaluation(work.settings))  # type: ignore[arg-type]  # takes them, says less
        broken = [one.table for one in outcomes if not tell(context, one, stage, work)]
    _require_contracts(broken)


def _require_contracts(broken: Iterable[str]) -> None:
    if tables := ", ".join(broken):
        message = (
            f"{tables}: what was written breaks its contract. Later stages wait. "
            f"See the check named {CONTRACT}."
        )
        raise dg.Failure(message, allow_retries=False)


def _work(context: dg.AssetExecutionContext, platform: Platform, stage: Stage) -> Work:
    settings, now = platform.settings(), datetime.now(UTC)
    keys = context.partition_keys if stage.partitions is not None else []
    if context.run.tags.get(FROM_AUTOMATION) == "true":
        keys = []
    if stage.partitions is ARRIVAL_HOURS:
        return Work(settings=settings, now=now, hours=tuple(map(hour_of, keys)))
    return Work(settings=settings, now=now, dates=tuple(map(day_of, keys)))


class EndedError(dg.DagsterError, KeyboardInterrupt):
    """A run was ended while a stage was at work.

    Dagster tries whatever has a retry policy again after an interrupt, and the run would go on.
    It lets errors of its own pass, and takes this one for the interrupt that it is.
    """


@contextmanager
def refusals() -> Iterator[None]:
    """Turn errors raised on purpose into failures that are not tried again; nor are interrupts.

    What engines say is stored without the values that they quote, and tried again.
    """
    try:
        yield
    except ClickstreamError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as interrupt:
        message = "The run was ended; the next one goes on from there."
        raise EndedError(message) from interrupt
    except Exception as error:
        if (text := told(error)) is None:
            raise
        where = dg.MetadataValue.text("".join(traceback.format_tb(error.__traceback__)))
        raise dg.Failure(text, metadata={"where": where}) from None


def _narrowed(outcome: Outcome, partitions: set[str]) -> Outcome:
    """The same outcome, told of for some partitions."""
    return Outcome(**{**outcome.__dict__, "partitions": tuple(sorted(partitions))})


# -- Telling Dagster ------------------------------------------------------------------------------

Context = dg.OpExecutionContext | dg.AssetExecutionContext


def tell(context: Context, outcome: Outcome, stage: Stage, work: Work) -> bool:
    """Log what became of a table, for every partition that was touched, and whether it is sound.

    Days before the orchestrator's first partition are checked like the others, but have no row.
    """
    if stage.partitions is None:
        context.log_event(_materialization(outcome, work, None, with_picture=True))
        keys: list[str] = []
    else:
        keys = shown(stage.partitions, outcome.partitions, now=work.now)
        for key in keys:
            is_newest = key == keys[-1]
            context.log_event(_materialization(outcome, work, key, with_picture=is_newest))
    if not outcome.is_changed:
        return True
    evaluations = list(contract_evaluations(outcome))
    for evaluation in evaluations:
        if evaluation.partition is None or evaluation.partition in keys:
            context.log_event(evaluation)  # type: ignore[arg-type]  # takes them, says less
    return all(evaluation.passed for evaluation in evaluations)


def _materialization(
    outcome: Outcome, work: Work, key: str | None, *, with_picture: bool
) -> dg.AssetMaterialization:
    metadata = dict(_metadata(outcome, work, with_picture=with_picture))
    if key is not None and key in outcome.partition_rows:
        metadata["dagster/partition_row_count"] = outcome.partition_rows[key]
    return dg.AssetMaterialization(outcome.table, partition=key, metadata=metadata)


def _metadata(outcome: Outcome, work: Work, *, with_picture: bool) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/row_count": outcome.rows,
        "dagster/uri": work.lake.path(outcome.table).resolve().as_uri(),
        "duration_s": round(outcome.duration_s, 3),
        "version": outcome.version,
        **outcome.details,
    }
    if with_picture and (image := picture(outcome.table, work.lake, work.settings, work.now)):
        encoded = base64.b64encode(image).decode()
        metadata["picture"] = dg.MetadataValue.md(
            f"![{outcome.table}](data:image/png;base64,{encoded})"
        )
    return metadata


def picture(table: str, lake: "Lake", settings: Settings, now: datetime) -> bytes | None:
    """Draw a table that people look at, unless that was done a short while ago."""
    if table not in DRAWN:
        return None
    marker = settings.state / "pictures" / table
    try:
        age_s = now.timestamp() - marker.stat().st_mtime
    except FileNotFoundError:
        age_s = None
    if age_s is not None and 0 <= age_s < PICTURE_EVERY.total_seconds():
        return None
    image = DRAWN[table](lake, settings)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return image


def _events(lake: "Lake", settings: Settings) -> bytes | None:
    from clickstream_platform.reports import events_by_day_png

    return events_by_day_png(lake, settings)


def _sessions(lake: "Lake", settings: Settings) -> bytes | None:
    from clickstream_platform.reports import sessions_by_day_png

    return sessions_by_day_png(lake, settings)


def _durations(lake: "Lake", settings: Settings) -> bytes | None:
    from clickstream_platform.reports import session_durations_png

    return session_durations_png(lake, settings)


def _channels(lake: "Lake", settings: Settings) -> bytes | None:
    from clickstream_platform.reports import channels_png

    return channels_png(lake, settings)


def _people(lake: "Lake", settings: Settings) -> bytes | None:
    from clickstream_platform.reports import clusters_png

    return clusters_png(lake, settings)


def _segments(lake: "Lake", _: Settings) -> bytes | None:
    from clickstream_platform.reports import segments_png

    return segments_png(lake)


DRAWN: "Mapping[str, Callable[[Lake, Settings], bytes | None]]" = {
    "events": _events,
    "sessions": _sessions,
    "session_events": _durations,
    "attribution_credits": _channels,
    "identity_map": _people,
    "segments": _segments,
}
"""Tables with a picture, and who draws it."""
