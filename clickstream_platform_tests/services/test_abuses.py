"""Abuses: what outsiders try with keys, origins, names and time, one test or table for each."""

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clickstream_platform.collection.origins import Origins
from clickstream_platform.collection.refusals import REASONS
from clickstream_platform.collection.write_keys import WriteKeys, signature
from clickstream_platform.errors import ParameterError
from clickstream_platform.privacy import find_personal
from clickstream_platform.services.collector import write_keys
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.services.wire import (
    NOW,
    Door,
    batch,
    event,
    get,
    loaded,
    post,
    quarantine,
)

SHOP = "https://shop.example"
EMAIL = "ann@example.com"


# -- 1: spoofing with a public key ----------------------------------------------------------------


def test_01_forged_purchase_with_a_browser_key_is_quarantined(door: Door) -> None:
    door.options = {"server_only_events": ["purchase"]}
    browser, server = door.key().key, door.key("shop_server", "server").key
    order = event(1, name="purchase", order_id="o1", revenue=99, currency="EUR")
    forged, sound = door.send(
        post("/v1/events", batch(browser, order, event(2))),
        post("/v1/events", batch(server, order | {"id": "e9"})),
    )
    assert forged.json()["rejected"] == [{"index": 0, "id": "e1", "reason": "event_is_server_only"}]
    assert sound.json() == {"accepted": 1, "rejected": []}
    events = loaded(door)
    assert sorted(events["event_id"]) == ["e2", "e9"]
    assert events["revenue"].drop_nulls().len() == 1
    (waiting,) = quarantine(door)
    assert waiting["violations"][0]["code"] == "refused_at_collector"
    assert waiting["violations"][0]["got"] == "event_is_server_only"
    assert waiting["visitor_id"].startswith("pv_"), "masked like every record"


def test_01_pages_of_other_origins_cannot_send(door: Door) -> None:
    door.options = {"origins": [SHOP]}
    body = batch(door.key().key, event())
    ours, theirs = door.send(
        post("/v1/events", body, origin=SHOP),
        post("/v1/events", body, origin="https://evil.example"),
    )
    assert ours.status_code == 200
    assert theirs.status_code == 403
    assert theirs.json()["error"] == "origin_not_allowed"
    assert len(door.records) == 1


# -- 2: replay ------------------------------------------------------------------------------------


def test_02_captured_batch_sent_a_thousand_times_counts_once(door: Door) -> None:
    body = batch(door.key().key, event(1), event(2, id=None))
    answers = door.send(*[post("/v1/events", body)] * 1000)
    assert {answer.status_code for answer in answers} == {200}
    assert len(door.records) == 2000
    assert loaded(door).height == 2


def test_02_signed_request_expires(door: Door) -> None:
    made = door.key("erp", "server", is_signed=True)
    assert made.signing_secret is not None
    body = json.dumps(batch(made.key, event())).encode()
    now_s = int(NOW.timestamp())

    def signed(stamp: int) -> httpx.Request:
        proof = signature(str(made.signing_secret), str(stamp), body)
        return post(
            "/v1/events", body, x_clickstream_timestamp=str(stamp), x_clickstream_signature=proof
        )

    answers = door.send(*[signed(now_s + off) for off in (0, 300, -300, 301, -301)])
    assert [answer.status_code for answer in answers] == [200, 200, 200, 401, 401]
    assert answers[-1].json()["error"] == "signature_expired"


# -- 10: paths ------------------------------------------------------------------------------------


@given(source=st.text(max_size=60))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_10_source_names_stay_inside_landing(tmp_path: Path, source: str) -> None:
    """The one name that becomes a folder is checked when the key is made."""
    keys = WriteKeys(tmp_path / "collector", tmp_path / "vault")
    try:
        made = keys.add(source, "browser", now=NOW)
    except ParameterError:
        return
    assert re.fullmatch(r"[a-z][a-z0-9_]*", made.stored.source)
    assert (tmp_path / made.stored.source).resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize("source", ["..", "a/b", "", "A", "nul\0b", "x" * 41, "segment", "a.b"])
