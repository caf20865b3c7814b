"""Formats: landed files as records, one JSON text each, in bounded memory.

A reader never fails for a record: what it cannot read comes out with a reason. It fails for a
file only where nothing in it can be read.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import duckdb
import polars as pl
import pyarrow as pa

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.events.adapters import Adapter, quoted
from clickstream_platform.events.columns import COMBINED_LOG, snowplow_fields
from clickstream_platform.events.csv_text import (
    MAX_RECORD_BYTES,
    Form,
    header_of,
    is_regular,
    records,
)
from clickstream_platform.events.records import compact
from clickstream_platform.events.unzipped import TORN, TornGzipError, is_zipped, pieces

RECORDS = {"payload": pl.String(), "read_error": pl.String()}
"""Columns of what readers yield, in the order of the file."""

BLOCK_BYTES = 48 * 2**20
"""Text of a frame; a record longer than this is refused."""

PARQUET_MAGIC = b"PAR1"
CHUNK_ROWS = 100_000

SEPARATOR = b"\x1f"
"""A byte that lines of text hardly ever hold."""

_ESCAPE = re.compile(r"(?:\\(?:x[0-9A-Fa-f]{2}|.))+")
_ESCAPED = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

SESSION_ENTITY = "/client_session/"
"""Schema of Snowplow's entity that holds the visitor and the session of an app."""

Reader = Callable[[Path, Adapter], Iterator[pl.DataFrame]]


class FileRefusedError(ClickstreamError, ValueError):
    """A landed file cannot be read at all."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{path.name}: {reason}. Nothing of it was taken; replace it by a sound file, "
            "or mend its adapter."
        )


def read_records(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:
    """Yield the records of a landed file in its order, in frames of bounded size.

    Args:
        path: The file; gz is seen by its first bytes.
        adapter: Says the format.

    Returns:
        Frames of `RECORDS`: the record as a JSON object, and why it is not one, if so.

    A file that cannot be read as a whole raises `FileRefusedError`.
    """
    name = adapter.format if adapter.format not in {"auto", "ga4"} else guessed_format(path)
    frames = _READERS[name](path, adapter)
    return map(_flatten_ga4, frames) if adapter.format == "ga4" else frames


def guessed_format(path: Path) -> str:
    """Format of a file by its name, and by its first bytes for Parquet."""
    names = [suffix.lower() for suffix in path.suffixes]
    with path.open("rb") as file:
        if file.read(4) == PARQUET_MAGIC:
            return "parquet"
    return "csv" if {".csv", ".tsv"} & set(names) else "ndjson"


def lines(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the lines of a file as frames of `RECORDS`, empty lines left out.

    Where a gz stream ends early, what came before is read and the line it cut is unreadable.
    """
    rest = b""
    torn = False
    parts = pieces(path)
    split: list[pl.DataFrame] = []
    held = 0
    while not torn:
        try:
            piece = next(parts, None)
        except TornGzipError as error:
            piece, torn = error.rest, True
        if piece is None:
            break
        text = rest + piece
        cut = text.rfind(b"\n") + 1
        if cut == 0 and len(text) > BLOCK_BYTES:
            raise FileRefusedError(path, f"a line is longer than {BLOCK_BYTES:,} bytes")
        rest = text[cut:]
        if cut:
            split.append(_split(text[:cut]))
            held += cut
        if held >= BLOCK_BYTES:
            yield pl.concat(split, rechunk=False)
            split, held = [], 0
    if split:
        yield pl.concat(split, rechunk=False)
    if torn:
        yield _unreadable(rest.decode("utf-8", errors="replace"), TORN)
    elif rest.strip():
        yield _split(rest + b"\n")


def _split(text: bytes) -> pl.DataFrame:
    if SEPARATOR in text:  # the reader would take what stands behind it for another column
        return _split_carefully(text)
    try:
        frame = pl.read_csv(
            text,
            has_header=False,
            separator=SEPARATOR.decode(),
            quote_char=None,
            schema={"payload": pl.String},
            truncate_ragged_lines=True,
        )
    except pl.exceptions.ComputeError:
        return _split_carefully(text)
    payload = pl.col("payload").str.strip_chars_end("\r")
    return frame.select(payload, read_error=pl.lit(None, pl.String)).filter(
        pl.col("payload").str.len_bytes() > 0
    )


