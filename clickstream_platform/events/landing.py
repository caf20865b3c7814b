"""Landing: files dropped into folders become raw events, exactly once.

A file is known by its path and its sha256. Before its records reach the lake they are minimised:
identifiers become pseudonyms of the vault, addresses are cut, personal values are masked, and
records of suppressed people are dropped and counted. A crash at any point loses and doubles
nothing: a batch is opened in the ledger first, committed to the lake in one commit, and closed in
the ledger last; what a crash leaves open is taken anew.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from clickstream_platform.collection.bots import RANGES_FOLDER, BotRanges, load_ranges
from clickstream_platform.errors import ClickstreamError
from clickstream_platform.events.adapters import Adapter, adapter_for, load_adapters, named, quoted
from clickstream_platform.events.formats import FileRefusedError, read_records
from clickstream_platform.events.ledger import Batch, Ledger, Progress, batch_of
from clickstream_platform.events.records import Extraction, open_duckdb
from clickstream_platform.identity import is_blocked
from clickstream_platform.lake import Lake, Refreshed, arrow_schema, polars_schema
from clickstream_platform.privacy import (
    Namespace,
    QueryKeys,
    Suppression,
    Vault,
    scrub_payloads,
    scrub_texts,
    truncate_ips,
)
from clickstream_platform.settings import Settings

ENDINGS = {".ndjson", ".jsonl", ".json", ".csv", ".tsv", ".log", ".txt", ".parquet", ".gz"}
"""Endings of files that are taken. Others, such as `.part`, lie in landing and are reported."""

SETTLE_S = 1.0
"""A file younger than this may still be written to by somebody we cannot see; seconds."""

SHARED_ROWS = 20_000
"""Records that a thread of DuckDB takes at once."""

_HASH_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class LandedFile:
    """A file in the landing folder that the ledger does not know as it is now."""

    path: Path
    source: str
    relative: str
    size: int
    mtime_ns: int


class ChangedWhileReadError(ClickstreamError, OSError):
    """A landed file was written to while it was read."""

    def __init__(self, relative: str) -> None:
        super().__init__(
            f"{relative}: changed while it was read. Nothing of it was taken; it will be when "
            "its writer is done. Write to a hidden name and rename to avoid the wait."
        )


class FileNameError(ClickstreamError, ValueError):
    """A file has a name under which no file is taken from landing."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: files of this name are not taken. A name ends in one of "
            f"{', '.join(sorted(ENDINGS))} and does not begin with '.' or '_'. Rename the file; "
            "nothing was copied."
        )


def pending_files(settings: Settings) -> list[LandedFile]:
    """List landed files that wait to be taken; cheap enough to ask every few seconds.

    A file is left alone while its name says that it is not whole, while a process holds it open
    for writing, and until it has been still for `SETTLE_S`.
    """
    known = Ledger(settings.state).known_files()
    found = [
        file
        for file in _landed(settings.landing)
        if known.get(file.relative) != (file.size, file.mtime_ns)
    ]
    if not found:
        return []
    now_ns = time.time_ns()
    settled = [file for file in found if now_ns - file.mtime_ns >= SETTLE_S * 1e9]
    busy = _open_for_writing({file.path for file in settled})
    return sorted((f for f in settled if f.path not in busy), key=lambda f: f.relative)


def wait_until_settled(settings: Settings) -> None:
    """Wait until files that were dropped just now have been still for `SETTLE_S`."""
    known = Ledger(settings.state).known_files()
    youngest = max(
        (
            file.mtime_ns
            for file in _landed(settings.landing)
            if known.get(file.relative) != (file.size, file.mtime_ns)
        ),
        default=0,
    )
    remaining = SETTLE_S - (time.time_ns() - youngest) / 1e9
    if 0 < remaining <= SETTLE_S:
        time.sleep(remaining)


def foreign_files(settings: Settings) -> list[str]:
    """Files in landing that are not taken because of their name, relative to it."""
    if not settings.landing.exists():
        return []
    taken = {file.path for file in _landed(settings.landing)}
    return sorted(
        str(path.relative_to(settings.landing))
        for path in settings.landing.rglob("*")
        if path.is_file() and path not in taken and not _is_hidden(path, settings.landing)
    )


