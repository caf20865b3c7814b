"""Canaries: what became of them by hand, and the ends of the time that they may take."""

from datetime import UTC, datetime, timedelta

import pytest

from clickstream_platform.collection.probes import (
    Arrival,
    Canary,
    arrivals,
    canary_batch,
    canary_id_of,
)
from clickstream_platform.collection.probes.canary import event_ids

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
TICK = timedelta.resolution


def canary(minutes_ago: float, refusal: str | None = None) -> Canary:
    sent_at = NOON - timedelta(minutes=minutes_ago)
    return Canary(canary_id_of(sent_at), sent_at, refusal)


def told(sent: Canary, taken_after: timedelta | None, events: int = 3) -> Arrival:
    ids = event_ids(sent.canary_id)[:events] if taken_after is not None else []
    arrived = dict.fromkeys(ids, sent.sent_at + (taken_after or QUARTER))
    (found,) = arrivals([sent], arrived, now=NOON, within=QUARTER)
    return found


@pytest.mark.parametrize(
    ("sent", "taken_after", "events", "state"),
    [
        pytest.param(canary(60), QUARTER, 3, "arrived", id="just in time"),
        pytest.param(canary(60), QUARTER + TICK, 3, "late", id="too late"),
        pytest.param(canary(15), None, 0, "waiting", id="may still come"),
        pytest.param(canary(15.001), None, 0, "missing", id="should have come"),
        pytest.param(canary(60), QUARTER, 2, "missing", id="not all of it"),
        pytest.param(canary(60, "503"), QUARTER, 3, "refused", id="not taken"),
    ],
)
def test_what_became_of_a_canary(
    sent: Canary, taken_after: timedelta | None, events: int, state: str
) -> None:
    found = told(sent, taken_after, events)
    assert (found.state, found.events) == (state, events)
    assert found.took == (taken_after if events == 3 else None)


def test_every_event_is_marked_and_of_the_same_nobody() -> None:
    batch = canary_batch(canary_id_of(NOON), now=NOON)
    events = batch["events"]
    assert isinstance(events, list)
    assert [it["name"] for it in events] == ["page_view", "login", "purchase"]
    assert {(it["is_synthetic"], it["visitor_id"]) for it in events} == {(True, "canary")}
    assert [it["id"] for it in events] == event_ids(canary_id_of(NOON))


def test_two_canaries_share_no_event() -> None:
    first, second = (event_ids(canary_id_of(NOON + n * timedelta(milliseconds=1))) for n in (0, 1))
    assert set(first) & set(second) == set()