def test_10_odd_source_is_refused(tmp_path: Path, source: str) -> None:
    keys = write_keys(load_settings(tmp_path))
    with pytest.raises(ParameterError, match="source"):
        keys.add(source, "browser", now=NOW)


def test_10_no_field_becomes_a_path(door: Door) -> None:
    evil = "../../../../tmp/evil"
    odd = event(id=evil, name=evil, visitor_id=evil, session_id=evil, app_id=evil)
    door.send(post("/v1/events", batch(door.key().key, odd)))
    inside = {
        path.relative_to(door.settings.data).parts[0] for path in door.settings.data.rglob("*")
    }
    assert inside == {"landing", "state"}
    assert [path.parent.name for path in door.sealed] == ["web"]


# -- 14, 15: secrets and personal values in logs and errors ---------------------------------------


def test_14_15_no_secret_and_no_person_in_logs_and_answers(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    key = door.key().key
    other = "cs_browser_" + "0" * 40
    caplog.set_level(logging.DEBUG)
    phone = "+49 170 1234567"
    answers = door.send(
        post("/v1/events", batch(key, event(user_id=None, name=EMAIL, created_at=EMAIL))),
        post("/v1/events", batch(other, event(name=EMAIL))),
        post("/v1/events", b'{"key":"' + key.encode() + b'","email":"' + EMAIL.encode()),
        get(f"/{EMAIL}", {"email": EMAIL, "key": key}),
        post(
            "/v1/events",
            batch(key, event(page_title=f"Call {phone} {EMAIL}", page_url=f"/?x={EMAIL}")),
        ),
    )
    # The client of the test logs what it asks for; it is none of ours.
    logged = [r.getMessage() for r in caplog.records if not r.name.startswith("httpx")]
    said = "".join([*logged, *(answer.text for answer in answers)])
    for canary in (EMAIL, "ann%40", phone, key, other, "203.0.113.77"):
        assert canary not in said
        assert canary.encode() not in door.disk
    assert find_personal(pl.Series([json.dumps(r) for r in door.records])).is_empty()


def test_14_keys_are_kept_as_digests(door: Door) -> None:
    made = door.key("erp", "server", is_signed=True)
    assert made.signing_secret is not None
    assert made.key.encode() not in door.disk
    assert made.signing_secret.encode() not in door.disk
    file = door.settings.state / "collector" / "write_keys.json"
    assert file.stat().st_mode & 0o077 == 0


# -- 16: scripts in stored text -------------------------------------------------------------------

SCRIPTS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</script><script>alert(1)//",
    "{{constructor.constructor('alert(1)')()}}",
    "<svg/onload=alert(1)>",
]


def test_16_answers_are_never_pages(door: Door) -> None:
    """Nothing that was sent comes back, and no browser may take an answer for a page."""
    key = door.key().key
    requests = [post("/v1/events", batch(key, event(id=s, name=s, page_title=s))) for s in SCRIPTS]
    requests += [post("/v1/events", batch(key, {"id": s})) for s in SCRIPTS]
    requests += [get(f"/{s}") for s in SCRIPTS]
    for answer in door.send(*requests):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_16_scripts_stay_data(door: Door) -> None:
    """Stored as they came, but for what is personal; that the report escapes them is its test."""
    key = door.key().key
    events = [event(n, page_title=s, properties={"a": s}) for n, s in enumerate(SCRIPTS)]
    door.send(post("/v1/events", batch(key, *events)))
    assert loaded(door).sort("event_id")["page_title"].to_list() == SCRIPTS


# -- 17: origins ----------------------------------------------------------------------------------

