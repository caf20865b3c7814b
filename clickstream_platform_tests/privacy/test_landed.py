"""Erasure in landed files: of every format, taken or waiting, and the rest of them as it was."""

import csv
import gzip
import io
import json
import re
import threading
from collections.abc import Callable

import polars as pl
import pytest

from clickstream_platform.events import (
    Ledger,
    ingest_files,
    ingest_landing,
    refresh_events,
    replay_quarantine,
)
from clickstream_platform.events.columns import snowplow_fields
from clickstream_platform.lake import Lake, turn
from clickstream_platform.privacy import mend_leaks
from clickstream_platform.privacy.files import text_blocks
from clickstream_platform.privacy.residual import scan_residue
from clickstream_platform.settings import Settings
from clickstream_platform_tests.privacy.household import (
    ANN,
    BOB,
    TODAY,
    contents,
    erase,
    land,
    ndjson,
    record,
    settle,
    zipped,
)


def load(home: Settings) -> None:
    """Take what has landed, and load it."""
    for file in home.landing.rglob("*.*"):
        settle(file)
    ingest_landing(home, now=TODAY)
    refresh_events(home)


def test_a_file_that_was_never_taken_is_cleaned_too(home: Settings) -> None:
    torn = (
        b'{"event_name": "x", "user_id": "ann@example.com", "page\n{"user_id": "bob-user-5512ab\n'
    )
    file = land(home, "torn.ndjson", torn)
    table = land(
        home,
        "table.csv",
        b'event_name,visitor_id,page_title\r\nview,00123,"two\nlines"\r\nview,123,"a, b"\r\n'
        b"view,tablet-9b1c44e0-kitchen,none\r\n",
    )
    rows = pl.DataFrame(
        {"event_name": ["a", "b", "c"], "user_id": [ANN, BOB, None], "n": [1, 2, 3]}
    )
    parquet = home.landing / "canonical/rows.parquet"
    rows.write_parquet(parquet)
    erase(home, ("user", ANN))
    assert file.read_bytes() == b'{"user_id": "bob-user-5512ab\n'
    kept = table.read_bytes().decode()
    assert "00123" not in kept
    assert 'view,123,"a, b"\r\n' in kept
    assert re.search("view,unlinked-[0-9a-f]{16},none\r\n", kept)
    assert pl.read_parquet(parquet).equals(rows[1:])


@pytest.mark.parametrize("user", ["zoë", 'o"neil', "a\\b", "50%"])
def test_plain_ids_are_found_in_waiting_files_however_they_are_written(
    home: Settings, user: str
) -> None:
    ids = [user, "zoe", "oneil", "50", "b"]
    records = [record(70 + number, f"cookie-{number}", each) for number, each in enumerate(ids)]
    utf8 = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records)
    table = io.StringIO()
    csv.writer(table).writerows([("event_name", "user_id"), *(("view", each) for each in ids)])
    files = [
        land(home, "escaped.ndjson.gz", zipped(records)),
        land(home, "plain.ndjson", utf8.encode()),
        land(home, "table.csv", table.getvalue().encode()),
    ]
    erase(home, ("user", user))
    escaped, plain = (
        [json.loads(line)["user_id"] for line in text.splitlines()]
        for text in (gzip.decompress(files[0].read_bytes()), files[1].read_bytes())
    )
    assert escaped == plain == ids[1:]
    assert [row[1] for row in csv.reader(files[2].read_text().splitlines())] == [
        "user_id",
        *ids[1:],
    ]


@pytest.mark.parametrize(
    ("name", "content", "left"),
    [
        pytest.param(
            "tabbed.tsv",
            b"event_name\tvisitor_id\tuser_id\nview\t1\tann\nview\t2\tanna\n",
            b"event_name\tvisitor_id\tuser_id\nview\t2\tanna\n",
            id="tabs",
        ),
        pytest.param(
            "marked.csv",
            b"\xef\xbb\xbfuser_id,event_name\nann,view\nanna,view\n",
            b"\xef\xbb\xbfuser_id,event_name\nanna,view\n",
            id="byte order mark",
        ),
        pytest.param(
            "quoted.csv",
            b'"name, of it","user_id"\nview,ann\nview,anna\n',
            b'"name, of it","user_id"\nview,anna\n',
            id="delimiter in a name",
        ),
        pytest.param(
            "long.csv",
            b"title,user_id\n" + b"x" * 200_000 + b",ann\nann,anna\n",
            b"title,user_id\nann,anna\n",
            id="long cell",
        ),
        pytest.param(
            "elsewhere.ndjson",
            b'{"user_id": "anna", "properties": {"user_id": "ann"}}\n{"user_id": "ann"}\n',
            b'{"user_id": "anna", "properties": {"user_id": "ann"}}\n',
            id="a field of the same name elsewhere",
        ),
    ],
)
def test_plain_ids_are_found_by_their_field_in_any_table(
    home: Settings, name: str, content: bytes, left: bytes
) -> None:
    file = land(home, name, content)
    assert scan_residue(home, [("user", "ann")], []).by_store == {"landing": 1}
    erase(home, ("user", "ann"))
    assert file.read_bytes() == left


