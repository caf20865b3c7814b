"""The fork-server launcher: a run has a process to itself, which can be ended and missed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clickstream_platform.events import Ledger
from clickstream_platform.lake import Lake
from clickstream_platform.orchestration import dagster_home
from clickstream_platform.orchestration.processes import is_alive
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.events.door import drop, event
from clickstream_platform_tests.orchestration.launched import MORE, until
from clickstream_platform_tests.orchestration.served import FORK_SERVER, prepare


@pytest.mark.slow
def test_runs_are_executed_ended_and_missed(tmp_path: Path) -> None:
    data = prepare(tmp_path)
    settings = load_settings(data)
    shutil.copyfile(FORK_SERVER, dagster_home(settings) / "dagster.yaml")
    file = drop(settings, "a.ndjson", [event(1), event(2)])
    os.utime(file, (file.stat().st_mtime - 60,) * 2)
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-W", "ignore", "-m", f"{__package__}.launched", str(data)],
        env=os.environ | {"CLICKSTREAM_DATA": str(data)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    last = found.pop("process")
    assert found == {
        "whole": "SUCCESS",
        "is_own_process": True,
        "ended_again": False,
        "again": "SUCCESS",
        "is_same_process": True,
        "health_at_work": "RUNNING",
        "is_ending": True,
        "ended": "CANCELED",
        "health_killed": "FAILED",
        "ended_when_killed": False,
        "last": "SUCCESS",
    }
    until(lambda: not is_alive(last))  # nobody is left who could give it a run
    Ledger(settings.state).require_balance()
    assert Lake(settings.lake_folder).row_count("events") == 2 + MORE
