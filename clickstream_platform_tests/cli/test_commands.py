"""The command line as people and programs use it: output, errors, exit codes."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands, main
from clickstream_platform.cli.look import UnknownChoiceError, table_states
from clickstream_platform.cli.pages import page
from clickstream_platform.events import Ledger
from clickstream_platform.events.ledger import Batch
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import NOON, events_frame, sessions_frame

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("clickstream")
LINE = '{{"event_name": "page_view", "occurred_at": "{at}", "visitor_id": "v-{visitor}"}}\n'

load_commands()


def clickstream(*words: str, data: Path, code: int = 0) -> str:
    """Run a command in this process and return its standard output."""
    result = CliRunner().invoke(app, [*words, "--data", str(data)])
    assert result.exit_code == code, result.output
    return result.stdout


def rows_of(*words: str, data: Path) -> Any:  # noqa: ANN401 - whatever the JSON holds
    return json.loads(clickstream(*words, "--json", data=data))


def run(
    *words: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a process of its own."""
    return subprocess.run(  # noqa: S603 - our own words
        [COMMAND, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env=env,
    )


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    """A file of three events of two visitors, and one line that is none."""
    file = tmp_path / "visits.ndjson"
    lines = [
        LINE.format(at=f"2026-03-01T12:0{minute}:00Z", visitor=minute % 2) for minute in range(3)
    ]
    file.write_text("".join(lines) + "not an event\n")
    return file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An empty data folder whose sources are history: nothing is too late."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "clickstream.toml").write_text("lateness_horizon_days = 100_000\n")
    return folder


# -- Bringing data in ------------------------------------------------------------------------------


def test_ingest_prints_what_became_of_every_record(visits: Path, data: Path) -> None:
    done = rows_of("ingest", str(visits), "--source", "web_shop", data=data)
    (ledger,) = done["ledger"]
    assert (ledger["received"], ledger["loaded"], ledger["quarantined"]) == (4, 3, 1)
    assert (data / "landing" / "web_shop" / "visits.ndjson").read_bytes() == visits.read_bytes()


def test_ingesting_twice_is_ingesting_once(visits: Path, data: Path) -> None:
    first = rows_of("ingest", str(visits), "--source", "web_shop", data=data)
    again = rows_of("ingest", str(visits), "--source", "web_shop", data=data)
    assert again["taken"]["known"] == 1
    assert again["ledger"] == first["ledger"]


@pytest.mark.parametrize("source", ["../escape", "Web Shop", "a/b", ".hidden", "1st"])
def test_source_must_be_able_to_be_a_folder(visits: Path, data: Path, source: str) -> None:
    result = CliRunner().invoke(
        app, ["ingest", str(visits), "--source", source, "--data", str(data)]
    )
    assert re.match(r"source must be lower case letters, .* Try source=", str(result.exception))
    assert not (data / "landing").exists()


def test_simulating_once_leaves_what_is_there(data: Path) -> None:
    words = ["simulate", "--events", "300", "--days", "2", "--until", "2026-03-02", "--once"]
    clickstream(*words, data=data)
    files = {file.name: file.read_bytes() for file in (data / "landing" / "demo").iterdir()}
    assert sorted(files) == ["demo-2026-03-01.ndjson.gz", "demo-2026-03-02.ndjson.gz"]
    assert "has files already" in clickstream(*words, "--seed", "2", data=data)
    assert files == {file.name: file.read_bytes() for file in (data / "landing" / "demo").iterdir()}


def test_file_that_cannot_be_read_is_refused_with_its_reason(tmp_path: Path, data: Path) -> None:
    file = tmp_path / "visits.parquet"
    file.write_bytes(b"PAR1 and nothing more")
    done = run("ingest", str(file), "--source", "web_shop", "--data", str(data))
    assert done.returncode == 2
    assert re.search(r"1 file refused: visits\.parquet: is no Parquet, .* ingest", done.stderr)
    assert "Traceback" not in done.stderr


def test_file_of_another_name_is_refused_before_it_is_copied(visits: Path, data: Path) -> None:
    file = visits.rename(visits.with_suffix(".docx"))
    done = run("ingest", str(file), "--source", "web_shop", "--data", str(data))
    assert done.returncode == 2
    assert re.search(r"visits\.docx: files of this name are not taken\. .*Rename", done.stderr)
    assert not (data / "landing").exists()


def test_ingest_says_what_to_do_about_records_that_wait(visits: Path, data: Path) -> None:
    text = clickstream("ingest", str(visits), "--source", "web_shop", data=data)
    assert "clickstream quarantine show --source web_shop" in text
    assert "Too late" not in text
    (data / "clickstream.toml").unlink()
    young = {"event_name": "login", "occurred_at": datetime.now(UTC).isoformat(), "user_id": "u"}
    (data / "young.ndjson").write_text(json.dumps(young))
    clickstream("ingest", str(data / "young.ndjson"), "--source", "live", data=data)
    text = clickstream("ingest", str(visits), "--source", "live", data=data)
    assert "an adapter with live = false" in " ".join(text.split())


# -- Looking ---------------------------------------------------------------------------------------


def test_sql_answers_in_three_forms(visits: Path, data: Path) -> None:
    clickstream("ingest", str(visits), "--source", "web_shop", data=data)
    query = "SELECT source, count(*) AS events, min(occurred_at) AS first_at FROM events GROUP BY 1"
    assert rows_of("sql", query, data=data) == [
        {"source": "web_shop", "events": 3, "first_at": "2026-03-01T12:00:00+00:00"}
    ]
    text = clickstream("sql", query, "--format", "csv", data=data)
    assert list(csv.reader(io.StringIO(text)))[1][:2] == ["web_shop", "3"]
    assert re.search(r"web_shop +3 ", clickstream("sql", query, data=data))


def test_sql_says_when_rows_are_cut(data: Path) -> None:
    result = CliRunner().invoke(
        app, ["sql", "SELECT * FROM range(5)", "--limit", "2", "--json", "--data", str(data)]
    )
    assert len(json.loads(result.stdout)) == 2
    assert "The first 2 rows; --limit shows more." in result.stderr


def test_sql_writes_json_that_is_json(data: Path) -> None:
    query = "SELECT 'NaN'::DOUBLE AS a, 1.50::DECIMAL(9,2) AS b, [1] AS c, NULL AS d"
    assert rows_of("sql", query, data=data) == [{"a": None, "b": 1.5, "c": [1], "d": None}]


def test_values_are_text_and_not_markup(data: Path) -> None:
    assert "[red]" in clickstream("sql", "SELECT '[red]' AS page", data=data)


def test_status_knows_tables_sources_and_files_that_wait(visits: Path, data: Path) -> None:
    clickstream("ingest", str(visits), "--source", "web_shop", data=data)
    (data / "landing" / "stray.ndjson").write_text("")
    found = rows_of("status", data=data)
    rows = {row["table"]: row["rows"] for row in found["tables"]}
    assert (rows["events"], rows["quarantined_events"], rows["sessions"]) == (3, 1, 0)
    assert found["ledger"][0]["source"] == "web_shop"
    assert found["files_not_taken"] == ["stray.ndjson"]
    assert found["unbalanced_batches"] == []
    assert "received = loaded + quarantined" in clickstream("status", data=data)


def test_status_of_an_empty_folder_says_how_to_begin(data: Path) -> None:
    assert "Start with clickstream simulate" in clickstream("status", data=data)


def test_report_prints_where_it_lies(data: Path) -> None:
    done = rows_of("report", data=data)
    assert Path(done["path"]) == data / "reports" / "clickstream_report.html"
    assert Path(done["path"]).stat().st_size == done["bytes"]


def test_quarantine_shows_why_each_record_waits(visits: Path, data: Path) -> None:
    clickstream("ingest", str(visits), "--source", "web_shop", data=data)
    (reason, *_) = rows_of("quarantine", "list", data=data)
    assert (reason["source"], reason["records"]) == ("web_shop", 1)
    assert reason["code"] in clickstream("quarantine", "show", data=data)
    assert "1 record waited in 1 batch; still waiting: 1." in clickstream(
        "quarantine", "replay", data=data
    )


@pytest.mark.parametrize("command", ["show", "replay"])
@pytest.mark.parametrize(
    ("choice", "name", "known"),
    [("source", "web_ship", "web_shop"), ("code", "event_nam_missing", "record_unreadable")],
)
def test_quarantine_knows_no_such_source_or_rule(  # noqa: PLR0913, PLR0917 - two fixtures, four words
    visits: Path, data: Path, command: str, choice: str, name: str, known: str
) -> None:
    clickstream("ingest", str(visits), "--source", "web_shop", data=data)
    words = ["quarantine", command, f"--{choice}", name, "--data", str(data)]
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, UnknownChoiceError)
    assert re.search(rf"is named '{name}'\. Known: .*{known}", str(error))


