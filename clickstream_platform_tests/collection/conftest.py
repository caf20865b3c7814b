"""The tools of browser tests, or a skip that says how to get them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clickstream_platform.collection import tracker

FOLDER = Path(tracker.__file__).parent
"""The tracker's own folder: sources, built scripts and, where installed, its tools."""

OLDEST_NODE = 20
"""Major version that playwright-core needs."""


@pytest.fixture(scope="session")
def node() -> str:
    """The command of Node, with the tracker's packages installed."""
    command = shutil.which("node")
    if command is None:
        pytest.skip("Node is not installed: scripts/system_packages.sh installs it")
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - found on the path
    found = re.match(r"v(\d+)", version.stdout)
    if found is None or int(found[1]) < OLDEST_NODE:
        pytest.skip(f"Node is {version.stdout.strip()}: its driver of browsers needs {OLDEST_NODE}")
    if not (FOLDER / "node_modules").exists():
        pytest.skip(
            "The tracker's packages are not installed: scripts/npm_packages.sh installs them"
        )
    return command


@pytest.fixture(scope="session")
def chromium() -> str:
    """The command of Chromium."""
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if command is None:
        pytest.skip("Chromium is not installed: scripts/system_packages.sh installs it")
    return command
