"""Landing: files dropped into folders become raw events, exactly once.

A file is known by its path and its sha256. Before its records reach the lake they are minimised:
identifiers become pseudonyms of the vault, addresses are cut, personal values are masked, and
records of suppressed people are dropped and counted. A crash at any point loses and doubles
nothing: a batch is opened in the ledger first, committed to the lake in one commit, and closed in
the ledger last; what a crash leaves open is taken anew.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.events.adapters import (
    Adapter,
    adapter_for,
    read_adapters,
    require_adapters,
)
from clickstream_platform.events.door import Door, minimised, open_door
from clickstream_platform.events.formats import read_records
from clickstream_platform.events.landed import (
    ENDINGS,
    LandedFile,
    has_changed,
    is_taken,
    pending_files,
    sha256_of,
)
from clickstream_platform.events.ledger import Batch, Ledger, Progress, batch_of
from clickstream_platform.events.record_frames import FileRefusedError
from clickstream_platform.events.records import open_duckdb
from clickstream_platform.lake import Lake, Refreshed, adapt, arrow_schema, polars_schema, turn
from clickstream_platform.privacy.landed import LandedBatch, take_out_records
from clickstream_platform.settings import Settings


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
    with turn(settings.state, progress=progress):
        return _ingested(settings, now, files, progress)


def _ingested(
    settings: Settings,
    now: datetime,
    files: Sequence[LandedFile] | None,
    progress: Progress | None,
) -> Refreshed:
    lake, ledger = Lake(settings.lake_folder), Ledger(settings.state)
    adapt(lake, ["raw_events"], is_derived=False)
    adapters = read_adapters(settings.definitions)
    todo = pending_files(settings) if files is None else list(files)
    door = open_door(settings)
    counts = dict.fromkeys(
        ("files", "records", "suppressed", "known", "refused", "changed", "bytes"), 0
    )
    for number, file in enumerate(todo):
        if progress:
            progress(f"taking {file.relative}", number, len(todo))
        outcome = take(settings, file, adapter_for(file.source, adapters), lake, ledger, door, now)
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
    settings: Settings,
    file: LandedFile,
    adapter: Adapter,
    lake: Lake,
    ledger: Ledger,
    door: Door,
    now: datetime,
) -> Mapping[str, int]:
    """Take one file, unless its content was taken under its path before; return counts by name.

    Records of suppressed people go from the file, too.
    """
    sha256 = sha256_of(file.path)
    if has_changed(file):
        return {"changed": 1}
    if known := ledger.taken(file.source, file.relative, sha256):
        # As it was before an erasure, perhaps, or a crash left the suppressed in it.
        if known["sha256"] != sha256:
            ledger.note_content(str(known["batch_id"]), sha256=sha256, size=file.size)
        file, sha256 = _without_suppressed(settings, file, sha256, known, lake)
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
            ledger.refuse(batch.batch_id, cause.reason, adapter_sha256=adapter.sha256)
            ledger.note_file(file.relative, size=file.size, mtime_ns=file.mtime_ns, sha256=sha256)
            return {"refused": 1}
        if has_changed(file):
            ledger.drop(batch.batch_id)
            return {"changed": 1}
        raise cause from None
    ledger.land(batch.batch_id, received=tally["received"], suppressed=tally["suppressed"])
    landed = ledger.taken(file.source, file.relative, sha256)
    file, sha256 = _without_suppressed(settings, file, sha256, landed or {}, lake)
    ledger.note_file(file.relative, size=file.size, mtime_ns=file.mtime_ns, sha256=sha256)
    return {
        "files": 1,
        "records": tally["received"],
        "suppressed": tally["suppressed"],
        "bytes": batch.bytes,
    }


def _without_suppressed(
    settings: Settings, file: LandedFile, sha256: str, batch: Mapping[str, object], lake: Lake
) -> tuple[LandedFile, str]:
    """Take out of a landed file what raw_events does not hold of it; return it as it is then."""
    if not batch.get("suppressed"):
        return file, sha256
    batch_id = str(batch["batch_id"])
    arrived_at = datetime.fromisoformat(str(batch["arrived_at"]))
    held = (
        lake.scan("raw_events", dates=[arrived_at.date()])
        .filter(pl.col("batch_id") == batch_id)
        .select("ordinal", "read_error")
        .collect(engine="streaming")
    )
    if held.height + int(str(batch["suppressed"])) != batch["received"]:
        return file, sha256  # the table lost rows for another reason: the file is all there is
    rewritten = take_out_records(
        settings,
        file.path,
        LandedBatch(batch_id, sha256, int(str(batch["received"]))),
        kept=held["ordinal"],
        is_unsure=held["read_error"].count() > 0,
    )
    if rewritten is None:
        return file, sha256
    look = file.path.stat()
    file = replace(file, size=look.st_size, mtime_ns=look.st_mtime_ns)
    return file, rewritten.sha256_after or sha256


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
            if has_changed(self._file):
                raise ChangedWhileReadError(self._file.relative)
        except Exception as error:
            self.error = error
            raise


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
                identifiers="identifiers",
                payload="payload",
                read_error="read_error",
            ).cast(pl.Schema(polars_schema("raw_events")))
    finally:
        connection.close()


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

    Where the adapter of the source cannot be used its error is raised, and nothing was copied.
    """
    require_adapters([source], settings.definitions)
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "is no file", str(path))
        if not is_taken(path):
            raise FileNameError(path)
    with turn(settings.state, progress=progress):
        landed = _copied(settings, paths, source)
        return ingest_landing(settings, now=now, files=landed, progress=progress)


def _copied(settings: Settings, paths: Sequence[Path], source: str) -> list[LandedFile]:
    """Copy files into landing, where they are not yet."""
    ledger, folder = Ledger(settings.state), settings.landing / source
    folder.mkdir(parents=True, exist_ok=True)
    landed = []
    for path in paths:
        target = folder / path.name
        sha256 = sha256_of(path)
        if not (target.exists() and _is_content_of(target, sha256, source, ledger, settings)):
            unfinished = folder / f".{path.name}.{os.getpid()}.tmp"
            shutil.copyfile(path, unfinished)
            if target.exists():
                target = folder / f"{sha256[:12]}-{path.name}"
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
    return landed


def _is_content_of(
    target: Path, sha256: str, source: str, ledger: Ledger, settings: Settings
) -> bool:
    """Whether a landed file has some content, or what erasures left of it."""
    before = ledger.taken(source, str(target.relative_to(settings.landing)), sha256)
    return sha256_of(target) in {sha256, before and before["sha256"]}
