"""Subject requests by command: registered first, answered, and the person is gone."""

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.cli.people import WhoError
from clickstream_platform.errors import ClickstreamError
from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake
from clickstream_platform.settings import load_settings

load_commands()

EVENT = (
    '{{"event_name": "page_view", "occurred_at": "2026-03-01T12:00:00Z", "user_id": "{user}"}}\n'
)


def clickstream(*words: str, data: Path, typed: str | None = None) -> Any:  # noqa: ANN401 - whatever the JSON holds
    """Run a command and return what it wrote as JSON."""
    result = CliRunner().invoke(app, [*words, "--json", "--data", str(data)], input=typed)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def users_with_events(data: Path) -> int:
    query = "SELECT count(DISTINCT user_id) AS users FROM events"
    (row,) = clickstream("sql", query, data=data)
    return int(row["users"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one event of Ann and one of Bob."""
    folder = tmp_path / "data"
    folder.mkdir()
    settings = "lateness_horizon_days = 100_000\n[privacy]\nmax_erased_share = 1\n"
    (folder / "clickstream.toml").write_text(settings)
    file = tmp_path / "visits.ndjson"
    file.write_text("".join(EVENT.format(user=f"{name}@example.com") for name in ("ann", "bob")))
    clickstream("ingest", str(file), "--source", "web_shop", data=folder)
    return folder


def test_export_holds_the_events_of_the_person_alone(data: Path) -> None:
    done = clickstream("subject", "export", "--user", "ann@example.com", data=data)
    with zipfile.ZipFile(done["path"]) as archive:
        text = archive.read("data.json").decode()
    assert Path(done["path"]).name == f"{done['request_id']}.zip"
    assert "page_view" in text
    assert "bob" not in text


def test_export_holds_what_waits_in_landing(data: Path) -> None:
    waiting = data / "landing" / "web_shop" / "late.ndjson"
    waiting.write_text(EVENT.format(user="cem@example.com"))
    done = clickstream("subject", "export", "--user", "cem@example.com", data=data)
    with zipfile.ZipFile(done["path"]) as archive:
        (row,) = json.loads(archive.read("data.json"))["tables"]["raw_events"]
    assert "page_view" in row["payload"]


def test_who_is_back_with_a_backup_is_told_and_erased_again(data: Path, tmp_path: Path) -> None:
    def erased_people() -> str:
        result = CliRunner().invoke(app, ["doctor", "--json", "--data", str(data)])
        levels = {check["name"]: str(check["level"]) for check in json.loads(result.stdout)}
        return levels["erased people"]

    shutil.copytree(data / "lake", tmp_path / "backup")
    clickstream("subject", "erase", "--user", "ann@example.com", "--yes", data=data)
    assert erased_people() == "ok"
    shutil.rmtree(data / "lake")
    shutil.copytree(tmp_path / "backup", data / "lake")
    assert (erased_people(), users_with_events(data)) == ("fail", 2)
    (request,) = clickstream("subject", "reapply", data=data)
    assert (data / "state" / "certificates" / f"{request}.json").exists()
    assert (erased_people(), users_with_events(data)) == ("ok", 1)


def test_identifier_can_be_read_from_input(data: Path) -> None:
    typed = "ann@example.com\n"
    done = clickstream("subject", "export", "--user", "-", data=data, typed=typed)
    assert Path(done["path"]).exists()


def test_erased_person_is_gone_and_stays_gone(data: Path, tmp_path: Path) -> None:
    assert users_with_events(data) == 2
    done = clickstream("subject", "erase", "--user", "ann@example.com", "--yes", data=data)
    assert done["rows_found"] > 0
    assert done["rows_left"] == 0
    assert Path(done["certificate"]).exists()
    assert users_with_events(data) == 1
    clickstream("ingest", str(tmp_path / "visits.ndjson"), "--source", "again", data=data)
    assert users_with_events(data) == 1


def test_what_waits_is_taken_so_that_its_adapter_says_whose_it_is(data: Path) -> None:
    log = data / "landing" / "apache" / "access.log"
    log.parent.mkdir(parents=True)
    line = '203.0.113.7 - {} [02/Mar/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "-"\n'
    log.write_text(line.format("ann") + line.format("joann"))
    clickstream("subject", "erase", "--user", "ann", "--yes", data=data)
    assert log.read_text() == line.format("joann")


def test_request_can_be_registered_for_later(data: Path) -> None:
    typed = "ann@example.com\n"
    done = clickstream("subject", "register", "export", "--user", "-", data=data, typed=typed)
    (listed,) = clickstream("subject", "list", data=data)
    assert (listed["request_id"], listed["type"]) == (done["request_id"], "export")
    assert listed["completed"] is None
    answer = clickstream("subject", "export", "--request", done["request_id"], data=data)
    assert Path(answer["path"]).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["forget", "--user", "1"], r"request_type is export or erase", id="type"),
        pytest.param(["erase"], r"needs a person", id="nobody"),
    ],
)
def test_request_that_cannot_be_registered_says_why(
    data: Path, words: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["subject", "register", *words, "--data", str(data)])
    assert isinstance(result.exception, ClickstreamError)
    assert re.search(message, str(result.exception))


def test_erasure_asks_first_and_no_means_no(data: Path) -> None:
    words = ["subject", "erase", "--user", "ann@example.com", "--data", str(data)]
    result = CliRunner().invoke(app, words, input="n\n")
    assert result.exit_code == 1
    assert users_with_events(data) == 2
    assert clickstream("subject", "list", data=data) == []


def test_requests_are_listed_without_the_person(data: Path) -> None:
    done = clickstream("subject", "export", "--user", "ann@example.com", data=data)
    (row,) = clickstream("subject", "list", data=data)
    assert (row["request_id"], row["status"]) == (done["request_id"], "completed")
    assert "ann" not in json.dumps(row)


def test_answered_request_is_answered_with_the_same_file(data: Path) -> None:
    done = clickstream("subject", "export", "--user", "ann@example.com", data=data)
    again = clickstream("subject", "export", "--request", done["request_id"], data=data)
    assert again == done


@pytest.mark.parametrize(
    "words", [[], ["--user", "ann@example.com", "--request", "req_1"]], ids=["nobody", "both"]
)
def test_request_names_a_person_or_a_request(data: Path, words: list[str]) -> None:
    result = CliRunner().invoke(app, ["subject", "export", *words, "--data", str(data)])
    assert isinstance(result.exception, WhoError)


ADAPTER = """
description = "Tills"
format = "ndjson"
[fields]
event_name = { value = "purchase" }
occurred_at = "at"
visitor_id = "till"
[identifiers]
email = "mail"
"""


@pytest.fixture
def tills(tmp_path: Path) -> Path:
    """A data folder whose own adapter, a TOML file, declares that receipts name addresses."""
    folder = tmp_path / "tills"
    (folder / "own" / "sources").mkdir(parents=True)
    (folder / "own" / "sources" / "tills.toml").write_text(ADAPTER)
    settings = "definitions = 'own'\nlateness_horizon_days = 100_000\n"
    (folder / "clickstream.toml").write_text(f"{settings}[privacy]\nmax_erased_share = 1\n")
    file = tmp_path / "receipts.ndjson"
    line = '{{"at":"2026-03-01T12:00:0{n}Z","till":"till-{n}","mail":"{name}@example.org"}}\n'
    people = ("Ann", "ann", "bob")
    file.write_text("".join(line.format(n=n, name=name) for n, name in enumerate(people)))
    clickstream("ingest", str(file), "--source", "tills", data=folder)
    refresh_identity(Lake(folder / "lake"), load_settings(folder))
    return folder


def test_person_is_named_by_a_further_identifier(tills: Path) -> None:
    shown = clickstream("identity", "show", "--identifier", "email=ANN@example.org", data=tills)
    assert {row["identifier_type"] for row in shown} == {"visitor"}
    assert len({row["identifier_id"] for row in shown}) == 2, "two tills, one person"
    done = clickstream("subject", "erase", "--yes", "--identifier", "email=-", data=tills,
                       typed="ann@example.org\n")  # fmt: skip
    assert done["rows_left"] == 0
    (left,) = clickstream("sql", "SELECT visitor_id, identifiers FROM events", data=tills)
    assert left["identifiers"].startswith("email:pi_")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        pytest.param("ann@example.org", "takes TYPE=VALUE.*: crm, device, email", id="bare"),
        pytest.param("fax=1", "type is one of crm, .*got 'fax'", id="a type there is not"),
    ],
)
def test_further_identifier_needs_a_known_type(tills: Path, given: str, complaint: str) -> None:
    words = ["subject", "export", "--identifier", given, "--data", str(tills)]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ClickstreamError)
    assert re.search(complaint, str(result.exception))
    assert "ann@" not in str(result.exception).replace("email=ann@example.org", "")
