"""The durable log: a batch is acknowledged only after its lines are on the disk.

Each source has one open segment: a hidden file in its landing folder, to which one thread appends.
Requests that wait while the disk is busy are committed together, with one `fdatasync`. A segment
that is full or old enough is sealed: renamed so that ingestion sees it, and takes it exactly once
like any other landed file. At start, what a crash left behind is checked line by line, cut to what
is whole, and sealed.
"""

import asyncio
import fcntl
import logging
import os
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clickstream_platform.collection.lines import is_whole
from clickstream_platform.collection.refusals import RefusedError

OPEN_PREFIX = ".collector-"
"""What the name of an open segment starts with; ingestion takes no hidden file."""

SEALED_PREFIX = "collector-"

MAX_COMMIT_BYTES = 4_000_000
"""Bytes of one commit; more would make those at its head wait."""

GATHER_S = 0.004
"""How long a commit waits for company: a sync costs as much for one request as for many."""

logger = logging.getLogger("clickstream.collector")


@dataclass(slots=True)
class _Append:
    """Lines of one request that wait for the disk."""

    source: str
    lines: bytes
    records: int
    done: asyncio.Future[None]


@dataclass(slots=True)
class Segment:
    """A file that is being appended to."""

    path: Path
    descriptor: int
    opened_at: float
    durable_bytes: int = 0

    def append(self, data: bytes) -> None:
        """Write and wait for the disk; on failure the file is cut back to what was durable.

        Raises:
            OSError: The disk did not take it; nothing of it counts.
        """
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self.descriptor, view) :]
            os.fdatasync(self.descriptor)
        except OSError:
            os.ftruncate(self.descriptor, self.durable_bytes)
            os.lseek(self.descriptor, 0, os.SEEK_END)
            raise
        self.durable_bytes += len(data)


@dataclass
class LogCounts:
    """What the log has done since it started."""

    records: int = 0
    commits: int = 0
    failures: int = 0
    sealed: int = 0
    repaired_bytes: int = 0


class EventLog:
    """The log of one collector process.

    Args:
        landing: Landing folder; segments lie in the folders of their sources.
        seal_after_s: Age at which a segment is sealed, in seconds.
        seal_bytes: Size at which it is.
        pending_bytes: Bytes of records that may wait for the disk.
    """

    def __init__(
        self, landing: Path, *, seal_after_s: float, seal_bytes: int, pending_bytes: int
    ) -> None:
        self.landing = landing
        self.counts = LogCounts()
        self._seal_after_s = seal_after_s
        self._seal_bytes = seal_bytes
        self._pending_limit = pending_bytes
        self._pending_bytes = 0
        self._waiting: list[_Append] = []
        self._wake = threading.Condition()
        self._is_closing = False
        self._is_idle = False
        self._segments: dict[str, Segment] = {}
        self._thread = threading.Thread(target=self._run, name="collector-log", daemon=True)

    def start(self) -> None:
        """Seal what earlier processes left behind, and begin to take records."""
        recover(self.landing, self.counts)
        self._thread.start()

    def append(self, source: str, lines: bytes, records: int) -> asyncio.Future[None]:
        """Hand the lines of some records to the writer; the future is done when they are durable.

        A `RefusedError`, raised here or by the future, says that the disk did not take them
        (``log_unavailable``), or that too much waits for it already (``overloaded``). Nothing was
        acknowledged, and nothing counts.
        """
        size = len(lines)
        done = asyncio.get_running_loop().create_future()
        with self._wake:
            if self._is_closing:
                reason = "shutting_down"
                raise RefusedError(reason)
            if self._pending_bytes + size > self._pending_limit:
                reason = "overloaded"
                raise RefusedError(reason)
            self._pending_bytes += size
            self._waiting.append(_Append(source, lines, records, done))
            if self._is_idle:
                self._is_idle = False
                self._wake.notify()
        return done

    def close(self) -> None:
        """Commit what waits, seal every segment, and take nothing more."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._waiting and not self._is_closing:
                    self._is_idle = True
                    self._wake.wait(self._until_seal())
                    self._is_idle = False
                is_gathering = bool(self._waiting) and not self._is_closing
            if is_gathering:
                time.sleep(GATHER_S)
            with self._wake:
                group, size = self._taken()
                is_last = self._is_closing and not self._waiting
            for source in dict.fromkeys(item.source for item in group):
                self._commit(source, [item for item in group if item.source == source])
            with self._wake:
                self._pending_bytes -= size
            self._seal_due(everything=is_last)
            if is_last:
                return

    def _taken(self) -> tuple[list[_Append], int]:
        """The appends of the next commit, and their bytes; call it with the lock held."""
        size, count = 0, 0
        for item in self._waiting:
            size += len(item.lines)
            count += 1
            if size >= MAX_COMMIT_BYTES:
                break
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group, size

    def _until_seal(self) -> float | None:
        """Seconds until a segment is old enough to be sealed; None if none is open."""
        if not self._segments:
            return None
        oldest = min(segment.opened_at for segment in self._segments.values())
        return max(0.0, oldest + self._seal_after_s - time.monotonic())

    def _commit(self, source: str, group: Sequence[_Append]) -> None:
        failure: RefusedError | None = None
        try:
            self._segment(source).append(b"".join([item.lines for item in group]))
        except OSError as error:
            self.counts.failures += 1
            logger.error(
                "log of %s cannot be written to: %s", source, os.strerror(error.errno or 0)
            )
            reason = "log_unavailable"
            failure = RefusedError(reason)
            self._abandon(source)
        except Exception as error:  # noqa: BLE001 - the thread must outlive a bug
            # Every request would wait for ever; and what an error says may hold what was sent.
            logger.error("records of %s cannot be written: %s", source, type(error).__name__)
            reason = "log_unavailable"
            failure = RefusedError(reason)
        else:
            self.counts.records += sum(item.records for item in group)
            self.counts.commits += 1
        # All that were committed together are woken together: one wake-up of the loop, not many.
        group[0].done.get_loop().call_soon_threadsafe(_settle, group, failure)

    def _segment(self, source: str) -> Segment:
        found = self._segments.get(source)
        if found is None:
            found = self._segments[source] = open_segment(self.landing / source)
        return found

    def _abandon(self, source: str) -> None:
        """Give up a segment that failed: whether the disk holds its pages is not known any more.

        What was durable before stays, and is sealed; the next commit begins another file.
        """
        segment = self._segments.pop(source, None)
        if segment is not None:
            self._seal(segment)

    def _seal_due(self, *, everything: bool) -> None:
        now = time.monotonic()
        for source, segment in list(self._segments.items()):
            old = now - segment.opened_at >= self._seal_after_s
            if everything or old or segment.durable_bytes >= self._seal_bytes:
                del self._segments[source]
                self._seal(segment)

    def _seal(self, segment: Segment) -> None:
        try:
            seal(segment.path, is_empty=segment.durable_bytes == 0)
            self.counts.sealed += 1
        except OSError as error:
            # It lies there, hidden and whole; the next start seals it.
            logger.error("a segment cannot be sealed: %s", os.strerror(error.errno or 0))
        finally:
            os.close(segment.descriptor)


def _settle(group: Sequence[_Append], failure: RefusedError | None) -> None:
    """Tell those that wait; some may have given up."""
    for item in group:
        if item.done.done():
            continue
        if failure is None:
            item.done.set_result(None)
        else:
            item.done.set_exception(failure)


def open_segment(folder: Path) -> Segment:
    """Begin a segment, whose name is on the disk before anything in it is acknowledged."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{OPEN_PREFIX}{time.time_ns():020d}-{secrets.token_hex(4)}.ndjson"
    path = folder / name
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    try:
        # Held for as long as the process lives: a segment without a holder was left by a crash.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        sync_folder(folder)
        sync_folder(folder.parent)
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return Segment(path, descriptor, time.monotonic())


