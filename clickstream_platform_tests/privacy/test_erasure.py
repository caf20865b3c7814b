"""Erasure: gone from every store, others untouched, proven by a scan, and never back."""

import gzip
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import write_deltalake

from clickstream_platform.events import Ledger, replay_quarantine
from clickstream_platform.lake import Lake, LakeError
from clickstream_platform.privacy import Vault
from clickstream_platform.privacy.certificate import (
    CertificateError,
    read_certificate,
    verify_certificate,
)
from clickstream_platform.privacy.erasure import ApprovalNeededError, ResidueError, erase_subject
from clickstream_platform.privacy.register import Register
from clickstream_platform.privacy.requests import RequestError
from clickstream_platform.privacy.residual import scan_residue
from clickstream_platform.privacy.signing import public_key
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform_tests.privacy.household import (
    ANN,
    ANN_PHONE,
    BOB,
    BOB_LAPTOP,
    TABLET,
    TODAY,
    add_rows,
    asked,
    contents,
    erase,
    household,
    land,
    materialize,
    ndjson,
    record,
    token,
    zipped,
)

PERSON_COLUMNS = {
    f"{whose}_{form}"
    for whose in ("visitor", "user", "person", "identifier", "other")
    for form in ("id", "key")
} | {"identifiers"}


def landed(settings: Settings) -> list[dict[str, object]]:
    text = gzip.decompress((settings.landing / "canonical/household.ndjson.gz").read_bytes())
    return [json.loads(line) for line in text.splitlines()]


def test_every_stored_table_of_people_is_known_to_erasure() -> None:
    for table in TABLES.values():
        held = PERSON_COLUMNS & set(table.contract.to_schema().columns)
        assert bool(held) == bool(table.person_columns), table.name
        assert set(table.person_columns) <= held
        # An event is found by its ids, everything derived by its person or its visitor alone.
        found_by = {"person_id", "person_key", "user_id", "identifier_id"}
        alone = table.person_columns == ("visitor_id",)
        assert not held or alone or found_by & set(table.person_columns)


def test_ann_is_gone_and_bob_stays(home: Settings) -> None:
    ann = [token(home, "user", ANN), token(home, "visitor", ANN_PHONE)]
    tablet = token(home, "visitor", TABLET)
    lake = Lake(home.lake_folder)
    others = lake.scan("events").filter(pl.col("user_id") == token(home, "user", BOB)).collect()

    certificate = erase(home, ("user", "ann@example.com"))

    # Ann: events 0, 1, 2 and 5; quarantined 10. The tablet's event 7 is nobody's: unlinked.
    rows = {t.table: (t.rows_removed, t.rows_unlinked) for t in certificate.tables}
    assert rows["events"] == (4, 1)
    assert rows["quarantined_events"] == (1, 0)
    assert rows["raw_events"] == (5, 1)
    assert certificate.residue.total == 0
    assert certificate.vault_rows == 2
    assert [Vault(home.state / "vault").find("user", ANN)] == [None]

    events = lake.scan("events").collect().sort("event_id")
    assert events["event_id"].to_list() == ["event-3", "event-4", "event-6", "event-7", "event-8"]
    assert events.filter(event_id="event-7")["visitor_id"].item() not in {tablet, *ann}
    assert events.filter(event_id="event-6")["visitor_id"].item() == tablet
    assert events.filter(pl.col("user_id").is_not_null()).equals(others.sort("event_id"))
    assert [each["event_id"] for each in landed(home)] == [f"event-{i}" for i in (3, 4, 6, 7, 8, 9)]
    assert re.fullmatch("unlinked-[0-9a-f]{16}", str(landed(home)[3]["visitor_id"]))


def test_an_incremental_refresh_afterwards_equals_a_full_one(home: Settings) -> None:
    erase(home, ("user", ANN))
    materialize(home)
    incremental = contents(home)
    materialize(home, full=True)
    assert incremental == contents(home)
    assert Ledger(home.state).unbalanced() == []


