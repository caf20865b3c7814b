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


def described(schema: str, data: object) -> dict[str, object]:
    """JSON that brings its own schema."""
    return {"schema": f"iglu:com.snowplowanalytics.{schema}/jsonschema/1-0-0", "data": data}


def unstruct(schema: str, data: object, *entities: dict[str, object]) -> dict[str, str]:
    """An event of a schema with what is attached to it."""
    return {
        "e": "ue",
        "ue_pr": json.dumps(described("snowplow/unstruct_event", described(schema, data))),
        "co": json.dumps(described("snowplow/contexts", list(entities))),
    }


ACTION = "snowplow.ecommerce/snowplow_ecommerce_action"
ORDER = described(
    "snowplow.ecommerce/transaction", {"transaction_id": "o1", "revenue": 5, "currency": "EUR"}
)
REFUND = described(
    "snowplow.ecommerce/refund", {"transaction_id": "o1", "refund_amount": 5, "currency": "EUR"}
)
SOCKS, SHOES = (described("snowplow.ecommerce/product", {"id": name}) for name in ("p1", "p2"))


@pytest.mark.parametrize(
    ("action", "entities", "expected"),
    [
        pytest.param("product_view", [SOCKS], ("view_item", None, "p1", None), id="product"),
        pytest.param("list_view", [SOCKS, SHOES], ("list_view", None, None, None), id="products"),
        pytest.param("transaction", [ORDER, SOCKS, SHOES], ("purchase", "o1", None, 5), id="order"),
        pytest.param("refund", [REFUND], ("refund", "o1", None, None), id="refund"),
        pytest.param("transaction", [], ("purchase", None, None, None), id="order unknown"),
        pytest.param(
            None, [], ("snowplow_ecommerce_action", None, None, None), id="type is missing"
        ),
    ],
)
def test_ecommerce_action_is_named_by_its_type(
    action: str | None, entities: list[dict[str, object]], expected: tuple[object, ...]
) -> None:
    (record,) = decode(arrival(), unstruct(ACTION, {"type": action}, *entities)).records
    fields = ("event_name", "order_id", "product_id", "revenue")
    assert tuple(record.get(name) for name in fields) == expected
    assert record.get("currency") == ("EUR" if expected[-1] else None)


def test_device_of_an_app_comes_before_the_networks_id() -> None:
    session = described("snowplow/client_session", {"userId": "d1", "sessionId": "s1"})
    payload = unstruct("mobile/screen_view", {"name": "Cart"}, session) | {"nuid": "n1"}
    (record,) = decode(arrival(), payload).records
    assert (record["visitor_id"], record["session_id"]) == ("d1", "s1")
    assert (record["event_name"], record["page_title"]) == ("screen_view", "Cart")
