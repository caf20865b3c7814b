"""Protocols: requests recorded from real clients, and what each becomes, field by field."""

import base64
import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from clickstream_platform.collection.write_keys import Kind
from clickstream_platform.events import ingest_files, ingest_landing, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import landed
from clickstream_platform_tests.services.wire import NOW, Door, batch, event, get, post

PAGE = "http://127.0.0.1:8098"
CHROME = "Chrome/156.0.0.0"


def recorded(shared: Path, name: str, key: str) -> httpx.Request:
    """A recorded request with our key in place of the recorded one, as its client packs it."""
    held = json.loads((shared / "cases" / "tracker_payloads" / f"{name}.json").read_text())
    body = json.dumps(held["body"]).replace('"phc_k"', f'"{key}"')
    body = body.replace('"writeKey": "k"', f'"writeKey": "{key}"')
    headers = {
        name.lower(): value
        for name, value in held["headers"].items()
        if name.lower() not in {"content-length", "host", "connection"}
    }
    if headers.get("authorization", "").startswith("Basic"):
        headers["authorization"] = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
    content = body.encode()
    if "-ph-" in name:
        content = gzip.compress(content)
    url = f"http://collect.example{held['path']}"
    return httpx.Request("POST", url, content=content, headers=headers)


BROWSER = {"collection_source": "client", "platform": "web", "ip_address": "203.0.113.0"}
PH_DEVICE = "01a209cb-74fd-7a3d-ada2-16c92017c148"
PH_URL = "http://127.0.0.1:8098/p_ph.html?utm_source=news&email=%5Bemail%5D"
SEG_URL = "http://127.0.0.1:8098/p_seg.html?utm_source=news&email=%5Bemail%5D"
SP_URL = "http://127.0.0.1:8098/p_sp.html?utm_source=news&email=%5Bemail%5D"
SP_SHARED = {
    "app_id": "shop",
    "visitor_id": "a60ce3be-302c-4990-b56b-80d3e883167a",
    "session_id": "bfab931a-04e2-4c9e-84d4-07e079eb8962",
    "sent_at": 1795460652805,
    "language": "en-US",
    "page_url": SP_URL,
    **BROWSER,
}
SEG_SHARED = {
    "visitor_id": "a94b5c86-ca55-4afe-b4ac-44bccfb5765a",
    "user_id": "u1",
    "page_url": SEG_URL,
    "page_title": "Shop",
    "campaign_source": "news",
    "language": "en-US",
    **BROWSER,
}
SERVER = {"collection_source": "server", "platform": "server", "user_id": "u1"}