def test_erasing_is_as_if_the_person_had_been_suppressed_from_the_start(
    home: Settings, tmp_path: Path
) -> None:
    erase(home, ("visitor", BOB_LAPTOP))
    materialize(home)
    never = load_settings(tmp_path / "never")
    erase(never, ("visitor", BOB_LAPTOP), ("user", BOB))
    land(never, "household.ndjson.gz", zipped(household()))
    materialize(never)
    columns = ["event_id", "event_name", "occurred_at", "revenue"]
    found = [
        Lake(each.lake_folder).scan("events").select(columns).sort("event_id").collect()
        for each in (home, never)
    ]
    assert found[0].equals(found[1])
    counts = ("received", "loaded", "quarantined", "suppressed")
    ledgers = [
        [row[name] for name in counts] for s in (home, never) for row in Ledger(s.state).totals()
    ]
    assert ledgers[0] == ledgers[1]


def test_old_files_bring_nobody_back(home: Settings) -> None:
    old = (home.landing / "canonical/household.ndjson.gz").read_bytes()
    erase(home, ("user", ANN))
    before = contents(home)["events"]
    land(home, "again.ndjson.gz", old)
    materialize(home)
    assert contents(home)["events"] == before
    assert Vault(home.state / "vault").find("user", ANN) is None
    replayed = next(
        r for r in Ledger(home.state).batches() if r["path"] == "canonical/again.ndjson.gz"
    )
    assert replayed["suppressed"] == 5


def test_a_rewritten_file_is_not_taken_again(home: Settings) -> None:
    erase(home, ("user", ANN))
    batches = len(Ledger(home.state).batches())
    materialize(home)
    assert len(Ledger(home.state).batches()) == batches


def test_a_replay_of_quarantine_brings_nobody_back(home: Settings) -> None:
    erase(home, ("user", ANN))
    replay_quarantine(home)
    materialize(home)
    waiting = Lake(home.lake_folder).scan("quarantined_events").collect()
    assert waiting["user_id"].to_list() == [None]
    assert Vault(home.state / "vault").find("user", ANN) is None


def test_padded_numbers_are_other_people(home: Settings) -> None:
    erase(home, ("visitor", BOB_LAPTOP))
    visitors = [each["visitor_id"] for each in landed(home)]
    assert BOB_LAPTOP not in visitors
    assert visitors.count(ANN_PHONE) == 4
    assert Vault(home.state / "vault").find("visitor", ANN_PHONE)


def test_a_number_is_found_as_a_number(home: Settings) -> None:
    file = land(
        home, "numbers.ndjson", ndjson([record(50, 123), record(51, 1234), record(52, "0123")])
    )
    erase(home, ("visitor", "123"))
    assert [json.loads(line)["event_id"] for line in file.read_text().splitlines()] == [
        "event-51",
        "event-52",
    ]


def test_two_accounts_of_one_person_share_a_device_alone(home: Settings) -> None:
    erase(home, ("user", ANN), ("user", BOB))
    assert contents(home)["events"] == [row for row in contents(home)["events"] if "event-8" in row]


def test_a_shared_device_alone_leads_to_nobody(home: Settings) -> None:
    tablet = token(home, "visitor", TABLET)
    certificate = erase(home, ("visitor", TABLET))
    rows = {t.table: (t.rows_removed, t.rows_unlinked) for t in certificate.tables}
    assert rows["events"] == (0, 1)
    events = Lake(home.lake_folder).scan("events").collect()
    assert events.filter(visitor_id=tablet)["user_id"].null_count() == 0
    assert certificate.suppressed == 0


# -- The stores beside the lake --------------------------------------------------------------------


def test_what_was_handed_out_is_cleaned(home: Settings) -> None:
    ann = token(home, "user", ANN)
    batch = {"inputs": [{"id": "ann@example.com", "properties": {"a": 1}}, {"id": BOB}]}
    (home.outbox / "contacts").mkdir(parents=True)
    document, lines = home.outbox / "contacts/1.json", home.outbox / "2.ndjson"
    document.write_text(json.dumps(batch))
    lines.write_text(f'{{"id": "{BOB}"}}\n{{"id": "{ANN}", "x": 1}}\n')
    home.reports.mkdir()
    (home.reports / "sound.html").write_text("nobody")
    (home.reports / "leak.html").write_text(f"<p>{ann}</p>")
    database = home.data / "mart.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE t AS SELECT ? AS person FROM range(3000)", [ann])
    certificate = erase(home, ("user", ANN))
    assert json.loads(document.read_text()) == {"inputs": [{"id": BOB}]}
    assert lines.read_text() == f'{{"id": "{BOB}"}}\n'
    assert [file.name for file in home.reports.iterdir()] == ["sound.html"]
    assert not database.exists()
    stores = {file.store for file in certificate.files}
    assert stores == {"landing", "outbox", "reports", "databases"}


