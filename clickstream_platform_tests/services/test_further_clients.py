"""Requests in the shapes that further libraries send, as their own tests show them."""

import base64
import json
from typing import Any

import httpx
import polars as pl
import pytest

from clickstream_platform.events import ingest_files
from clickstream_platform_tests.services.wire import NOW, Door, loaded, post

NOW_MS = int(NOW.timestamp() * 1000)
GROUP = {"$group_type": "company", "$group_key": "acme", "$group_set": {"size": 2}}
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def picked(record: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Those fields of a record that are expected, None where they are missing."""
    return {name: record.get(name) for name in expected}


# -- PostHog -------------------------------------------------------------------------------------


def posthog(door: Door, sent: dict[str, Any]) -> dict[str, Any]:
    """Record of one event that comes with a page's key."""
    (response,) = door.send(post("/batch", {"api_key": door.key().key, "batch": [sent]}))
    assert response.json() == {"status": 1}
    (record,) = door.taken
    return record


@pytest.mark.parametrize(
    ("distinct", "properties", "expected"),
    [
        pytest.param("$company_acme", {"$lib": "posthog-go"}, (None, None), id="made of its name"),
        pytest.param(UUID, {"$lib": "posthog-python"}, (None, None), id="made at random"),
        pytest.param("u1", {"$lib": "posthog-android"}, (None, None), id="nobody says whose it is"),
        pytest.param(
            "u1", {"$lib": "posthog-ios", "$is_identified": True}, (None, "u1"), id="of a user"
        ),
        pytest.param(
            "d1", {"$lib": "posthog-ios", "$is_identified": False}, ("d1", None), id="of a device"
        ),
        pytest.param("d1", {"$lib": "web", "$device_id": "d1"}, ("d1", None), id="of a page"),
    ],
)
def test_posthog_group_is_no_person(
    door: Door, distinct: str, properties: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    sent = {"event": "$groupidentify", "distinct_id": distinct, "properties": GROUP | properties}
    record = posthog(door, sent)
    assert (record.get("visitor_id"), record.get("user_id")) == expected
    assert picked(record["properties"], GROUP) == GROUP


@pytest.mark.parametrize(
    "asked",
    [
        {"properties": {"$lib": "posthog-python", "$process_person_profile": False}},
        {"properties": {"$is_server": True}, "options": {"process_person_profile": False}},
    ],
)
def test_posthog_server_may_ask_for_no_person(door: Door, asked: dict[str, Any]) -> None:
    record = posthog(door, {"event": "job done", "distinct_id": UUID, **asked})
    expected = {"visitor_id": UUID, "user_id": None, "platform": "server"}
    assert picked(record, expected) == expected


def test_posthog_merge_is_an_alias(door: Door) -> None:
    properties = {"$lib": "posthog-node", "alias": "u0"}
    sent = {"event": "$merge_dangerously", "distinct_id": "u1", "properties": properties}
    record = posthog(door, sent)
    expected = {"event_name": "alias", "visitor_id": "u0", "user_id": "u1", "properties": None}
    assert picked(record, expected) == expected


def test_posthog_ids_of_messages_are_ids(door: Door) -> None:
    sent = {"event": "a", "distinct_id": "u1", "messageId": "m1", "timestamp": NOW.isoformat()}
    assert posthog(door, sent)["event_id"] == "m1"


def test_posthog_unity_is_an_app(door: Door) -> None:
    sent = {"event": "a", "distinct_id": "d1", "properties": {"$lib": "posthog-unity"}}
    assert posthog(door, sent)["platform"] == "app"


@pytest.mark.parametrize(
    ("causes", "properties"),
    [
        ([{"type": "StateError", "value": "…"}, {"type": "IOError"}], "StateError"),
        ([], None),
        (["odd"], None),
    ],
)
def test_posthog_exception_is_told_by_its_type(
    door: Door, causes: list[Any], properties: str | None
) -> None:
    sent = {"event": "$exception", "distinct_id": "d1", "properties": {"$exception_list": causes}}
    assert posthog(door, sent).get("properties", {}).get("$exception_type") == properties


# -- Segment and RudderStack ---------------------------------------------------------------------


def basic(key: str) -> str:
    """A key as their libraries send it."""
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def rudder(kind: str, **fields: object) -> dict[str, Any]:
    """A message of RudderStack's library for pages."""
    context = {"sessionId": 1795521000123, "page": {"referrer": "$direct"}}
    stamp = NOW.isoformat()
    own = {"type": kind, "messageId": kind, "originalTimestamp": stamp, "sentAt": stamp}
    return {"anonymousId": "a1", "userId": "", "channel": "web", "context": context, **own} | fields


def test_rudderstack_page_may_send_its_header(door: Door) -> None:
    page = "https://shop.example"
    door.options = {"origins": [page]}
    asked = {"origin": page, "access-control-request-headers": "anonymousid,authorization"}
    (response,) = door.send(
        httpx.Request("OPTIONS", "http://collect.example/v1/track", headers=asked)
    )
    allowed = response.headers["access-control-allow-headers"].split(", ")
    assert {"anonymousid", "authorization"} <= set(allowed)


def test_rudderstack_says_session_and_traits_in_the_context(door: Door) -> None:
    key = door.key().key
    traits = rudder("identify")["context"] | {"traits": {"plan": "pro"}}
    sent = rudder("identify", userId="u1", context=traits)
    viewed = rudder("page", context=traits)
    door.send(post("/v1/batch", {"batch": [sent, viewed]}, authorization=basic(key)))
    identify, view = door.taken
    expected = {
        "visitor_id": "a1",
        "user_id": "u1",
        "session_id": "1795521000123",
        "referrer_url": None,
        "properties": {"plan": "pro"},
    }
    assert picked(identify, expected) == expected
    assert "properties" not in view, "traits of a page view are no properties of it"


def test_rudderstack_reads_over_http_as_from_files(door: Door) -> None:
    context = rudder("identify")["context"] | {"traits": {"plan": "pro"}}
    messages = [
        rudder("identify", userId="u1", context=context),
        rudder("page", userId="u1", context=context, properties={"path": "/"}),
    ]
    door.send(post("/v1/batch", {"batch": messages, "writeKey": door.key("live").key}))
    file = door.settings.data.parent / "messages.ndjson"
    file.write_text("\n".join(json.dumps(m | {"messageId": "f" + m["type"]}) for m in messages))
    ingest_files(door.settings, [file], "segment", now=NOW)
    events = loaded(door).sort("event_name")
    compared = ["event_name", "tracker_session_id", "referrer_url", "user_id", "properties"]
    live, from_files = (
        events.filter(source=source).select(compared).to_dicts() for source in ("live", "segment")
    )
    assert live == from_files
    assert [(e["tracker_session_id"], e["properties"]) for e in live] == [
        ("1795521000123", '{"plan":"pro"}'),
        ("1795521000123", '{"path":"/"}'),
    ]


def test_rudderstack_beacon_carries_its_key_in_the_address(door: Door) -> None:
    body = {"batch": [rudder("track", event="Left")]}
    known, unknown = door.send(
        post(f"/beacon/v1/batch?writeKey={door.key().key}", body), post("/beacon/v1/batch", body)
    )
    assert (known.status_code, unknown.status_code) == (200, 401)
    assert [record["event_name"] for record in door.taken] == ["left"]


def test_segment_server_with_a_pages_key_is_a_server(door: Door) -> None:
    context = {"ip": "198.51.100.7"}
    body = {"batch": [rudder("track", event="a", channel="server", context=context)]}
    door.send(post("/v1/batch", body, authorization=basic(door.key().key), user_agent="library/1"))
    (record,) = door.taken
    expected = {
        "collection_source": "server",
        "platform": "server",
        "ip_address": "198.51.100.0",
        "user_agent": None,
    }
    assert picked(record, expected) == expected


# -- Snowplow ------------------------------------------------------------------------------------


def snowplow(door: Door, sent: dict[str, str], **headers: str) -> dict[str, Any]:
    """Record of one event of an application."""
    door.key(app_ids=("shop",))
    schema = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
    body = {"schema": schema, "data": [{"aid": "shop", "duid": "d1"} | sent]}
    path = "/com.snowplowanalytics.snowplow/tp2"
    (response,) = door.send(post(path, body, user_agent="tracker/1", **headers))
    assert response.text == "ok"
    (record,) = door.taken
    return record


def test_snowplow_server_says_whose_address_it_is(door: Door) -> None:
    sent = {"e": "pv", "p": "srv", "ip": "198.51.100.7", "ua": "Mozilla/5.0"}
    record = snowplow(door, sent)
    expected = {
        "collection_source": "server",
        "platform": "server",
        "ip_address": "198.51.100.0",
        "user_agent": "Mozilla/5.0",
    }
    assert picked(record, expected) == expected


def test_snowplow_page_does_not_say_its_own_address(door: Door) -> None:
    record = snowplow(door, {"e": "pv", "p": "web", "ip": "198.51.100.7"})
    assert record["ip_address"] == "203.0.113.0"


def test_snowplow_server_without_an_address_leaves_none_of_its_own(door: Door) -> None:
    assert not {"ip_address", "user_agent"} & set(snowplow(door, {"e": "pv", "p": "srv"}))


def test_snowplow_anonymous_request_leaves_no_address(door: Door) -> None:
    record = snowplow(door, {"e": "pv", "p": "web"}, sp_anonymous="*")
    assert "ip_address" not in record
    assert record["user_agent"] == "tracker/1"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(
            {"e": "pp", "pp_mix": "0", "pp_may": "400"},
            {"x_offset_min": "0", "y_offset_max": "400"},
            id="how far a page was scrolled",
        ),
        pytest.param(
            {"e": "tr", "tr_id": "o1", "tr_tt": "9", "tr_tx": "2.5", "tr_sh": "6", "tr_ci": "B"},
            {"tax": "2.5", "shipping": "6"},
            id="what an order holds beside its total",
        ),
        pytest.param({"e": "pp"}, None, id="nothing"),
    ],
)
def test_snowplow_keeps_what_has_no_column(
    door: Door, sent: dict[str, str], expected: dict[str, str] | None
) -> None:
    assert snowplow(door, sent).get("properties") == expected


