"""Formats: landed files as records, one JSON text each, in bounded memory.

A reader never fails for a record: what it cannot read comes out with a reason. It fails for a
file only where nothing in it can be read.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import duckdb
import polars as pl

from clickstream_platform.events.adapters import Adapter
from clickstream_platform.events.columns import COMBINED_LOG, snowplow_fields
from clickstream_platform.events.csv_files import read_csv
from clickstream_platform.events.record_frames import (
    RECORDS,
    FileRefusedError,
    frames_of,
    reading_engine,
    unreadable,
)
from clickstream_platform.events.records import compact
from clickstream_platform.events.unzipped import TORN, TornGzipError, pieces

BLOCK_BYTES = 48 * 2**20
"""Text of a frame; a record longer than this is refused."""

PARQUET_MAGIC = b"PAR1"

SEPARATOR = b"\x1f"
"""A byte that lines of text hardly ever hold."""

_ESCAPE = re.compile(r"(?:\\(?:x[0-9A-Fa-f]{2}|.))+")
_ESCAPED = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

SESSION_ENTITY = "/client_session/"
"""Schema of Snowplow's entity that holds the visitor and the session of an app."""

Reader = Callable[[Path, Adapter], Iterator[pl.DataFrame]]


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
        yield unreadable(rest.decode("utf-8", errors="replace"), TORN)
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


def _read_parquet(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:  # noqa: ARG001 - one form for all readers
    with reading_engine() as connection:
        query = "SELECT CAST(to_json(r) AS VARCHAR) AS payload FROM read_parquet(?) r"
        try:
            yield from frames_of(connection, query, path)
        except duckdb.Error:
            raise FileRefusedError(path, "is no Parquet, or is cut off") from None


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
    "csv": read_csv,
    "parquet": _read_parquet,
}
