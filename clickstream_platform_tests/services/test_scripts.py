"""The collector serves the tracker."""

import pytest

from clickstream_platform.collection.tracker import SCRIPTS, script
from clickstream_platform_tests.services.wire import Door, get, post


@pytest.mark.parametrize("encoding", ["gzip, br", "identity"])
def test_scripts_are_served_to_any_page(door: Door, encoding: str) -> None:
    asked = [
        get(f"/{name}", accept_encoding=encoding, origin="https://elsewhere.example")
        for name in SCRIPTS
    ]
    for name, response in zip(SCRIPTS, door.send(*asked), strict=True):
        assert response.status_code == 200
        assert response.content == script(name)
        assert response.headers["content-type"] == "text/javascript"
        assert response.headers["cache-control"] == "public, max-age=3600"
        assert response.headers["vary"].startswith("Accept-Encoding")
        assert response.headers.get("content-encoding") == ("gzip" if "gzip" in encoding else None)


def test_nothing_else_is_served_and_nothing_is_kept(door: Door) -> None:
    asked = [get("/t-unknown.js"), get("/t.js/"), get("/built/t.js"), post("/t.js", {})]
    assert {response.status_code for response in door.send(*asked)} == {404}
    assert door.records == []


def test_answers_to_events_are_not_cached(door: Door) -> None:
    (response,) = door.send(post("/v1/events", {"key": door.key().key, "events": []}))
    assert response.headers["cache-control"] == "no-store"
