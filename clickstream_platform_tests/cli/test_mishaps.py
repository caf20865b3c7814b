"""The command line when something is wrong with files, folders, definitions or the disk."""

import json
import re
import shutil
import socket
import sqlite3
import struct
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner, Result

from clickstream_platform.cli.app import app, load_commands, main
from clickstream_platform.cli.output import counted, printable
from clickstream_platform.cli.serve import PortInUseError
from clickstream_platform.errors import DefinitionError
from clickstream_platform.orchestration.rebuilding import mend, rebuild
from clickstream_platform.orchestration.running import (
    BusyError,
    RunHistoryError,
    alone,
    in_words,
    materialize_all,
    opened,
)
from clickstream_platform.settings import load_settings

PAGE_VIEW = (
    '{"event_name": "page_view", "occurred_at": "2026-03-01T12:00:00Z", "visitor_id": "v"}\n'
)
NO_TEXT = b"\xe2\x28\xa1"

load_commands()


def clickstream(*words: str, data: Path, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, [*words, "--data", str(data)], input=answer)


def said(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.stdout


def levels(data: Path) -> dict[str, str]:
    found = clickstream("doctor", "--json", data=data)
    return {check["name"]: check["level"] for check in json.loads(found.stdout)}


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    """A data folder that holds one event."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "clickstream.toml").write_text("lateness_horizon_days = 100_000\n")
    take(folder)
    return folder


def take(folder: Path, name: str = "visits.ndjson") -> Result:
    file = folder / name
    file.write_text(PAGE_VIEW)
    return clickstream("ingest", str(file), "--source", "web_shop", data=folder)


def fails(*words: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command as the shell does, and see it end with code 2."""
    monkeypatch.setattr(sys, "argv", ["clickstream", *words, "--data", str(data)])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()


def data_file(folder: Path, table: str = "events") -> Path:
    return next((folder / "lake" / table).rglob("*.parquet"))


# -- Folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["with blanks", "Umläute", "100 %", "a+b"])
def test_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "clickstream.toml").write_text("lateness_horizon_days = 100_000\n")
    said(take(folder))
    answer = clickstream("sql", "SELECT count(*) AS n FROM events", "--json", data=folder)
    assert json.loads(said(answer)) == [{"n": 1}]
    assert levels(folder)["files"] == "ok"


# -- A disk that changes files ---------------------------------------------------------------------


def test_doctor_sees_files_that_nothing_can_be_compared_with(loaded: Path) -> None:
    assert levels(loaded)["files"] == "ok"
    (loaded / "lake" / "events" / "_SHA256SUMS").write_bytes(NO_TEXT * 40)
    found = said(clickstream("doctor", data=loaded))
    assert re.search(r"files without a seal, not compared: events: 1\b", found)
    assert "_SHA256SUMS was damaged" in found


@pytest.mark.parametrize(
    "words", [("sql", "SELECT 1"), ("report",), ("ingest", "{file}", "--source", "b")]
)
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "cut off"])
def test_broken_data_file_is_named_in_our_words(
    loaded: Path,
    words: tuple[str, ...],
    is_gone: bool,  # noqa: FBT001 - a parameter of pytest
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = data_file(loaded)
    if is_gone:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    given = [word.format(file=loaded / "visits.ndjson") for word in words]
    fails(*given, data=loaded, monkeypatch=monkeypatch)
    assert re.search(
        r"Error: events: 1 of its files are not what was written", capsys.readouterr().err
    )


def test_log_of_a_table_that_cannot_be_read_is_named(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    next((loaded / "lake" / "events" / "_delta_log").glob("*.json")).write_text("{garbage")
    fails("status", data=loaded, monkeypatch=monkeypatch)
    assert re.search(r"Error: events: its log in .* cannot be read", capsys.readouterr().err)
    assert levels(loaded)["files"] == "fail"


def test_engine_that_trips_over_damage_is_answered_for(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Polars reads this one, and nobody compared it before.
    file = data_file(loaded, "raw_events")
    file.write_bytes(b"PAR1" + bytes(200) + b"PAR1")
    fails("privacy", "scan", data=loaded, monkeypatch=monkeypatch)
    assert re.search(r"Error: raw_events: 1 of its files", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ledger.db", "ledger"),
        ("vault/vault.sqlite", "vault"),
        ("vault/suppression.sqlite", "suppression list"),
        ("vault/keys/master.key", "vault"),
    ],
)
def test_doctor_sees_state_that_cannot_be_read(loaded: Path, file: str, name: str) -> None:
    assert levels(loaded)[name] == "ok"
    for beside in (loaded / "state").glob("ledger.db-*"):
        beside.unlink()
    (loaded / "state" / file).write_bytes(b"garbage " * 300)
    assert levels(loaded)[name] == "fail"


def test_damaged_ledger_is_one_message(loaded: Path) -> None:
    for beside in (loaded / "state").glob("ledger.db*"):
        beside.unlink()
    (loaded / "state" / "ledger.db").write_bytes(b"garbage " * 300)
    for words in (("status",), ("ingest", str(loaded / "visits.ndjson"), "--source", "b")):
        found = clickstream(*words, data=loaded)
        assert re.search(r"^Ledger .*ledger\.db is damaged\. Restore", str(found.exception))


# -- Definitions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        "sources/till.toml",
        "segments/buyers.toml",
        "bots.toml",
        "channels.toml",
        "conversions.toml",
        "purposes.toml",
        "identity/identifiers.toml",
        "tag_rules.toml",
    ],
)
def test_doctor_reads_every_definition(tmp_path: Path, file: str) -> None:
    mine = tmp_path / "mine" / file
    mine.parent.mkdir(parents=True)
    (tmp_path / "clickstream.toml").write_text('definitions = "mine"\n')
    mine.write_text("a = \n")
    assert levels(tmp_path)["definitions"] == "fail"


