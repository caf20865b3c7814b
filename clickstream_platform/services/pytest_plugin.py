"""Fixtures for tests of tracking, in every pytest that this package is installed beside.

``micro`` is a collector in memory: point a tracker at ``micro.url``, then ask what came.
``run_micro_scenario`` runs a YAML scenario against it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # other people's tests do not wait for our engines
    from clickstream_platform.services.collector import Micro


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where our settings and definitions lie."""
    parser.addini(
        "clickstream_data",
        "Data folder whose clickstream.toml and definitions judge what is tracked; nothing is "
        "written to it. From the root folder; CLICKSTREAM_DATA or data unless given.",
    )


@pytest.fixture(scope="session")
def micro_server(pytestconfig: pytest.Config) -> "Iterator[Micro]":
    """A collector in memory, for all tests; use `micro`, which is empty at its beginning."""
    from clickstream_platform.services.collector import running_micro  # noqa: PLC0415
    from clickstream_platform.settings import load_settings  # noqa: PLC0415

    folder = str(pytestconfig.getini("clickstream_data"))
    with running_micro(load_settings(pytestconfig.rootpath / folder if folder else None)) as micro:
        yield micro


@pytest.fixture
def micro(micro_server: "Micro") -> "Micro":
    """A collector in memory that has seen nothing yet; ``micro.url`` is its address."""
    micro_server.reset()
    return micro_server


@pytest.fixture
def run_micro_scenario(micro: "Micro", request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Run a scenario, named from the test's folder; fail with what was not as expected."""
    from clickstream_platform.collection.probes import read_scenario  # noqa: PLC0415
    from clickstream_platform.connectors import MicroClient  # noqa: PLC0415
    from clickstream_platform.services.scenarios import run_scenario  # noqa: PLC0415

    def run(scenario: str | Path) -> None:
        file = request.path.parent / scenario
        read = read_scenario(file.read_text(encoding="utf-8"), file)
        results = run_scenario(read, MicroClient(micro.url), folder=file.parent)
        wrong = [f"{result.step}: {it}" for result in results for it in result.failures]
        if wrong:
            pytest.fail("\n".join([read.name, *wrong]), pytrace=False)

    return run
