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


# -- PostHog -------------------------------------------------------------------------------------

PYTHON = {"$lib": "posthog-python"}
DEVICE = {"$lib": "posthog-ios", "$device_id": "d1"}


def posthog(door: Door, *events: dict[str, Any], **body: object) -> list[dict[str, Any]]:
    """Records of a batch that a library sends with a page's key."""
    whole = {"api_key": door.key().key, "batch": list(events), **body}
    (response,) = door.send(post("/batch/", whole, user_agent="library/1", accept_language="en"))
    assert response.json() == {"status": 1}
    return door.taken


@pytest.mark.parametrize(
    ("body", "properties", "at"),
    [
        pytest.param({}, {}, "11:00:00", id="no time of sending"),
        pytest.param({"historical_migration": True}, {}, "11:00:00", id="history"),
        pytest.param({"sent_at": SECOND_AGO}, {}, "11:00:01", id="skew is corrected"),
        pytest.param({"sentAt": SECOND_AGO}, {}, "11:00:01", id="as python spells it"),
        pytest.param(
            {"sent_at": SECOND_AGO}, {"$ignore_sent_at": True}, "11:00:00", id="sure of its clock"
        ),
    ],
)
def test_posthog_time(
    door: Door, body: dict[str, Any], properties: dict[str, Any], at: str
) -> None:
    sent = {"event": "a", "distinct_id": "u1", "timestamp": HOUR_AGO, "properties": properties}
    posthog(door, sent, **body)
    assert occurred(loaded(door)) == [at]


def test_posthog_server_with_a_pages_key_is_a_server(door: Door) -> None:
    bought = {"event": "Bought", "distinct_id": "u1", "properties": PYTHON | {"$ip": "192.0.2.9"}}
    (record,) = posthog(door, bought)
    assert record["collection_source"] == record["platform"] == "server"
    assert record["user_id"] == "u1"
    assert record["ip_address"] == "192.0.2.0"
    # Its own agent and language say nothing about the person.
    assert not {"visitor_id", "user_agent", "language"} & set(record)


def test_posthog_library_may_say_that_it_runs_at_the_visitors(door: Door) -> None:
    sent = {"event": "a", "distinct_id": "d1", "properties": PYTHON | {"$is_server": False}}
    (record,) = posthog(door, sent)
    assert (record["visitor_id"], record["collection_source"]) == ("d1", "client")


