"""Fixtures of the collector's tests."""

from collections.abc import Iterator

import pytest

from clickstream_platform.settings import Settings
from clickstream_platform_tests.services.process import Zygote
from clickstream_platform_tests.services.wire import Door


@pytest.fixture
def door(settings: Settings) -> Door:
    """A collector over an empty data folder."""
    return Door(settings)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """What makes collector processes; one for all tests, for its imports take seconds."""
    made = Zygote()
    yield made
    made.close()