def test_sources_are_listed_and_shown(data: Path) -> None:
    names = [row["source"] for row in rows_of("sources", "list", data=data)]
    assert {"canonical", "snowplow", "segment"} <= set(names)
    assert "[fields]" in clickstream("sources", "show", "shop", data=data)


def test_adapter_is_tried_on_a_file_and_nothing_is_kept(visits: Path, data: Path) -> None:
    found = rows_of("sources", "check", str(visits), "--source", "web_shop", data=data)
    assert (found["ledger"][0]["loaded"], found["ledger"][0]["quarantined"]) == (3, 1)
    assert len(found["reasons"]) >= 1
    assert found["events"][0]["event_name"] == "page_view"
    assert [path.name for path in data.iterdir()] == ["clickstream.toml"]


def test_trying_a_source_without_an_adapter_says_so(visits: Path, data: Path) -> None:
    words = ["sources", "check", str(visits), "--source", "tills", "--data", str(data)]
    assert "No adapter is named tills" in CliRunner().invoke(app, words).stderr


# -- Taking care -----------------------------------------------------------------------------------


def levels(data: Path) -> dict[str, str]:
    result = CliRunner().invoke(app, ["doctor", "--json", "--data", str(data)])
    return {check["name"]: check["level"] for check in json.loads(result.stdout)}