SEGMENT = """
description = "A test."
owner = "us"
purpose = "marketing"
expires = 2030-01-01
"""


def segments_said(folder: Path, **files: str) -> dict[str, str]:
    """What doctor says of own segments, by file."""
    (mine := folder / "mine" / "segments").mkdir(parents=True, exist_ok=True)
    settings = 'definitions = "mine"\nlateness_horizon_days = 100_000\n'
    (folder / "clickstream.toml").write_text(settings)
    for name, rule in files.items():
        (mine / f"{name}.toml").write_text(SEGMENT + rule)
    found = json.loads(clickstream("doctor", "--json", data=folder).stdout)
    (check,) = [check for check in found if check["name"] == "segments"]
    return dict(check)


def test_doctor_tells_of_events_and_channels_that_there_are_none_of(loaded: Path) -> None:
    told = segments_said(
        loaded,
        vip='[[all]]\nnever = "page_veiw"\n[[all]]\ndid = "page_view"\n',
        mail='table = "sessions"\nwhere = { channel = ["Email", "Mail"] }\n',
    )
    assert told["level"] == "warn"
    assert told["found"] == (
        "mail: channel Mail no rule of channels gives (did you mean Email?); "
        "vip: event_name page_veiw never occurred in events (did you mean page_view?)"
    )


def test_doctor_goes_on_where_a_check_cannot_read_a_damaged_table(loaded: Path) -> None:
    (file,) = (loaded / "lake" / "events").rglob("*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])
    told = segments_said(loaded, vip='did = "page_view"\n')
    assert told["level"] == "fail"
    assert told["remedy"] == "The check of files names what is damaged."
    assert levels(loaded)["files"] == "fail"


def test_doctor_does_not_doubt_events_before_the_first(tmp_path: Path) -> None:
    told = segments_said(tmp_path, vip='did = "page_veiw"\n')
    assert (told["level"], told["found"]) == ("ok", "1 own one; what they name is there")


@pytest.mark.parametrize("name", ["vip.TOML", "vip.toml.txt", "more/vip.toml"])
def test_doctor_tells_of_files_of_segments_that_are_not_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / "mine" / "segments" / name
    file.parent.mkdir(parents=True)
    file.write_text(SEGMENT)
    (file.parent / "README.md").write_text("Our segments.")
    told = segments_said(tmp_path)
    assert (told["level"], told["found"]) == ("warn", f"not read: {name}")


def test_folder_or_broken_link_in_place_of_a_segment_is_told_in_words(tmp_path: Path) -> None:
    (mine := tmp_path / "mine" / "segments").mkdir(parents=True)
    (mine / "x.toml").mkdir()
    told = segments_said(tmp_path)
    assert told["level"] == "fail"
    assert told["found"].endswith(
        "x.toml: file: is a folder. Put a file in its place, or take it away."
    )
    (mine / "x.toml").rmdir()
    (mine / "x.toml").symlink_to(tmp_path / "nowhere")
    assert "x.toml: file: is a link that leads nowhere. " in segments_said(tmp_path)["found"]


def test_error_of_a_run_names_no_class() -> None:
    message = "clickstream_platform.lake.seals.BrokenSealError: events: 1 of its files"
    assert in_words(message) == "events: 1 of its files"
    interrupted = "dagster._core.errors.DagsterExecutionInterruptedError"
    assert in_words(interrupted).startswith("it was interrupted; the next ")
    engine = "dagster._core.definitions.events.Failure: ConversionException: to INT99"
    assert in_words(engine) == "ConversionException: to INT99"


# -- Files that are named --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("micro", "run", "{file}"),
        ("tags", "csp", "--from-events", "--inline", "{file}"),
        (
            "bots",
            "ranges",
            "update",
            "{file}",
            *["--class", "crawler", "--source", "s", "--licence", "l"],
        ),
    ],
)
def test_file_that_is_no_text_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "picture"
    file.write_bytes(NO_TEXT)
    found = clickstream(*[word.format(file=file) for word in words], data=tmp_path)
    assert re.search(r"picture: encoding: is no text in UTF-8\.", str(found.exception))