RECORDED: dict[str, list[dict[str, Any]]] = {
    "browser-ph-ph-0": [
        {
            "event_id": "01a209cb-757f-7056-bdd2-d46d200bdc2f",
            "event_name": "page_view",
            "created_at": "2026-11-23T19:04:18.559Z",
            "sent_at": "2026-11-23T19:04:18.561Z",
            "visitor_id": PH_DEVICE,
            "page_url": PH_URL,
            "language": "en-US",
            **BROWSER,
        }
    ],
    "browser-ph-ph-1": [
        {
            "event_id": "01a209cb-7503-74fb-b6d2-a2262466d55e",
            "event_name": "product_view",
            "visitor_id": PH_DEVICE,
            **BROWSER,
        }
    ],
    "browser2-ph-ph-2": [
        {
            "event_name": "click",
            "session_id": "01a209cc-1bc9-7d83-9ea2-725125c11415",
            "created_at": "2026-11-23T19:05:01.436Z",
            **BROWSER,
        }
    ],
    "browser2-ph-ph-3": [{"event_name": "page_leave", **BROWSER}],
    "browser-seg-seg-0": [
        {
            "event_id": "ajs-next-1795460655702-44a94b5c-86ca-45ba-be74-ac44bccfb576",
            "event_name": "page_view",
            "created_at": "2026-11-23T19:04:15.702Z",
            "sent_at": "2026-11-23T19:04:15.766Z",
            **SEG_SHARED,
        }
    ],
    "browser-seg-seg-1": [
        {
            "event_name": "view_item",
            "product_id": "S1",
            "properties": {"sku": "S1"},
            **SEG_SHARED,
        }
    ],
    "browser-seg-seg-2": [
        {"event_name": "identify", "properties": {"plan": "pro"}, **SEG_SHARED}
    ],
    "browser-sp-sp-0": [
        {
            "event_id": "5048d7d6-b5fb-47e1-b329-fa583ddf0fbb",
            "event_name": "page_view",
            "created_at": 1795460652780,
            "page_title": "Shop",
            "entities": [
                {
                    "schema": "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0",
                    "data": {"id": "5c9b719c-477c-48f9-84fc-081c471d7f04"},
                }
            ],
            **SP_SHARED,
        },
        {
            "event_id": "76fe36ce-861d-4a89-8fef-d6ddaae3ffdf",
            "event_name": "add",
            "properties": {"category": "shop", "label": "S1", "value": "2"},
            **SP_SHARED,
        },
        {
            "event_id": "535ec2f5-71a3-43c3-ba78-4f24f0231fba",
            "event_name": "product_view",
            "properties": {"sku": "S1"},
            **SP_SHARED,
        },
    ],
    "node-ph-0": [
        {
            "event_id": "01a209c7-1dff-70ce-a97f-d0add46fcff0",
            "event_name": "product_view",
            "created_at": "2026-11-23T18:59:34.015Z",
            "sent_at": "2026-11-23T18:59:34.016Z",
            "page_url": "http://shop.example/p/1",
            "product_id": "S1",
            "properties": {"sku": "S1"},
            **SERVER,
        },
        {"event_name": "identify", "properties": {"$set": {"plan": "pro"}}, **SERVER},
    ],
    "node-seg-0": [
        {"event_name": "identify", "properties": {"plan": "pro"}, **SERVER},
        {"event_name": "page_view", "page_url": "http://shop.example/", **SERVER},
        {
            "event_name": "view_item",
            "event_id": "node-next-1795460373932-d9976121-869b-445c-8fc2-bd735073f415",
            "product_id": "S1",
            "properties": {"sku": "S1", "price": 9.5},
            "sent_at": "2026-11-23T18:59:33.982Z",
            **SERVER,
        },
    ],
    "node-sp-0": [
        {
            "event_name": "page_view",
            "page_url": "http://shop.example/p/1",
            "referrer_url": "http://g.example",
            "created_at": 1795460373929,
            "sent_at": 1795460373933,
            **SERVER,
        },
        {
            "event_name": "add",
            "properties": {"category": "shop", "label": "sku1", "property": "x", "value": "3"},
            **SERVER,
        },
        {"event_name": "product_view", "properties": {"sku": "S1", "price": 9.5}, **SERVER},
    ],
}  # fmt: skip
"""What each recorded request must become; fields that are not named are not looked at."""


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_recorded_request_becomes_records(door: Door, shared: Path, name: str) -> None:
    door.options = {"origins": [PAGE]}
    kind: Kind = "server" if name.startswith("node") else "browser"
    app_ids = ("shop",) if "-sp-" in name else ()
    key = door.key("live", kind, app_ids=app_ids).key
    (response,) = door.send(recorded(shared, name, key))
    assert response.status_code == 200, response.text
    expected = RECORDED[name]
    assert len(door.records) == len(expected)
    for record, fields in zip(door.records, expected, strict=True):
        assert {field: record.get(field) for field in fields} == fields
        if kind == "server":
            assert not record.keys() & {"ip_address", "language"}, "they are the server's own"
        else:
            assert CHROME in record["user_agent"]
    for leaked in (b"a@b.c", b"a%40b.c", key.encode(), b"203.0.113.77"):
        assert leaked not in door.disk


