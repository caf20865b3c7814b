"""When automation asks for a table: something before it changed, and it has not taken that in.

Dagster says when a table was told of, the lake says what it has taken in. Only both together ask
for no run too few (an update in the same moment is seen by the lake) and none too many (a tick
brings everything up to date, and tells of parents before children).
"""

import os
from datetime import datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from clickstream_platform.orchestration.contracts import lineage
from clickstream_platform.orchestration.partitions import LOOK_BACK
from clickstream_platform.orchestration.stages import STAGES
from clickstream_platform.settings import Settings, load_settings

if TYPE_CHECKING:
    from clickstream_platform.lake import Lake

ALL_STAGES = {"clickstream/stages": "all"}
"""Tag of runs that bring everything up to date, such as a tick."""

BUSY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""States of a run that may still write."""


class LakeIsBehind(dg.AutomationCondition[dg.AssetKey]):
    """True while a table has not taken in what the tables before it hold.

    False while a tick is at work, which brings everything up to date itself, and while a table
    before it, that another run must write, is behind: one run then does what two would.
    """

    @property
    def name(self) -> str:
        """Name shown beside an evaluation."""
        return "lake_is_behind"

    @property
    def description(self) -> str:
        """What it means, shown beside an evaluation."""
        return "Has not taken in what the tables before it hold; no tick is at work"

    def evaluate(
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        """Say so for all candidates or for none: versions are of tables, not of partitions."""
        view = context.asset_graph_view
        waits = context.candidate_subset.is_empty or is_busy(
            view.instance, since=context.evaluation_time
        )
        asked = not waits and is_due(context.key.to_user_string(), load_settings())
        found = context.candidate_subset if asked else view.get_empty_subset(key=context.key)
        return dg.AutomationResult(context, true_subset=found)


def when_behind() -> dg.AutomationCondition[dg.AssetKey]:
    """Ask for a table when one before it changed and the lake says that it is behind.

    ``eager()`` would ignore what is late, and ``since_last_handled()`` lose an update that comes
    in the moment of a completion. Dagster compares the times of an update and of a request in the
    same evaluation only where no "and" or "or" lies between them and ``since``: hence one
    condition for updates, reset by one for requests, and another for what is asked for together.
    """
    condition = dg.AutomationCondition
    # Tables without partitions would ask for every day; whoever asks for one brings all up to date.
    undated = dg.AssetSelection.assets("identity_map", "person_consents", "bot_behaviour")
    changed = condition.any_deps_match(condition.newly_updated()).ignore(undated)
    together = condition.any_deps_match(condition.will_be_requested()).ignore(undated)
    return (
        condition.in_latest_time_window(LOOK_BACK)
        & (changed.since(condition.newly_requested()) | together)
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & LakeIsBehind()
    ).with_label("behind")


def when_changed(cron: str) -> dg.AutomationCondition[dg.AssetKey]:
    """Ask at the next tick of a clock after something before it changed."""
    condition = dg.AutomationCondition
    handled = condition.newly_requested() | condition.initial_evaluation()
    return (
        condition.any_deps_updated().since(handled)
        & condition.cron_tick_passed(cron).since(handled)
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
    ).with_label("changed, by the clock")


def is_busy(instance: dg.DagsterInstance, *, since: datetime) -> bool:
    """Whether a run that brings everything up to date is waiting or at work, or was just now.

    An evaluation knows what Dagster was told until it began. A tick that ends while it goes on
    had told of some tables by then and of others not, which looks like being behind.
    """
    at_work = dg.RunsFilter(tags=ALL_STAGES, statuses=BUSY)
    ended = dg.RunsFilter(tags=ALL_STAGES, updated_after=since)
    return any(instance.get_run_records(chosen, limit=1) for chosen in (at_work, ended))


def is_due(table: str, settings: Settings) -> bool:
    """Whether a table is behind, and nothing that must be written before it by another run is."""
    behind = behind_tables(settings)
    return table in behind and _can_follow(table, behind)


def _can_follow(table: str, behind: frozenset[str]) -> bool:
    """Whether the tables before it that are behind can be written in the same run."""
    return all(
        _partitions(parent) is _partitions(table) and _can_follow(parent, behind)
        for parent in parents().get(table, ())
        if parent in behind
    )


def behind_tables(settings: Settings) -> frozenset[str]:
    """Tables that have not taken in what the tables before them hold, directly or by others."""
    from clickstream_platform.events import unfinished_batches

    has_unfinished = bool(unfinished_batches(settings))
    return _behind(settings.lake_folder, has_unfinished, _fingerprint(settings))


@lru_cache(maxsize=1)
def parents() -> dict[str, tuple[str, ...]]:
    """Tables that each table is made from, by the column lineage."""
    return {
        table: tuple(
            sorted({origin.split(".")[0] for found in columns.values() for origin in found})
        )
        for table, columns in lineage().items()
    }


def _partitions(table: str) -> dg.PartitionsDefinition | None:
    return next((stage.partitions for stage in STAGES if table in stage.tables), None)


def _fingerprint(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Newest log file of every table: changes whenever anything was written, and costs nothing."""
    newest = []
    for table in dict.fromkeys((*parents(), *chain.from_iterable(parents().values()))):
        log = settings.lake_folder / table / "_delta_log"
        names = os.listdir(log) if log.exists() else []  # noqa: PTH208 - names alone, of many
        newest.append((table, max((name for name in names if name.endswith(".json")), default="")))
    return tuple(newest)


@lru_cache(maxsize=4)
def _behind(
    lake_folder: Path,
    has_unfinished: bool,  # noqa: FBT001 - whether events are behind
    fingerprint: tuple[tuple[str, str], ...],  # noqa: ARG001 - what the answer is kept for
) -> frozenset[str]:
    from clickstream_platform.lake import Lake

    lake = Lake(lake_folder)
    found: set[str] = set()
    for table, before in parents().items():  # in order: parents come first
        if table in {"events", "quarantined_events", "duplicate_events"}:
            is_behind = has_unfinished
        else:
            is_behind = bool(found & set(before)) or _has_news(lake, table, before)
        if is_behind:
            found.add(table)
    return frozenset(found)


def _has_news(lake: "Lake", table: str, before: tuple[str, ...]) -> bool:
    """Whether a table before it holds changes that it has not taken in."""
    if not lake.exists(table):
        return any(lake.exists(parent) for parent in before)
    for parent in before:
        seen = lake.consumed(table, parent)
        if seen < 0:
            continue  # written before it kept such notes; the next tick makes up for that
        changes = lake.changes(parent, since=seen)
        if changes is None or changes.added or changes.removed:
            return True
    return False
