"""Formats: landed files as records, one JSON text each, in bounded memory.

A reader never fails for a record: what it cannot read comes out with a reason. It fails for a
file only where nothing in it can be read.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import duckdb
import polars as pl
import pyarrow as pa
from isal import isal_zlib
from isal.igzip_lib import IsalError

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.events.adapters import Adapter, quoted

RECORDS = {"payload": pl.String(), "read_error": pl.String()}
"""Columns of what readers yield, in the order of the file."""

BLOCK_BYTES = 48 * 2**20
"""Text of a frame; a record longer than this is refused."""

PIECE_BYTES = 4 * 2**20
"""Text split at once: memory that is used again costs half of what new memory does."""

READ_BYTES = 2**18
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
CHUNK_ROWS = 100_000

SEPARATOR = b"\x1f"
"""A byte that lines of text hardly ever hold."""

COMBINED_LOG = (
    r"^(?P<client>\S+) (?P<logname>\S+) (?P<remote_user>\S+|[^\s-].*?) \[(?P<time>[^\]]+)\] "
    r'"(?:(?P<method>[A-Z]+) (?P<path>\S.*?)(?: (?P<protocol>HTTP/[0-9.]+))?|.*?)" '
    r'(?P<status>\d{3}) (?P<bytes>\d+|-)(?: "(?P<referrer>(?:[^"\\]|\\.)*)" '
    r'"(?P<user_agent>(?:[^"\\]|\\.)*)"(?: .*)?)?\s*$'
)
"""Apache's `combined` (and `common`) log format; servers often write further fields behind it.

A request holds whatever came over the wire, blanks and quotes too: it ends before the status.
"""

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
            f"{path.name}: {reason}. Nothing of it was taken; replace it by a sound file."
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
    pieces = _pieces(path)
    split: list[pl.DataFrame] = []
    held = 0
    while not torn:
        try:
            piece = next(pieces, None)
        except _TornGzipError as error:
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
        yield _unreadable(rest.decode("utf-8", errors="replace"), "the gz stream ends early")
    elif rest.strip():
        yield _split(rest + b"\n")


class _TornGzipError(Exception):
    """A gz stream ended early or broke; ``rest`` is the text that came out before."""

    def __init__(self, rest: bytes) -> None:
        self.rest = rest
        super().__init__()


def _pieces(path: Path) -> Iterator[bytes]:
    """Yield the text of a file in pieces, decompressed where it is gz."""
    with path.open("rb") as file:
        zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if zipped:
            yield from _inflated(file)
        else:
            while piece := file.read(PIECE_BYTES):
                yield piece


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    stream = isal_zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    inside = True
    while data := file.read(READ_BYTES):
        while data:
            try:
                parts.append(stream.decompress(data))
            except IsalError:  # type: ignore[misc]  # its stubs call it a class of nothing
                raise _TornGzipError(b"".join(parts)) from None
            inside, data = not stream.eof, stream.unused_data
            if stream.eof:
                # Files may hold several members, and padding behind the last one.
                stream = isal_zlib.decompressobj(wbits=31)
                data = data if data.startswith(GZIP_MAGIC) else b""
            if sum(map(len, parts)) >= PIECE_BYTES:
                yield b"".join(parts)
                parts = []
    if inside:
        raise _TornGzipError(b"".join(parts))
    yield b"".join(parts)


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
    return lines(path)


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
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


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
    except (ValueError, KeyError, TypeError, StopIteration):  # it is not as it should be
        return text
    record["contexts"] = json.dumps(contexts, ensure_ascii=False, separators=(",", ":"))
    record["client_session"] = session.get("data")
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _without_nulls(record: pl.Expr) -> pl.Expr:
    """A JSON object without its null fields, which are most of Snowplow's 131."""
    return record.str.replace_all(r'"[a-z0-9_]+":null,?', "").str.replace(",}", "}", literal=True)


@lru_cache(maxsize=1)
def snowplow_fields() -> tuple[str, ...]:
    """The 131 fields of Snowplow's enriched event, in order."""
    file = Path(__file__).parent / "snowplow_fields.txt"
    return tuple(file.read_text(encoding="utf-8").split())


def _read_csv(path: Path, adapter: Adapter) -> Iterator[pl.DataFrame]:
    delimiter = "\t" if ".tsv" in path.suffixes and adapter.delimiter == "," else adapter.delimiter
    options = [
        "auto_detect=false",
        f"delim={quoted(delimiter)}",
        f"quote={quoted(adapter.quote)}",
        f"escape={quoted(adapter.quote)}",
        f"columns={_columns_literal(path, adapter, delimiter)}",
        "header=false",
        f"skip={adapter.skip_lines if adapter.columns else 1}",
        "strict_mode=true",
        "null_padding=false",
        "store_rejects=true",
        "rejects_limit=0",
        f"max_line_size={BLOCK_BYTES // 16}",
        "parallel=false",
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


def _columns_literal(path: Path, adapter: Adapter, delimiter: str) -> str:
    """Name every column as text: a reader that guesses types turns `00123` into 123."""
    names: Iterable[str] = adapter.columns
    if not adapter.columns:
        first = next(_pieces(path), b"").split(b"\n", 1)[0].decode("utf-8", errors="replace")
        mark = adapter.quote
        names = [cell.strip().strip(mark or None) for cell in first.strip("\r").split(delimiter)]
    found = list(names)
    if not all(found) or len(set(found)) != len(found):
        raise FileRefusedError(path, "its first line does not name every column once")
    return "{" + ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in found) + "}"


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
    except ValueError:
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
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


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
