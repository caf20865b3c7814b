"""Erasing a person from landed files: rewritten record by record, known to the ledger throughout.

Records are found three ways: by their position, where raw events say whose they are; by the
fields that the source declares; and by identifiers in their text. The rest of a file keeps its
order. Earlier positions stay known, for the numbers of what follows must not shift.
"""

import gzip
import hashlib
import os
import secrets
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy.declared import Declared, declared
from clickstream_platform.privacy.needles import Needles
from clickstream_platform.privacy.records import (
    Record,
    TextKind,
    Verdicts,
    names_in,
    split_records,
)
from clickstream_platform.privacy.register import Register
from clickstream_platform.privacy.rewrites import Rewrites
from clickstream_platform.privacy.subjects import Subject
from clickstream_platform.settings import Settings

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
DRAFT = ".erasing-"
"""What the names of unfinished rewrites start with; ingestion takes no hidden file."""

_BLOCK_BYTES = 2**24
_BLOCK_RECORDS = 1_000
"""Records that are searched at once."""
_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class RewrittenFile:
    """What an erasure did to one file. The file is named by digests alone."""

    store: str
    records: int
    """Records that went."""
    unlinked: int = 0
    """Records that stay without a way back to the person."""
    sha256_before: str
    sha256_after: str | None
    """None if the whole file went."""


class FileBusyError(ClickstreamError, OSError):
    """A file changes faster than it can be rewritten."""

    def __init__(self) -> None:
        super().__init__(
            "A file in landing is being written to, so the person cannot be taken out of it. "
            "Run the request again when its writer is done."
        )


@dataclass(frozen=True)
class LandedBatch:
    """What the ledger knows of a landed file."""

    batch_id: str
    sha256: str
    received: int


@dataclass
class LandedEraser:
    """Takes one person out of every landed file.

    Args:
        settings: Where everything lies.
        subject: The person.
        needles: The person in text.
        rewrites: Remembers which records a file lacks.
        positions: Ordinals of the person's records by batch, as raw events tell.
        unsure: CSV batches with unreadable lines, whose positions cannot be trusted.
    """

    settings: Settings
    subject: Subject
    needles: Needles
    rewrites: Rewrites
    positions: Mapping[str, set[int]]
    unsure: frozenset[str] = frozenset()
    after_draft: Callable[[], None] | None = None
    """Called between the writing of a new file and its taking the old one's place, by tests."""
    _batches: dict[str, list[LandedBatch]] = field(default_factory=dict)

    def erase(self) -> list[RewrittenFile]:
        """Rewrite what has to be, file by file."""
        folder = self.settings.landing
        self.finish_interrupted()
        self._batches = _ledger_batches(self.settings.state)
        if not folder.exists():
            return []
        for draft in folder.rglob(f"{DRAFT}*"):
            draft.unlink()
        done = [self.erase_from(path) for path in sorted(folder.rglob("*")) if path.is_file()]
        return [result for result in done if result]

    def erase_from(self, path: Path, known: LandedBatch | None = None) -> RewrittenFile | None:
        """Rewrite one file, if it has to be.

        Args:
            path: Where it lies.
            known: The batch that it was taken as; the ledger is asked unless given.
        """
        relative = path.relative_to(self.settings.landing)
        source = relative.parts[0] if len(relative.parts) > 1 else ""
        form = declared(self.settings, source).of_file(path)
        for _ in range(_TRIES):
            before = _look(path)
            batch = known or self._batch_of(str(relative), path)
            rewriting = _Rewriting(self, path, form, batch)
            draft = rewriting.draft()
            if draft is None:
                return None
            if _look(path) != before:
                draft.unlink()
                continue
            if self.after_draft:
                self.after_draft()
            return self._swap(path, str(relative), draft, rewriting)
        raise FileBusyError

    def _batch_of(self, relative: str, path: Path) -> LandedBatch | None:
        """The batch that a file was taken as, if its records' positions are of use."""
        known = [b for b in self._batches.get(relative, ()) if self.positions.get(b.batch_id)]
        if not known:
            return None
        sha256 = sha256_of(path)
        return next((batch for batch in known if batch.sha256 == sha256), None)

    def _swap(
        self, path: Path, relative: str, draft: Path, rewriting: "_Rewriting"
    ) -> RewrittenFile:
        old, new = sha256_of(path), sha256_of(draft)
        self.rewrites.keep_removed(new, [*rewriting.lacking, *rewriting.removed])
        draft.chmod(path.stat().st_mode & 0o777)
        # A file younger than a second is not taken. Before it takes the old one's place the
        # ledger learns its look, so it is not taken as new whatever crashes from here on.
        os.utime(draft)
        self.rewrites.begin(relative, old, new)
        self._tell_look(relative, draft.stat(), old, new)
        draft.replace(path)
        self._tell_digest(relative, path, old, new)
        self.rewrites.end(relative)
        _sync(path.parent)
        return RewrittenFile(
            store="landing",
            records=rewriting.erased,
            unlinked=rewriting.unlinked,
            sha256_before=old,
            sha256_after=new,
        )

    def finish_interrupted(self) -> None:
        """Tell the ledger of rewrites that a crash cut off behind the exchange of the files."""
        for relative, old, new in self.rewrites.unfinished():
            path = self.settings.landing / relative
            if path.exists() and sha256_of(path) == new:
                self._tell_digest(relative, path, old, new)
            self.rewrites.end(relative)

    def _tell_look(self, relative: str, look: os.stat_result, old: str, new: str) -> None:
        for connection in self._ledger():
            taken = connection.execute(
                "SELECT 1 FROM batches WHERE path = ? AND sha256 = ?", (relative, old)
            ).fetchone()
            if taken:
                connection.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                    (relative, look.st_size, look.st_mtime_ns, new),
                )

    def _tell_digest(self, relative: str, path: Path, old: str, new: str) -> None:
        for connection in self._ledger():
            connection.execute(
                "UPDATE OR IGNORE batches SET sha256 = ?, bytes = ? WHERE path = ? AND sha256 = ?",
                (new, path.stat().st_size, relative, old),
            )

    def _ledger(self) -> Iterator[sqlite3.Connection]:
        """The ledger, if anything was ever taken."""
        file = self.settings.state / "ledger.db"
        if file.exists():
            with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
                yield connection


