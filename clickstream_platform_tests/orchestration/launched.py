"""Runs by the fork-server launcher, without a daemon: `python -m … DATA`, one JSON object out."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher.base import LaunchRunContext, WorkerStatus

from clickstream_platform.orchestration.definitions import definitions
from clickstream_platform.orchestration.jobs import TICK
from clickstream_platform.orchestration.processes import PROCESS, is_alive, pid_of
from clickstream_platform.orchestration.running import opened
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.events.door import drop, event

PATIENCE_S = 120.0
MORE = 3_000
"""Events that keep a run at work for long enough to be ended."""
MODULE = "clickstream_platform.orchestration.definitions"


def until(look: Callable[[], bool]) -> None:
    """Look again and again until it is so."""
    end = time.monotonic() + PATIENCE_S
    while not look():
        if time.monotonic() > end:
            message = "waited in vain"
            raise TimeoutError(message)
        time.sleep(0.02)


class Launched:
    """One run of everything, launched."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        code = ReconstructableRepository.for_module(MODULE, "definitions", str(Path.cwd()))
        run = instance.create_run_for_job(
            definitions.resolve_job_def(TICK),
            job_code_origin=code.get_reconstructable_job(TICK).get_python_origin(),
        )
        self.instance, self.run_id = instance, run.run_id
        self.launcher = instance.run_launcher
        self.launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    @property
    def run(self) -> dg.DagsterRun:
        """The run as it is now."""
        found = self.instance.get_run_by_id(self.run_id)
        assert found
        return found

    @property
    def named(self) -> str:
        """Name of its process."""
        return self.run.tags[PROCESS]

    @property
    def health(self) -> WorkerStatus:
        """What the launcher says of its process."""
        return self.launcher.check_run_worker_health(self.run).status

    def at_work(self) -> bool:
        """Whether it has begun."""
        return self.run.status is dg.DagsterRunStatus.STARTED


def main(data: str) -> None:
    """Launch runs: two go their way, one is ended, one is killed, one takes up their work."""
    settings = load_settings(data)
    with opened(settings) as instance:
        whole = Launched(instance)
        until(lambda: whole.run.is_finished)
        found: dict[str, object] = {"whole": whole.run.status.value}
        found["is_own_process"] = pid_of(whole.named) != os.getpid()
        found["ended_again"] = whole.launcher.terminate(whole.run_id)

        until(whole.launcher._workers[0].is_free)  # type: ignore[attr-defined]  # noqa: SLF001
        again = Launched(instance)
        until(lambda: again.run.is_finished)
        found["again"] = again.run.status.value
        found["is_same_process"] = again.named == whole.named

        file = drop(settings, "b.ndjson", map(event, range(3, MORE + 3)))
        os.utime(file, (file.stat().st_mtime - 60,) * 2)
        ended = Launched(instance)
        until(ended.at_work)
        found["health_at_work"] = ended.health.value
        found["is_ending"] = ended.launcher.terminate(ended.run_id)
        until(lambda: ended.run.is_finished)
        found["ended"] = ended.run.status.value
        until(lambda: not is_alive(ended.named))

        killed = Launched(instance)
        until(killed.at_work)
        os.kill(pid_of(killed.named), signal.SIGKILL)
        until(lambda: not is_alive(killed.named))
        found["health_killed"] = killed.health.value
        found["ended_when_killed"] = killed.launcher.terminate(killed.run_id)

        last = Launched(instance)
        until(lambda: last.run.is_finished)
        found["last"] = last.run.status.value
        found["process"] = last.named
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
