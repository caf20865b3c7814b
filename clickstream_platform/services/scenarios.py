"""Running a scenario against a micro server: steps, commands, and patience."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clickstream_platform.collection.probes import Scenario, Step, failures
from clickstream_platform.connectors import MicroClient

POLL_S = 0.1
"""How often it is looked at what came."""

URL_VARIABLE = "MICRO_URL"
"""Where a command of a step finds the server."""

_LINES = 5
"""Last lines of a failed command's words that are told."""


class StepResult(NamedTuple):
    """What became of a step."""

    step: str
    failures: tuple[str, ...]
    took_s: float


def run_scenario(scenario: Scenario, micro: MicroClient, *, folder: Path) -> Iterator[StepResult]:
    """Run the steps of a scenario in order, each over what came since the one before.

    A step that fails does not end the scenario: the next ones tell more.

    Args:
        scenario: The scenario.
        micro: The server; it forgets what it held.
        folder: Where commands run.
    """
    micro.reset()
    good = bad = 0
    for step in scenario.steps:
        begun = time.monotonic()
        until = begun + (step.timeout_s or scenario.timeout_s)
        found = _act(step, micro, folder, until)
        found += _await(step, micro, (good, bad), until, scenario.settle_s)
        good, bad = len(micro.good()), len(micro.bad())
        yield StepResult(step.name, tuple(found), time.monotonic() - begun)


def _act(step: Step, micro: MicroClient, folder: Path, until: float) -> list[str]:
    """Send and run what a step says; what went wrong with that."""
    for sent in step.send:
        micro.send(sent)  # a refusal is what some steps are about: micro shows it as bad
    if not step.run:
        return []
    left_s = max(until - time.monotonic(), POLL_S)
    try:
        command = subprocess.Popen(  # noqa: S603 - the scenario's own command, as its author wrote it
            step.run,
            cwd=folder,
            env=os.environ | {URL_VARIABLE: micro.url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return [f"the command {step.run[0]} cannot be run: {error.strerror}"]
    with command:
        try:
            _, said = command.communicate(timeout=left_s)
        except subprocess.TimeoutExpired:
            # With whatever it has begun, which would track into the next steps.
            os.killpg(command.pid, signal.SIGKILL)
            return [f"the command {step.run[0]} was not done within {left_s:.1f} s"]
    if command.returncode == 0:
        return []
    words = " / ".join(said.strip().splitlines()[-_LINES:])
    return [f"the command {step.run[0]} ended with {command.returncode}: {words or 'no word'}"]


def _await(
    step: Step, micro: MicroClient, known: tuple[int, int], until: float, settle_s: float
) -> list[str]:
    """Look until the expectations hold or time is up, then wait for what should not come."""
    good, bad = known
    found = failures(step.expect, micro.good()[good:], micro.bad()[bad:])
    while found and time.monotonic() < until:
        time.sleep(POLL_S)
        found = failures(step.expect, micro.good()[good:], micro.bad()[bad:])
    if found:
        return found
    time.sleep(settle_s)
    return failures(step.expect, micro.good()[good:], micro.bad()[bad:])