def take_out_records(
    settings: Settings, path: Path, batch: LandedBatch, *, kept: Iterable[int], is_unsure: bool
) -> RewrittenFile | None:
    """Take out of a landed file the records that ingestion did not keep, of suppressed people.

    Args:
        settings: Where everything lies.
        path: The file.
        batch: What it was taken as, with the digest that it has now.
        kept: Ordinals of the records that were kept.
        is_unsure: Whether records of it could not be read, so that CSV is left as it is.

    Returns:
        What was done; None if nothing was to do. Where the file does not have as many records as
        were taken from it, nothing is.
    """
    rewrites = Register(settings).rewrites
    gone = set(range(batch.received)).difference(kept, rewrites.removed(batch.sha256))
    if not gone:
        return None
    eraser = LandedEraser(
        settings,
        Subject(identifiers=()),
        Needles([]),
        rewrites,
        {batch.batch_id: gone},
        frozenset({batch.batch_id} if is_unsure else ()),
    )
    eraser.finish_interrupted()
    return eraser.erase_from(path, batch)


class _Rewriting:
    """One file on its way to being rewritten."""

    def __init__(
        self, eraser: LandedEraser, path: Path, form: Declared, batch: LandedBatch | None
    ) -> None:
        self.path, self.form = path, form
        self.needles = eraser.needles
        self.verdicts = Verdicts(eraser.subject, form, eraser.needles, list(form.columns))
        self.lacking = eraser.rewrites.removed(batch.sha256) if batch else []
        self.wanted = eraser.positions.get(batch.batch_id, set()) if batch else set()
        self.batch = batch
        self.is_unsure = bool(batch and batch.batch_id in eraser.unsure)
        self.erased = 0
        self.unlinked = 0
        self.removed: list[int] = []
        plain = [
            text.encode("utf-8", "surrogateescape").decode("latin-1")
            for text in self.verdicts.texts
        ]
        self._forms = sorted({*eraser.needles.forms, *plain})

    def draft(self) -> Path | None:
        """Write the file without the person beside it; None if the person is not in it."""
        with self.path.open("rb") as file:
            magic = file.read(4)
        draft = self.path.with_name(f"{DRAFT}{secrets.token_hex(8)}")
        try:
            if magic == PARQUET_MAGIC:
                self._draft_parquet(draft)
            elif self.wanted or self._may_hold():
                self._draft_text(draft, is_zipped=magic[:2] == GZIP_MAGIC)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        if self.erased or self.unlinked:
            return draft
        draft.unlink(missing_ok=True)
        return None

    # -- Text ----------------------------------------------------------------------------------

    def _may_hold(self) -> bool:
        rest = b""
        for block in text_blocks(self.path):
            text = rest + block
            if any(self._suspects([text])):
                return True
            rest = text[-_LONGEST_FORM:]
        return False

    def _suspects(self, texts: Sequence[bytes]) -> Sequence[bool]:
        """Which texts may hold the person: one search for many, for asking costs more than it."""
        if self.verdicts.needs_fields:
            return [True] * len(texts)
        if not self._forms:
            return [False] * len(texts)
        found = pl.Series([text.decode("latin-1") for text in texts], dtype=pl.String)
        return found.str.contains_any(self._forms, ascii_case_insensitive=True).to_list()

    def _draft_text(self, draft: Path, *, is_zipped: bool) -> None:
        kind: TextKind = "csv" if self.form.is_table(self.path) else "lines"
        wanted = self._trusted(kind)
        with draft.open("xb") as raw:
            out: BinaryIO = gzip.GzipFile("", "wb", 6, raw, 0) if is_zipped else raw  # type: ignore[assignment]  # both are written to
            records = self._records(kind)
            while block := list(islice(records, _BLOCK_RECORDS)):
                suspects = self._suspects([record.content for record in block])
                left = [
                    self._verdict(record, wanted, is_suspect=is_suspect)
                    for record, is_suspect in zip(block, suspects, strict=True)
                ]
                out.write(b"".join([content for content in left if content is not None]))
            if is_zipped:
                out.close()
            raw.flush()
            os.fsync(raw.fileno())

    def _verdict(self, record: Record, wanted: set[int], *, is_suspect: bool) -> bytes | None:
        content: bytes | None = record.content
        if record.ordinal in wanted:
            content = None
        elif is_suspect:
            content = self.verdicts.of_text(record.content)
        if content is None:
            self.erased += 1
            if record.ordinal is not None:
                self.removed.append(record.ordinal)
        elif content != record.content:
            self.unlinked += 1
        return content

    def _records(self, kind: TextKind) -> Iterator[Record]:
        """Records with the numbers that they had when the file was taken."""
        original = _original_numbers(self.lacking)
        for record in split_records(_lines(self.path), kind, self.form):
            if record.ordinal is None:
                if kind == "csv" and not self.verdicts.header:
                    self.verdicts.header = names_in(record.content, self.form)
                yield record
            else:
                yield Record(record.content, next(original))

    def _trusted(self, kind: TextKind) -> set[int]:
        """Positions, if the file still has as many records as were taken from it."""
        if not self.wanted or self.batch is None or (kind == "csv" and self.is_unsure):
            return set()
        held = sum(record.ordinal is not None for record in self._records(kind))
        return set(self.wanted) if self._still_numbers(held) else set()

    def _still_numbers(self, held: int) -> bool:
        """Whether records have the numbers that raw events say; counted anew after a replay."""
        if self.batch is None:
            return False
        if held == self.batch.received:
            self.lacking = []
        elif held + len(self.lacking) == self.batch.received - 1 and _is_torn(self.path):
            self.lacking.append(held + len(self.lacking))  # what the cut left of a last record
        return held + len(self.lacking) == self.batch.received

    # -- Parquet -------------------------------------------------------------------------------

    def _draft_parquet(self, draft: Path) -> None:
        file = pq.ParquetFile(self.path)
        wanted = self.wanted if self._still_numbers(file.metadata.num_rows) else set()
        original = _original_numbers(self.lacking)
        writer = pq.ParquetWriter(draft, file.schema_arrow, compression="zstd")
        try:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                ordinals = [next(original) for _ in range(rows.num_rows)]
                writer.write_table(self._kept(rows, ordinals, wanted))
        finally:
            writer.close()

    def _kept(self, rows: pa.Table, ordinals: list[int], wanted: set[int]) -> pa.Table:
        frame = pl.DataFrame(pl.from_arrow(rows))
        texts = frame.select(pl.struct(pl.all()).struct.json_encode()).to_series()
        suspects = [True] * len(ordinals)
        if self._forms and not self.verdicts.needs_fields:
            forms = self._forms_of_json
            suspects = texts.str.contains_any(forms, ascii_case_insensitive=True).to_list()
        keep = [True] * len(ordinals)
        for place, (ordinal, suspect) in enumerate(zip(ordinals, suspects, strict=True)):
            if ordinal not in wanted and not suspect:
                continue
            content = texts[place].encode()
            verdict = None if ordinal in wanted else self.verdicts.of_text(content)
            if verdict == content:
                continue
            if verdict is None:
                keep[place] = False
                self.erased += 1
                self.removed.append(ordinal)
            else:
                self.unlinked += 1
                rows = self._cleaned(rows, place)
        return rows.filter(pa.array(keep))

    @property
    def _forms_of_json(self) -> list[str]:
        """Forms as text: what Parquet holds is no Latin-1."""
        return sorted({form.encode("latin-1").decode("utf-8", "replace") for form in self._forms})

    def _cleaned(self, rows: pa.Table, place: int) -> pa.Table:
        """The rows with one of them unlinked: its identifiers replaced, its texts redacted."""
        for number, column in enumerate(rows.schema):
            if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
                continue
            value = rows.column(number)[place].as_py()
            if value is None:
                continue
            clean = self.verdicts.instead(column.name, value)
            if clean is None:
                clean = self.needles.redacted(value.encode()).decode()
            if clean != value:
                values = rows.column(number).to_pylist()
                values[place] = clean
                rows = rows.set_column(number, column, pa.array(values, column.type))
        return rows


