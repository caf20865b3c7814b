"""A run launcher whose runs find everything loaded: they start in 0.3 s at most, not in 4 to 5.

Optional configuration for one host, see `dagster.forkserver.yaml`. This is the one file that
touches private API of Dagster, hence the upper bound on its version in pyproject.toml.

A run has a process to itself, and the next run gets it after one that succeeded: engines are
loaded there and queries compiled. Where none is free one is forked by the fork server of the
standard library. That one loads Dagster and the definitions, opens the storage once, and has a
single thread: engines start threads, which do not survive a fork, so the first run in a process
imports them. Code that changes is seen by runs after the daemon restarts, and by the UI after a
reload: restart both.
"""

import atexit
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Self

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.instance import InstanceRef
from dagster._core.launcher.base import (
    CheckRunHealthResult,
    LaunchRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._grpc.impl import core_execute_run
from dagster._serdes import ConfigurableClass, deserialize_value, serialize_value
from dagster._serdes.config_class import ConfigurableClassData
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster._utils.interrupts import capture_interrupts

from clickstream_platform.orchestration.processes import PROCESS, is_alive, name_of, pid_of

PRELOADED = "clickstream_platform.orchestration.preload"
"""Module that the fork server loads."""


MOST_RUNS = 100
"""Runs that a process takes, one after the other."""

MOST_MEMORY = 1 << 30
"""Bytes of its peak beyond which a process takes no further run."""

IDLE_S = 900.0
"""Seconds that a process waits for a further run."""

HANDOVER_S = 30.0
"""Seconds before the end of its patience from which on it is given none."""

SETTLED_S = 0.5
"""Seconds between two runs of a process: an interrupt meant for the first ends no other."""


@dataclass
class Worker:
    """A process that executes one run at a time."""

    process: BaseProcess
    connection: Connection
    free_since: float | None = None
    """When it was free, by the clock of `time.monotonic`, which is that of the host; else None."""

    @property
    def name(self) -> str:
        """Name of the process, for the tag."""
        return name_of(self.process.pid or 0)

    def is_free(self) -> bool:
        """Whether it can be given a run."""
        try:
            while self.connection.poll():
                self.free_since = self.connection.recv()
        except (EOFError, OSError):
            self.free_since = None
        since = self.free_since
        return since is not None and time.monotonic() < since + IDLE_S - HANDOVER_S

    def take(self, reference: str, run_id: str) -> None:
        """Give it a run."""
        self.free_since = None
        self.connection.send((reference, run_id))


class ForkServerRunLauncher(RunLauncher, ConfigurableClass):
    """Gives runs to processes that have executed one, or were forked with everything loaded."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOADED])
        self._workers: list[Worker] = []
        self._lock = threading.Lock()
        atexit.register(self.dispose)  # before multiprocessing waits for its processes
        super().__init__()  # type: ignore[no-untyped-call]  # of Dagster

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """How it is configured."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """It has no settings."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> Self:
        """Make it from the instance's configuration."""
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Give the run to a process, and name that in a tag, by which anybody may end it."""
        run_id = context.dagster_run.run_id
        reference = serialize_value(self._instance.get_ref())
        with self._lock:
            worker = self._free_worker()
            self._instance.add_run_tags(run_id, {PROCESS: worker.name})
            worker.take(reference, run_id)

    def _free_worker(self) -> Worker:
        """A process that is free, a new one if there is none; those that are gone are forgotten."""
        self._workers = [each for each in self._workers if each.process.is_alive()]
        for worker in self._workers:
            if worker.is_free():
                return worker
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs,))
        process.start()
        theirs.close()
        self._workers.append(worker := Worker(process, ours))
        return worker

    def dispose(self) -> None:
        """Let the processes go that wait for a run; those at work end theirs first."""
        for worker in self._workers:
            worker.connection.close()

    def terminate(self, run_id: str) -> bool:
        """Interrupt a run; its process reports that it was cancelled."""
        run = self._instance.get_run_by_id(run_id)
        named = run.tags.get(PROCESS) if run and not run.is_finished else None
        if run is None or named is None or not is_alive(named):
            return False
        self._instance.report_run_canceling(run)
        os.kill(pid_of(named), signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """The daemon may ask whether a run's process is still there."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Look for the process of a run."""
        named = run.tags.get(PROCESS)
        if named is None or is_alive(named):
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "Its process is gone.")


def work(connection: Connection) -> None:
    """Execute run after run, until one does not succeed or the launcher wants no more.

    Runs that waited in the pipe when the launcher's process ended are executed, too.
    """
    for _ in range(MOST_RUNS):
        try:
            if not connection.poll(IDLE_S):
                return
            reference, run_id = connection.recv()
        except (EOFError, OSError):
            return
        succeeded = execute(reference, run_id)
        if not succeeded or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MOST_MEMORY:
            return
        time.sleep(SETTLED_S)
        try:
            connection.send(time.monotonic())
        except OSError:
            return


def execute(reference: str, run_id: str) -> bool:
    """Execute a run in this process, and return whether it succeeded."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    instance_ref = deserialize_value(reference, InstanceRef)
    with dg.DagsterInstance.from_ref(instance_ref) as instance, capture_interrupts():
        run = instance.get_run_by_id(run_id)
        if run is None or run.job_code_origin is None:
            message = f"run {run_id} is gone, or is not of this code"
            raise RuntimeError(message)
        job = recon_job_from_origin(run.job_code_origin)
        for event in core_execute_run(job, run, instance, inject_env_vars=False):
            # An interrupt that comes while an object is being collected is swallowed by Python.
            if event.is_step_success and _is_to_end(instance, run_id):
                signal.raise_signal(signal.SIGINT)
        run = instance.get_run_by_id(run_id)
        return run is not None and run.is_success


def _is_to_end(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.CANCELING