def snowplow(**fields: str) -> bytes:
    """One line of Snowplow's enriched events."""
    return ("\t".join(fields.get(name, "") for name in snowplow_fields()) + "\n").encode()


def test_lines_of_snowplow_are_read_by_their_columns(home: Settings) -> None:
    own = [
        snowplow(domain_userid="7", user_id="ann"),
        snowplow(domain_userid="8", user_id="o'neil"),
    ]
    bobs = snowplow(domain_userid="123", user_id="bob", page_url="https://e.example/?to=o'neil")
    invited = snowplow(user_id="bob", page_url="https://e.example/?to=ann%40example.com")
    file = land(home, "waiting.tsv", b"".join([*own, bobs, invited]), source="snowplow")
    asked = [("user", "ann"), ("user", "o'neil"), ("user", "ann@example.com")]
    assert scan_residue(home, asked[:2], []).by_store == {"landing": 2}
    erase(home, *asked)
    assert file.read_bytes() == bobs + invited.replace(b"ann%40example.com", b"[erased]")


@pytest.mark.parametrize(
    ("user", "written"),
    [
        pytest.param("o'neil", r"o\u0027neil", id="plain"),
        pytest.param("ann+shop@example.com", r"ann\u002Bshop@example.com", id="address"),
        pytest.param("a&b=c<d>-4711", r"a\u0026b\u003dc\u003cd\u003e-4711", id="distinctive"),
        pytest.param("zo\u00eb-kiosk-77", r"zo\u00EB-kiosk-77", id="in capitals"),
    ],
)
def test_ids_are_found_however_json_escapes_them(home: Settings, user: str, written: str) -> None:
    file = land(home, "escaped.ndjson", f'{{"user_id": "{written}"}}\n'.encode())
    assert scan_residue(home, [("user", user)], []).total
    erase(home, ("user", user))
    assert file.read_bytes() == b""


def hit(host: int, number: int = 0) -> bytes:
    """One line of an access log: of a host, and which one it is."""
    return (
        f"203.0.113.{host} - - [02/Mar/2026:12:00:0{number} +0000] "
        f'"GET /p/{number} HTTP/1.1" 200 5 "-" "Browser {host}"\n'
    ).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("access.log", hit(7) + hit(8) + b"  ", id="blanks at the end"),
        pytest.param("access.log.gz", gzip.compress(hit(7) + hit(8))[:-9], id="torn gz"),
    ],
)
def test_positions_hold_in_files_that_end_oddly(home: Settings, name: str, content: bytes) -> None:
    file = land(home, name, content, source="apache")
    load(home)
    for host, left in ((7, hit(8)), (8, b"")):
        erase(home, ("visitor", f"203.0.113.{host} Browser {host}"))
        assert b"".join(text_blocks(file)).rstrip(b" ") == left


def test_records_are_found_by_position_where_no_field_says_it(home: Settings) -> None:
    lines = [hit(host, number) for number, host in enumerate([7, 8, 7, 9, 8])]
    file = land(home, "access.log", b"".join(lines), source="apache")
    load(home)
    erase(home, ("visitor", "203.0.113.7 Browser 7"))
    assert file.read_bytes() == lines[1] + lines[3] + lines[4]
    # Numbers of what is left have shifted; the second person is found all the same.
    erase(home, ("visitor", "203.0.113.8 Browser 8"))
    assert file.read_bytes() == lines[3]


def test_texts_of_others_are_redacted_not_deleted(home: Settings) -> None:
    invited = record(60, "visitor-11ff22ee", properties={"invited_by": BOB, "n": 1})
    file = land(home, "invited.ndjson", ndjson([invited]))
    load(home)
    erase(home, ("user", BOB))
    assert json.loads(file.read_text())["properties"] == {"invited_by": "[erased]", "n": 1}
    event = Lake(home.lake_folder).scan("events").filter(event_id="event-60").collect()
    assert json.loads(event["properties"].item()) == {"invited_by": "[erased]", "n": 1}


# -- What lands after an erasure -------------------------------------------------------------------


def accounts(home: Settings, name: str, source: str = "canonical") -> str:
    """What lies in landing under a name, as text; of a table its columns, one after another."""
    file = home.landing / source / name
    if file.suffix == ".parquet":
        return repr(pl.read_parquet(file).rows())
    return b"".join(text_blocks(file)).decode()


