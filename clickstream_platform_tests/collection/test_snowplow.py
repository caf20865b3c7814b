"""Snowplow's wire format, held to the cases of its own enrichment."""

import json
from pathlib import Path

import pytest

from clickstream_platform.collection.arrivals import Arrival
from clickstream_platform.collection.protocols.snowplow import decode, event_type, page_url

PAGE, CALLER = "https://shop.example.com/cart", "https://shop.example.com/internal"


def arrival(body: bytes = b"", **headers: str) -> Arrival:
    """A request from a page."""
    return Arrival(path="/i", query={}, headers=headers, body=body, received_us=0)


def test_published_event_types(shared: Path) -> None:
    cases = json.loads((shared / "cases/snowplow_enrichment/event_type_codes.json").read_text())
    expected = [case.get("expected") for case in cases]
    assert [event_type(case["code"]) for case in cases] == expected
    assert [case["code"] for case in cases if case.get("expected_error")] == [
        case["code"] for case in cases if event_type(case["code"]) is None
    ]


def test_published_choices_of_the_page(shared: Path) -> None:
    cases = json.loads((shared / "cases/snowplow_enrichment/page_url_choice.json").read_text())
    found = [page_url(case["tracker_url"], case["referer_header"]) for case in cases]
    assert found == [case["expected"] for case in cases]


@pytest.mark.parametrize(
    ("code", "name"),
    [("tr", "purchase"), ("ad", "ad_impression"), ("ev", "open"), ("se", "open")],
    ids=["our own name", "theirs", "the oldest code", "its successor"],
)
def test_event_is_named_by_its_type(code: str, name: str) -> None:
    (record,) = decode(arrival(), {"e": code, "se_ac": "Open"}).records
    assert record["event_name"] == name


@pytest.mark.parametrize("code", [None, "", "e", "evnt"], ids=repr)
def test_event_of_no_type_is_refused(code: str | None) -> None:
    batch = decode(arrival(), {"e": code})
    assert [rejection.reason for rejection in batch.rejected] == ["event_name_missing"]


def test_page_of_the_tracker_comes_before_that_of_the_request() -> None:
    payload = {"e": "pv"}
    (record,) = decode(arrival(referer=CALLER), payload).records
    assert record["page_url"] == CALLER
    (record,) = decode(arrival(referer=CALLER), payload | {"url": PAGE}).records
    assert record["page_url"] == PAGE
    (record,) = decode(arrival(), payload).records
    assert "page_url" not in record