def test_list_of_networks_stays_in_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "networks.txt"
    file.write_text("192.0.2.0/24\n")
    words = ["--class", "crawler", "--source", "s", "--licence", "l", "--name", "../../mine"]
    found = clickstream("bots", "ranges", "update", str(file), *words, data=tmp_path)
    assert re.match("name must be letters, digits", str(found.exception))
    assert not [*tmp_path.rglob("mine.txt")]


def test_a_window_before_all_calendars_is_refused(tmp_path: Path) -> None:
    found = clickstream("simulate", "--until", "0001-01-01", data=tmp_path)
    assert "start must be a date between 1970-01-01" in str(found.exception)


def test_cut_off_parquet_is_refused_without_words_of_the_engine(tmp_path: Path) -> None:
    file = tmp_path / "cut.parquet"
    file.write_bytes(b"PAR1 and then nothing")
    found = clickstream("sources", "check", str(file), "--source", "till", "--json", data=tmp_path)
    assert json.loads(said(found))["refused"] == ["is no Parquet, or is cut off"]


def test_doctor_tells_of_a_refused_file_until_it_is_gone(tmp_path: Path) -> None:
    (file := tmp_path / "visits.csv").write_text("a,a\n1,2\n")
    clickstream("ingest", str(file), "--source", "web", data=tmp_path / "data")
    assert levels(tmp_path / "data")["landing"] == "warn"
    (tmp_path / "data" / "landing" / "web" / "visits.csv").unlink()
    assert levels(tmp_path / "data")["landing"] == "ok"


def test_mistyped_source_is_told_a_close_one(tmp_path: Path) -> None:
    file = tmp_path / "visits.ndjson"
    file.write_text(PAGE_VIEW)
    found = clickstream("sources", "check", str(file), "--source", "snowplo", data=tmp_path)
    assert "Did you mean snowplow?" in " ".join(found.stderr.split())


def test_mapped_column_that_no_record_has_is_told(tmp_path: Path) -> None:
    (folder := tmp_path / "own" / "sources").mkdir(parents=True)
    (tmp_path / "clickstream.toml").write_text('definitions = "own"\n')
    (folder / "till.toml").write_text(
        'description = "Tills."\nformat = "csv"\nlive = false\n[fields]\n'
        'event_name = { value = "purchase" }\noccurred_at = "at"\nvisitor_id = "card"\n'
        'country = "land"\nproduct_id = { fields = ["articel", "sku"] }\n'
    )
    (file := tmp_path / "till.csv").write_text("at,card,land,article\n2026-03-01,c1,DE,a1\n")
    words = ("sources", "check", str(file), "--source", "till")
    assert json.loads(said(clickstream(*words, "--json", data=tmp_path)))["empty"] == {
        "product_id": ["articel", "sku"]
    }
    text = " ".join(said(clickstream(*words, data=tmp_path)).split())
    assert "empty in every event: product_id (from articel, sku)" in text


