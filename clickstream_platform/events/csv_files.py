"""CSV files as records: by the engine where it reads them right, else with care."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import duckdb
import polars as pl

from clickstream_platform.events.adapters import Adapter, quoted
from clickstream_platform.events.csv_text import (
    MAX_RECORD_BYTES,
    Form,
    header_of,
    is_regular,
    records,
)
from clickstream_platform.events.record_frames import (
    CHUNK_ROWS,
    RECORDS,
    FileRefusedError,
    frames_of,
    reading_engine,
    unreadable,
)
from clickstream_platform.events.unzipped import TORN, TornGzipError, is_zipped, pieces


def read_csv(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:
    """Yield the records of a CSV file in its order; a file that names no columns is refused."""
    is_tabbed = ".tsv" in map(str.lower, path.suffixes) and adapter.delimiter == ","
    delimiter = "\t" if is_tabbed else adapter.delimiter
    form = Form(delimiter, adapter.quote)
    names = _columns_of(path, adapter, form)
    try:
        reader = _read_csv_fast if is_regular(partial(pieces, path), form) else _read_csv_carefully
    except TornGzipError:
        reader = _read_csv_carefully
    yield from reader(path, adapter, form, names)


def _read_csv_fast(
    path: Path, adapter: Adapter, form: Form, names: Sequence[str]
) -> Iterator[pl.DataFrame]:
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
    options = [
        "auto_detect=false",
        f"delim={quoted(form.delimiter)}",
        f"quote={quoted(form.quote)}",
        f"escape={quoted(form.quote)}",
        f"columns={{{columns}}}",
        "header=false",
        f"skip={adapter.skip_lines if adapter.columns else 1}",
        "strict_mode=true",
        "null_padding=false",
        "store_rejects=true",
        "rejects_limit=0",
        f"max_line_size={MAX_RECORD_BYTES}",
        "parallel=false",
        f"compression={'gzip' if is_zipped(path) else 'none'}",  # not by its name
    ]
    with reading_engine() as connection:
        query = (
            "SELECT CAST(to_json(r) AS VARCHAR) AS payload "
            f"FROM read_csv(?, {', '.join(options)}) r"
        )
        try:
            yield from frames_of(connection, query, path)
            # DuckDB may blame one line for several columns; a record is rejected once.
            rejected = connection.sql(
                "SELECT any_value(csv_line) AS payload, "
                "lower(replace(string_agg(DISTINCT CAST(error_type AS VARCHAR), ', '), '_', ' ')) "
                "AS read_error FROM reject_errors GROUP BY line ORDER BY line"
            ).pl()
        except duckdb.Error:
            raise FileRefusedError(path, "is no CSV") from None
    if not rejected.is_empty():
        yield rejected.cast(pl.Schema(RECORDS))


def _read_csv_carefully(
    path: Path, adapter: Adapter, form: Form, names: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """Read what the fast reader would leave out or refuse: see `csv_text`."""
    until = _UntilTorn(path)
    rows = records(until, names, form, skip_lines=adapter.skip_lines if adapter.columns else 0)
    if not adapter.columns:
        next(rows, None)  # the names
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield pl.DataFrame(chunk, schema=RECORDS, orient="row")
    if until.cut is not None:
        yield unreadable(until.cut.decode("utf-8", errors="replace"), TORN)


class _UntilTorn:
    """The whole lines of a file; ``cut`` is the line at which its gz stream ends early, if so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut: bytes | None = None

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        try:
            for piece in pieces(self._path):
                text = rest + piece
                end = text.rfind(b"\n") + 1
                rest = text[end:]
                yield text[:end]
        except TornGzipError as error:
            text = rest + error.rest
            end = text.rfind(b"\n") + 1
            self.cut = text[end:]
            yield text[:end]
        else:
            yield rest


def _columns_of(path: Path, adapter: Adapter, form: Form) -> Sequence[str]:
    """Names of the columns; every one is read as text: a guessed type turns `00123` into 123."""
    if adapter.columns:
        return adapter.columns
    try:
        first = next(pieces(path), b"")
    except TornGzipError as error:
        first = error.rest
    names = header_of(first, form)
    if any(set(name) & {"\0", "\ufffd"} for name in names):
        raise FileRefusedError(path, f"is not UTF-8 in its first line; {_AS_UTF8}")
    if len(names) > 1 and not names[-1]:
        names.pop()  # a delimiter at the end, as lines have it
    if fault := _fault_of(names):
        reason = f"its first line does not name every column once: {fault}"
        raise FileRefusedError(path, f"{reason}; see delimiter and columns of its adapter")
    return names


_AS_UTF8 = "write it anew as UTF-8: iconv -f UTF-16 -t UTF-8, or -f WINDOWS-1252"


def _fault_of(names: Sequence[str]) -> str:
    """What is wrong with names of columns; nothing where each is there once."""
    if not any(names):
        return "it is empty"
    # Columns are told by their places: where a file names none, the first line is a record.
    places: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if not name:
            return f"column {place} of {len(names)} has no name"
        # The engine that reads them takes names for equal that differ in capitals alone.
        first = places.setdefault(name.lower(), place)
        if first != place:
            return f"columns {first} and {place} of {len(names)} have the same"
    return ""
