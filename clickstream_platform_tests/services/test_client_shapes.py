"""Requests in the shapes that clients document, of libraries that are not among the recorded."""

import base64
import gzip
import json
from datetime import timedelta
from typing import Any

import httpx
import polars as pl
import pytest

from clickstream_platform_tests.services.wire import (
    NOW,
    Door,
    batch,
    event,
    get,
    loaded,
    post,
)

NOW_US = int(NOW.timestamp() * 1_000_000)
HOUR_AGO = (NOW - timedelta(hours=1)).isoformat()
SECOND_AGO = (NOW - timedelta(seconds=1)).isoformat()
CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)


def occurred(events: pl.DataFrame) -> list[str]:
    """Times of day of events."""
    return events.sort("ordinal")["occurred_at"].dt.to_string("%H:%M:%S").to_list()


# -- Segment -------------------------------------------------------------------------------------


def basic(key: str) -> str:
    """A key as Segment's libraries send it."""
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def segment(door: Door, *calls: dict[str, Any], kind: str = "server") -> list[dict[str, Any]]:
    """Records of Segment's calls, each with its key in the body."""
    key = door.key(kind=kind).key  # type: ignore[arg-type]  # one of two
    responses = door.send(*(post(f"/v1/{c['type']}", c | {"writeKey": key}) for c in calls))
    assert [response.status_code for response in responses] == [200] * len(calls)
    return door.taken


def test_segment_batches_of_older_libraries_have_a_path_of_their_own(door: Door) -> None:
    key = door.key(kind="server").key
    body = {"batch": [{"type": "track", "event": "Song Played", "userId": "u1"}]}
    (response,) = door.send(post("/v1/import", body, authorization=basic(key)))
    assert response.json() == {"success": True}
    assert [record["event_name"] for record in door.taken] == ["song_played"]


def test_segment_key_of_the_body_counts_beside_another_token(door: Door) -> None:
    body = {"userId": "u1", "event": "Song Played", "writeKey": door.key(kind="server").key}
    (response,) = door.send(post("/v1/track", body, authorization="Bearer of.another.kind"))
    assert response.status_code == 200


def test_segment_call_without_time_of_sending_happened_when_it_says(door: Door) -> None:
    call = {"type": "track", "event": "Song Played", "userId": "u1", "timestamp": HOUR_AGO}
    # One that was sent a second ago, by its own clock, happened an hour less a second ago.
    segment(door, call, call | {"sentAt": SECOND_AGO})
    assert occurred(loaded(door)) == ["11:00:00", "11:00:01"]


def test_segment_context_of_a_batch_is_that_of_each_message(door: Door) -> None:
    message = {"type": "track", "event": "Opened", "userId": "u1"}
    body = {
        "batch": [message, message | {"context": {"locale": "fr-FR"}}],
        "context": {"locale": "de-DE", "device": {"type": "phone"}},
    }
    door.send(post("/v1/batch", body, authorization=basic(door.key(kind="server").key)))
    found = [(record["language"], record["platform"]) for record in door.taken]
    assert found == [("de-DE", "app"), ("fr-FR", "app")]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            {"type": "alias", "userId": "u1", "previousId": "v1"},
            {"user_id": "u1", "visitor_id": "v1"},
            id="alias says who the user was",
        ),
        pytest.param(
            {"type": "alias", "userId": "u1", "previousId": "u0", "anonymousId": "v1"},
            {"user_id": "u1", "visitor_id": "v1"},
            id="the anonymous id is the device",
        ),
        pytest.param(
            {"type": "group", "userId": "u1", "groupId": "g1", "traits": {"size": 2}},
            {"user_id": "u1", "properties": {"size": 2, "group_id": "g1"}},
            id="group keeps its id",
        ),
        pytest.param(
            {"type": "screen", "userId": "u1", "name": "Cart"},
            {"event_name": "screen_view", "page_title": "Cart"},
            id="screen is called by its name",
        ),
        pytest.param(
            {"type": "page", "userId": "u1", "name": "Cart", "properties": {"title": "My cart"}},
            {"event_name": "page_view", "page_title": "My cart"},
            id="title comes before name",
        ),
        pytest.param(
            {"type": "track", "event": "Opened", "userId": "u1", "context": {"ip": "198.51.100.7"}},
            {"ip_address": "198.51.100.0"},
            id="a server knows the address",
        ),
    ],
)
def test_segment_call(door: Door, call: dict[str, Any], expected: dict[str, Any]) -> None:
    (record,) = segment(door, call)
    assert {name: record.get(name) for name in expected} == expected


def test_segment_page_does_not_say_its_own_address(door: Door) -> None:
    call = {"type": "page", "anonymousId": "v1", "context": {"ip": "198.51.100.7"}}
    (record,) = segment(door, call, kind="browser")
    assert record["ip_address"] == "203.0.113.0"