# -- GA4 -----------------------------------------------------------------------------------------


def test_measurement_protocol_keeps_what_it_says_of_the_user(door: Door) -> None:
    said = {"tier": {"value": "gold"}, "plain": "x", "gone": {"value": None}}
    body = {"client_id": "c1", "user_properties": said, "events": [{"name": "login"}]}
    door.send(post(f"/mp/collect?api_secret={door.key(kind='server').key}", body))
    (record,) = door.taken
    assert record["properties"] == {"user_properties": {"tier": "gold", "plain": "x"}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"client_id":"c","events":[{"name":"a","params":{"p":1,"p":2}}]}', "NAME_DUPLICATED"),
        (b'{"client_id":"c","events":[{"name":"a","params":{"p":1%b}}]}' % (b"0" * 30), None),
        (b'{"client_id":', "VALUE_INVALID"),
        (b"[]", "VALUE_INVALID"),
        (b"", "VALUE_INVALID"),
    ],
)
def test_measurement_protocol_judges_what_it_cannot_read(
    door: Door, body: bytes, code: str | None
) -> None:
    key = door.key(kind="server").key
    (response,) = door.send(post(f"/debug/mp/collect?api_secret={key}", body))
    codes = [found["validationCode"] for found in response.json()["validationMessages"]]
    assert (response.status_code, codes) == (200, [code or "VALUE_OUT_OF_BOUNDS"])
    assert door.records == [], "the validation server keeps nothing"


# -- all of them ---------------------------------------------------------------------------------


def test_every_event_lands_once(door: Door) -> None:
    stamp = NOW.isoformat()
    key = door.key(app_ids=("shop",)).key
    captured = {"event": "a", "distinct_id": "d1", "uuid": UUID, "timestamp": stamp}
    tracked = {"e": "pv", "aid": "shop", "duid": "d1", "eid": "e1", "dtm": str(NOW_MS)}
    requests = [
        post("/batch", {"api_key": key, "sent_at": stamp, "batch": [captured]}),
        post(f"/beacon/v1/batch?writeKey={key}", {"batch": [rudder("track", event="Left")]}),
        post("/com.snowplowanalytics.snowplow/tp2", {"data": [tracked]}),
    ]
    door.send(*requests, *requests)
    events = loaded(door)
    assert events["event_name"].sort().to_list() == ["a", "left", "page_view"]
    assert events.select(pl.col("occurred_at").unique().count()).item() == 1
    sessions = events.filter(event_name="left")["tracker_session_id"]
    assert sessions.to_list() == ["1795521000123"]