def _split_carefully(text: bytes) -> pl.DataFrame:
    """Split a block that is not UTF-8 as a whole: only its broken lines are to blame."""
    payloads: list[str] = []
    errors: list[str | None] = []
    for line in text.split(b"\n"):
        stripped = line.rstrip(b"\r")
        if not stripped:
            continue
        try:
            payloads.append(stripped.decode("utf-8"))
            errors.append(None)
        except UnicodeDecodeError:
            payloads.append(stripped.decode("utf-8", errors="replace"))
            errors.append("is not UTF-8")
    return pl.DataFrame({"payload": payloads, "read_error": errors}, schema=RECORDS)


def _unreadable(text: str, reason: str) -> pl.DataFrame:
    return pl.DataFrame({"payload": [text], "read_error": [reason]}, schema=RECORDS)


def _read_ndjson(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:  # noqa: ARG001 - one form for all readers
    if _is_one_document(path):
        reason = "is one JSON document, not a record on each line"
        raise FileRefusedError(path, f"{reason}; jq -c '.[]' makes lines of an array")
    yield from lines(path)


def _is_one_document(path: Path) -> bool:
    """Whether a file begins as an array of objects, or as an object over several lines.

    One odd line before sound ones does not make it a document.
    """
    try:
        head = next(pieces(path), b"")
    except TornGzipError as error:
        head = error.rest
    found = _DOCUMENT.match(head)
    return found is not None and not _is_object(found["second"])


_DOCUMENT = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:\[[ \t]*(?:\{[^\n]*|\r?)|\{[ \t]*\r?)(?:\n\s*(?P<second>[^\n]*)|\Z)"
)
"""A first line that opens what lines behind it close, and the second one."""


def _is_object(line: bytes | None) -> bool:
    try:
        return isinstance(json.loads(line or b""), dict)
    except (ValueError, RecursionError):
        return False


def _read_combined_log(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:  # noqa: ARG001 - one form for all readers
    for frame in lines(path):
        parsed = frame.with_columns(
            record=pl.col("payload").str.extract_groups(COMBINED_LOG),
        )
        is_log = pl.col("record").struct.field("client").is_not_null()
        records = parsed.select(
            payload=pl.when(is_log)
            .then(pl.col("record").struct.json_encode())
            .otherwise("payload"),
            read_error=pl.coalesce(
                "read_error", pl.when(~is_log).then(pl.lit("is no line of the combined log format"))
            ),
        )
        yield _rewritten(records, "\\\\", _unescaped)


def _rewritten(frame: pl.DataFrame, mark: str, rewrite: Callable[[str], str]) -> pl.DataFrame:
    """The frame with those of its sound records rewritten that hold a mark."""
    is_meant = frame["payload"].str.contains(mark, literal=True) & frame["read_error"].is_null()
    if not is_meant.any():
        return frame
    texts = [rewrite(text) for text in frame["payload"].filter(is_meant)]
    return frame.with_columns(frame["payload"].scatter(is_meant.arg_true(), texts))


def _unescaped(text: str) -> str:
    """A record of a log with the bytes that its server escaped.

    In addresses they are percent-encoded, as other clients send them: it is the same page.
    """
    record = json.loads(text)
    for name in ("path", "referrer"):
        if record[name]:
            record[name] = _ESCAPE.sub(lambda found: quote(_bytes_of(found[0])), record[name])
    for name in ("remote_user", "user_agent"):
        if record[name]:
            record[name] = _ESCAPE.sub(_as_text, record[name])
    return compact(record)


def _as_text(found: re.Match[str]) -> str:
    """Escaped bytes as text; as they stand where they are none that one can read."""
    text = _bytes_of(found[0]).decode("utf-8", errors="replace")
    return text if text.isprintable() else found[0]


def _bytes_of(escapes: str) -> bytes:
    parts = _ESCAPED.findall(escapes)
    return b"".join(
        bytes.fromhex(part[1:]) if len(part) > 1 else _LETTERS.get(part, part).encode()
        for part in parts
    )


def _read_snowplow(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:  # noqa: ARG001 - one form for all readers
    names = snowplow_fields()
    for frame in lines(path):
        parts = pl.col("payload").str.split("\t")
        whole = parts.list.len() == len(names)
        fields = [
            pl.col("parts").list.get(i, null_on_oob=True).replace("", None).alias(name)
            for i, name in enumerate(names)
        ]
        records = frame.with_columns(parts=parts, whole=whole).select(
            payload=pl.when("whole")
            .then(_without_nulls(pl.struct(fields).struct.json_encode()))
            .otherwise("payload"),
            read_error=pl.coalesce(
                "read_error",
                pl.when(~pl.col("whole")).then(
                    pl.format("has {} fields, not 131", pl.col("parts").list.len())
                ),
            ),
        )
        yield _rewritten(records, SESSION_ENTITY, _with_session)


def _with_session(text: str) -> str:
    """A record whose entity of the session, which names the device, has a field of its own."""
    record = json.loads(text)
    try:
        contexts = json.loads(record["contexts"])
        entities = contexts["data"]
        session = next(e for e in entities if SESSION_ENTITY in e["schema"])
        contexts["data"] = [entity for entity in entities if entity is not session]
    except (ValueError, KeyError, TypeError, StopIteration, RecursionError):  # not as it should be
        return text
    record["contexts"] = compact(contexts)
    record["client_session"] = session.get("data")
    return compact(record)


def _without_nulls(record: pl.Expr) -> pl.Expr:
    """A JSON object without its null fields, which are most of Snowplow's 131."""
    return record.str.replace_all(r'"[a-z0-9_]+":null,?', "").str.replace(",}", "}", literal=True)


def _read_csv(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:
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
    with _duckdb() as connection:
        query = (
            "SELECT CAST(to_json(r) AS VARCHAR) AS payload "
            f"FROM read_csv(?, {', '.join(options)}) r"
        )
        try:
            yield from _frames(connection, query, path)
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
        yield _unreadable(until.cut.decode("utf-8", errors="replace"), TORN)


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


def _read_parquet(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:  # noqa: ARG001 - one form for all readers
    with _duckdb() as connection:
        query = "SELECT CAST(to_json(r) AS VARCHAR) AS payload FROM read_parquet(?) r"
        try:
            yield from _frames(connection, query, path)
        except duckdb.Error:
            raise FileRefusedError(path, "is no Parquet, or is cut off") from None


def _duckdb() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "threads": 2,
            "memory_limit": "1GB",
            "preserve_insertion_order": True,
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _frames(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path
) -> Iterator[pl.DataFrame]:
    reader = connection.execute(query, [str(path)]).to_arrow_reader(CHUNK_ROWS)
    batches: list[pa.RecordBatch] = []
    for batch in reader:
        # DuckDB hands out a few thousand rows at a time, whatever it is asked for.
        batches.append(batch)
        if sum(held.num_rows for held in batches) >= CHUNK_ROWS:
            yield _joined(batches)
            batches = []
    if batches:
        yield _joined(batches)


def _joined(batches: list[pa.RecordBatch]) -> pl.DataFrame:
    frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches)))
    return frame.select(pl.col("payload"), read_error=pl.lit(None, pl.String))


def _flatten_ga4(frame: pl.DataFrame) -> pl.DataFrame:
    """Give each GA4 record its parameters as one object, `params`, instead of a list of pairs."""
    payloads = [_with_params(text) for text in frame["payload"]]
    return frame.with_columns(payload=pl.Series(payloads, dtype=pl.String))


def _with_params(text: str) -> str:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(record, dict):
        return text
    for listed, flat in (("event_params", "params"), ("user_properties", "user_params")):
        pairs = record.pop(listed, None)
        if isinstance(pairs, list):
            record[flat] = {
                pair["key"]: _param_value(pair.get("value"))
                for pair in pairs
                if isinstance(pair, dict) and isinstance(pair.get("key"), str)
            }
    return compact(record)


def _param_value(value: object) -> object:
    if not isinstance(value, dict):
        return value
    kinds = ("string_value", "int_value", "float_value", "double_value")
    return next((value[kind] for kind in kinds if value.get(kind) is not None), None)


_READERS: dict[str, Reader] = {
    "ndjson": _read_ndjson,
    "combined_log": _read_combined_log,
    "snowplow_tsv": _read_snowplow,
    "csv": _read_csv,
    "parquet": _read_parquet,
}