def test_the_storage_of_the_orchestrator_is_redacted(home: Settings) -> None:
    ann = token(home, "user", ANN)
    logs = home.state / "dagster/storage/run/compute_logs"
    logs.mkdir(parents=True)
    (logs / "step.err").write_text(f"ValueError: {ann} and ann%40example.com\nnext line\n")
    index = home.state / "dagster/index.db"
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("CREATE TABLE event_logs (id INTEGER PRIMARY KEY, event TEXT)")
        connection.execute("INSERT INTO event_logs (event) VALUES (?)", (f'{{"m": "{ANN}"}}',))
        connection.commit()
    erase(home, ("user", ANN))
    assert (logs / "step.err").read_text() == "ValueError: [erased] and [erased]\nnext line\n"
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("SELECT event FROM event_logs").fetchall() == [
            ('{"m": "[erased]"}',)
        ]
    assert b"xample.com" not in index.read_bytes()


def test_neither_old_snapshots_nor_the_log_of_a_table_remember(home: Settings) -> None:
    ann = token(home, "user", ANN)
    phone = token(home, "visitor", ANN_PHONE)
    lake = Lake(home.lake_folder)
    add_rows(lake, "crm_syncs", [{"person_id": ann, "person_key": int(ann[3:18], 16)}])
    lake.compact("events")
    lake.append("events", lake.scan("events").filter(event_id="event-8").collect())
    erase(home, ("user", ANN))
    for file in home.data.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for text in (ann, phone, ann[3:18], str(int(ann[3:18], 16)), str(int(phone[3:18], 16))):
                assert text.encode() not in content, file
    assert lake.row_count("crm_syncs") == 0
    assert lake.row_count("events") == 6


class Crm:
    """A destination that counts how often it is told."""

    name = "crm"

    def __init__(self) -> None:
        self.told: list[Sequence[str]] = []

    def erase(self, user_ids: Sequence[str]) -> int:
        self.told.append(user_ids)
        return len(user_ids)


def full_disk(*_: object) -> None:
    raise OSError("disk")  # noqa: EM101 - a test


