"""What clients are told beside what became of their events: the forms of HTTP and of OTLP."""

import json

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from clickstream_platform.collection.protocols.otlp import refuse
from clickstream_platform_tests.services.wire import Door, post


def request(method: str, path: str) -> httpx.Request:
    """A request without a body."""
    return httpx.Request(method, f"http://collect.example{path}")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/events", "OPTIONS, POST"),
        ("PUT", "/v1/batch/", "OPTIONS, POST"),
        ("HEAD", "/v1/pixel.gif", "GET, OPTIONS"),
        ("POST", "/i", "GET, OPTIONS"),
        ("DELETE", "/v1/logs", "OPTIONS, POST"),
    ],
)
def test_wrong_method_is_told_the_right_ones(
    door: Door, method: str, path: str, allowed: str
) -> None:
    (response,) = door.send(request(method, path))
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


def test_head_of_a_script_is_its_get_without_the_body(door: Door) -> None:
    got, asked = door.send(request("GET", "/t.js"), request("HEAD", "/t.js"))
    assert (got.status_code, asked.status_code) == (200, 200)
    assert asked.headers == got.headers
    assert (len(got.content) > 0, asked.content) == (True, b"")


def test_answer_without_content_has_no_length(door: Door) -> None:
    key = door.key(kind="server").key
    body = {"client_id": "c", "events": [{"name": "a"}]}
    collected, asked = door.send(
        post(f"/mp/collect?api_secret={key}", body), request("OPTIONS", "/v1/events")
    )
    for response in (collected, asked):
        assert response.status_code == 204
        assert not {"content-length", "content-type"} & set(response.headers)


def status_of(message: bytes) -> tuple[int, str]:
    """Code and message of a ``google.rpc.Status`` read by hand, lengths below 16,384 alone."""
    code, length, start = message[1], message[3], 4
    if length > 127:
        length, start = length - 128 + 128 * message[4], 5
    assert (message[0], message[2], len(message)) == (8, 18, start + length)
    return code, message[start:].decode()


NAMELESS = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]}


@pytest.mark.parametrize(
    ("key", "body", "expected", "reason"),
    [
        pytest.param("x" * 9, b"{}", (401, 16), "key_invalid", id="key"),
        pytest.param(None, b"{", (400, 3), "json_invalid", id="json"),
        pytest.param(None, b" " * 1_000_001, (413, 3), "body_too_large", id="size"),
        pytest.param(
            None, json.dumps(NAMELESS).encode(), (400, 3), "event_name_missing", id="every record"
        ),
    ],
)
def test_otlp_refusal_is_a_status(
    door: Door, key: str | None, body: bytes, expected: tuple[int, int], reason: str
) -> None:
    bearer = f"Bearer {key or door.key().key}"
    (response,) = door.send(post("/v1/logs", body, authorization=bearer))
    assert response.headers["content-type"] == "application/json"
    told = response.json()
    assert set(told) == {"code", "message"}
    assert (response.status_code, told["code"]) == expected
    assert told["message"].startswith(reason)


def test_otlp_refusal_of_protobuf_is_protobuf(door: Door) -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().severity_text = "INFO"
    bodies = [b"\xff", request.SerializeToString()]
    bearer, kind = f"Bearer {door.key().key}", "application/x-protobuf"
    broken, nameless = door.send(
        *(post("/v1/logs", body, authorization=bearer, content_type=kind) for body in bodies)
    )
    for response, reason in ((broken, "batch_invalid"), (nameless, "event_name_missing")):
        assert (response.status_code, response.headers["content-type"]) == (400, kind)
        code, message = status_of(response.content)
        assert code == 3
        assert message.startswith(reason)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300, 16_383])
def test_otlp_status_of_any_length(length: int) -> None:
    told = refuse({"content-type": "application/x-protobuf"}, 503, "m" * length)
    assert status_of(told.body) == (14, "m" * length)


def test_otlp_failure_is_a_status_too(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    key = door.key().key
    monkeypatch.setattr("clickstream_platform.services.collector.app.admitted", None)
    (response,) = door.send(post("/v1/logs", b"{}", authorization=f"Bearer {key}"))
    assert (response.status_code, response.json()) == (
        500,
        {"code": 13, "message": "internal_error"},
    )


def test_otlp_body_may_hold_a_bare_list_of_pairs(door: Door) -> None:
    pairs = [{"key": "url", "value": {"stringValue": "https://shop.example/"}}]
    log = {"eventName": "browser.page_view", "body": {"kvlistValue": pairs}}
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}
    door.send(post("/v1/logs", body, authorization=f"Bearer {door.key().key}"))
    assert [record["page_url"] for record in door.taken] == ["https://shop.example/"]