ORIGINS = {
    "https://shop.example": True,
    "https://SHOP.example": True,
    "https://www.brand.example": True,
    "https://a.b.brand.example": True,
    "https://brand.example": False,
    "http://shop.example": False,
    "https://shop.example:8443": False,
    "https://shop.example.evil.example": False,
    "https://evil-shop.example": False,
    "https://evilbrand.example": False,
    "null": False,
    "": False,
    "https://": False,
    "*": False,
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_17_origin_matrix(door: Door, origin: str) -> None:
    """Credentials go with exactly the origins on the list; no other is ever named in an answer."""
    door.options = {"origins": [SHOP, "https://*.brand.example"]}
    headers = {"origin": origin, "access_control_request_method": "POST"}
    preflight = httpx.Request(
        "OPTIONS",
        "http://collect.example/com.snowplowanalytics.snowplow/tp2",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    asked, sent = door.send(
        preflight, post("/v1/events", batch(door.key().key, event()), origin=origin)
    )
    allowed = ORIGINS[origin]
    assert (asked.status_code, sent.status_code) == ((204, 200) if allowed else (403, 403))
    for answer in (asked, sent):
        assert answer.headers.get("vary") == "Origin"
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        credentials = answer.headers.get("access-control-allow-credentials")
        assert credentials == ("true" if allowed else None)
        assert "set-cookie" not in answer.headers
    if allowed:
        assert "content-type" in asked.headers["access-control-allow-headers"]


@pytest.mark.parametrize("entry", ["*", "https://*", "shop.example", "https://shop.example/x", ""])
def test_17_list_of_origins_holds_origins(entry: str) -> None:
    with pytest.raises(ParameterError, match=r"collector\.origins"):
        Origins([entry])


# -- 18: open redirects ---------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["//evil.example", "\\\\evil.example", "https://a@evil.example"])
def test_18_there_is_no_redirect(door: Door, target: str) -> None:
    """Snowplow's click tracker is not spoken: a link that counts and forwards serves phishers."""
    door.key(app_ids=("shop",))
    for answer in door.send(
        get("/r/tp2", {"u": target, "aid": "shop"}),
        get("/i", {"e": "pv", "aid": "shop", "u": target, "url": target}),
        get(f"/{target}"),
    ):
        assert answer.status_code in {200, 400, 404}
        assert "location" not in answer.headers
        assert "refresh" not in answer.headers


# -- 20: forged server requests -------------------------------------------------------------------

FORGERIES: dict[str, tuple[dict[str, Any], str]] = {
    "another body": ({"body": b"{}"}, "signature_invalid"),
    "one more byte": ({"body": None}, "signature_invalid"),
    "another time": ({"stamp": str(int(NOW.timestamp()) + 1)}, "signature_invalid"),
    "another secret": ({"secret": "0" * 64}, "signature_invalid"),
    "no signature": ({"proof": ""}, "signature_missing"),
    "odd signature": ({"proof": "v1=é"}, "signature_invalid"),
    "old": ({"age_s": 301}, "signature_expired"),
    "time that is no number": ({"text": "-1e9"}, "signature_expired"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_20_forged_request_is_refused(door: Door, case: str) -> None:
    change, reason = FORGERIES[case]
    made = door.key("erp", "server", is_signed=True)
    body = json.dumps(batch(made.key, event())).encode()
    stamp = str(change.get("text") or int(NOW.timestamp()) - int(change.get("age_s", 0)))
    proof = signature(str(change.get("secret", made.signing_secret)), stamp, body)
    sent = body
    if "body" in change:
        sent = (
            body + b" "
            if change["body"] is None
            else json.dumps(batch(made.key, event(9))).encode()
        )
    request = post("/v1/events", sent, x_clickstream_timestamp=str(change.get("stamp", stamp)))
    given = str(change.get("proof", proof))
    if given:
        request.headers["x-clickstream-signature"] = given
    (answer,) = door.send(request)
    assert (answer.status_code, answer.json()["error"]) == (401, reason)
    assert door.records == []


def test_20_browser_keys_are_not_signed(door: Door) -> None:
    with pytest.raises(ParameterError, match="is for server keys"):
        door.key("web", "browser", is_signed=True)


# -- 21: leaked keys ------------------------------------------------------------------------------


def test_21_revoked_key_is_refused_by_a_collector_that_runs(door: Door) -> None:
    made = door.key()
    successor = door.key().key
    body = batch(made.key, event())

    async def before_and_after() -> list[httpx.Response]:
        app = door.app()
        app.log.start()
        transport = httpx.ASGITransport(app=app)
        answers = []
        async with httpx.AsyncClient(transport=transport, base_url="http://c.example") as client:
            answers.append(await client.post("/v1/events", json=body))
            door.revoke(made.stored.key_id)
            await asyncio.sleep(1.1)
            answers.append(await client.post("/v1/events", json=body))
            answers.append(await client.post("/v1/events", json=batch(successor, event())))
        await asyncio.to_thread(app.log.close)
        return answers

    before, after, overlap = asyncio.run(before_and_after())
    assert before.status_code == 200
    assert (after.status_code, after.json()["error"]) == (401, "key_revoked")
    assert overlap.status_code == 200


def test_21_keys_can_be_searched_for_and_checked(settings: Settings) -> None:
    """A prefix that a secret scanner finds, and a checksum that catches a slip without a lookup."""
    door = Door(settings)
    key = door.key().key
    assert re.fullmatch(r"cs_browser_[0-9a-f]{40}", key)
    slipped = key[:-1] + ("0" if key[-1] != "0" else "1")
    (answer,) = door.send(post("/v1/events", batch(slipped, event())))
    assert (answer.status_code, answer.json()["error"]) == (401, "key_invalid")


# -- Refusals in general --------------------------------------------------------------------------


def test_every_refusal_is_a_documented_error() -> None:
    assert all(400 <= status < 500 or status == 503 for status, _ in REASONS.values())
    assert all(re.fullmatch(r"[a-z_]{1,40}", reason) for reason in REASONS)


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (post("/v1/events", b""), 400, "body_missing"),
        (post("/v1/events", b"[]"), 401, "key_missing"),
        (post("/v1/events", b'{"key":"cs_none"}'), 401, "key_invalid"),
        (get("/v1/events"), 405, "method_not_allowed"),
        (get("/"), 404, "not_found"),
        (get("/i", {"e": "pv"}), 401, "key_missing"),
        (get("/v1/pixel.gif", {"name": "x" * 17_000}), 413, "body_too_large"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_refused_request(door: Door, request_: httpx.Request, status: int, reason: str) -> None:
    (answer,) = door.send(request_)
    assert answer.status_code == status
    assert answer.json()["error"] == reason
    assert answer.json()["message"]
    assert door.records == []


def test_batch_of_a_wrong_shape_is_quarantined_under_its_key(door: Door) -> None:
    key = door.key().key
    (answer,) = door.send(post("/v1/events", {"key": key, "events": {"name": EMAIL}}))
    assert (answer.status_code, answer.json()["error"]) == (400, "batch_invalid")
    assert door.reasons == ["batch_invalid"]
    loaded(door)
    (waiting,) = quarantine(door)
    assert waiting["violations"][0]["got"] == "batch_invalid"
    assert EMAIL not in waiting["payload"]


def test_rate_limits_hold_by_key_and_by_address(door: Door) -> None:
    door.options = {"rate_per_key": "8/minute", "rate_per_address": "5/minute"}
    browser, server = door.key().key, door.key("erp", "server").key
    three = [event(n) for n in range(3)]
    answers = door.send(
        *[post("/v1/events", batch(browser, *three))] * 2,
        *[post("/v1/events", batch(server, *three))] * 3,
    )
    assert [answer.status_code for answer in answers] == [200, 429, 200, 200, 429]
    assert answers[1].headers["retry-after"] == "60"
    assert answers[1].json()["error"] == "rate_limited"


def test_client_behind_proxies_is_found(door: Door) -> None:
    door.options = {"trusted_proxies": 2}
    key = door.key().key
    chain = "6.6.6.6, 198.51.100.9, 10.0.0.1"
    door.send(post("/v1/events", batch(key, event()), x_forwarded_for=chain))
    assert door.taken[0]["ip_address"] == "198.51.100.0"
