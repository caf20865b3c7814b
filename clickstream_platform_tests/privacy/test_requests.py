"""The register: deadlines, states, sealed identifiers, one run at a time, a log that cannot lie."""

import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest

from clickstream_platform.errors import ParameterError
from clickstream_platform.lake import Lake
from clickstream_platform.privacy.audit import AuditError
from clickstream_platform.privacy.register import Register, register_request
from clickstream_platform.privacy.requests import (
    Outcome,
    RequestBusyError,
    RequestError,
    due_date,
)
from clickstream_platform.settings import Settings
from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.privacy import SubjectRequests

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ANN = [("user", "Ann@example.com"), ("visitor", "00123")]


@pytest.fixture
def register(settings: Settings) -> Register:
    return Register(settings)


def asked(settings: Settings, request_type: str = "erase") -> str:
    return register_request(settings, request_type=request_type, identifiers=ANN, now=NOON)  # type: ignore[arg-type]  # literals


@pytest.mark.parametrize(
    ("received", "due"),
    [
        pytest.param(date(2026, 3, 2), date(2026, 4, 2), id="one calendar month"),
        pytest.param(date(2025, 1, 31), date(2025, 2, 28), id="cut to the end of the month"),
        pytest.param(date(2024, 1, 31), date(2024, 2, 29), id="leap year"),
        pytest.param(date(2025, 12, 31), date(2026, 2, 2), id="over the year, Saturday to Monday"),
        pytest.param(date(2026, 1, 31), date(2026, 3, 2), id="cut to a Saturday, then Monday"),
        pytest.param(date(2026, 2, 1), date(2026, 3, 2), id="Sunday to Monday"),
        pytest.param(date(2026, 6, 29), date(2026, 7, 29), id="29 stays 29"),
    ],
)
def test_an_answer_is_due_after_a_month(received: date, due: date) -> None:
    assert due_date(received) == due


def test_due_dates_are_working_days_within_a_month_and_five_days() -> None:
    for offset in range(1500):
        received = date(2024, 1, 1) + timedelta(days=offset)
        due = due_date(received)
        assert due.weekday() < 5
        assert timedelta(days=28) <= due - received <= timedelta(days=33)


def test_identifiers_are_sealed(settings: Settings, register: Register) -> None:
    request_id = asked(settings)
    assert register.identifiers(request_id) == ANN
    for file in settings.data.rglob("*"):
        if file.is_file():
            assert b"example.com" not in file.read_bytes().lower()
            assert "ann" not in file.name.lower()


def test_the_table_mirrors_the_register(settings: Settings, register: Register) -> None:
    request_id = asked(settings)
    register.move(request_id, "in_progress", now=NOON)
    register.move(request_id, "completed", now=NOON, outcome=Outcome(7, 0, "ab"))
    table = require(SubjectRequests, Lake(settings.lake_folder).scan("subject_requests").collect())
    assert table.select("request_id", "status", "rows_found", "due_date").rows() == [
        (request_id, "completed", 7, date(2026, 4, 2))
    ]


@pytest.mark.parametrize("seed", range(5))
def test_states_follow_each_other_only_forward(
    settings: Settings, register: Register, seed: int
) -> None:
    rng = random.Random(seed)
    request_id = asked(settings)
    for _ in range(8):
        before = register.get(request_id).status
        after = rng.choice(["received", "in_progress", "completed", "failed"])
        allowed = (before, after) in {
            ("received", "in_progress"),
            ("in_progress", "in_progress"),
            ("in_progress", "completed"),
            ("in_progress", "failed"),
            ("failed", "in_progress"),
        }
        if allowed:
            register.move(request_id, after, now=NOON)  # type: ignore[arg-type]  # any word
        else:
            with pytest.raises(RequestError, match=f"is {before} and cannot become {after}"):
                register.move(request_id, after, now=NOON)  # type: ignore[arg-type]  # any word
        assert register.get(request_id).status == (after if allowed else before)
    register.verify_audit()


def test_an_answered_request_forgets_whom_it_was_about(
    settings: Settings, register: Register
) -> None:
    request_id = asked(settings)
    register.keep_subject(request_id, {"users": ["pu_1"]})
    assert register.subject(request_id) == {"users": ["pu_1"]}
    register.forget(request_id, keep_marks=False)
    assert register.subject(request_id) is None
    with pytest.raises(RequestError, match="identifiers are gone"):
        register.identifiers(request_id)


