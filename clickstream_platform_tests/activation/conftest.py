"""Fixtures of the activation tests."""

import pytest

from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.activation.audience import Audience


@pytest.fixture
def audience(lake: Lake, settings: Settings) -> Audience:
    """Nobody yet, in two segments."""
    return Audience(lake, settings)
