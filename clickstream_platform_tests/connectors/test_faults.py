"""Faults of a destination, over a real socket: numbers 8 and 29 to 34 of the fault catalogue."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clickstream_platform.activation import Patience
from clickstream_platform.connectors import HubSpot, Outbox
from clickstream_platform_tests.activation.audience import HOUR, Audience, everything_below
from clickstream_platform_tests.connectors.hubspot_server import (
    Account,
    Fault,
    busy,
    endless,
    fails,
    taken_then_dropped,
    taken_then_silent,
    trickling,
    unreadable,
)
from clickstream_platform_tests.frames import NOON

PATIENCE = Patience(first_wait_s=1, longest_wait_s=60)


@pytest.fixture
def people(audience: Audience, hubspot: HubSpot) -> list[str]:
    """Five users in a segment, and a destination that takes two at a time."""
    hubspot.batch_size = 2
    audience.destination = hubspot  # type: ignore[assignment]  # in place of the scripted one
    users = [f"user{number}@example.com" for number in range(5)]
    for user in users:
        audience.put(user, "readers")
    return users


def statuses(audience: Audience) -> list[str]:
    return [row[2] for row in audience.ledger()]


def test_everybody_arrives_once(audience: Audience, account: Account, people: list[str]) -> None:
    audience.sync()
    assert sorted(account.contacts) == people
    assert set(account.effects.values()) == {1}
    assert [size for _, size in account.requests] == [2, 2, 1]
    assert b"example.com" not in everything_below(audience.lake.folder)


def kill(audience: Audience, target: str, point: str, call: int) -> None:
    """Sync in a process of its own that kills itself around one call."""
    module = "clickstream_platform_tests.connectors.killed_sync"
    words = [str(audience.settings.data), target, point, str(call)]
    killed = subprocess.run([sys.executable, "-m", module, *words], check=False)  # noqa: S603 - our own words
    assert killed.returncode == -signal.SIGKILL
    # What was to be said had been written down before; what was answered, if there was time.
    noted = statuses(audience)
    assert noted.count("delivered") + noted.count("pending") == 5
    assert noted.count("delivered") <= 2 * (call - 1)


@pytest.mark.parametrize(("point", "call"), [("before", 2), ("after", 1), ("after", 3)])
@pytest.mark.slow
def test_fault_8_killed_between_the_answer_and_its_commit_has_one_effect(
    audience: Audience, account: Account, people: list[str], point: str, call: int
) -> None:
    kill(audience, account.url, point, call)
    audience.sync(NOON + HOUR)
    assert statuses(audience) == ["delivered"] * 5
    # A resend comes under the key of the first, so the receiver keeps one for each contact.
    assert sorted(user for user, _ in account.effects) == people


@pytest.mark.slow
def test_fault_8_killed_after_a_file_was_written_writes_nobody_twice(
    audience: Audience, people: list[str]
) -> None:
    kill(audience, "outbox", "after", 2)
    audience.sync(NOON + HOUR, destination=Outbox(audience.settings.outbox))
    assert statuses(audience) == ["delivered"] * 5
    assert sorted(line["id"] for line in written(audience.settings.outbox)) == people


def written(outbox: Path) -> list[dict[str, str]]:
    return [
        json.loads(line) for f in sorted(outbox.iterdir()) for line in f.read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("header", "waits"),
    [
        pytest.param("30", 30.0, id="honoured"),
        pytest.param("86400", 60.0, id="capped"),
        pytest.param("0", 1.0, id="no hot loop"),
        pytest.param("soon", 0.5, id="garbage: the default"),
        pytest.param(None, 0.5, id="none: the default"),
    ],
)
def test_fault_29_retry_after_is_honoured_within_limits(
    audience: Audience, account: Account, people: list[str], header: str | None, waits: float
) -> None:
    account.faults = [busy(header)]
    audience.sync(patience=PATIENCE)
    assert audience.naps == [waits]
    assert sorted(account.contacts) == people


def test_fault_29_waits_are_jittered(
    audience: Audience, account: Account, people: list[str]
) -> None:
    account.faults = [busy("30"), busy()]
    audience.sync(patience=PATIENCE, jitter=lambda: 0.5)
    assert audience.naps == [30.5, 1.5]
    assert sorted(account.contacts) == people


def test_fault_29_busy_for_ever_ends_with_a_backlog(
    audience: Audience, account: Account, people: list[str]
) -> None:
    account.faults = [busy("1")] * 100
    done = audience.sync(patience=PATIENCE)
    assert len(account.requests) == PATIENCE.tries
    assert len(audience.naps) == PATIENCE.tries - 1
    assert (done.details["pending"], done.details["gave_up_for"]) == (5, "busy")
    account.faults = []
    audience.sync(NOON + HOUR)
    assert sorted(account.contacts) == people


def test_fault_30_storm_opens_the_circuit_and_keeps_the_backlog(
    audience: Audience, account: Account, people: list[str]
) -> None:
    account.faults = [fails(500)] * 100
    done = audience.sync(patience=PATIENCE)
    # Three whole batches, then three probes of one record.
    assert [size for _, size in account.requests] == [2, 2, 2, 1, 1, 1]
    assert audience.naps == [0.5, 1, 2, 4, 8]
    assert (done.details["pending"], done.details["gave_up_for"]) == (5, "unavailable")
    assert statuses(audience) == ["pending"] * 5

    account.faults, account.requests = [], []
    audience.sync(NOON + HOUR, patience=PATIENCE)
    # Half-open: one record first, then the rest of its batch, then whole batches.
    assert [size for _, size in account.requests] == [1, 1, 2, 1]
    assert sorted(account.contacts) == people
    assert statuses(audience) == ["delivered"] * 5


def test_fault_30_probe_that_succeeds_closes_the_circuit(
    audience: Audience, account: Account, people: list[str]
) -> None:
    account.faults = [fails(503)] * 4
    audience.sync(patience=PATIENCE)
    assert [size for _, size in account.requests] == [2, 2, 2, 1, 1, 1, 2, 1]
    assert sorted(account.contacts) == people


def test_fault_30_what_is_newer_is_not_overwritten_by_the_backlog(
    audience: Audience, account: Account, people: list[str]
) -> None:
    account.faults = [fails(500)] * 100
    audience.sync(patience=PATIENCE)
    audience.put(people[0], "buyers")
    account.faults = []
    audience.sync(NOON + HOUR)
    assert account.contacts[people[0]]["clickstream_segments"] == "buyers"
    assert [user for user, _ in account.effects].count(people[0]) == 1


@pytest.mark.parametrize("deadline_s", [2.0])
@pytest.mark.parametrize("fault", [taken_then_dropped, taken_then_silent, unreadable])
def test_fault_31_no_answer_after_it_was_taken_has_no_double_effect(
    audience: Audience, account: Account, people: list[str], fault: Fault
) -> None:
    account.faults = [fault]
    audience.sync()
    assert sorted(user for user, _ in account.effects) == people  # one key for each
    assert sorted(account.effects.values()) == [1, 1, 1, 2, 2]
    assert statuses(audience) == ["delivered"] * 5


def test_fault_32_only_failed_records_are_sent_again(
    audience: Audience, account: Account, people: list[str]
) -> None:
    account.invalid = {people[0]: "RATE_LIMITS", people[1]: "VALIDATION_ERROR"}
    done = audience.sync(patience=PATIENCE)
    by_user = {row[0]: row[2:] for row in audience.ledger()}
    assert by_user.pop(people[0]) == ("pending", None)
    assert by_user.pop(people[1]) == ("failed", "validation_error")
    assert set(by_user.values()) == {("delivered", None)}
    account.invalid = {}
    audience.sync(NOON + HOUR)
    assert sorted(account.contacts) == [user for user in people if user != people[1]]
    assert set(account.effects.values()) == {1}
    assert done.details["failed"] == 1


def test_fault_33_the_one_record_at_fault_is_found_by_halving(
    audience: Audience, account: Account, people: list[str], hubspot: HubSpot
) -> None:
    hubspot.batch_size = 100
    account.is_all_or_nothing = True
    account.invalid = {people[3]: "VALIDATION_ERROR"}
    audience.sync()
    assert sorted(account.contacts) == [user for user in people if user != people[3]]
    by_user = {row[0]: row[2:] for row in audience.ledger()}
    assert by_user[people[3]] == ("failed", "validation_error")
    assert [*by_user.values()].count(("delivered", None)) == 4
    assert set(account.effects.values()) == {1}
    assert b"example.com" not in everything_below(audience.lake.folder)


@pytest.mark.parametrize("deadline_s", [2.0])
@pytest.mark.parametrize("fault", [endless, trickling])
def test_fault_34_answer_without_end_is_cut_off(
    audience: Audience, account: Account, people: list[str], fault: Fault
) -> None:
    account.faults = [fault]
    audience.sync()
    assert sorted(account.contacts) == people
    assert len(audience.naps) == 1


def test_who_left_is_cleared_there_and_nobody_is_brought_back(
    audience: Audience, account: Account, people: list[str], hubspot: HubSpot
) -> None:
    audience.sync()
    hubspot.erase([people[1]])
    audience.put(people[0])
    audience.put(people[1])
    audience.sync(NOON + HOUR)
    assert account.contacts[people[0]]["clickstream_segments"] == ""
    assert people[1] not in account.contacts
    assert set(statuses(audience)) == {"delivered"}