def test_the_crm_is_told_once(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    crm, request_id = Crm(), asked(home, ("visitor", ANN_PHONE))
    with monkeypatch.context() as broken:
        broken.setattr(Vault, "forget", full_disk)
        with pytest.raises(OSError, match="disk"):
            erase_subject(home, request_id, now=TODAY, destination=crm)
    assert Register(home).get(request_id).status == "failed"
    certificate = erase_subject(home, request_id, now=TODAY, destination=crm)
    assert crm.told == [["ann@example.com"]]
    assert certificate.destinations == (("crm", 1),)


# -- Stops, errors, proof --------------------------------------------------------------------------


def test_a_large_share_needs_approval(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKSTREAM_PRIVACY__MAX_ERASED_SHARE", "0.2")
    careful = load_settings(home.data)
    before = contents(careful)
    request_id = asked(careful, ("user", ANN))
    with pytest.raises(
        ApprovalNeededError, match=r"erase 4 of 9 events \(44.4%\), more than 20.0%"
    ):
        erase_subject(careful, request_id, now=TODAY)
    assert contents(careful) == before
    Register(careful).approve(request_id, now=TODAY)
    erase_subject(careful, request_id, now=TODAY)
    assert len(contents(careful)["events"]) == 5


def test_what_the_eraser_cannot_reach_keeps_the_request_open(home: Settings) -> None:
    foreign = home.data / "notes.txt"
    foreign.write_text(f"call {ANN} back")
    request_id = asked(home, ("user", ANN))
    with pytest.raises(ResidueError, match=r"left \d+ findings \(notes.txt: \d+\)") as caught:
        erase_subject(home, request_id, now=TODAY)
    assert "xample" not in str(caught.value)
    assert Register(home).get(request_id).status == "failed"
    assert Register(home).get(request_id).rows_left > 0
    foreign.unlink()
    assert erase_subject(home, request_id, now=TODAY).residue.total == 0
    assert Register(home).get(request_id).status == "completed"


def test_an_erasure_that_is_done_is_done(home: Settings) -> None:
    request_id = asked(home, ("user", ANN))
    first = erase_subject(home, request_id, now=TODAY)
    before = contents(home)
    assert erase_subject(home, request_id, now=TODAY) == first
    again = erase(home, ("user", ANN))
    assert again.rows_found == 0
    assert contents(home) == before
    with pytest.raises(RequestError, match="identifiers are gone"):
        Register(home).identifiers(request_id)


def test_the_certificate_is_signed_and_names_nobody(home: Settings) -> None:
    ann = token(home, "user", ANN)
    request_id = asked(home, ("user", ANN))
    erase_subject(home, request_id, now=TODAY)
    register = Register(home)
    held = read_certificate(home, request_id)
    audit = [(entry.number, entry.hash) for entry in register.audit()]
    key = public_key(register.keys)
    verify_certificate(held, key=key, audit=audit)
    text = (home.state / "certificates" / f"{request_id}.txt").read_text()
    assert "Residual scan      0 findings" in text
    assert not any(each in json.dumps(held) + text for each in (ann, ANN.lower(), ANN_PHONE))
    with pytest.raises(CertificateError, match="does not carry the platform's signature"):
        verify_certificate(held | {"vault_rows": 99}, key=key)
    with pytest.raises(CertificateError, match="an audit log that is not this one"):
        verify_certificate(held, key=key, audit=audit[:-3])
    register.verify_audit()


@pytest.mark.slow
def test_a_killed_erasure_goes_on(home: Settings) -> None:
    ann = [token(home, "user", ANN), token(home, "visitor", ANN_PHONE)]
    request_id = asked(home, ("user", ANN))
    code = (
        "import os, sys\n"
        "from datetime import datetime, UTC\n"
        "from clickstream_platform.settings import load_settings\n"
        "from clickstream_platform.privacy import erasure, landed, tables\n"
        "place, count = sys.argv[3].rsplit(':', 1)\n"
        "owner = {'landed': landed.LandedEraser, 'tables': tables.LakePart, "
        "'run': erasure._Run}[place.split('.')[0]]\n"
        "name = place.split('.')[1]\n"
        "real, left = getattr(owner, name), [int(count)]\n"
        "def killing(*given):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return real(*given)\n"
        "setattr(owner, name, killing)\n"
        "now = datetime(2026, 3, 4, 12, tzinfo=UTC)\n"
        "erasure.erase_subject(load_settings(sys.argv[1]), sys.argv[2], now=now)\n"
    )
    for place in ("landed._tell_digest:1", "tables._erase_from:5", "tables._end_time_travel:9",
                  "run._forgotten:1", "run._certified:1"):  # fmt: skip
        arguments = [sys.executable, "-c", code, str(home.data), request_id, place]
        assert subprocess.run(arguments, check=False).returncode == -9, place  # noqa: S603 - our own interpreter
        assert Register(home).get(request_id).status == "in_progress"
    certificate = erase_subject(home, request_id, now=TODAY)
    assert certificate.residue.total == 0
    assert scan_residue(home, [("user", ANN), ("visitor", ANN_PHONE)], ann).total == 0
    batches = len(Ledger(home.state).batches())
    materialize(home)
    assert len(Ledger(home.state).batches()) == batches
    incremental = contents(home)
    materialize(home, full=True)
    assert incremental == contents(home)
    assert len(incremental["events"]) == 5
    Register(home).verify_audit()


def test_lake_of_an_earlier_version_is_not_half_erased(home: Settings) -> None:
    lake, request_id = Lake(home.lake_folder), asked(home, ("user", "ann"))
    old = lake.scan("touchpoints").collect().drop("bucket")
    shutil.rmtree(lake.path("touchpoints"))
    write_deltalake(lake.path("touchpoints"), old.to_arrow(), partition_by=["touch_date"])
    before = lake.versions(*TABLES)
    with pytest.raises(LakeError, match=r"touchpoints: was written by an earlier .*materialize"):
        erase_subject(home, request_id, now=TODAY)
    assert lake.versions(*TABLES) == before
