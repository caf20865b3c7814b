"""Protocols, one after the other: what each takes, counts, refuses and keeps."""

import base64
import json

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from clickstream_platform_tests.services.wire import NOW, Door, batch, event, get, post


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