@pytest.mark.parametrize("name", ["browser-ph-ph-0", "browser-seg-seg-1", "browser-sp-sp-0"])
def test_recorded_request_becomes_events(door: Door, shared: Path, name: str) -> None:
    """From the wire to the table: identifiers become pseudonyms, clocks are corrected."""
    door.options = {"origins": [PAGE]}
    key = door.key("live", app_ids=("shop",)).key
    request = recorded(shared, name, key)
    door.send(request)
    door.send(recorded(shared, name, key))
    for path in door.sealed:
        ingest_landing(door.settings, now=NOW, files=[landed(door.settings, path)])
    refresh_events(door.settings)
    events = Lake(door.settings.lake_folder).scan("events").collect()
    expected = RECORDED[name]
    assert sorted(events["event_name"]) == sorted(fields["event_name"] for fields in expected)
    assert events["visitor_id"].str.starts_with("pv_").all()
    assert events["page_url"].is_in([PH_URL, SEG_URL, SP_URL]).all()
    assert (events["campaign_source"] == "news").all()
    assert events["browser_name"].str.contains("Chrome").all()
    # Devices sent within a second of the event; the recording is a day older than its arrival.
    assert (NOW - timedelta(seconds=1) <= events["occurred_at"]).all()
    duplicates = Lake(door.settings.lake_folder).scan("duplicate_events").collect()
    assert duplicates.height == len(expected), "the second sending collapses by event id"
    assert not duplicates["is_conflict"].any()


def test_segment_reads_as_its_adapter_does(door: Door, shared: Path, settings: Settings) -> None:
    """The same messages over HTTP and from files become the same events."""
    folder = shared / "cases" / "tracker_payloads"
    files = [folder / f"browser-seg-seg-{number}.json" for number in range(3)]
    messages = [json.loads(file.read_text())["body"] for file in files]
    messages[1] |= {
        "event": "Order Completed",
        "properties": {"order_id": "o1", "total": 12.5, "currency": "EUR", "product_id": "p"},
    }
    key = door.key("live").key
    door.send(post("/v1/batch", {"batch": messages, "writeKey": key}))
    file = settings.data.parent / "messages.ndjson"
    lines = [json.dumps(m | {"messageId": "f" + m["messageId"]}) for m in messages]
    file.write_text("\n".join(lines))
    ingest_files(settings, [file], "segment", now=NOW)
    ingest_landing(settings, now=NOW, files=[landed(settings, path) for path in door.sealed])
    refresh_events(settings)
    compared = [
        "event_name", "visitor_id", "user_id", "platform", "page_url", "page_title", "product_id",
        "campaign_source", "order_id", "revenue", "currency_original", "browser_name", "language",
        "collection_source", "properties",
    ]  # fmt: skip
    events = Lake(settings.lake_folder).scan("events").sort("event_name").collect()
    live = events.filter(pl.col("source") == "live").select(compared)
    from_files = events.filter(pl.col("source") == "segment").select(compared)
    assert live.height == 3
    assert live.to_dicts() == from_files.to_dicts()


def test_compact_protocol_counts_what_it_takes(door: Door) -> None:
    key = door.key().key
    odd = [event(1), event(2, name=None), event(3, created_at="noon"), "text", event(4)]
    (response,) = door.send(post("/v1/events", batch(key, *odd), content_type="text/plain"))
    assert response.status_code == 200
    assert response.json() == {
        "accepted": 2,
        "rejected": [
            {"index": 1, "id": "e2", "reason": "event_name_missing"},
            {"index": 2, "id": "e3", "reason": "event_invalid"},
            {"index": 3, "id": None, "reason": "event_invalid"},
        ],
    }
    assert [record["event_id"] for record in door.taken] == ["e1", "e4"]
    assert door.reasons == ["event_name_missing", "event_invalid", "event_invalid"]