def _is_hidden(path: Path, landing: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(landing).parts)


def _is_taken(path: Path) -> bool:
    name = path.name.lower()
    return path.suffix.lower() in ENDINGS and not name.startswith((".", "_"))


def _landed(landing: Path) -> Iterator[LandedFile]:
    if not landing.exists():
        return
    for folder, folders, names in os.walk(landing):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in names:
            path = Path(folder, name)
            relative = str(path.relative_to(landing))
            if "/" not in relative or not _is_taken(path):
                continue
            try:
                look = path.stat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(look.st_mode):
                yield LandedFile(
                    path=path,
                    source=relative.split("/", 1)[0],
                    relative=relative,
                    size=look.st_size,
                    mtime_ns=look.st_mtime_ns,
                )


def _open_for_writing(paths: set[Path]) -> set[Path]:
    """Those of the files that some process holds open for writing, where Linux tells."""
    wanted = {(p.stat().st_dev, p.stat().st_ino): p for p in paths if p.exists()}
    busy: set[Path] = set()
    for fd in Path("/proc").glob("[0-9]*/fd/*") if wanted else ():
        try:
            look = fd.stat()
            path = wanted.get((look.st_dev, look.st_ino))
            if path is not None and fd.lstat().st_mode & stat.S_IWUSR:
                busy.add(path)
        except OSError:
            continue  # gone, or another user's
    return busy


def ingest_landing(
    settings: Settings,
    *,
    now: datetime,
    files: Sequence[LandedFile] | None = None,
    progress: Progress | None = None,
) -> Refreshed:
    """Take landed files into raw_events, each in one atomic commit.

    Args:
        settings: Where everything lies.
        now: Arrival time of what is taken.
        files: Files to take; all pending ones unless given.
        progress: Told after every block of records.

    Returns:
        What was taken. ``details`` counts files, records, suppressed records, and files that
        were known already, refused, or changed while they were read.

    Where the suppression list cannot be read, nothing is taken and its error is raised.
    """
    lake, ledger = Lake(settings.lake_folder), Ledger(settings.state)
    adapters = load_adapters(settings.definitions)
    todo = pending_files(settings) if files is None else list(files)
    door = open_door(settings)
    counts = dict.fromkeys(
        ("files", "records", "suppressed", "known", "refused", "changed", "bytes"), 0
    )
    for number, file in enumerate(todo):
        if progress:
            progress(f"taking {file.relative}", number, len(todo))
        outcome = take(file, adapter_for(file.source, adapters), lake, ledger, door, now)
        for name, count in outcome.items():
            counts[name] += count
    if progress:
        progress("taken", len(todo), len(todo))
    return Refreshed(
        table="raw_events",
        version=lake.version("raw_events"),
        rows_written=counts["records"] - counts["suppressed"],
        rows_read=counts["records"],
        dates=(now.date(),) if counts["records"] else (),
        details=dict(counts),
    )