@pytest.mark.parametrize(
    ("distinct", "properties", "expected"),
    [
        pytest.param("u1", {"alias": "d1"} | PYTHON, ("d1", "u1"), id="a server's"),
        pytest.param("d1", {"alias": "u1"} | DEVICE, ("d1", "u1"), id="a device's"),
        pytest.param(
            "u1",
            {"alias": "d0", "$is_identified": True} | DEVICE,
            ("d0", "u1"),
            id="a device's that is signed in",
        ),
        pytest.param("d1", {"alias": "d1"} | DEVICE, ("d1", None), id="of oneself"),
    ],
)
def test_posthog_alias_joins_two_ids(
    door: Door, distinct: str, properties: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    alias = {"event": "$create_alias", "distinct_id": distinct, "properties": properties}
    (record,) = posthog(door, alias)
    assert (record.get("visitor_id"), record.get("user_id")) == expected
    assert "properties" not in record, "an id is kept in its own field alone"


def test_posthog_keeps_what_is_said_of_people_and_groups(door: Door) -> None:
    group = {"$group_type": "company", "$group_key": "c1", "$group_set": {"size": 2}}
    records = posthog(
        door,
        {"event": "$set", "distinct_id": "u1", "$set": {"plan": "pro"}, "properties": PYTHON},
        {"event": "$groupidentify", "distinct_id": "u1", "properties": group | PYTHON},
        {"event": "a", "distinct_id": "u1", "properties": {"$groups": {"company": "c1"}} | PYTHON},
    )
    found = [record["properties"] for record in records]
    assert found == [{"$set": {"plan": "pro"}}, group, {"$groups": {"company": "c1"}}]


def test_posthog_screen_of_an_app(door: Door) -> None:
    flutter = {"$lib": "posthog-flutter", "$screen_name": "Cart", "$locale": "de-DE"}
    (record,) = posthog(door, {"event": "$screen", "distinct_id": "d1", "properties": flutter})
    expected = {"page_title": "Cart", "platform": "app", "event_name": "screen_view"}
    assert {name: record.get(name) for name in expected} == expected


def analytics(key: str, *events: dict[str, Any], library: str = "") -> httpx.Request:
    """A request of the newer API."""
    content = gzip.compress(json.dumps({"created_at": HOUR_AGO, "batch": events}).encode())
    return post(
        "/i/v1/analytics/events",
        content,
        authorization=f"Bearer {key}",
        content_encoding="gzip",
        posthog_request_timestamp=SECOND_AGO,
        posthog_sdk_info=library,
    )


def test_posthog_tells_the_fate_of_each_event(door: Door) -> None:
    shared = {"distinct_id": "u1", "timestamp": HOUR_AGO, "properties": {"$is_server": True}}
    sound = shared | {"uuid": "0f8fad5b-d9cb-469f-a165-70867728950e", "event": "a"}
    nameless = shared | {"uuid": "0f8fad5b-d9cb-469f-a165-70867728950f"}
    sure = sound | {
        "uuid": "1f8fad5b-d9cb-469f-a165-70867728950e",
        "session_id": "s1",
        "options": {"disable_skew_correction": True},
    }
    key = door.key().key
    some, none = door.send(analytics(key, sound, nameless, sure), analytics(key, nameless))
    assert some.json()["results"] == {
        sound["uuid"]: {"result": "ok"},
        nameless["uuid"]: {"result": "drop", "details": "event_name_missing"},
        sure["uuid"]: {"result": "ok"},
    }
    assert (none.status_code, none.json()) == (400, {"error": "event_name_missing"})
    events = loaded(door)
    assert occurred(events) == ["11:00:01", "11:00:00"]
    assert events.sort("ordinal")["tracker_session_id"].to_list() == [None, "s1"]


@pytest.mark.parametrize(
    ("library", "platform"),
    [("posthog-js/1.9", "web"), ("posthog-ios/3.1", "app"), ("posthog-go/1.9", "server")],
)
def test_posthog_library_is_named_by_the_request(door: Door, library: str, platform: str) -> None:
    sent = {"uuid": "0f8fad5b-d9cb-469f-a165-70867728950e", "event": "a", "distinct_id": "x"}
    door.send(analytics(door.key().key, sent, library=library))
    (record,) = door.taken
    assert record["platform"] == platform
    assert ("user_id" in record) is (platform == "server")


def test_posthog_page_may_send_what_the_newer_api_wants(door: Door) -> None:
    page = "https://shop.example"
    door.options = {"origins": [page]}
    asked = {"origin": page, "access-control-request-method": "POST"}
    url = "http://collect.example/i/v1/analytics/events"
    (response,) = door.send(httpx.Request("OPTIONS", url, headers=asked))
    allowed = {name.strip() for name in response.headers["access-control-allow-headers"].split(",")}
    names = "attempt", "request-id", "request-timestamp", "sdk-info"
    assert allowed >= {"authorization", "content-type", *(f"posthog-{name}" for name in names)}


# -- the others ----------------------------------------------------------------------------------


def test_measurement_protocol_says_where_and_on_what(door: Door) -> None:
    key = door.key(kind="server").key
    body = {
        "client_id": "c1",
        "user_location": {"city": "Berlin", "country_id": "DE"},
        "device": {"category": "mobile", "language": "de"},
        "ip_override": "198.51.100.7",
        "user_agent": CHROME,
        "events": [
            {"name": "screen_view", "params": {"screen_name": "Cart"}},
            {"name": "view_item", "params": {"items": [{"item_id": "p1"}]}},
            {"name": "add_to_cart", "params": {"items": [{"item_id": "p1"}, {"item_id": "p2"}]}},
        ],
    }
    odd = body | {"user_location": {"country_id": "Germany"}, "ip_override": "here"}
    path = f"/mp/collect?measurement_id=G-1&api_secret={key}"
    door.send(post(path, body), post(path, odd))
    shared = {(r["language"], r["country"], r["ip_address"]) for r in door.taken[:3]}
    assert shared == {("de", "DE", "198.51.100.0")}
    assert [record.get("page_title") for record in door.taken[:3]] == ["Cart", None, None]
    assert [record.get("product_id") for record in door.taken[:3]] == [None, "p1", None]
    assert not any({"country", "ip_address"} & set(record) for record in door.taken[3:])


def pairs(**values: str) -> list[dict[str, object]]:
    """Attributes of OTLP; two underscores stand for a dot."""
    return [
        {"key": name.replace("__", "."), "value": {"stringValue": value}}
        for name, value in values.items()
    ]


def logs(key: str, resource: list[dict[str, object]], log: dict[str, object]) -> httpx.Request:
    """A request with one log record."""
    scope = {"logRecords": [log]}
    body = {"resourceLogs": [{"resource": {"attributes": resource}, "scopeLogs": [scope]}]}
    return post("/v1/logs", body, authorization=f"Bearer {key}")


@pytest.mark.parametrize(
    ("count", "status"),
    [pytest.param(512, 200, id="of an exporter"), pytest.param(513, 413, id="one more")],
)
def test_otlp_takes_a_whole_batch_of_an_exporter(door: Door, count: int, status: int) -> None:
    log = {"eventName": "opened", "attributes": pairs(user__id="u1"), "timeUnixNano": "1"}
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [log] * count}]}]}
    key = door.key(kind="server").key
    (response,) = door.send(post("/v1/logs", body, authorization=f"Bearer {key}"))
    assert response.status_code == status, response.text


