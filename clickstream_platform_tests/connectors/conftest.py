"""Fixtures of the connector tests."""

from collections.abc import Iterator

import pytest

from clickstream_platform.connectors import HubSpot
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.activation.audience import Audience
from clickstream_platform_tests.connectors.hubspot_server import (
    ID_PROPERTY,
    TOKEN,
    Account,
    serving,
)


@pytest.fixture
def account() -> Iterator[Account]:
    """A server with no contacts yet."""
    with serving() as account:
        yield account


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """One call: the first imports and compiles its transport, no matter of a deadline."""
    with serving() as account:
        HubSpot(account.url, token=TOKEN, id_property=ID_PROPERTY).erase(["nobody"])


@pytest.fixture
def deadline_s() -> float:
    """Longest time of a call; a test of servers that are too slow takes less."""
    return 30.0


@pytest.fixture
def hubspot(account: Account, deadline_s: float) -> HubSpot:
    """The connector, pointed at the server."""
    return HubSpot(
        account.url,
        token=TOKEN,
        id_property=ID_PROPERTY,
        deadline_s=deadline_s,
        max_answer_bytes=100_000,
    )


@pytest.fixture
def audience(lake: Lake, settings: Settings) -> Audience:
    """Nobody yet, in two segments."""
    return Audience(lake, settings)