def test_errors_name_no_identifier(settings: Settings) -> None:
    with pytest.raises(RequestError, match="every identifier is blank"):
        register_request(settings, request_type="erase", identifiers=[("user", " ")], now=NOON)
    with pytest.raises(ParameterError, match=r"^request_type must be .* got 'look'") as caught:
        asked(settings, "look")
    assert "example" not in str(caught.value)
    with pytest.raises(RequestError, match="req_x is not in the register"):
        Register(settings).get("req_x")


# -- The audit log ---------------------------------------------------------------------------------


def log_of_four(settings: Settings, register: Register) -> None:
    request_id = asked(settings)
    register.move(request_id, "in_progress", now=NOON)
    register.note(request_id, "suppressed", {"identifiers": 2}, now=NOON)
    register.move(request_id, "failed", now=NOON)


@pytest.mark.parametrize(
    ("tamper", "entry"),
    [
        pytest.param(
            "UPDATE audit SET entry = replace(entry, 'suppressed', 'completed')", 3, id="edit"
        ),
        pytest.param("DELETE FROM audit WHERE number = 2", 2, id="delete"),
        pytest.param(
            "UPDATE audit SET number = CASE number WHEN 2 THEN -3 WHEN 3 THEN -2 END "
            "WHERE number IN (2, 3); UPDATE audit SET number = -number WHERE number < 0",
            2,
            id="reorder",
        ),
        pytest.param("DELETE FROM audit WHERE number = 4", 4, id="truncate"),
        pytest.param("DELETE FROM audit", 1, id="truncate all"),
    ],
)
def test_a_log_that_was_tampered_with_is_found_out(
    settings: Settings, register: Register, tamper: str, entry: int
) -> None:
    log_of_four(settings, register)
    assert register.verify_audit().entries == 4
    with closing(sqlite3.connect(register.file)) as connection:
        connection.executescript(tamper)
    with pytest.raises(AuditError, match=f"entry {entry} "):
        register.verify_audit()


def test_a_rewritten_chain_does_not_match_the_signed_head(
    settings: Settings, register: Register
) -> None:
    log_of_four(settings, register)
    forged = register.anchor.read_text().replace('"entries": 4', '"entries": 3')
    register.anchor.write_text(forged)
    with pytest.raises(AuditError, match="signature is wrong"):
        register.verify_audit()


def test_the_log_holds_no_identifier(settings: Settings, register: Register) -> None:
    log_of_four(settings, register)
    text = "".join(entry.entry for entry in register.audit())
    assert [json.loads(entry.entry)["number"] for entry in register.audit()] == [1, 2, 3, 4]
    assert "00123" not in text
    assert "ann" not in text.lower()


# -- One run at a time -----------------------------------------------------------------------------


def test_two_requests_of_one_person_do_not_run_at_once(
    settings: Settings, register: Register
) -> None:
    first, second, other = asked(settings), asked(settings, "export"), asked(settings)
    for request_id in (first, second, other):
        register.move(request_id, "in_progress", now=NOON)
    ann = [register.mark(*identifier) for identifier in ANN]
    with register.working(first):
        register.claim(first, ann)
        with (
            register.working(second),
            pytest.raises(RequestBusyError, match=f"same person as {first}"),
        ):
            register.claim(second, ann[1:])
        with register.working(other):
            register.claim(other, [register.mark("user", "bob@example.com")])
        with pytest.raises(RequestBusyError, match="is being worked on"), register.working(first):
            pass
    with register.working(second):
        register.claim(second, ann[1:])


def test_a_dead_process_holds_nobody(settings: Settings, register: Register) -> None:
    first, second = asked(settings), asked(settings)
    code = (
        "import os, sys; from clickstream_platform.settings import load_settings\n"
        "from clickstream_platform.privacy.register import Register\n"
        "from clickstream_platform.privacy.requests import NEXT\n"
        "from datetime import datetime, UTC\n"
        "r = Register(load_settings(sys.argv[1])); i = sys.argv[2]\n"
        "with r.working(i):\n"
        "    r.move(i, 'in_progress', now=datetime(2026, 3, 2, tzinfo=UTC))\n"
        "    r.claim(i, ['mark'])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(settings.data), first], check=False)  # noqa: S603 - our own interpreter
    assert killed.returncode == -9
    with register.working(second):
        register.move(second, "in_progress", now=NOON)
        register.claim(second, ["mark"])
    with register.working(first):
        register.claim(first, ["mark"])