def take(  # noqa: PLR0913, PLR0917 - one file and all that it meets
    file: LandedFile,
    adapter: Adapter,
    lake: Lake,
    ledger: Ledger,
    door: "Door",
    now: datetime,
) -> Mapping[str, int]:
    """Take one file, unless its content was taken under its path before; return counts by name."""
    sha256 = sha256_of(file.path)
    if _has_changed(file):
        return {"changed": 1}
    if ledger.has(file.relative, sha256):
        ledger.note_file(file.relative, size=file.size, mtime_ns=file.mtime_ns, sha256=sha256)
        return {"known": 1}
    batch = Batch(
        batch_id=batch_of(file.source, file.relative, sha256),
        source=file.source,
        path=file.relative,
        sha256=sha256,
        bytes=file.size,
        arrived_at=now,
    )
    if any(row["batch_id"] == batch.batch_id for row in ledger.in_state("landing")):
        lake.delete("raw_events", f"batch_id = '{batch.batch_id}'")
    ledger.open(batch)
    tally = {"received": 0, "suppressed": 0}
    records = _Watched(
        _raw_events(read_records(file.path, adapter), batch, adapter, door, tally), file
    )
    try:
        stream = pa.RecordBatchReader.from_batches(arrow_schema("raw_events"), records.batches())
        lake.append("raw_events", stream, notes={"batch_id": batch.batch_id})
    except Exception as error:  # noqa: BLE001 - the writer raises errors of its own
        # It wraps what its input raises; what that was is what matters.
        cause = records.error or error
        if isinstance(cause, FileRefusedError):
            ledger.refuse(batch.batch_id, cause.reason)
            ledger.note_file(file.relative, size=file.size, mtime_ns=file.mtime_ns, sha256=sha256)
            return {"refused": 1}
        if _has_changed(file):
            ledger.drop(batch.batch_id)
            return {"changed": 1}
        raise cause from None
    ledger.land(batch.batch_id, received=tally["received"], suppressed=tally["suppressed"])
    ledger.note_file(file.relative, size=file.size, mtime_ns=file.mtime_ns, sha256=sha256)
    return {
        "files": 1,
        "records": tally["received"],
        "suppressed": tally["suppressed"],
        "bytes": file.size,
    }


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _has_changed(file: LandedFile) -> bool:
    try:
        look = file.path.stat()
    except FileNotFoundError:
        return True
    return (look.st_size, look.st_mtime_ns) != (file.size, file.mtime_ns)