def test_doctor_finds_nothing_in_a_sound_folder(data: Path) -> None:
    assert "fail" not in levels(data).values()


def test_doctor_names_the_file_of_a_broken_setting(data: Path) -> None:
    (data / "clickstream.toml").write_text('time_zone = "Mars/Olympus"\n')
    text = clickstream("doctor", data=data, code=1)
    assert re.search(r"fail  settings: .*clickstream\.toml: time_zone: .*not a time zone", text)


def test_doctor_sees_a_crm_without_a_token(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLICKSTREAM_HUBSPOT_TOKEN", raising=False)
    (data / "clickstream.toml").write_text('[crm]\ndestination = "hubspot"\n')
    text = clickstream("doctor", data=data, code=1)
    assert re.search(r"fail  crm: .*no access token .*CLICKSTREAM_HUBSPOT_TOKEN", text)


def test_refused_people_are_sent_again_on_demand(data: Path, settings: Settings) -> None:
    assert rows_of("crm", "retry", data=data) == {"destination": "outbox", "pending": 0}
    row = dict.fromkeys(polars_schema("crm_syncs"), "x") | {"person_key": 1, "synced_at": NOON}
    row |= {"destination": "outbox", "status": "failed", "sync_date": NOON.date()}
    ledger = pl.DataFrame([row], schema=polars_schema("crm_syncs"))
    Lake(settings.lake_folder).append("crm_syncs", ledger)
    text = clickstream("crm", "retry", data=data)
    assert "1 record that outbox refused" in text
    assert "clickstream materialize" in text
    assert Lake(settings.lake_folder).scan("crm_syncs").collect()["status"].to_list() == ["pending"]


def test_mistake_in_the_environment_is_sought_there(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKSTREAM_SESSIONS__TIMEOUT_MINUTES", "soon")
    text = clickstream("doctor", data=data, code=1)
    assert "environment: sessions.timeout_minutes: " in text
    assert "Unset or mend CLICKSTREAM_SESSIONS__TIMEOUT_MINUTES." in text


def test_folder_of_definitions_lies_in_the_data_folder_and_must_exist(data: Path) -> None:
    (data / "clickstream.toml").write_text('definitions = "mine"\n')
    assert re.search(
        r"definitions: .*/data/mine is no folder", clickstream("doctor", data=data, code=1)
    )
    (data / "mine" / "sources").mkdir(parents=True)
    till = '[fields]\nevent_name = "kind"\noccurred_at = "at"\n'
    (data / "mine" / "sources" / "till.toml").write_text(
        f'description = "Tills"\nformat = "csv"\n{till}'
    )
    assert "till" in [row["source"] for row in rows_of("sources", "list", data=data)]


def test_sessions_that_a_change_of_events_left_alone_are_not_stale(settings: Settings) -> None:
    lake = Lake(settings.lake_folder)
    nothing = pl.DataFrame(schema=polars_schema("session_events"))
    lake.append("events", events_frame([{"event_id": "e1"}]))
    lake.append("sessions", sessions_frame([{"session_key": 1}]), consumed={"events": 0})
    lake.append("session_events", nothing, consumed={"events": 0})
    lake.append("events", events_frame([{"event_id": "e2"}]))

    def stale() -> list[str]:
        return [str(row["table"]) for row in table_states(lake) if row["stale"]]

    made = ["sessions", "session_events", "sessionless_events", "runaway_sessions"]
    assert stale() == made
    lake.append("session_events", nothing, consumed={"events": 1})
    assert stale() == []


def test_doctor_sees_keys_that_others_can_read(visits: Path, data: Path) -> None:
    clickstream("ingest", str(visits), "--source", "web_shop", data=data)
    assert levels(data)["vault keys"] == "ok"
    next((data / "state" / "vault" / "keys").iterdir()).chmod(0o644)
    assert levels(data)["vault keys"] == "fail"


def test_doctor_sees_a_ledger_that_does_not_add_up(data: Path, settings: Settings) -> None:
    ledger = Ledger(settings.state)
    ledger.open(Batch(batch_id="b", source="s", path="p", sha256="s", bytes=1, arrived_at=NOON))
    ledger.land("b", received=2, suppressed=0)
    ledger.count({"b": {"loaded": 1}})
    ledger.set_state(["b"], "loaded")
    assert levels(data)["ledger"] == "fail"


# -- The command as a process ----------------------------------------------------------------------


def test_error_is_one_message_without_a_traceback(tmp_path: Path) -> None:
    done = run("sql", "DROP TABLE events", "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: Only one SELECT is answered")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["report", "--path", "/proc/report.html"], id="folder that takes no file"),
        pytest.param(["ingest", "absent.ndjson", "--source", "web"], id="absent file"),
        pytest.param(["ingest", ".", "--source", "web"], id="folder for a file"),
        pytest.param(["sources", "show", "absent"], id="unknown source"),
        pytest.param(["subject", "export", "--request", "req_0"], id="unknown request"),
        pytest.param(["subject", "erase", "--request", "req_0", "--yes"], id="unknown erasure"),
        pytest.param(["subject", "approve", "req_0"], id="unknown approval"),
        pytest.param(["sql", "SELECT chanel FROM sessions"], id="unknown column"),
        pytest.param(["simulate", "--days", "4000"], id="too many days"),
        pytest.param(["report", "--days", "0"], id="no days"),
        pytest.param(["materialise"], id="unknown command"),
    ],
)
def test_wrong_words_are_answered_with_code_2_and_no_traceback(
    tmp_path: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # In this process, which has the engines; those above and below are processes of their own.
    monkeypatch.setattr(sys, "argv", ["clickstream", "--data", str(tmp_path), *words])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    done = capfd.readouterr()
    assert done.out == ""
    assert "Error" in done.err
    assert "Traceback" not in done.err


def test_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    done = run("--debug", "sql", "DROP TABLE events", "--data", str(tmp_path))
    assert "Traceback" in done.stderr
    assert done.returncode != 0


def test_data_folder_may_stand_before_the_command_or_in_the_environment(tmp_path: Path) -> None:
    words = ("simulate", "--events", "10", "--days", "1")
    before = run("--data", str(tmp_path / "a"), *words, cwd=tmp_path)
    environment = {"PATH": "/usr/bin:/bin", "CLICKSTREAM_DATA": str(tmp_path / "b")}
    elsewhere = run(*words, cwd=tmp_path, env=environment)
    assert (before.returncode, elsewhere.returncode) == (0, 0), before.stderr + elsewhere.stderr
    assert [(tmp_path / name / "landing").exists() for name in "ab"] == [True, True]
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_help_answers_at_once() -> None:
    # CPU of the child: wall time on a busy machine says nothing. It takes about 0.3 s.
    before = os.times()
    assert run("--help").returncode == 0
    after = os.times()
    assert sum(after[2:4]) - sum(before[2:4]) < 1.0


def test_help_loads_no_engine() -> None:
    code = (
        "import sys; from clickstream_platform.cli.app import load_commands; load_commands();"
        "print(sorted({'polars', 'duckdb', 'ibis', 'dagster', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_command_has_an_example() -> None:
    sections = page().split("\n## ")[1:]
    assert [text.splitlines()[0] for text in sections if "Example" not in text] == []


def test_printed_page_is_current() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == page(), "run `make docs`"