def test_compact_protocol_keeps_every_field(door: Door) -> None:
    key = door.key().key
    sent = event(
        user_id="ann@example.com",
        session_id="s1",
        page_title="Shop",
        referrer_url="https://www.google.com/",
        engaged_time_ms=1500,
        consent={"analytics": True, "marketing": True, "personalization": False, "gpc": False},
        properties={"list": "search", "deep": {"a": [1, 2]}},
    )
    door.send(post("/v1/events", batch(key, sent), user_agent="Mozilla/5.0"))
    (record,) = door.taken
    del record["_crc"]
    assert record == {
        "event_id": "e0",
        "event_name": "page_view",
        "created_at": sent["created_at"],
        "sent_at": batch(key)["sent_at"],
        "received_at": int(NOW.timestamp() * 1_000_000),
        "visitor_id": "visitor-ann",
        "user_id": "ann@example.com",  # ingestion makes a pseudonym of it, as in every landed file
        "session_id": "s1",
        "collection_source": "client",
        "platform": "web",
        "ip_address": "203.0.113.0",
        "user_agent": "Mozilla/5.0",
        "page_url": "https://shop.example/",
        "page_title": "Shop",
        "referrer_url": "https://www.google.com/",
        "engaged_time_ms": 1500,
        "consent": sent["consent"],
        "properties": sent["properties"],
    }


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param({"product_id": "S1"}, {"product_id": "S1"}, id="product of any event"),
        pytest.param({"product_id": 7}, {"product_id": "7"}, id="identifiers are text"),
        pytest.param({"revenue": 3, "currency": "EUR"}, {}, id="money of no purchase stays there"),
        pytest.param({"product_id": {"a": 1}}, {}, id="what is no value stays there"),
    ],
)
def test_compact_protocol_finds_fields_among_properties(
    door: Door, sent: dict[str, object], expected: dict[str, object]
) -> None:
    names = ("product_id", "order_id", "revenue", "currency")
    door.send(post("/v1/events", batch(door.key().key, event(properties=sent))))
    (record,) = door.taken
    assert {name: record[name] for name in names if name in record} == expected
    assert record["properties"] == sent


def test_compact_protocol_prefers_an_events_own_fields(door: Door) -> None:
    properties = {"order_id": "o1", "revenue": "12.50", "currency": "EUR"}
    bought = event(1, name="purchase", properties=properties)
    named = event(2, name="purchase", properties=properties, order_id="o2", revenue=9)
    door.send(post("/v1/events", batch(door.key().key, bought, named)))
    found = [(r["order_id"], r["revenue"], r["currency"]) for r in door.taken]
    assert found == [("o1", 12.5, "EUR"), ("o2", 9, "EUR")]


@pytest.mark.parametrize(("header", "said"), [("1", False), ("0", True), ("", False)])
def test_global_privacy_control_withdraws_marketing(door: Door, header: str, *, said: bool) -> None:
    key = door.key().key
    consent = {"marketing": True} | ({} if header else {"gpc": True})
    headers = {"sec_gpc": header} if header else {}
    door.send(post("/v1/events", batch(key, event(consent=consent)), **headers))
    assert door.taken[0]["consent"]["marketing"] is said


def test_same_request_without_ids_is_known_again(door: Door) -> None:
    key = door.key().key
    request = batch(key, event(id=None), event(id=None), event(1, id=None))
    door.send(post("/v1/events", request), post("/v1/events", request))
    ids = [record["event_id"] for record in door.taken]
    assert ids[:3] == ids[3:]
    assert len(set(ids)) == 3


def test_snowplow_pixel(door: Door) -> None:
    door.key("live", app_ids=("shop",))
    context = {
        "schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0",
        "data": [{"schema": "iglu:com.shop/basket/jsonschema/1-0-0", "data": {"size": 2}}],
    }
    encoded = base64.urlsafe_b64encode(json.dumps(context).encode()).decode().rstrip("=")
    query = {
        "e": "pp",
        "aid": "shop",
        "p": "web",
        "duid": "v1",
        "url": "https://shop.example/?email=ann@example.com",
        "cx": encoded,
        "dtm": "1795460652780",
        "stm": "1795460652805",
    }
    sound, bad = door.send(get("/i", query), get("/i", query | {"cx": "%%%"}))
    assert sound.status_code == 200
    assert sound.headers["content-type"] == "image/gif"
    assert sound.content.startswith(b"GIF89a")
    assert bad.status_code == 400
    assert bad.json() == {"error": "event_invalid"}
    (record,) = door.taken
    assert record["event_name"] == "page_ping"
    assert record["engaged_time_ms"] == "10000"
    assert record["entities"] == context["data"]
    assert record["page_url"] == "https://shop.example/?email=%5Bemail%5D"
    assert record["created_at"] == 1795460652780


def test_snowplow_transaction_carries_revenue(door: Door) -> None:
    door.key("live", "server", app_ids=("shop",))
    order = {"e": "tr", "aid": "shop", "eid": "t1", "tr_id": "o1", "tr_tt": "19.90", "tr_cu": "EUR"}
    door.send(post("/com.snowplowanalytics.snowplow/tp2", {"schema": "s", "data": [order]}))
    (record,) = door.taken
    assert (record["event_name"], record["order_id"]) == ("purchase", "o1")
    assert (record["revenue"], record["currency"]) == (19.9, "EUR")