class _Watched:
    """The rows of a file on their way to the lake; keeps what went wrong on the way."""

    def __init__(self, frames: Iterable[pl.DataFrame], file: LandedFile) -> None:
        self._frames = frames
        self._file = file
        self.error: Exception | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows, and refuse the file at its end if it changed meanwhile."""
        try:
            for frame in self._frames:
                yield from frame.to_arrow().to_batches()
            if _has_changed(self._file):
                raise ChangedWhileReadError(self._file.relative)
        except Exception as error:
            self.error = error
            raise


# -- Minimisation at the door ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Door:
    """What every record passes before it may reach a disk of ours."""

    vault: Vault
    suppression: Suppression
    query_keys: QueryKeys = "detect"
    allowed_query_keys: tuple[str, ...] = ()
    bot_lists: Path | None = None
    """Folder of imported lists of networks; None where addresses are not looked up."""

    @cached_property
    def bot_ranges(self) -> BotRanges:
        """Networks of crawlers and datacenters; read when the first whole address comes."""
        return BotRanges() if self.bot_lists is None else load_ranges(self.bot_lists)


def open_door(settings: Settings) -> Door:
    """The vault, the suppression list and the minimisation of a data folder."""
    folder = settings.state / "vault"
    return Door(
        vault=Vault(folder),
        suppression=Suppression(folder),
        query_keys=settings.privacy.query_keys,
        allowed_query_keys=settings.privacy.allowed_query_keys,
        bot_lists=settings.state / RANGES_FOLDER,
    )


def _raw_events(
    frames: Iterable[pl.DataFrame],
    batch: Batch,
    adapter: Adapter,
    door: Door,
    tally: dict[str, int],
) -> Iterator[pl.DataFrame]:
    """Minimise the records of one batch, frame by frame, and number them."""
    connection = open_duckdb()
    try:
        for frame in frames:
            start = tally["received"]
            tally["received"] += frame.height
            numbered = frame.with_row_index("ordinal", offset=start)
            sound = minimised(connection, numbered, adapter, door)
            tally["suppressed"] += frame.height - sound.height
            yield sound.select(
                batch_id=pl.lit(batch.batch_id),
                ordinal=pl.col("ordinal").cast(pl.Int64),
                source=pl.lit(batch.source),
                arrived_at=pl.lit(batch.arrived_at).dt.cast_time_unit("us"),
                arrival_date=pl.lit(batch.arrived_at.date()),
                visitor_id="visitor_id",
                user_id="user_id",
                payload="payload",
                read_error="read_error",
            ).cast(pl.Schema(polars_schema("raw_events")))
    finally:
        connection.close()


def minimised(
    connection: duckdb.DuckDBPyConnection,
    records: pl.DataFrame,
    adapter: Adapter,
    door: Door,
    *,
    keep_tokens: bool = False,
) -> pl.DataFrame:
    """Replace identifiers by pseudonyms, cut addresses, mask personal values, drop the suppressed.

    Args:
        connection: DuckDB of `open_duckdb`; its temporary tables are overwritten.
        records: ``ordinal``, ``payload``, ``read_error``.
        adapter: Says which fields identify people.
        door: Vault and suppression list.
        keep_tokens: Take identifiers that are pseudonyms already as they are (a replay).

    Returns:
        ``ordinal``, ``visitor_id``, ``user_id``, ``payload``, ``read_error``, without records of
        suppressed people, in the order given.
    """
    found = _identifiers(connection, records, adapter)
    people = [
        _people(found, "visitor_id", "visitor", door, keep_tokens=keep_tokens),
        _people(found, "user_id", "user", door, keep_tokens=keep_tokens),
    ]
    addresses = found["ip_address"].drop_nulls().unique()
    cut = pl.DataFrame({"raw": addresses, "token": truncate_ips(addresses).fill_null(NO_ADDRESS)})
    pairs = dict(zip(IDENTIFYING, [*(known for known, _ in people), cut], strict=True))
    suppressed = pl.any_horizontal(
        pl.col(name).is_in(raw.implode()).fill_null(value=False)
        for name, (_, raw) in zip(IDENTIFYING[:2], people, strict=True)
    )
    frame = pl.concat([records.select("payload"), found.drop("ordinal")], how="horizontal")
    frame = frame.with_columns(ordinal=records["ordinal"]).filter(~suppressed)
    unread = frame.filter(pl.col("read_error").is_not_null())
    sound = frame.filter(pl.col("read_error").is_null()) if unread.height else frame
    sound = _replaced(connection, sound, adapter, pairs)
    scrubbed = scrub_payloads(
        sound["payload"], query_keys=door.query_keys, allowed=door.allowed_query_keys
    )
    sound = sound.with_columns(payload=_with_networks(scrubbed, sound["ip_address"], cut, door))
    columns = ("ordinal", "visitor_id", "user_id", "payload", "read_error")
    if unread.is_empty():
        return sound.select(columns)
    leaves = {path.rsplit(".", 1)[-1] for path in adapter.paths(*IDENTIFYING)}
    nobody = pl.lit(None, pl.String)
    unread = unread.with_columns(
        payload=_unreadable(unread["payload"], sorted(leaves), door),
        visitor_id=nobody,
        user_id=nobody,
    )
    return pl.concat([sound.select(columns), unread.select(columns)]).sort("ordinal")


IDENTIFYING = ("visitor_id", "user_id", "ip_address")
"""Canonical fields that identify people, and so never reach a disk of ours as they came."""

NO_ADDRESS = "[address]"
"""Stands for an address that is none: a host name, say."""


def _identifiers(
    connection: duckdb.DuckDBPyConnection, records: pl.DataFrame, adapter: Adapter
) -> pl.DataFrame:
    """Read the identifying fields of each record, and find what is no JSON object, in order."""
    read = Extraction(adapter.paths(*IDENTIFYING))
    ids = ", ".join(f"nullif(trim({adapter.rule_sql(name)}), '') AS {name}" for name in IDENTIFYING)
    # Several batches, so that DuckDB shares them between its threads.
    batches = records.to_arrow().to_batches(max_chunksize=SHARED_ROWS)
    connection.register("records", pa.Table.from_batches(batches))
    rows = connection.sql(
        f"SELECT ordinal, read_error, {ids} FROM (SELECT ordinal, coalesce(read_error, "
        "CASE WHEN x IS NULL OR ltrim(payload)[1] <> '{' THEN 'is no JSON object' END) "
        f"AS read_error{read.columns} FROM (SELECT *, {read.parsed} AS x FROM records))"
    ).to_arrow_table()
    connection.unregister("records")
    frame = pl.DataFrame(pl.from_arrow(rows)).sort("ordinal")
    blank = pl.when(pl.col("read_error").is_null()).then(pl.col(IDENTIFYING))
    return frame.with_columns(blank)


def _people(
    found: pl.DataFrame, column: str, namespace: Namespace, door: Door, *, keep_tokens: bool
) -> tuple[pl.DataFrame, pl.Series]:
    """Look up the distinct identifiers of one kind: their pseudonyms, and who is suppressed."""
    raw = found[column].drop_nulls().unique()
    raw = raw.filter(~pl.select(is_blocked(pl.lit(raw))).to_series()) if raw.len() else raw
    suppressed = door.suppression.mask(namespace, raw)
    wanted = raw.filter(~suppressed)
    tokens = door.vault.tokens(namespace, wanted, keep_tokens=keep_tokens)
    return pl.DataFrame({"raw": wanted, "token": tokens}), raw.filter(suppressed)


def _replaced(
    connection: duckdb.DuckDBPyConnection,
    frame: pl.DataFrame,
    adapter: Adapter,
    pairs: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """Put pseudonyms in place of identifiers, in their columns and where the payload holds them.

    Most identifiers stand in the payload as ``"key":"value"`` and all are replaced in one pass
    over the text. Numbers, escapes and spaces do not look like that: those records are rewritten.
    """
    old: list[str] = []
    new: list[str] = []
    for name, known in pairs.items():
        keys = [json.dumps(path.rsplit(".", 1)[-1]) for path in _held_paths(adapter, name)]
        for key in keys:
            old += [f'{key}:"{raw}"' for raw in known["raw"]]
            new += [f'{key}:"{token}"' for token in known["token"]]
    payload = pl.col("payload").str.replace_many(old, new) if old else pl.col("payload")
    frame = frame.with_columns(payload=payload)
    missed = pl.lit(value=False)
    for name, known in pairs.items():
        tokens = known.rename({"raw": name, "token": f"{name}_token"})
        frame = frame.join(tokens, on=name, how="left", maintain_order="left")
        if _held_paths(adapter, name):
            held = pl.col("payload").str.contains(pl.col(f"{name}_token"), literal=True)
            missed |= ~held.fill_null(value=True)
    is_missed = frame.select(missed).to_series()
    if is_missed.any():
        rest = frame.filter(is_missed)
        rest = rest.with_columns(payload=_rewritten(connection, rest, adapter))
        frame = pl.concat([frame.filter(~is_missed), rest]).sort("ordinal")
    if adapter.redact:
        frame = frame.with_columns(payload=_without(connection, frame["payload"], adapter.redact))
    return frame.with_columns(
        visitor_id=pl.col("visitor_id_token"), user_id=pl.col("user_id_token")
    )


def _with_networks(
    payloads: pl.Series, addresses: pl.Series, cut: pl.DataFrame, door: Door
) -> pl.Series:
    """Note which bot rules an address matches, before it is gone.

    One that was cut before it came is not looked up: the collector did, when it was whole.
    """
    whole = cut.filter(pl.col("raw") != pl.col("token"))["raw"]
    found = {a: ",".join(door.bot_ranges.signals(a)) for a in whole}
    if not any(found.values()):
        return payloads
    noted = pl.col("address").replace_strict(found, default="", return_dtype=pl.String)
    payload = pl.col("payload")
    is_noted = (noted != "") & ~payload.str.contains('"bot_signals"', literal=True)
    with_note = pl.concat_str(
        pl.lit('{"bot_signals":"'),
        noted,
        pl.lit('",'),
        payload.str.strip_chars_start().str.slice(1),
    )
    frame = pl.DataFrame({"payload": payloads, "address": addresses})
    return frame.select(pl.when(is_noted).then(with_note).otherwise(payload)).to_series()


def _held_paths(adapter: Adapter, name: str) -> tuple[str, ...]:
    """Paths of the record that hold the identifier itself, not a part of an expression."""
    rule = adapter.fields.get(name)
    if rule is None or (rule.sql is not None and name != "ip_address"):
        return ()
    return rule.paths


def _rewritten(
    connection: duckdb.DuckDBPyConnection, frame: pl.DataFrame, adapter: Adapter
) -> pl.Series:
    """Set identifiers anew in records where they do not stand as plain quoted text."""
    names = [name for name in IDENTIFYING if _held_paths(adapter, name)]
    read = Extraction(adapter.paths(*names))
    payload = "payload"
    for name in names:
        for path in _held_paths(adapter, name):
            held = f"trim({named(path)}) = raw_{name} AND {name}_token IS NOT NULL"
            merged = (
                f"CAST(json_merge_patch({payload}, {_object(path, f'{name}_token')}) AS VARCHAR)"
            )
            payload = f"CASE WHEN {held} THEN {merged} ELSE {payload} END"
    connection.register("missed", frame.with_columns(read_error=pl.lit(None, pl.String)).to_arrow())
    raws = ", ".join(f"{name} AS raw_{name}, {name}_token" for name in IDENTIFYING)
    rows = connection.sql(
        f"SELECT ordinal, {payload} AS payload FROM (SELECT * EXCLUDE (x){read.columns} FROM "
        f"(SELECT ordinal, payload, {raws}, {read.parsed} AS x FROM missed))"
    ).to_arrow_table()
    connection.unregister("missed")
    return pl.DataFrame(pl.from_arrow(rows)).sort("ordinal")["payload"].cast(pl.String)


def _without(
    connection: duckdb.DuckDBPyConnection, payloads: pl.Series, fields: Iterable[str]
) -> pl.Series:
    """Drop top-level fields from JSON objects."""
    connection.register(
        "redacted", pl.DataFrame({"payload": payloads}).with_row_index("n").to_arrow()
    )
    nothing = quoted(json.dumps(dict.fromkeys(fields)))
    rows = connection.sql(
        f"SELECT n, CAST(json_merge_patch(payload, {nothing}) AS VARCHAR) AS payload FROM redacted"
    ).to_arrow_table()
    connection.unregister("redacted")
    return pl.DataFrame(pl.from_arrow(rows)).sort("n")["payload"].cast(pl.String)


def _object(path: str, value: str) -> str:
    """SQL for an object that holds a value at a path."""
    for part in reversed(path.split(".")):
        value = f"json_object({quoted(part)}, {value})"
    return value


def _unreadable(texts: pl.Series, leaves: Iterable[str], door: Door) -> pl.Series:
    """Wrap what could not be read as JSON, without what may identify somebody.

    Nothing can be looked up in a text that cannot be read, so everything goes that stands where
    an identifier would, or looks like one; the landed file keeps the original.
    """
    names = "|".join(re.escape(leaf) for leaf in leaves) or "visitor_id"
    masked = (
        texts.str.replace_all(rf'("(?:{names})"\s*:\s*)(?:"[^"]*"?|[^",}}\s]+)', '${1}"[id]"')
        .str.replace_all(r"\b(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}\b", "${1}.0")
        .str.replace_all(r"\b(?:[0-9a-fA-F]{8}-[0-9a-fA-F-]{4,27}|[0-9a-fA-F]{16,})\b", "[id]")
        .str.replace_all(r"\d{6,}", "[number]")
    )
    scrubbed = scrub_texts(masked, query_keys=door.query_keys, allowed=door.allowed_query_keys)
    return (
        pl.DataFrame({"unreadable": scrubbed})
        .select(pl.struct("unreadable").struct.json_encode())
        .to_series()
    )


def ingest_files(
    settings: Settings,
    paths: Sequence[Path],
    source: str,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> Refreshed:
    """Copy files into the landing folder of a source, whole or not at all, and take them.

    Raises:
        FileNotFoundError: One of the paths is no file; nothing was copied.
        FileNameError: One of them has a name that landing does not take; nothing was copied.
    """
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "is no file", str(path))
        if not _is_taken(path):
            raise FileNameError(path)
    folder = settings.landing / source
    folder.mkdir(parents=True, exist_ok=True)
    landed = []
    for path in paths:
        target = folder / path.name
        if not (target.exists() and sha256_of(target) == sha256_of(path)):
            unfinished = folder / f".{path.name}.{os.getpid()}.tmp"
            shutil.copyfile(path, unfinished)
            if target.exists():
                target = folder / f"{sha256_of(path)[:12]}-{path.name}"
            unfinished.replace(target)
        look = target.stat()
        landed.append(
            LandedFile(
                path=target,
                source=source,
                relative=str(target.relative_to(settings.landing)),
                size=look.st_size,
                mtime_ns=look.st_mtime_ns,
            )
        )
    return ingest_landing(settings, now=now, files=landed, progress=progress)
