"""Exports: all of one person, nothing of anybody else, safe to open."""

import csv
import io
import json
import re
import stat
import zipfile
from html.parser import HTMLParser

import polars as pl
import pytest

from clickstream_platform.lake import Lake
from clickstream_platform.privacy import (
    Register,
    RequestError,
    erase_subject,
    export_subject,
    register_request,
)
from clickstream_platform.privacy.export import TRIGGERS, safe_cell, safe_csv
from clickstream_platform.privacy.summary import PURPOSES, HeldTable, Shared, summary_html
from clickstream_platform.privacy.tables import PERSON_TABLES
from clickstream_platform.settings import Settings
from clickstream_platform_tests.privacy.household import (
    ANN,
    ANN_PHONE,
    BOB,
    BOB_LAPTOP,
    NOON,
    TABLET,
    TODAY,
    add_rows,
    token,
)


def export(settings: Settings, *identifiers: tuple[str, str]) -> zipfile.ZipFile:
    request_id = register_request(
        settings,
        request_type="export",
        identifiers=identifiers,  # type: ignore[arg-type]  # literals
        now=NOON,
    )
    return zipfile.ZipFile(export_subject(settings, request_id, now=TODAY))


def test_an_export_holds_all_of_ann(home: Settings) -> None:
    ann = token(home, "user", ANN)
    add_rows(
        Lake(home.lake_folder),
        "crm_syncs",
        [{"person_id": ann, "person_key": int(ann[3:18], 16), "destination": "hubspot",
          "status": "delivered", "idempotency_key": "k1"}],
    )  # fmt: skip
    package = export(home, ("user", "ann@example.com"))
    data = json.loads(package.read("data.json"))
    assert {each["kind"]: each["value"] for each in data["identifiers"]} == {
        "user": "ann@example.com",
        "visitor": ANN_PHONE,
    }
    # Events 0, 1, 2 on the phone, 5 on the tablet; 10 waits in quarantine.
    events = [row["event_id"] for row in data["tables"]["events"]]
    assert sorted(events) == ["event-0", "event-1", "event-2", "event-5"]
    assert len(data["tables"]["quarantined_events"]) == 1
    assert len(data["tables"]["raw_events"]) == 5
    assert data["landed"] == {"files": 1, "records": 5}
    assert set(data["tables"]) >= {"sessions", "conversions", "touchpoints", "crm_syncs"}
    for table, rows in data["tables"].items():
        written = package.read(f"tables/{table}.csv")
        assert written.startswith(b"\xef\xbb\xbf")  # or names beyond ASCII are garbled by Excel
        cells = list(csv.DictReader(io.StringIO(written.decode("utf-8-sig"))))
        assert len(cells) == len(rows)
        assert list(cells[0]) == list(rows[0])
    page = package.read("summary.html").decode()
    assert "account <code>ann@example.com</code>" in page
    assert f"browser or app <code>{ANN_PHONE}</code>" in page
    assert "<b>hubspot</b>: 1 time, last on 2026-03-02" in page


def test_an_export_holds_nothing_of_others(home: Settings) -> None:
    package = export(home, ("user", ANN), ("visitor", TABLET))
    text = "".join(package.read(name).decode() for name in package.namelist())
    others = [BOB, token(home, "user", BOB), token(home, "visitor", BOB_LAPTOP)]
    # What happened on the tablet while nobody was signed in could be Bob's.
    for other in (*others, "event-3", "event-4", "event-6", "event-7", "event-8", "Nobody signed"):
        assert other not in text


def test_a_device_alone_is_no_proof_of_a_person(home: Settings) -> None:
    data = json.loads(export(home, ("visitor", TABLET)).read("data.json"))
    assert data["tables"] == {}
    assert data["identifiers"] == []


def test_the_file_is_private_and_named_after_the_request(home: Settings) -> None:
    export(home, ("user", ANN))
    (file,) = home.exports.iterdir()
    assert re.fullmatch(r"req_[0-9a-f]{24}\.zip", file.name)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_answered_request_returns_its_file_and_knows_nobody(home: Settings) -> None:
    export(home, ("user", ANN))
    register = Register(home)
    (request,) = register.requests()
    assert request.status == "completed"
    assert request.rows_found > 0
    file = export_subject(home, request.request_id, now=TODAY)
    with pytest.raises(RequestError, match="identifiers are gone"):
        register.identifiers(request.request_id)
    file.unlink()
    with pytest.raises(RequestError, match="its file is gone"):
        export_subject(home, request.request_id, now=TODAY)
    register.verify_audit()


def test_an_erasure_deletes_earlier_exports_of_the_person_alone(home: Settings) -> None:
    export(home, ("visitor", ANN_PHONE))
    bobs = export(home, ("user", BOB)).filename
    request_id = register_request(home, request_type="erase", identifiers=[("user", ANN)], now=NOON)
    erase_subject(home, request_id, now=TODAY)
    assert [str(file) for file in home.exports.iterdir()] == [bobs]


def test_an_erasure_is_no_export(home: Settings) -> None:
    request_id = register_request(home, request_type="erase", identifiers=[("user", ANN)], now=NOON)
    with pytest.raises(RequestError, match="is of type erase"):
        export_subject(home, request_id, now=TODAY)


# -- Safe to open ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\uff1dx",
        "\uff0bx",
        "\uff0dx",
        "\uff20x",
        " =1",
    ],
)
def test_no_cell_starts_a_formula(text: str) -> None:
    written = safe_csv(pl.DataFrame({"a": [text], "b": [-5]}))
    assert written.startswith('"a","b"')
    (row,) = list(csv.reader(io.StringIO(written, newline="")))[1:]
    assert row == [f"'{text}", "'-5"]
    assert not any(cell.startswith(TRIGGERS) for cell in row)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        ("a=b", "a=b"),
        ([{"code": "x", "got": "=1"}], '[{"code": "x", "got": "=1"}]'),
        (NOON, "2026-03-02T12:00:00+00:00"),
    ],
)
def test_other_values_are_written_as_they_are(value: object, cell: str) -> None:
    assert safe_cell(value) == cell


class Elements(HTMLParser):
    """Names of the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)


def test_the_page_runs_and_loads_nothing() -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    page = summary_html(
        identifiers=[(attack, attack)],
        tables=[HeldTable("events", 3, NOON.date(), NOON.date())],
        shared=[Shared(attack, 1, NOON.date())],
        landed=(1, 3),
        made_at=TODAY,
    )
    elements = Elements()
    elements.feed(page)
    assert not {"script", "img", "iframe", "link"} & set(elements.names)
    assert "default-src 'none'" in page


def test_every_table_of_people_has_a_purpose_in_plain_words() -> None:
    assert set(PERSON_TABLES) - set(PURPOSES) == set()
