"""Running everything without a daemon, into the same history that the UI shows."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from sqlalchemy.exc import DatabaseError

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.orchestration.conditions import ALL_STAGES
from clickstream_platform.orchestration.processes import PROCESS, at_work, this_process
from clickstream_platform.orchestration.stages import Progress, collected, told
from clickstream_platform.settings import Settings

if TYPE_CHECKING:
    from clickstream_platform.lake import Refreshed

INSTANCE_FILE = "dagster.yaml"
"""How Dagster is set up; lies at the root of the repository, and beside this file in a wheel."""


DEFINITIONS = "clickstream_platform.orchestration.definitions"
"""Module that Dagster loads."""


INTERRUPTED = dg.DagsterExecutionInterruptedError.__name__
"""What Dagster calls the end of a run by Ctrl-C."""

OWN_CLASS = re.compile(r"clickstream_platform(\.\w+)*\.\w+Error: ")
"""How Dagster begins the message of an error of ours."""

ANY_CLASS = re.compile(rf"{OWN_CLASS.pattern}|dagster(\.\w+)*\.Failure: ")
"""The same, and how it begins what is told of an engine's."""


class RunFailedError(ClickstreamError, RuntimeError):
    """A run that was started here failed."""

    def __init__(self, run_id: str, stage: str, reason: str) -> None:
        self.run_id, self.stage = run_id, stage
        super().__init__(f"{stage}: {reason} (run {run_id[:8]} in the Dagster UI has the log)")


class BusyError(ClickstreamError, RuntimeError):
    """Another run brings everything up to date already."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"run {run_id[:8]} is at work already and brings everything up to date. Wait for it, "
            "or end it in the Dagster UI."
        )


class RunHistoryError(ClickstreamError, OSError):
    """Dagster's storage cannot be used."""

    def __init__(self, home: Path, reason: str) -> None:
        super().__init__(
            f"The history of runs in {home} cannot be used: {reason}. Check that the disk has room "
            "and that you may write there, then run this again; it goes on from where it was."
        )


def dagster_home(settings: Settings) -> Path:
    """Folder of Dagster's own storage for one data folder, made ready.

    Its `dagster.yaml` is copied there once, and yours from then on.
    """
    home = settings.state / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    target = home / INSTANCE_FILE
    if not target.exists():
        beside = Path(__file__).with_name(INSTANCE_FILE)
        root = Path(__file__).parents[2] / INSTANCE_FILE
        shutil.copyfile(beside if beside.exists() else root, target)
    return home


@contextmanager
def opened(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open Dagster's storage of one data folder.

    Raises:
        RunHistoryError: It cannot be read or written, now or while it is open.
    """
    home = dagster_home(settings)
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance
    except DatabaseError as error:
        raise RunHistoryError(home, str(error.orig)) from None


def start_ui(settings: Settings, *, host: str, port: int) -> subprocess.Popen[bytes]:
    """Start Dagster's UI and its daemon over one data folder, in a process of their own.

    Args:
        settings: Whose data.
        host: Address to listen at.
        port: Port to listen at.
    """
    home = dagster_home(settings)
    command = [sys.executable, "-m", "dagster", "dev", "-m", DEFINITIONS]
    command += ["-h", host, "-p", str(port), "--log-level", "warning"]
    environment = os.environ | {
        "DAGSTER_HOME": str(home),
        "CLICKSTREAM_DATA": str(settings.data),
        # `dagster dev` tells its successor's name at every start.
        "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded",
    }
    return subprocess.Popen(command, env=environment, cwd=home)  # noqa: S603 - our own words


def materialize_all(settings: Settings, *, progress: Progress | None = None) -> "list[Refreshed]":
    """Bring every table up to date, in order, in this process, as a run that the UI shows.

    Needs no daemon, and minds one: while a run that does the same is at work, this is refused.

    Args:
        settings: Whose data.
        progress: Told of long work.

    Returns:
        What each stage did, in order.

    Raises:
        BusyError: A run that does the same is at work.
        RunFailedError: A stage failed; later stages did not run (but for the sync, if that stage
            was segments), earlier ones stand.
    """
    from clickstream_platform.lake import Lake
    from clickstream_platform.orchestration.definitions import definitions
    from clickstream_platform.orchestration.jobs import TICK
    from clickstream_platform.orchestration.resources import Platform

    job = definitions.resolve_job_def(TICK)
    with opened(settings) as instance, told(progress), collected() as refreshed:
        if busy := at_work(instance):
            raise BusyError(busy)
        result = job.execute_in_process(
            instance=instance,
            resources={"platform": Platform(data=str(settings.data))},
            tags={PROCESS: this_process()},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
    if not result.success:
        event = next((e for e in result.all_events if e.is_step_failure), None)
        stage = event.step_key if event and event.step_key else "run"
        error = event.step_failure_data.error if event else None
        while error and error.cause:
            error = error.cause
        reason = in_words(error.message.strip()) if error else "it was ended"
        if error and not is_ours(error.message):
            try:
                Lake(settings.lake_folder).require_whole()
            except ClickstreamError as damage:  # which engines tell in words of their own
                reason = str(damage)
        raise RunFailedError(result.run_id, stage, reason)
    return refreshed


def is_ours(message: str) -> bool:
    """Whether Dagster tells an error that was raised on purpose, or the end of the run."""
    return INTERRUPTED in message or bool(OWN_CLASS.match(message.strip()))


@contextmanager
def alone(settings: Settings, work: str) -> Iterator[None]:
    """Do work on all tables as a run that others see at work, and wait for or are refused by.

    Raises:
        BusyError: A run that brings everything up to date is at work.
    """
    with opened(settings) as instance:
        if busy := at_work(instance):
            raise BusyError(busy)
        run = instance.add_run(
            dg.DagsterRun(
                job_name=work,
                status=dg.DagsterRunStatus.STARTED,
                tags=ALL_STAGES | {PROCESS: this_process()},
            )
        )
        try:
            yield
        except BaseException:
            instance.report_run_failed(run)
            raise
        done = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job_name=work)
        instance.report_dagster_event(done, run.run_id)


def in_words(message: str) -> str:
    """What an error says; the class of one that was raised on purpose tells nobody anything."""
    if INTERRUPTED in message:
        return "it was interrupted; the next `clickstream materialize` goes on from there"
    return ANY_CLASS.sub("", message, count=1)
