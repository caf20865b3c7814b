"""Requests recorded from real clients, and what each becomes, field by field."""

import base64
import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from clickstream_platform.collection.write_keys import Kind
from clickstream_platform.events import ingest_files, ingest_landing, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import landed
from clickstream_platform_tests.services.wire import NOW, Door, post

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