def test_otlp_page_view_says_its_page_in_the_body(door: Door) -> None:
    page = pairs(url="https://shop.example/a", title="A", referrer="https://search.example/")
    view: dict[str, object] = {
        "eventName": "browser.page_view",
        "attributes": pairs(enduser__pseudo__id="v1"),
        "body": {"kvlistValue": {"values": [*page, *pairs(changeState="pushState")]}},
    }
    attributed = view | {"attributes": pairs(url__full="https://shop.example/b")}
    key = door.key().key
    door.send(logs(key, [], view), logs(key, [], attributed))
    first, second = door.taken
    expected = {
        "event_name": "page_view",
        "platform": "web",
        "page_url": "https://shop.example/a",
        "page_title": "A",
        "referrer_url": "https://search.example/",
        "properties": {"changeState": "pushState"},
    }
    assert {name: first.get(name) for name in expected} == expected
    assert second["page_url"] == "https://shop.example/b"


@pytest.mark.parametrize(("kind", "platform"), [("browser", "app"), ("server", "server")])
def test_otlp_resource_tells_an_app(door: Door, kind: str, platform: str) -> None:
    click: dict[str, object] = {
        "eventName": "app.screen.click",
        "attributes": pairs(app__screen__name="Cart"),
    }
    key = door.key(kind=kind).key  # type: ignore[arg-type]  # one of two
    door.send(logs(key, pairs(app__installation__id="i1"), click))
    (record,) = door.taken
    assert (record["platform"], record["page_title"]) == (platform, "Cart")


def test_snowplow_network_id_may_be_said_by_the_client(door: Door) -> None:
    door.key(app_ids=("shop",))
    query = {"e": "pv", "aid": "shop", "tnuid": "n1"}
    door.send(get("/i", query), get("/i", query | {"duid": "v1"}))
    assert [record["visitor_id"] for record in door.taken] == ["n1", "v1"]


def test_refusal_names_the_place_in_the_request(door: Door) -> None:
    door.options = {"server_only_events": ["purchase"]}
    sent = [event(0, name=None), event(1), event(2, name="purchase")]
    (response,) = door.send(post("/v1/events", batch(door.key().key, *sent)))
    found = [(item["index"], item["reason"]) for item in response.json()["rejected"]]
    assert found == [(0, "event_name_missing"), (2, "event_is_server_only")]


def test_otlp_type_of_media_is_read_without_capitals(door: Door) -> None:
    key = door.key(kind="server").key
    sent = post("/v1/logs", b"", content_type="Application/X-Protobuf", x_write_key=key)
    (response,) = door.send(sent)
    assert (response.status_code, response.content) == (200, b"")
