"""Reports about the Content-Security-Policy: both ways of browsers, to the table, and abuses."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import httpx
import pytest

from clickstream_platform.collection.protocols.csp import origin_of
from clickstream_platform.lake import Lake
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.sensors import new_domain_alarm
from clickstream_platform.orchestration.watches import new_domains_evaluation
from clickstream_platform.services.collector import running_micro
from clickstream_platform_tests.services.wire import NOW, Door, loaded

PAGE = "https://shop.example/buy?email=ann@example.com"
OLD_WAY = {
    "document-uri": PAGE,
    "referrer": "https://news.example/ann@example.com",
    "violated-directive": "img-src 'self'",
    "effective-directive": "img-src",
    "original-policy": "img-src 'self'; report-uri /v1/csp",
    "disposition": "enforce",
    "blocked-uri": "https://x.example/p.gif?email=ann@example.com",
    "line-number": 7,
    "source-file": "https://cdn.example/app.js",
    "status-code": 200,
    "script-sample": "ann@example.com",
}
NEW_WAY = {
    "type": "csp-violation",
    "age": 2_000,
    "url": PAGE,
    "user_agent": "Mozilla/5.0",
    "body": {
        "documentURL": PAGE,
        "blockedURL": "inline",
        "effectiveDirective": "script-src-elem",
        "disposition": "report",
        "lineNumber": 7,
        "sample": "ann@example.com",
    },
}


def reported(
    key: str | None, content: object, kind: str = "application/csp-report"
) -> httpx.Request:
    url = "https://c.example/v1/csp" + (f"?key={key}" if key else "")
    headers = {"content-type": kind, "user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0"}
    return httpx.Request("POST", url, content=json.dumps(content).encode(), headers=headers)


def test_both_ways_land_under_their_own_source_without_anything_personal(door: Door) -> None:
    key = door.key("web").key
    old, new = door.send(
        reported(key, {"csp-report": OLD_WAY}),
        reported(key, [NEW_WAY, {"type": "deprecation", "body": {}}], "application/reports+json"),
    )
    assert (old.status_code, new.status_code) == (204, 204)
    assert {path.parent.name for path in door.sealed} == {"csp_reports"}
    assert not any(b"ann" in path.read_bytes() for path in door.sealed)
    first, second = loaded(door).sort("occurred_at", descending=True).rows(named=True)
    assert (first["source"], first["event_name"]) == ("csp_reports", "csp_violation")
    assert (first["visitor_id"], first["user_id"], first["ip_address"]) == (
        None,
        None,
        "203.0.113.0",
    )
    assert first["page_url"] == "https://shop.example/buy?email=%5Bemail%5D"
    assert json.loads(first["properties"]) == {
        "directive": "img-src",
        "blocked_origin": "https://x.example",
        "source_origin": "https://cdn.example",
        "line": 7,
        "status": 200,
        "disposition": "enforce",
    }
    assert second["occurred_at"] == NOW - timedelta(seconds=2)
    assert json.loads(second["properties"])["blocked_origin"] == "inline"


def test_first_report_of_a_domain_alarms_until_its_vendor_is_known(door: Door) -> None:
    door.send(reported(door.key().key, {"csp-report": OLD_WAY}))
    loaded(door)
    lake = Lake(door.settings.lake_folder)
    found = new_domains_evaluation(lake, door.settings, now=NOW)
    assert (found.passed, found.metadata["new_domains"].value) == (False, "x.example")
    later = new_domains_evaluation(lake, door.settings, now=NOW + timedelta(days=7))
    assert later.passed
    own = door.settings.data / "definitions"
    own.mkdir()
    (own / "tag_vendors.toml").write_text(
        '[x]\npurpose = "function"\ntypes = []\ncsp.img-src = ["https://x.example"]\n'
    )
    approved = door.settings.model_copy(update={"definitions": own})
    assert new_domains_evaluation(lake, approved, now=NOW).passed


def test_sensor_tells_of_a_domain_once(door: Door) -> None:
    door.now = datetime.now(UTC)
    door.send(reported(door.key().key, {"csp-report": OLD_WAY}))
    loaded(door)
    platform = Platform(data=str(door.settings.data))
    with dg.DagsterInstance.ephemeral() as instance:
        first, second = None, None
        for cursor in (None, "x.example"):
            context = dg.build_sensor_context(
                instance, cursor=cursor, resources={"platform": platform}
            )
            first, second = second, new_domain_alarm(context)
        assert isinstance(first, dg.SensorResult)
        assert isinstance(second, dg.SensorResult)
        assert first.cursor == second.cursor == "x.example"
        (told,) = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("events"), "new_domains"), limit=9
        )
        assert told.status.value == "FAILED"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param({}, 400, id="no report"),
        pytest.param({"csp-report": []}, 400, id="report of a wrong type"),
        pytest.param([], 204, id="empty list"),
        pytest.param([1, "x"], 400, id="list of no reports"),
        pytest.param([{"type": "csp-violation", "body": 1}], 400, id="body of a wrong type"),
        pytest.param({"csp-report": OLD_WAY | {"effective-directive": "<b>"}}, 400, id="directive"),
        pytest.param({"csp-report": OLD_WAY | {"blocked-uri": "http://[::1"}}, 400, id="address"),
        pytest.param([NEW_WAY] * 501, 413, id="too many"),
    ],
)
def test_what_is_no_report_is_refused_and_waits(door: Door, content: Any, status: int) -> None:  # noqa: ANN401
    (answer,) = door.send(reported(door.key().key, content))
    assert answer.status_code == status
    if status != 204:
        waiting = loaded(door, "quarantined_events")
        assert set(waiting["source"]) == {"csp_reports"}


def test_reports_need_a_key_and_keep_to_its_rate(door: Door) -> None:
    (nobody,) = door.send(reported(None, {"csp-report": OLD_WAY}))
    assert nobody.status_code == 401
    door.options = {"rate_per_address": "2/minute"}
    key = door.key().key
    answers = door.send(*[reported(key, {"csp-report": OLD_WAY})] * 3)
    assert [it.status_code for it in answers] == [204, 204, 429]


def test_browsers_may_ask_first(door: Door) -> None:
    door.options = {"origins": ["https://shop.example"]}
    headers = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    (asked,) = door.send(httpx.Request("OPTIONS", "https://c.example/v1/csp", headers=headers))
    assert asked.headers["access-control-allow-origin"] == "https://shop.example"
    assert "content-type" in asked.headers["access-control-allow-headers"]


def test_micro_takes_reports_for_good(door: Door) -> None:
    with running_micro(door.settings) as micro:
        httpx.post(f"{micro.url}/v1/csp", json={"csp-report": OLD_WAY})
        micro.expect_events("csp_violation")


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://User:pw@X.example:8443/p?q#f", "https://x.example:8443"),
        ("chrome-extension://abc/x.js", "chrome-extension"),
        ("data", "data"),
        ("data:image/png;base64,AAAA", "data"),
        ("eval", "eval"),
        ("", None),
        ("https:///x", None),
        ("ann@example.com", None),
    ],
)
def test_only_the_origin_of_an_address_is_kept(address: str, origin: str | None) -> None:
    assert origin_of(address) == origin
