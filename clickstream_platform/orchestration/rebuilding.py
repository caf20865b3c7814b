"""Making tables anew: what follows from raw events, and what a disk has changed."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.orchestration.running import alone
from clickstream_platform.orchestration.stages import (
    BEHAVIOUR,
    CONVERSIONS,
    COOKIELESS,
    CREDITS,
    EVENTS,
    IDENTITY,
    PERSON_CONSENTS,
    SCORES,
    SESSIONS,
    STAGES,
    TOUCHPOINTS,
    Progress,
    Stage,
)
from clickstream_platform.settings import Settings

if TYPE_CHECKING:
    from clickstream_platform.lake import Lake, Refreshed

_ARRIVAL_DATE = re.compile(r"arrival_date=(\d{4}-\d{2}-\d{2})/")

REBUILT = (EVENTS, *(stage for stage in STAGES if stage.is_derived))
"""Stages that can be made anew, in order."""


class Mended(NamedTuple):
    """What became of broken files."""

    rebuilt: tuple[str, ...]
    """Tables that were made anew."""
    lost: Mapping[str, list[str]]
    """Files by table that cannot be: they must come from a backup."""


class UnreadableLogError(ClickstreamError, OSError):
    """The log of a table cannot be read, and without it nobody knows which files are its own."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        again = {table for stage in REBUILT for table in stage.tables}
        said = []
        if made := [str(folder) for table, folder in folders.items() if table in again]:
            said.append(
                f"Move {', '.join(made)} out of the lake and run `clickstream materialize --full`, "
                "which makes what is missing anew."
            )
        if kept := [str(folder) for table, folder in folders.items() if table not in again]:
            said.append(f"Restore {', '.join(kept)} from a backup: it follows from no other table.")
        super().__init__(f"The log of {', '.join(folders)} cannot be read. {' '.join(said)}")


def mend(settings: Settings, *, progress: Progress | None = None) -> Mended:
    """Make broken tables anew, with all that follows from them, and say what cannot be.

    Args:
        settings: Whose data.
        progress: Told of long work.

    While a run is at work, that is refused as a `BusyError`.
    """
    with alone(settings, "mend"):
        return _mended(settings, progress)


def _mended(settings: Settings, progress: Progress | None) -> Mended:
    import polars as pl

    from clickstream_platform.events import refresh_events, retake_days
    from clickstream_platform.lake import Lake, polars_schema

    lake = Lake(settings.lake_folder)
    if unreadable := _unreadable(lake):
        raise UnreadableLogError(unreadable)
    broken = lake.broken_tables()
    rebuilt: tuple[str, ...] = ()
    first = next((stage for stage in REBUILT if broken.keys() & set(stage.tables)), None)
    if days := {date.fromisoformat(day) for day in _days(broken.get("raw_events", []))}:
        if not retake_days(settings, days):
            return Mended((), broken)
        rebuilt = ("raw_events",)
        if first is not EVENTS:
            refresh_events(settings, progress=progress)
    if first is not None:
        tables = tuple(table for stage in _from(first) for table in stage.tables)
        # Who makes a table anew may compare with what is there.
        for table in broken.keys() & set(tables):
            lake.overwrite(table, pl.DataFrame(schema=polars_schema(table)))
        _rebuilt(settings, first, progress)
        rebuilt += tables
    return Mended(rebuilt, lake.broken_tables() if rebuilt else broken)


def rebuild(
    settings: Settings, *, since: Stage = EVENTS, progress: Progress | None = None
) -> "list[Refreshed]":
    """Make the tables of a stage and of those that follow anew, whatever they have taken in.

    Args:
        settings: Whose data.
        since: First stage to make anew.
        progress: Told of long work.

    While a run is at work, that is refused as a `BusyError`.
    """
    with alone(settings, "rebuild"):
        return _rebuilt(settings, since, progress)


def _rebuilt(settings: Settings, since: Stage, progress: Progress | None) -> "list[Refreshed]":
    from clickstream_platform.lake import deriving

    done = []
    for number, stage in enumerate(stages := _from(since)):
        if progress:
            progress(f"making {stage.name} anew", number, len(stages))
        with deriving(settings.state, progress=progress):
            done.append(_functions()[stage.name](settings))
    return done


def _functions() -> "Mapping[str, Callable[[Settings], Refreshed]]":
    """How the tables of a stage are made anew, by its name."""
    from clickstream_platform.attribution import (
        refresh_conversions,
        refresh_credits,
        refresh_touchpoints,
    )
    from clickstream_platform.collection.bot_behaviour import refresh_bot_behaviour
    from clickstream_platform.collection.consent_log import refresh_person_consents
    from clickstream_platform.events import refresh_events
    from clickstream_platform.identity import refresh_identity
    from clickstream_platform.lake import Lake
    from clickstream_platform.segments import refresh_scores
    from clickstream_platform.sessions import refresh_cookieless, refresh_sessions

    after = {
        IDENTITY.name: refresh_identity,
        COOKIELESS.name: refresh_cookieless,
        BEHAVIOUR.name: refresh_bot_behaviour,
        SESSIONS.name: refresh_sessions,
        TOUCHPOINTS.name: refresh_touchpoints,
        CONVERSIONS.name: refresh_conversions,
        CREDITS.name: refresh_credits,
        SCORES.name: refresh_scores,
    }

    def whole(refresh: "Callable[..., Refreshed]") -> "Callable[[Settings], Refreshed]":
        return lambda settings: refresh(Lake(settings.lake_folder), settings, full=True)

    return {
        EVENTS.name: lambda settings: refresh_events(settings, full=True),
        PERSON_CONSENTS.name: lambda settings: refresh_person_consents(
            Lake(settings.lake_folder), now=datetime.now(UTC), full=True
        ),
        **{name: whole(refresh) for name, refresh in after.items()},
    }


def _from(stage: Stage) -> tuple[Stage, ...]:
    return REBUILT[REBUILT.index(stage) :]


def _days(files: list[str]) -> list[str]:
    return [found[1] for file in files if (found := _ARRIVAL_DATE.search(file))]


def _unreadable(lake: "Lake") -> dict[str, Path]:
    """Folders of tables whose log cannot be read, by name."""
    from clickstream_platform.lake import LakeError
    from clickstream_platform.tables.catalog import TABLES

    found = {}
    for table in TABLES:
        try:
            lake.version(table)
        except LakeError:
            found[table] = lake.path(table)
    return found
