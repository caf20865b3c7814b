"""Fixtures of the collector's tests."""

import pytest

from clickstream_platform.settings import Settings
from clickstream_platform_tests.services.wire import Door


@pytest.fixture
def door(settings: Settings) -> Door:
    """A collector over an empty data folder."""
    return Door(settings)