def test_own_pixel(door: Door) -> None:
    key = door.key().key
    (response,) = door.send(
        get(
            "/v1/pixel.gif",
            {"key": key, "name": "mail_open", "visitor_id": "v1", "prop_issue": "7"},
            referer="https://shop.example/news",
        )
    )
    assert response.headers["content-type"] == "image/gif"
    (record,) = door.taken
    assert record["event_name"] == "mail_open"
    assert record["properties"] == {"issue": "7"}
    assert record["page_url"] == "https://shop.example/news"


def test_posthog_learns_its_flags(door: Door) -> None:
    flags, config, script = door.send(
        post("/flags/?v=2", {"token": "x"}), get("/array/k/config"), get("/array/k/config.js")
    )
    assert flags.json()["featureFlags"] == {}
    assert flags.json()["sessionRecording"] is False
    assert config.json()["supportedCompression"] == ["gzip", "gzip-js"]
    assert script.status_code == 200


def test_posthog_identify_links_device_and_person(door: Door) -> None:
    key = door.key().key
    identify = {
        "event": "$identify",
        "distinct_id": "u1",
        "properties": {"$anon_distinct_id": "d1", "$device_id": "d1", "token": key},
    }
    after = {
        "event": "Basket Opened",
        "distinct_id": "u1",
        "properties": {"$device_id": "d1", "$is_identified": True, "token": key},
        "offset": 1500,
    }
    form = b"data=" + base64.b64encode(json.dumps([identify, after]).encode())
    (response,) = door.send(post("/e/", form, content_type="application/x-www-form-urlencoded"))
    assert response.json() == {"status": 1}
    assert [(r["visitor_id"], r["user_id"]) for r in door.taken] == [("d1", "u1")] * 2
    assert door.taken[1]["event_name"] == "basket_opened"
    assert door.taken[1]["created_at"] == int(NOW.timestamp() * 1000) - 1500


def measured(*events: object, **fields: object) -> dict[str, object]:
    """A body of the Measurement Protocol."""
    return {"client_id": "c1", "events": list(events), **fields}


def test_measurement_protocol(door: Door) -> None:
    key = door.key("live", "server").key
    stamp = int(NOW.timestamp() * 1_000_000) - 60_000_000
    body = measured(
        {
            "name": "purchase",
            "params": {
                "transaction_id": "o1",
                "value": 12.5,
                "currency": "EUR",
                "session_id": "77",
                "engagement_time_msec": "100",
                "page_location": "https://shop.example/?email=ann@example.com",
                "items": [{"item_id": "p1", "quantity": 2}],
                "coupon": "X",
            },
        },
        user_id="u1",
        timestamp_micros=str(stamp),
        consent={"ad_user_data": "DENIED", "ad_personalization": "GRANTED"},
    )
    path = f"/mp/collect?measurement_id=G-1&api_secret={key}"
    first, again = door.send(post(path, body), post(path, body))
    assert (first.status_code, again.status_code) == (204, 204)
    record = door.taken[0]
    assert door.taken[1]["event_id"] == record["event_id"]
    expected = {
        "event_name": "purchase",
        "occurred_at": stamp,
        "visitor_id": "c1",
        "user_id": "u1",
        "app_id": "G-1",
        "session_id": "77",
        "engaged_time_ms": 100,
        "order_id": "o1",
        "revenue": 12.5,
        "currency": "EUR",
        "consent": {"marketing": False, "personalization": True},
        "entities": [{"item_id": "p1", "quantity": 2}],
    }
    assert {name: record.get(name) for name in expected} == expected
    assert record["page_url"] == "https://shop.example/?email=%5Bemail%5D"
    assert record["properties"]["coupon"] == "X"


