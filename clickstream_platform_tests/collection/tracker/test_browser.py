"""The tracker in a real browser; what it does there is in ``scenarios.mjs``."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clickstream_platform_tests.collection.conftest import FOLDER

HERE = Path(__file__).parent

NAMES = re.findall(r"^  scenario\('(.+?)', ", (HERE / "scenarios.mjs").read_text(), re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(node: str, chromium: str) -> dict[str, Any]:
    """What went wrong in each scenario, and what was measured; all in one browser."""
    done = subprocess.run(  # noqa: S603 - our own words
        [node, HERE / "browser.mjs", FOLDER, chromium],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_scenario_was_run(told: dict[str, Any]) -> None:
    assert len(NAMES) > 30
    assert sorted(told["outcomes"]) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scenario(told: dict[str, Any], name: str) -> None:
    assert told["outcomes"][name] is None, told["outcomes"][name]


def test_main_thread_is_kept_free_for_at_least_a_frame(told: dict[str, Any]) -> None:
    measured = told["measured"]
    print(f"main thread: {measured['main_thread_ms']} ms in all,", end=" ")  # noqa: T201
    print(f"{measured['longest_slice_ms']} ms at most at once")  # noqa: T201
    assert measured["longest_slice_ms"] <= 50