def test_file_of_which_nothing_loads_is_told_its_nearest_columns(tmp_path: Path) -> None:
    (folder := tmp_path / "own" / "sources").mkdir(parents=True)
    (tmp_path / "clickstream.toml").write_text('definitions = "own"\n')
    (folder / "till.toml").write_text(
        'description = "Tills."\nformat = "csv"\nlive = false\n[fields]\n'
        'event_name = { value = "purchase" }\noccurred_at = "printed"\nuser_id = "card no"\n'
        'revenue = "total"\n'
    )
    (file := tmp_path / "till.csv").write_text("Printed,Card No,total\n2026-03-01,c1,1\n")
    words = ("sources", "check", str(file), "--source", "till")
    found = json.loads(said(clickstream(*words, "--json", data=tmp_path)))
    assert found["empty"] == {"occurred_at": ["printed"], "user_id": ["card no"]}
    assert found["meant"] == {"printed": "Printed", "card no": "Card No"}
    text = " ".join(said(clickstream(*words, data=tmp_path)).split())
    assert "Did you mean Card No instead of card no, Printed instead of printed?" in text


def test_why_records_would_wait_is_told_with_what_they_held(tmp_path: Path) -> None:
    (file := tmp_path / "a.ndjson").write_bytes(
        PAGE_VIEW.replace("2026-03-01T12", "1.3.26 12").encode() * 2 + b'{"\xff": 1}\n'
    )
    words = ("sources", "check", str(file), "--source", "web", "--json")
    reasons = json.loads(said(clickstream(*words, data=tmp_path)))["reasons"]
    assert {r["code"]: r["got"] for r in reasons} == {
        "occurred_at_unreadable": "9.9.99 99:99:99a",
        "record_unreadable": "is not UTF-8",
    }


def test_equal_ids_of_different_events_are_told(tmp_path: Path) -> None:
    (tmp_path / "clickstream.toml").write_text("lateness_horizon_days = 100_000\n")
    numbered = PAGE_VIEW.replace("{", '{"event_id": 1, ')
    for source, text in (("a", numbered), ("b", numbered), ("c", numbered.replace('"v"', '"w"'))):
        (file := tmp_path / f"{source}.ndjson").write_text(text)
        told = " ".join(
            said(clickstream("ingest", str(file), "--source", source, data=tmp_path)).split()
        )
        assert ("1 event with the id of another one" in told) == (source == "c")
    assert "'c-' || id" in told


# -- What is printed -------------------------------------------------------------------------------


def test_simulating_once_answers_in_json_too(tmp_path: Path) -> None:
    words = ("simulate", "--events", "20", "--days", "1", "--once", "--json")
    assert json.loads(said(clickstream(*words, data=tmp_path)))["files"] == 1
    assert json.loads(said(clickstream(*words, data=tmp_path)))["files"] == 0


def test_terminal_is_shown_values_and_given_no_orders(tmp_path: Path) -> None:
    text = said(clickstream("sql", "SELECT chr(27) || '[31mred' AS a", data=tmp_path))
    assert r"\x1b[31mred" in text
    assert printable("a\tb\nc ä 漢\x9b\x07") == "a\tb\nc ä 漢\\x9b\\x07"


def test_policies_are_compared_before_there_are_sessions(tmp_path: Path) -> None:
    assert "No sessions yet" in said(clickstream("sessions", "compare", data=tmp_path))


def test_no_is_not_done_as_asked(tmp_path: Path) -> None:
    found = clickstream("subject", "erase", "--user", "4711", data=tmp_path, answer="n\n")
    assert re.match("Nothing was erased, and no request registered", str(found.exception))
    assert json.loads(said(clickstream("subject", "list", "--json", data=tmp_path))) == []


def test_mended_tables_leave_json_alone(loaded: Path) -> None:
    data_file(loaded).unlink()
    found = clickstream("doctor", "--mend", "--json", data=loaded)
    assert {check["level"] for check in json.loads(said(found))} <= {"ok", "warn"}


# -- What is said, and who may work at once --------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 files"), (1, "1 file"), (1200, "1,200 files")]
)
def test_one_is_no_plural(number: int, expected: str) -> None:
    assert counted(number, "file") == expected
    assert counted(number, "entry", "entries").endswith("y") == (number == 1)


def test_settings_that_are_a_folder_are_told(tmp_path: Path) -> None:
    (tmp_path / "clickstream.toml").mkdir()
    found = clickstream("status", data=tmp_path)
    assert isinstance(found.exception, DefinitionError)
    assert re.search(r"clickstream\.toml: file: is no file\. Move it away", str(found.exception))