_LONGEST_FORM = 4096


def _original_numbers(lacking: Iterable[int]) -> Iterator[int]:
    """Numbers that records had before some were taken out: 0, 1, 2 … without those."""
    gone = set(lacking)
    number = 0
    while True:
        if number not in gone:
            yield number
        number += 1


def text_blocks(path: Path) -> Iterator[bytes]:
    """Yield the text of a file in blocks, decompressed; of a torn gz what can be read."""
    with path.open("rb") as file:
        is_zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not is_zipped:
            while block := file.read(_BLOCK_BYTES):
                yield block
            return
        stream = zlib.decompressobj(wbits=31)
        while data := file.read(_BLOCK_BYTES):
            while data:
                try:
                    yield stream.decompress(data)
                except zlib.error:
                    return
                data = stream.unused_data.lstrip(b"\0")
                if stream.eof:
                    stream = zlib.decompressobj(wbits=31)
        yield stream.flush()


def _is_torn(path: Path) -> bool:
    """Whether a gz stream ends before its end."""
    with path.open("rb") as file:
        if file.read(2) != GZIP_MAGIC:
            return False
    try:
        with gzip.open(path) as stream:
            while stream.read(_BLOCK_BYTES):
                pass
    except (EOFError, OSError, zlib.error):
        return True
    return False


def _lines(path: Path) -> Iterator[bytes]:
    rest = b""
    for block in text_blocks(path):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _look(path: Path) -> tuple[int, int, int]:
    look = path.stat()
    return look.st_size, look.st_mtime_ns, look.st_ino


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ledger_batches(state: Path) -> dict[str, list[LandedBatch]]:
    ledger = state / "ledger.db"
    if not ledger.exists():
        return {}
    with closing(sqlite3.connect(ledger, timeout=30)) as connection:
        rows = connection.execute("SELECT path, batch_id, sha256, received FROM batches").fetchall()
    found: dict[str, list[LandedBatch]] = {}
    for path, batch_id, sha256, received in rows:
        found.setdefault(path, []).append(LandedBatch(batch_id, sha256, received))
    return found
