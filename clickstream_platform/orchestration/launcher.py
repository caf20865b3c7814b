"""A run launcher that forks runs from a process which has loaded everything: 0.3 s, not 4 to 5.

Optional configuration for one host, see `dagster.forkserver.yaml`. This is the one file that
touches private API of Dagster, hence the upper bound on its version in pyproject.toml.

A run is forked by the fork server of the standard library. That process loads Dagster and the
definitions, opens the storage once, and has a single thread: engines start threads, which do not
survive a fork, so they are imported by each run. Code that changes is seen by runs after the
daemon restarts, and by the UI after a reload: restart both.
"""

import multiprocessing
import os
import signal
from collections.abc import Mapping
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


class ForkServerRunLauncher(RunLauncher, ConfigurableClass):
    """Forks each run from a process that has loaded Dagster and the definitions."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOADED])
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
        """Fork the run, and name its process in a tag, by which anybody may end it."""
        run = context.dagster_run
        reference = serialize_value(self._instance.get_ref())
        process = self._context.Process(target=execute, args=(reference, run.run_id))
        process.start()
        if process.pid is not None:
            self._instance.add_run_tags(run.run_id, {PROCESS: name_of(process.pid)})

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


def execute(reference: str, run_id: str) -> None:
    """Execute a run, in the process that was forked for it."""
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


def _is_to_end(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.CANCELING
