"""The residual scan: sees what lies anywhere, and says so when it is blind."""

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.lake import Lake
from clickstream_platform.privacy import ScannerBlindError, scan_residue
from clickstream_platform.privacy.sought import Sought
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import events_frame

ANN = [("user", "ann@example.com")]
TOKEN = "pv_" + "0123456789abcdef" * 2
KEY = int(TOKEN[3:18], 16)


def stores(settings: Settings, tokens: tuple[str, ...] = (TOKEN,)) -> set[str]:
    return set(scan_residue(settings, ANN, tokens).by_store)


def write(settings: Settings, path: str, content: bytes) -> Path:
    file = settings.data / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_an_empty_folder_holds_nobody(settings: Settings) -> None:
    residue = scan_residue(settings, ANN, [TOKEN])
    assert (residue.total, residue.by_store) == (0, {})
    assert list(settings.state.iterdir()) == []


def test_a_file_that_no_snapshot_holds_is_read_too(settings: Settings, lake: Lake) -> None:
    lake.append("events", events_frame([{"visitor_id": TOKEN, "visitor_key": KEY}]))
    lake.delete("events", "true")
    assert stores(settings) == {"lake/events"}
    (file,) = lake.path("events").rglob("*.parquet")
    pl.DataFrame({"some_key": [KEY]}).write_parquet(file, statistics=False)
    for log in (lake.path("events") / "_delta_log").glob("*.json"):
        log.write_text("{}")
    assert stores(settings) == {"lake/events"}


@pytest.mark.parametrize(
    ("path", "content", "store"),
    [
        ("landing/shop/a.ndjson.gz", gzip.compress(b"x ann@example.com", mtime=0), "landing"),
        ("outbox/a.json", b'{"id": "ANN@example.com"}', "outbox"),
        ("reports/index.html", b"ann%40example.com", "reports"),
        ("state/dagster/logs/1.err", TOKEN.encode(), "state/dagster"),
        ("state/anything.bin", b"\0\0" + str(KEY).encode() + b"\xff", "state"),
        ("landing/shop/ann@example.com.csv", b"", "landing"),
    ],
)
def test_every_folder_is_read(settings: Settings, path: str, content: bytes, store: str) -> None:
    write(settings, path, content)
    assert stores(settings) == {store}


def test_numbers_in_databases_are_read(settings: Settings) -> None:
    file = write(settings, "state/dagster/runs.db", b"")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")
        connection.execute("INSERT INTO t VALUES (?)", (KEY,))
        connection.commit()
    assert stores(settings) == {"state/dagster"}


@pytest.mark.parametrize("rows", [3, 5_000])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        pytest.param(["Write to Ann@Example.com"], pl.String, id="text"),
        pytest.param(["Write to Ann@Example.com"], pl.Categorical, id="text from a dictionary"),
        pytest.param([["x", "ann%40example.com"]], pl.List(pl.String), id="list"),
        pytest.param([{"to": "ann@example.com"}], pl.Struct({"to": pl.String}), id="struct"),
        pytest.param([b"ann@example.com"], pl.Binary, id="bytes"),
        pytest.param([KEY], pl.Int64, id="surrogate"),
        pytest.param([KEY], pl.UInt64, id="surrogate without a sign"),
    ],
)
def test_values_of_compressed_columns_are_read_whatever_their_number(
    settings: Settings, values: list[object], kind: pl.DataType, rows: int
) -> None:
    others = pl.DataFrame(
        {"n": range(rows), "text": [f"of nobody, number {n}" for n in range(rows)]}
    )
    held = pl.Series("held", [None] * (rows - 1) + values, dtype=kind)
    file = write(settings, "exports/some.parquet", b"")
    others.with_columns(held).write_parquet(file, compression="zstd")
    assert stores(settings) == {"exports"}
    others.with_columns(held.shift(1)).write_parquet(file, compression="zstd")
    assert stores(settings) == set()


def test_a_finding_across_two_blocks_is_one(settings: Settings) -> None:
    for lead in (2**24 - 5, 2**24 - 4096, 2**24 + 5):
        write(settings, "outbox/large.txt", b"." * lead + b" ann@example.com ")
        once = scan_residue(settings, ANN, []).total
        write(settings, "outbox/large.txt", b" ann@example.com ")
        assert once == scan_residue(settings, ANN, []).total > 0


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b'{"visitor_id": "123"}', 1),
        (b'{"visitor_id":123, "x": 1}', 1),
        (b'{"visitor_id": "00123"}', 0),
        (b'{"visitor_id": 1234}', 0),
        (b'{"user_id": "123"}', 0),
        (b'{"revenue": 123}', 0),
    ],
)
def test_plain_identifiers_are_sought_in_their_fields(
    settings: Settings, content: bytes, count: int
) -> None:
    write(settings, "landing/canonical/a.ndjson.gz", gzip.compress(content))
    assert scan_residue(settings, [("visitor", "123")], []).total == count


@pytest.mark.parametrize(
    ("identifier", "content"),
    [
        pytest.param("zoë", rb'{"user_id": "zo\u00eb"}', id="escaped"),
        pytest.param("zoë", rb'{"user_id": "zo\u00EB", "page', id="escaped in a torn record"),
        pytest.param("zoë", '{"user_id": "zoe\u0308"}'.encode(), id="in another form of Unicode"),
        pytest.param("ann", '{"user_id": " \uff41\uff4e\uff4e"}'.encode(), id="in full width"),
        pytest.param('o"n', rb'{"user_id": "o\"n"}', id="with a quote"),
    ],
)
def test_plain_identifiers_are_sought_however_json_writes_them(
    settings: Settings, identifier: str, content: bytes
) -> None:
    write(settings, "landing/canonical/a.ndjson.gz", gzip.compress(content))
    assert scan_residue(settings, [("user", identifier)], []).total == 1


def test_plain_identifiers_are_sought_in_cells(settings: Settings) -> None:
    write(settings, "landing/canonical/a.csv", b"visitor_id,n\n123,5\n5,123\n00123,1\n")
    rows = pl.DataFrame({"visitor_id": ["123", "00123"], "n": [1, 123]})
    rows.write_parquet(settings.landing / "canonical/a.parquet")
    assert scan_residue(settings, [("visitor", "123")], []).total == 2


def test_a_blind_scanner_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sought, "count", lambda *_: 0)
    with pytest.raises(ScannerBlindError, match=r"found \d of 15 planted canaries"):
        scan_residue(settings, ANN, [])
    assert list(settings.state.iterdir()) == []
