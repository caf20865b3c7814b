"""What an erasure makes of one landed file: a draft without the person, beside it."""

import gzip
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_platform.privacy.declared import Declared
from clickstream_platform.privacy.files import GZIP_MAGIC, is_torn, lines_of, text_blocks
from clickstream_platform.privacy.needles import Needles
from clickstream_platform.privacy.records import (
    Record,
    TextKind,
    Verdicts,
    names_in,
    split_records,
)
from clickstream_platform.privacy.subjects import Subject

PARQUET_MAGIC = b"PAR1"
DRAFT = ".erasing-"
"""What the names of unfinished rewrites start with; ingestion takes no hidden file."""

_BLOCK_RECORDS = 1_000
"""Records that are searched at once."""
_LONGEST_FORM = 4096


@dataclass
class Rewriting:
    """One file on its way to being rewritten.

    Args:
        path: The file.
        form: What its source declares.
        subject: The person.
        needles: The person in text.
        received: Records that it had when it was taken; None if it never was.
        lacking: Numbers of those that earlier erasures took out.
        wanted: Numbers of those that go, whatever they hold.
        is_unsure: Whether records of it could not be read, so that numbers in CSV are not certain.
    """

    path: Path
    form: Declared
    subject: Subject
    needles: Needles
    received: int | None
    lacking: list[int]
    wanted: set[int]
    is_unsure: bool
    erased: int = 0
    unlinked: int = 0
    removed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.verdicts = Verdicts(self.subject, self.form, self.needles, list(self.form.columns))
        plain = [
            text.encode("utf-8", "surrogateescape").decode("latin-1")
            for text in self.verdicts.texts
        ]
        self._forms = sorted({*self.needles.forms, *plain})

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
        for record in split_records(lines_of(self.path), kind, self.form):
            if record.ordinal is None:
                if kind == "csv" and not self.verdicts.header:
                    self.verdicts.header = names_in(record.content, self.form)
                yield record
            else:
                yield Record(record.content, next(original))

    def _trusted(self, kind: TextKind) -> set[int]:
        """Positions, if the file still has as many records as were taken from it."""
        if not self.wanted or (kind == "csv" and self.is_unsure):
            return set()
        held = sum(record.ordinal is not None for record in self._records(kind))
        return set(self.wanted) if self._still_numbers(held) else set()

    def _still_numbers(self, held: int) -> bool:
        """Whether records have the numbers that raw events say; counted anew after a replay."""
        if self.received is None:
            return False
        if held == self.received:
            self.lacking = []
        elif held + len(self.lacking) == self.received - 1 and is_torn(self.path):
            self.lacking.append(held + len(self.lacking))  # what the cut left of a last record
        return held + len(self.lacking) == self.received

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


def _original_numbers(lacking: Iterable[int]) -> Iterator[int]:
    """Numbers that records had before some were taken out: 0, 1, 2 … without those."""
    gone = set(lacking)
    number = 0
    while True:
        if number not in gone:
            yield number
        number += 1
