"""The outbox: whole files, nobody twice, and nobody left after an erasure."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from clickstream_platform.activation import Outcome, Record
from clickstream_platform.connectors import Outbox, remove_from_outbox
from clickstream_platform_tests.frames import NOON

ANN, BOB = "ann@example.com", "bob@example.com"


def record(crm_id: str, *, is_resend: bool = False, minutes: int = 0) -> Record:
    return Record(
        idempotency_key=f"key of {crm_id}",
        operation="upsert",
        crm_id=crm_id,
        properties={"clickstream_segments": "readers"},
        synced_at=NOON + timedelta(minutes=minutes),
        is_resend=is_resend,
    )


def people(folder: Path) -> list[str]:
    texts = [file.read_text() for file in sorted(folder.iterdir())]
    return [json.loads(line)["id"] for text in texts for line in text.splitlines()]


def test_record_is_a_line_of_json(tmp_path: Path) -> None:
    outcomes = Outbox(tmp_path / "out", id_property="customer").upsert([record(ANN)])
    assert outcomes == [Outcome(f"key of {ANN}", "delivered")]
    (file,) = (tmp_path / "out").iterdir()
    assert file.name.startswith("20260301T120000Z-")
    assert json.loads(file.read_text()) == {
        "idempotency_key": f"key of {ANN}",
        "operation": "upsert",
        "id_property": "customer",
        "id": ANN,
        "properties": {"clickstream_segments": "readers"},
        "synced_at": "2026-03-01T12:00:00+00:00",
    }


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    Outbox(tmp_path).upsert([record(ANN)])
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_record_sent_again_is_not_written_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.upsert([record(ANN)])
    again = [record(ANN, is_resend=True, minutes=5), record(BOB, is_resend=True, minutes=5)]
    assert {outcome.fate for outcome in outbox.upsert(again)} == {"delivered"}
    assert sorted(people(tmp_path)) == [ANN, BOB]
    outbox.upsert(again)
    assert sorted(people(tmp_path)) == [ANN, BOB]


def test_same_batch_at_the_same_time_is_the_same_file(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.upsert([record(ANN), record(BOB)])
    outbox.upsert([record(ANN), record(BOB)])
    assert people(tmp_path) == [ANN, BOB]


def test_erased_people_are_in_no_file(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.upsert([record(ANN), record(BOB)])
    outbox.upsert([record(ANN, minutes=1)])
    (tmp_path / "20260301.jsonl.unfinished").write_text(ANN)
    assert remove_from_outbox(tmp_path, [ANN]) == 2
    assert people(tmp_path) == [BOB]
    assert outbox.erase([BOB]) == 1
    assert list(tmp_path.iterdir()) == []


def test_erasing_leaves_files_of_others_untouched(tmp_path: Path) -> None:
    Outbox(tmp_path).upsert([record(BOB)])
    (file,) = tmp_path.iterdir()
    before = file.stat()
    assert remove_from_outbox(tmp_path, [ANN]) == 0
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert remove_from_outbox(tmp_path / "nowhere", [ANN]) == 0


def test_lines_that_are_no_records_of_ours_stay(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(f'not json\n[1]\n{{"id": 3}}\n{{"id": "{ANN}"}}\n')
    assert remove_from_outbox(tmp_path, [ANN]) == 1
    assert (tmp_path / "own.jsonl").read_text() == 'not json\n[1]\n{"id": 3}\n'


def test_text_of_every_kind_survives(tmp_path: Path) -> None:
    odd = "Jürgen\u2028\u0085\n\t\U0001f600"
    Outbox(tmp_path).upsert([record(odd), record(ANN)])
    assert remove_from_outbox(tmp_path, [ANN]) == 1
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))["id"] == odd


def test_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match=r"No space left"):
        Outbox(tmp_path).upsert([record(ANN)])
    assert [file.suffix for file in tmp_path.iterdir()] == [".unfinished"]