def test_no_write_keys_are_told(tmp_path: Path) -> None:
    assert "No write keys yet. Make one" in said(clickstream("keys", "list", data=tmp_path))
    assert json.loads(said(clickstream("keys", "list", "--json", data=tmp_path))) == []


def _scramble(file: Path) -> None:
    """Change what stands in a Parquet file, and leave its footer as it is."""
    content = bytearray(file.read_bytes())
    (end,) = struct.unpack("<I", content[-8:-4])
    for place in range(4, len(content) - 8 - end):
        content[place] ^= 0x5A
    file.write_bytes(content)


@pytest.mark.parametrize(
    "words", [("sql", "SELECT sum(hash(e)) FROM events e"), ("materialize",)], ids=lambda w: w[0]
)
def test_damage_inside_a_file_is_told_in_our_words(
    loaded: Path,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _scramble(data_file(loaded))
    fails(*words, data=loaded, monkeypatch=monkeypatch)
    said_of_it = capsys.readouterr().err
    assert re.search(r"events: 1 of its files .*doctor --mend", said_of_it, re.DOTALL)
    assert "duckdb" not in said_of_it


@pytest.mark.parametrize(
    ("table", "remedy"),
    [
        ("events", r"Move .*/lake/events out of the lake and run `clickstream materialize --full`"),
        ("raw_events", r"Restore .*/lake/raw_events from a backup"),
    ],
)
def test_mend_says_what_can_be_done_about_a_log(
    loaded: Path,
    table: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    next((loaded / "lake" / table / "_delta_log").glob("*.json")).write_text("{garbage")
    fails("doctor", "--mend", data=loaded, monkeypatch=monkeypatch)
    assert re.search(rf"The log of {table} cannot be read\. {remedy}", capsys.readouterr().err)


@pytest.mark.slow
def test_table_whose_log_was_moved_away_is_made_anew(loaded: Path) -> None:
    shutil.move(loaded / "lake" / "events", loaded / "away")
    said(clickstream("materialize", "--full", data=loaded))
    answer = clickstream("sql", "SELECT count(*) AS n FROM events", "--json", data=loaded)
    assert json.loads(said(answer)) == [{"n": 1}]


@pytest.mark.slow
def test_nobody_else_works_while_tables_are_mended(loaded: Path) -> None:
    settings = load_settings(loaded)
    with alone(settings, "mend"):
        for work in (materialize_all, mend, rebuild):
            with pytest.raises(BusyError, match="is at work already"):
                work(settings)
    assert mend(settings).rebuilt == ()
    with pytest.raises(ValueError, match="tripped"), alone(settings, "mend"):
        raise ValueError("tripped")  # noqa: EM101 - what it says does not matter
    assert mend(settings).rebuilt == ()


def test_full_disk_under_the_history_of_runs_is_told(tmp_path: Path) -> None:
    full = OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))
    told = r"state/dagster cannot be used: database or disk is full\. Check that the disk has room"
    with pytest.raises(RunHistoryError, match=told), opened(load_settings(tmp_path)):
        raise full


@pytest.mark.parametrize("behind", [0, 1], ids=["port of the UI", "port of the report"])
def test_port_in_use_is_named_before_anything_starts(tmp_path: Path, behind: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = clickstream("serve", "--port", str(port - behind), data=tmp_path)
    assert isinstance(done.exception, PortInUseError)
    assert f"Port {port} is in use" in str(done.exception)
    assert "Dagster UI:" not in done.output


def test_wrong_adapter_stops_its_own_source_and_is_told_of(loaded: Path) -> None:
    (loaded / "definitions" / "sources").mkdir(parents=True)
    (loaded / "definitions" / "sources" / "till.toml").write_text("format = [")
    with (loaded / "clickstream.toml").open("a") as file:
        file.write('definitions = "definitions"\n')
    done = clickstream("materialize", "--json", data=loaded)
    assert "1 source stopped" in str(done.exception)
    assert "till.toml: syntax" in str(done.exception)
    assert "crm_syncs" in done.stdout, "the others are brought up to date"
    told = json.loads(said(clickstream("status", "--json", data=loaded)))
    assert [*told["sources_stopped"]] == ["till"]
    assert levels(loaded)["definitions"] == "fail"
