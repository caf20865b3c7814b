"""The CRM that the settings name is the one that a run tells, and that an erasure tells too."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.connectors import crm_eraser
from clickstream_platform.lake import Lake
from clickstream_platform.orchestration import RunFailedError, materialize_all
from clickstream_platform.privacy import Suppression, erase_subject, register_request
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.connectors.hubspot_server import TOKEN, Account, serving
from clickstream_platform_tests.orchestration.served import prepare

ANN, BOB = "ann@example.com", "bob@example.com"
NAMES = [f"user{number}@example.com" for number in range(250)]

BROKEN = """
description = "People who come often."
owner = "growth"
purpose = "marketing"
expires = 2030-01-01
table = "sessions"
count = { min = "many" }
"""

KILLED = """
import os, signal, sys
from clickstream_platform.connectors import HubSpot
from clickstream_platform.orchestration import materialize_all
from clickstream_platform.settings import load_settings

original, calls = HubSpot.upsert, []

def deadly(self, records):
    outcomes = original(self, records)
    calls.append(len(records))
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return outcomes

HubSpot.upsert = deadly
materialize_all(load_settings(sys.argv[1]))
"""


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """A HubSpot of this machine, with its token in the environment."""
    monkeypatch.setenv("CLICKSTREAM_HUBSPOT_TOKEN", TOKEN)
    with serving() as account:
        yield account


@pytest.fixture
def data(tmp_path: Path, account: Account) -> Path:
    """A data folder whose settings name that account."""
    folder = prepare(tmp_path)
    settings = (folder / "clickstream.toml").read_text()
    crm = f'\n[crm]\ndestination = "hubspot"\nbase_url = "{account.url}"\n'
    (folder / "clickstream.toml").write_text(settings + crm)
    return folder


def visit(data: Path, *users: str, marketing: bool = True) -> None:
    """One page view of each user, as a landed file that has been still for a while."""
    folder = data / "landing" / "web"
    folder.mkdir(parents=True, exist_ok=True)
    number = len([*folder.iterdir()])
    at = (datetime.now(UTC) - timedelta(minutes=60 - number)).isoformat()
    lines = [
        {
            "event_id": f"{user.partition('@')[0]}-{number}",
            "event_name": "page_view",
            "created_at": at,
            "sent_at": at,
            "received_at": at,
            "visitor_id": f"browser-of-{user.partition('@')[0]}",
            "user_id": user,
            "page_url": "https://shop.example.com/",
            "consent": {"marketing": marketing, "analytics": True},
        }
        for user in users
    ]
    file = folder / f"{number}.ndjson"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(file, (file.stat().st_mtime - 60,) * 2)


def statuses(settings: Settings) -> dict[tuple[str, str, str | None], int]:
    """Rows of the ledger by operation, status and reason."""
    rows = Lake(settings.lake_folder).scan("crm_syncs").select("operation", "status", "reason")
    counts: dict[tuple[str, str, str | None], int] = {}
    for row in rows.collect().rows():
        counts[row] = counts.get(row, 0) + 1
    return counts


@pytest.mark.slow
def test_broken_segment_does_not_keep_who_withdrew_in_the_crm(tmp_path: Path) -> None:
    data = prepare(tmp_path)
    settings = load_settings(data)
    visit(data, ANN, BOB)
    materialize_all(settings)
    assert statuses(settings) == {("upsert", "delivered", None): 2}

    visit(data, BOB, marketing=False)
    broken = tmp_path / "definitions" / "segments" / "vip.toml"
    broken.write_text(BROKEN)
    with pytest.raises(RunFailedError, match=r"^segments: .*vip\.toml.*(?s:.*)min"):
        materialize_all(settings)
    assert statuses(settings) == {
        ("upsert", "delivered", None): 2,
        ("remove", "delivered", None): 1,
    }

    # Mended, the run goes through, and nothing is said twice.
    broken.unlink()
    materialize_all(settings)
    assert sum(statuses(settings).values()) == 3


@pytest.mark.slow
def test_hubspot_is_told_where_the_settings_say_so(data: Path, account: Account) -> None:
    settings = load_settings(data)
    visit(data, ANN, BOB)
    materialize_all(settings)
    assert sorted(account.contacts) == [ANN, BOB]
    assert account.contacts[ANN]["clickstream_segments"] == "readers"
    assert not settings.outbox.exists()

    # Who withdraws consent is cleared; who is suppressed by now is not written to, whatever the
    # segments say. Rows of earlier syncs are not checked twice.
    visit(data, BOB, marketing=False)
    visit(data, "carol@example.com")
    suppression = Suppression(settings.state / "vault")
    materialize_all(settings)
    assert account.contacts[BOB]["clickstream_segments"] == ""
    assert "carol@example.com" in account.contacts
    suppression.add(
        "user", ["carol@example.com"], request_id="req_" + "0" * 24, now=datetime.now(UTC)
    )
    effects = account.effects.total()
    visit(data, ANN)
    materialize_all(settings)
    writes = [user for user, _ in account.effects]
    assert account.effects.total() == effects + 1
    assert writes.count("carol@example.com") == 1


@pytest.mark.slow
def test_run_that_is_killed_between_calls_is_resumed_with_one_effect_each(
    data: Path, account: Account
) -> None:
    settings = load_settings(data)
    visit(data, *NAMES)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(data)], check=False)  # noqa: S603 - our own words
    assert killed.returncode == -signal.SIGKILL
    noted = statuses(settings)
    assert noted.keys() <= {("upsert", "delivered", None), ("upsert", "pending", None)}
    assert sum(noted.values()) == 250
    assert noted["upsert", "pending", None] >= 150
    materialize_all(settings)
    assert statuses(settings) == {("upsert", "delivered", None): 250}
    assert sorted(account.contacts) == sorted(NAMES)
    # One key for each contact: a receiver that knows the key sees the resend as nothing new.
    assert sorted(user for user, _ in account.effects) == sorted(NAMES)


def test_missing_token_fails_the_run_and_says_what_to_set(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLICKSTREAM_HUBSPOT_TOKEN")
    visit(data, ANN)
    with pytest.raises(RunFailedError, match=r"^syncs: .*no access token.*HUBSPOT_TOKEN"):
        materialize_all(load_settings(data))


@pytest.mark.slow
def test_erasure_reaches_the_contacts_and_suppresses_before_it_asks(
    data: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, now = load_settings(data), datetime.now(UTC)
    visit(data, ANN, BOB)
    materialize_all(settings)
    request = register_request(settings, request_type="erase", identifiers=[("user", ANN)], now=now)
    monkeypatch.delenv("CLICKSTREAM_HUBSPOT_TOKEN")
    eraser = crm_eraser(settings)
    with pytest.raises(Exception, match=r"no access token is set"):
        erase_subject(settings, request, now=now, destination=eraser)
    assert Suppression(settings.state / "vault").mask("user", pl.Series([ANN])).to_list() == [True]
    monkeypatch.setenv("CLICKSTREAM_HUBSPOT_TOKEN", TOKEN)
    certificate = erase_subject(settings, request, now=now, destination=eraser)
    assert dict(certificate.destinations) == {"hubspot": 1}
    assert [*account.contacts] == [BOB]


def test_outbox_is_erased_as_a_folder_of_our_own(settings: Settings) -> None:
    assert crm_eraser(settings) is None