VERDICTS = {
    "sound": (measured({"name": "add_to_cart", "params": {"currency": "EUR"}}), []),
    "no client": ({"events": [{"name": "a"}]}, [("client_id", "VALUE_REQUIRED")]),
    "no events": ({"client_id": "c", "events": []}, [("events", "VALUE_REQUIRED")]),
    "26 events": (measured(*[{"name": "a"}] * 26), [("events", "EXCEEDED_MAX_ENTITIES")]),
    "name with underscore first": (measured({"name": "_bad"}), [("events", "NAME_INVALID")]),
    "reserved name": (measured({"name": "first_open"}), [("events", "NAME_RESERVED")]),
    "long name": (measured({"name": "a" * 41}), [("events", "NAME_INVALID")]),
    "no name": (measured({"params": {}}), [("events", "VALUE_REQUIRED")]),
    "26 params": (
        measured({"name": "a", "params": {f"p{n}": 1 for n in range(26)}}),
        [("events.params", "EXCEEDED_MAX_ENTITIES")],
    ),
    "reserved param": (
        measured({"name": "a", "params": {"ga_x": 1}}),
        [("events.params.ga_x", "NAME_RESERVED")],
    ),
    "long value": (
        measured({"name": "a", "params": {"p": "x" * 101}}),
        [("events.params.p", "VALUE_INVALID")],
    ),
    "value without currency": (
        measured({"name": "purchase", "params": {"value": 1}}),
        [("events.params.currency", "VALUE_REQUIRED")],
    ),
    "too long ago": (
        measured({"name": "a"}, timestamp_micros=1),
        [("timestamp_micros", "VALUE_OUT_OF_BOUNDS")],
    ),
    "reserved user property": (
        measured({"name": "a"}, user_properties={"google_x": {"value": 1}}),
        [("user_properties", "NAME_RESERVED")],
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_measurement_protocol_is_judged(door: Door, case: str) -> None:
    body, expected = VERDICTS[case]
    key = door.key("live", "server").key
    (response,) = door.send(post(f"/debug/mp/collect?api_secret={key}", body))
    found = response.json()["validationMessages"]
    assert [(m["fieldPath"], m["validationCode"]) for m in found] == expected
    assert door.records == [], "the validation server keeps nothing"


LOGS = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeLogs": [
                {
                    "logRecords": [
                        {
                            "timeUnixNano": "1795460652780000000",
                            "eventName": "product.view",
                            "attributes": [
                                {"key": "session.id", "value": {"stringValue": "s1"}},
                                {"key": "user.id", "value": {"stringValue": "u1"}},
                                {
                                    "key": "url.full",
                                    "value": {"stringValue": "https://shop.example/?email=a@b.c"},
                                },
                                {"key": "price", "value": {"doubleValue": 9.5}},
                                {"key": "stock", "value": {"intValue": "3"}},
                                {
                                    "key": "tags",
                                    "value": {"arrayValue": {"values": [{"stringValue": "new"}]}},
                                },
                            ],
                        },
                        {"timeUnixNano": "1795460652980000000", "body": {"stringValue": "no name"}},
                    ]
                }
            ],
        }
    ]
}


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_otlp_logs(door: Door, encoding: str) -> None:
    key = door.key("live").key
    if encoding == "json":
        headers = {"content_type": "application/json", "authorization": f"Bearer {key}"}
        request = post("/v1/logs", LOGS, **headers)
    else:
        message = ParseDict(LOGS, ExportLogsServiceRequest())
        request = post(
            "/v1/logs",
            message.SerializeToString(),
            content_type="application/x-protobuf",
            authorization=f"Bearer {key}",
        )
    (response,) = door.send(request)
    assert response.status_code == 200
    if encoding == "json":
        partial = response.json()["partialSuccess"]
        assert partial == {"rejectedLogRecords": "1", "errorMessage": "event_name_missing"}
    else:
        told = ExportLogsServiceResponse.FromString(response.content).partial_success
        assert (told.rejected_log_records, told.error_message) == (1, "event_name_missing")
    (record,) = door.taken
    expected = {
        "event_name": "product_view",
        "app_id": "shop",
        "session_id": "s1",
        "user_id": "u1",
        "created_at": 1795460652780000,
        "sent_at": 1795460652980000,
        "page_url": "https://shop.example/?email=%5Bemail%5D",
        "properties": {"price": 9.5, "stock": 3, "tags": ["new"]},
    }
    assert {name: record.get(name) for name in expected} == expected
    assert door.reasons == ["event_name_missing"]