LATER = [
    record(80, "cookie-80", ANN),
    record(81, "cookie-81", BOB),
    record(82, "cookie-82", ANN, event_name="", page_title="no name: waits in quarantine"),
    record(83, "cookie-83", BOB, event_name=""),
]


def written(name: str) -> bytes:
    """The later records as a file of the format that the name says."""
    frame = pl.DataFrame(LATER)
    out = io.BytesIO()
    if name.endswith(".parquet"):
        frame.write_parquet(out)
    elif name.endswith(".csv"):
        frame.write_csv(out)
    else:
        out.write(zipped(LATER) if name.endswith(".gz") else ndjson(LATER))
    return out.getvalue()


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.csv", "a.parquet"])
def test_files_that_land_later_lose_the_erased(home: Settings, name: str) -> None:
    erase(home, ("user", ANN))
    land(home, name, written(name))
    load(home)
    left = accounts(home, name)
    assert "ann@example.com" not in left.lower()
    assert [f"/p/{n}" in left for n in (80, 81, 82, 83)] == [False, True, False, True]
    row = next(r for r in Ledger(home.state).batches() if r["path"] == f"canonical/{name}")
    assert (row["received"], row["suppressed"], row["loaded"], row["quarantined"]) == (4, 2, 1, 1)
    before = contents(home)
    batches = Ledger(home.state).batches()
    load(home)
    assert (contents(home), Ledger(home.state).batches()) == (before, batches)
    replay_quarantine(home)
    load(home)
    # The batch is called otherwise then: by the file as it is now.
    assert [row[0] for row in contents(home)["events"]] == [row[0] for row in before["events"]]
    assert Ledger(home.state).unbalanced() == []


def test_a_file_as_it_was_before_an_erasure_is_known_and_cleaned_again(home: Settings) -> None:
    file = home.landing / "canonical/household.ndjson.gz"
    old = file.read_bytes()
    erase(home, ("user", ANN))
    load(home)
    before, batches = contents(home), Ledger(home.state).batches()
    land(home, file.name, old)
    load(home)
    assert file.read_bytes() != old
    assert "ann@example.com" not in accounts(home, file.name).lower()
    assert contents(home) == before
    content = ("sha256", "bytes")
    assert [{**batch, **dict.fromkeys(content)} for batch in Ledger(home.state).batches()] == [
        {**batch, **dict.fromkeys(content)} for batch in batches
    ]
    # The command copies nothing that it knows.
    copy = home.data / file.name
    copy.write_bytes(old)
    held = file.read_bytes()
    assert ingest_files(home, [copy], "canonical", now=TODAY).details["known"] == 1
    assert file.read_bytes() == held
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_crash_before_the_file_is_cleaned_is_made_up_for(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    erase(home, ("user", ANN))
    land(home, "a.ndjson", written("a.ndjson"))

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("clickstream_platform.events.landing.take_out_records", dies)
        with pytest.raises(KeyboardInterrupt):
            load(home)
    assert "/p/80" in accounts(home, "a.ndjson")
    load(home)
    assert "/p/80" not in accounts(home, "a.ndjson")
    assert Ledger(home.state).unbalanced() == []


def test_no_file_is_cleaned_by_a_table_that_lost_rows(home: Settings) -> None:
    erase(home, ("user", ANN))
    file = land(home, "a.ndjson", written("a.ndjson"))
    load(home)
    held = file.read_bytes()
    Lake(home.lake_folder).delete("raw_events", "batch_id IS NOT NULL")
    settle(file)  # it looks otherwise, so it is looked at
    load(home)
    assert file.read_bytes() == held


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda home: ingest_landing(home, now=TODAY), id="taking"),
        pytest.param(
            lambda home: ingest_files(home, [home.data / "b.ndjson"], "canonical", now=TODAY),
            id="copying",
        ),
        pytest.param(refresh_events, id="loading"),
        pytest.param(replay_quarantine, id="replay"),
        pytest.param(mend_leaks, id="mending leaks"),
        pytest.param(lambda home: erase(home, ("user", BOB)), id="erasing"),
    ],
)
def test_who_works_on_events_waits_for_others(
    home: Settings, work: Callable[[Settings], object]
) -> None:
    land(home, "a.ndjson", written("a.ndjson"))
    (home.data / "b.ndjson").write_bytes(b"{}\n")
    thread = threading.Thread(target=work, args=(home,))
    before = contents(home)
    with turn(home.state):
        thread.start()
        thread.join(1)
        assert thread.is_alive()
        assert contents(home) == before
        assert len(Ledger(home.state).batches()) == 1
    thread.join(120)
    assert not thread.is_alive()
    load(home)
    assert Ledger(home.state).unbalanced() == []
