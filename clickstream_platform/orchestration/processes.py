"""Runs that live in a process of their own, such as `clickstream materialize`.

The daemon watches the runs that it launches. Nobody watches these, so each names its process, and
whoever meets one at work looks whether that process is still there.
"""

import os
import platform
from pathlib import Path

import dagster as dg

from clickstream_platform.orchestration.conditions import ALL_STAGES, BUSY

PROCESS = "clickstream/process"
"""Tag that names the process of a run: host, id and start."""

MOST_AT_WORK = 20
"""Runs that are looked at; one is the rule."""


def at_work(instance: dg.DagsterInstance) -> str | None:
    """Identifier of a run that brings everything up to date, waiting or at work; else None.

    Runs whose process is gone are marked as failed on the way.
    """
    busy = dg.RunsFilter(tags=ALL_STAGES, statuses=BUSY)
    for record in instance.get_run_records(busy, limit=MOST_AT_WORK):
        run = record.dagster_run
        named = run.tags.get(PROCESS)
        if named is None or is_alive(named):
            return run.run_id
        instance.report_run_failed(run, "Its process is gone; what it had begun is taken up anew.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return None


def this_process() -> str:
    """Name of this process, for the tag."""
    return name_of(os.getpid())


def name_of(pid: int) -> str:
    """Name of a process of this host, for the tag."""
    return f"{platform.node()}:{pid}:{_started(pid)}"


def pid_of(named: str) -> int:
    """Identifier of a process that a tag names."""
    return int(named.rsplit(":", 2)[1])


def is_alive(named: str) -> bool:
    """Whether a process that a tag names is still there; one of another host is taken to be."""
    host, _, started = named.rsplit(":", 2)
    pid = pid_of(named)
    if host != platform.node():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started in {"", _started(pid)}


def _started(pid: int) -> str:
    """When a process started, in ticks since boot; empty where the system does not say.

    An identifier is used again after a while; with its start it is not.
    """
    try:
        about = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = about.rsplit(")", 1)[-1].split()
    return "" if state == "Z" else fields[18]
