"""CSV: every line is a record or has a reason, whatever its quotes, line ends and first bytes."""

import csv
import gzip
import io
import json
import random
from pathlib import Path

import pytest

from clickstream_platform.events.adapters import Adapter
from clickstream_platform.events.csv_text import MAX_RECORD_BYTES, Form, is_regular
from clickstream_platform.events.record_frames import FileRefusedError
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import drop, fates, keep_promises, take
from clickstream_platform_tests.events.test_formats import read, write

HEADER = b"name,user\n"
FORM = Form(",", '"')


def adapter(**fields: object) -> Adapter:
    """A source of CSV files."""
    content: dict[str, object] = {"name": "x", "description": "d", "format": "csv", "fields": {}}
    return Adapter.model_validate(content | fields)


def rows(folder: Path, content: bytes, *, name: str = "a.csv") -> list[tuple[object, str | None]]:
    """Values and errors of a file; lines that are no records as they stand."""
    found = read(write(folder, name, content), adapter())
    return [(text if error else tuple(json.loads(text).values()), error) for text, error in found]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        pytest.param("\ufeffname,user\r\na,1\r\n", ["name", "user"], id="byte order mark"),
        pytest.param('\ufeff"name","user"\na,1\n', ["name", "user"], id="mark before a quote"),
        pytest.param('"name","us,er"\na,1\n', ["name", "us,er"], id="delimiter in a name"),
        pytest.param('"name","us\ner"\na,1\n', ["name", "us\ner"], id="line end in a name"),
        pytest.param('"name","us""er"\na,1\n', ["name", 'us"er'], id="quote in a name"),
        pytest.param("name,user\ra,1\r", ["name", "user"], id="lines end in CR"),
        pytest.param("name,user,\na,1,\n", ["name", "user"], id="delimiter at each end"),
        pytest.param("name,user,\na,1\n", ["name", "user"], id="delimiter at its end"),
    ],
)
def test_first_line_names_the_columns(tmp_path: Path, content: str, names: list[str]) -> None:
    ((payload, error),) = read(write(tmp_path, "a.csv", content.encode()), adapter())
    assert (json.loads(payload), error) == (dict(zip(names, ["a", "1"], strict=True)), None)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("is_zipped", [True, False])
def test_gz_is_seen_by_its_bytes_not_by_its_name(
    tmp_path: Path, name: str, *, is_zipped: bool
) -> None:
    content = HEADER + b"a,1\n"
    found = rows(tmp_path, gzip.compress(content) if is_zipped else content, name=name)
    assert found == [(("a", "1"), None)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_first_line_that_is_not_utf8_is_said_to_be(tmp_path: Path, encoding: str) -> None:
    content = "größe,user\na,1\n".encode(encoding)
    with pytest.raises(FileRefusedError, match=r"is not UTF-8 in its first line; .*iconv"):
        rows(tmp_path, content)


def test_columns_that_differ_in_capitals_alone_are_one_column_named_twice(tmp_path: Path) -> None:
    with pytest.raises(FileRefusedError, match="does not name every column once"):
        rows(tmp_path, b"name,Name\na,1\n")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            b'"a,1\nb,2\nc,3\n',
            [('"a,1', "a quote in it is never closed"), (("b", "2"), None), (("c", "3"), None)],
            id="never closed",
        ),
        pytest.param(
            b'a,1\nb,"2',
            [(("a", "1"), None), ('b,"2', "a quote in it is never closed")],
            id="cut off within a quote",
        ),
        pytest.param(
            b'"a"x,1\nb,2\n', [('"a"x,1', "unquoted value"), (("b", "2"), None)], id="stray"
        ),
        pytest.param(
            b'"a,1\nb,2\n"c",3\n',
            [('"a,1', "a quote in it is never closed"), (("b", "2"), None), (("c", "3"), None)],
            id="closed by the quote of another value",
        ),
        pytest.param(
            b'a,1\r\n"b\nb",2\nc\n\n"d\xff",4\n',
            [
                (("a", "1"), None),
                (("b\nb", "2"), None),
                ("c", "missing columns"),
                ('"d\ufffd",4', "is not UTF-8"),
            ],
            id="lines end in two ways",
        ),
    ],
)
def test_line_with_a_fault_costs_itself_alone(
    tmp_path: Path, content: bytes, expected: list[tuple[object, str | None]]
) -> None:
    assert rows(tmp_path, HEADER + content) == expected


def test_quote_that_closes_far_away_was_none(tmp_path: Path) -> None:
    far = b"b,2\n" * (MAX_RECORD_BYTES // 4 + 1)
    found = rows(tmp_path, HEADER + b'"a,1\n' + far + b'"c",3\n')
    assert len(found) == far.count(b"\n") + 2
    assert [error for _, error in found if error] == ["a quote in it is never closed"]


def test_torn_gz_gives_the_lines_before_and_blocks_nobody(settings: Settings) -> None:
    lines = "".join(f"login,u{n * 7919 % 9973},2026-11-20T10:00:00Z\n" for n in range(9_000))
    whole = gzip.compress(f"event_name,user_id,occurred_at\n{lines}".encode())
    torn = drop(settings, "torn.csv.gz", [])
    torn.write_bytes(whole[: len(whole) // 2])
    take(settings, torn)
    found = fates(settings)
    assert int(str(found["loaded"])) > 1_000
    assert found["quarantined"] == 1
    keep_promises(settings)


@pytest.mark.parametrize("seed", range(40))
def test_reads_what_the_standard_library_wrote(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    ends = rng.choice(["\n", "\r\n"])
    alphabet = [*'ab,"é', " ", "\n", "\r\n"]
    table = [["".join(rng.choices(alphabet, k=rng.randrange(5))) for _ in "ab"] for _ in range(30)]
    table = [[left or "x", right] for left, right in table]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ends, quoting=rng.choice([0, 1])).writerows(table)
    content = HEADER.replace(b"\n", ends.encode()) + text.getvalue().encode()
    if seed % 2:
        # One line that ends otherwise: read line by line instead.
        content += b"z,1\r\n" if ends == "\n" else b"z,1\n"
        table.append(["z", "1"])
    assert is_regular(lambda: [content], FORM) != bool(seed % 2)
    expected = [(tuple(value or None for value in values), None) for values in table]
    assert rows(tmp_path, content) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_pieces_of_any_size_are_judged_alike(size: int) -> None:
    for content, regular in [
        (b'a,"b\r\n""c"\n"d",e\n', True),
        (b'a,"b\r\n""c"\n"d",e\r\n', False),
        (b'a,5" pipe\nb, "c,d"\n', True),
        (b'a,"b\nc,d\n', False),
        (b'a,"b"c\n', False),
        (b"a,b", True),
        (b"", True),
    ]:
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        assert is_regular(lambda pieces=pieces: pieces, FORM) is regular, content  # type: ignore[misc]