def seal(path: Path, *, is_empty: bool) -> None:
    """Let ingestion see a segment; one without records goes."""
    if is_empty:
        path.unlink()
    else:
        path.rename(path.with_name(SEALED_PREFIX + path.name.removeprefix(OPEN_PREFIX)))
    sync_folder(path.parent)


def recover(landing: Path, counts: LogCounts | None = None) -> int:
    """Repair and seal the segments that no living process holds; return how many there were."""
    found = 0
    for path in sorted(landing.glob(f"*/{OPEN_PREFIX}*.ndjson")):
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # of a collector that runs
            found += 1
            kept, lost = repair(file.fileno(), path)
        if counts is not None:
            counts.repaired_bytes += lost
            counts.sealed += kept > 0
        seal(path, is_empty=kept == 0)
    return found


def repair(descriptor: int, path: Path) -> tuple[int, int]:
    """Take out of a segment what is not a whole line.

    Only the end of a file can be torn, for lines are acknowledged in order; but a disk may also
    have lost pages in between, and whole lines after them are kept.

    Returns:
        Bytes that stay, and bytes that went.
    """
    data = path.read_bytes()
    lines = data.split(b"\n")
    tail = lines.pop()
    whole = [line for line in lines if is_whole(line)]
    kept = b"".join(line + b"\n" for line in whole)
    lost = len(data) - len(kept)
    if not lost:
        return len(kept), 0
    if data.startswith(kept):
        os.ftruncate(descriptor, len(kept))
        os.fdatasync(descriptor)
    else:
        draft = path.with_suffix(".tmp")
        draft.write_bytes(kept)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(path)
        sync_folder(path.parent)
    logger.warning(
        "a segment was torn: %d bytes and %d lines of it were not whole",
        lost,
        len(lines) - len(whole) + bool(tail),
    )
    return len(kept), lost


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass
class MemoryLog:
    """A log that keeps lines in memory: for tests of tracking, never for production."""

    lines: list[tuple[str, bytes]] = field(default_factory=list)
    counts: LogCounts = field(default_factory=LogCounts)

    def start(self) -> None:
        """Begin to take records."""

    async def append(self, source: str, lines: bytes, records: int) -> None:
        """Keep lines."""
        self.lines += [(source, line) for line in lines.splitlines(keepends=True)]
        self.counts.records += records

    def close(self) -> None:
        """Take nothing more."""
