"""Micro: what tracking tests see of it, over HTTP and through its helpers."""

import json
import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from clickstream_platform.services.collector import Micro, MicroError, running_micro
from clickstream_platform.settings import Settings
from clickstream_platform_tests.services.wire import batch, event


@pytest.fixture
def micro(settings: Settings) -> Iterator[Micro]:
    with running_micro(settings) as running:
        yield running


def now_ms() -> int:
    """The clock of whoever tracks."""
    return int(time.time() * 1000)


def track(micro: Micro, *events: dict[str, object]) -> int:
    """Send a batch under no key of ours, from a page of anybody's."""
    stamped = [item | {"created_at": now_ms()} for item in events]
    body = json.dumps(batch("any key", *stamped) | {"sent_at": now_ms()}).encode()
    request = Request(f"{micro.url}/v1/events", body, {"Origin": "http://localhost:3000"})
    with urlopen(request) as answer:
        return int(answer.status)


def ask(micro: Micro, question: str) -> object:
    """What it answers under ``/micro/``."""
    with urlopen(f"{micro.url}/micro/{question}") as answer:
        return json.loads(answer.read())


def test_four_endpoints(micro: Micro, settings: Settings) -> None:
    bad = event(3, visitor_id=None)
    assert track(micro, event(1), event(2, name="Add To Cart"), bad) == 200
    assert ask(micro, "all") == {"total": 3, "good": 2, "bad": 1}
    good = ask(micro, "good")
    assert isinstance(good, list)
    assert [record["event_name"] for record in good] == ["page_view", "add_to_cart"]
    assert good[0]["visitor_id"] == "visitor-ann"
    found = ask(micro, "bad")
    assert isinstance(found, list)
    assert [rule["code"] for rule in found[0]["violations"]] == ["identity_missing"]
    assert ask(micro, "reset") == {"total": 0, "good": 0, "bad": 0}
    with pytest.raises(HTTPError, match="404"):
        ask(micro, "other")
    assert not settings.landing.exists(), "nothing is written"


def test_refused_event_is_bad_with_its_reason(micro: Micro) -> None:
    track(micro, event(1), event(2, name=None))
    (bad,) = micro.bad()
    violations = bad["violations"]
    assert isinstance(violations, tuple)
    assert violations[0]["got"] == "event_name_missing"


def test_expectations(micro: Micro) -> None:
    track(micro, event(1), event(2, name="click"), event(3, name="click"))
    micro.wait_for(3)
    assert len(micro.expect_events("page_view", "click", "click")) == 3
    assert [record["event_id"] for record in micro.expect_count("click", 2)] == ["e2", "e3"]
    with pytest.raises(MicroError, match=r"expected \['click', 'page_view', 'click'\]"):
        micro.expect_events("click", "page_view", "click")
    with pytest.raises(MicroError, match="expected 1 of click; found 2"):
        micro.expect_count("click", 1)
    track(micro, event(4, visitor_id=None))
    with pytest.raises(MicroError, match="identity_missing"):
        micro.expect_events("page_view", "click", "click")
    with pytest.raises(MicroError, match="expected 9 records"):
        micro.wait_for(9, timeout_s=0.05)
    micro.reset()
    micro.expect_events()
