"""Consent at the door: who refuses measurement leaves no identifier on the disk."""

import json
from typing import Any

import pytest

from clickstream_platform.collection.consent import ConsentDoor, load_policy
from clickstream_platform.services.collector.serve import collector
from clickstream_platform.settings import Settings
from clickstream_platform_tests.collection.consent.strings import own
from clickstream_platform_tests.services.wire import NOW, Door, post

ANN = "visitor-77aa-of-ann"
PAGE: dict[str, Any] = {
    "id": "e1",
    "name": "page_view",
    "created_at": int(NOW.timestamp() * 1000),
    "visitor_id": ANN,
    "user_id": "user-of-ann",
    "session_id": "session-of-ann",
    "page_url": "https://shop.example/p/1?who=ann#top",
    "page_title": "Ann's cart",
    "referrer_url": "https://mail.example/inbox/ann",
    "country": "DE",
    "properties": {"wish": "ann-wants-this"},
}


@pytest.fixture
def door(settings: Settings) -> Door:
    return Door(settings, enrichments=(ConsentDoor(load_policy()),))


def stored(door: Door, *, kind: str = "browser", **more: object) -> dict[str, Any]:
    """The record that is kept of one event."""
    key = door.key(kind=kind).key  # type: ignore[arg-type]  # one of two
    body = {"key": key, "events": [PAGE | more]}
    (response,) = door.send(post("/v1/events", body, user_agent="Mozilla/5.0 of Ann"))
    assert response.status_code == 200
    (record,) = door.taken
    return record


REFUSALS: dict[str, dict[str, Any]] = {
    "own record": {"consent": {"analytics": False}},
    "own record and a string that agrees": {
        "consent": {"analytics": False},
        "properties": {"tcf_string": own(*range(1, 12), at=NOW)},
    },
    "a string": {"properties": {"tcf_string": own(3, 4, at=NOW), "wish": "ann"}},
    "a string that cannot be read": {"properties": {"tcf_string": "?"}},
    "Consent Mode": {"properties": {"consent_mode": {"analytics_storage": "denied"}}},
}


@pytest.mark.parametrize("said", REFUSALS.values(), ids=[*REFUSALS])
def test_refusal_leaves_what_is_counted_and_nothing_of_the_person(
    door: Door, said: dict[str, Any]
) -> None:
    record = stored(door, **said)
    for name in ("_crc", "event_id", "created_at", "received_at", "collection_source"):
        record.pop(name, None)
    assert record == {
        "event_name": "page_view",
        "platform": "web",
        "country": "DE",
        "page_url": "https://shop.example/p/1",
        "referrer_url": "https://mail.example/",
        "consent": {"analytics": False},
    }
    written = b"".join(path.read_bytes() for path in door.sealed)
    assert b"ann" not in written.lower(), "not in any field"
    assert b"203.0.113" not in written


KEPT: dict[str, dict[str, Any]] = {
    "nothing said": {},
    "agreed": {"consent": {"analytics": True, "marketing": False}},
    "marketing alone refused": {"consent": {"marketing": False}},
    "a string that agrees": {"properties": {"tcf_string": own(*range(1, 12), at=NOW)}},
    "Global Privacy Control": {"properties": {"gpc": True}},
}


@pytest.mark.parametrize("said", KEPT.values(), ids=[*KEPT])
def test_who_does_not_refuse_measurement_is_kept(door: Door, said: dict[str, Any]) -> None:
    record = stored(door, **said)
    assert (record["visitor_id"], record["session_id"]) == (ANN, "session-of-ann")


def test_choice_says_whose_it_is_or_nobody_could_keep_to_it(door: Door) -> None:
    said = {"analytics": False, "marketing": False}
    record = stored(door, name="consent_update", consent=said)
    assert (record["visitor_id"], record["user_id"]) == (ANN, "user-of-ann")
    assert record["consent"] == said
    assert record.get("properties", {}) == {}
    assert not {"session_id", "page_title", "ip_address", "user_agent"} & set(record)


def test_servers_are_left_alone(door: Door) -> None:
    assert stored(door, kind="server", consent={"analytics": False})["visitor_id"] == ANN


@pytest.mark.parametrize("strips", [True, False])
def test_setting_decides(settings: Settings, *, strips: bool) -> None:
    section = settings.collector.model_copy(update={"strip_refused": strips})
    app = collector(settings.model_copy(update={"collector": section}))
    assert len([it for it in app._enrichments if isinstance(it, ConsentDoor)]) == strips  # noqa: SLF001 - what serve.py wires


def test_strange_addresses_are_left_out(door: Door) -> None:
    record = stored(door, page_url="http://[", consent={"analytics": False})
    assert "page_url" not in record
    assert json.dumps(record).count("mail.example") == 1


def test_remembered_verdicts_are_of_what_was_said_alike(settings: Settings) -> None:
    door = Door(settings, enrichments=(ConsentDoor(load_policy()),))
    key = door.key(kind="browser").key
    said: list[dict[str, Any]] = [
        {"consent": {"marketing": True}},
        {"consent": {"marketing": True, "analytics": False}},
        {"consent": {"analytics": True, "gpc": False}},
        {"consent": {"marketing": True}, "properties": {"tcf_string": own(3, 4, at=NOW)}},
        {"consent": {"marketing": True}, "country": "US"},
    ] * 3
    events = [PAGE | more | {"id": f"e{number}"} for number, more in enumerate(said)]
    (response,) = door.send(post("/v1/events", {"key": key, "events": events}))
    assert response.status_code == 200
    # The second and the fourth refuse; nobody else does.
    assert ["visitor_id" not in it for it in door.taken] == [False, True, False, True, False] * 3
