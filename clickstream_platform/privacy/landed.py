"""Erasing a person from landed files: rewritten record by record, known to the ledger throughout.

Records are found three ways: by their position, where raw events say whose they are; by the
fields that the source declares; and by identifiers in their text. The rest of a file keeps its
order. Earlier positions stay known, for the numbers of what follows must not shift.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy.declared import Declared, declared
from clickstream_platform.privacy.drafts import DRAFT, Rewriting
from clickstream_platform.privacy.files import sha256_of, sync_folder
from clickstream_platform.privacy.needles import Needles
from clickstream_platform.privacy.register import Register
from clickstream_platform.privacy.rewrites import Rewrites
from clickstream_platform.privacy.subjects import Subject
from clickstream_platform.settings import Settings

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
            rewriting = self._rewriting(path, form, batch)
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

    def _rewriting(self, path: Path, form: Declared, batch: LandedBatch | None) -> Rewriting:
        return Rewriting(
            path,
            form,
            self.subject,
            self.needles,
            received=batch.received if batch else None,
            lacking=self.rewrites.removed(batch.sha256) if batch else [],
            wanted=self.positions.get(batch.batch_id, set()) if batch else set(),
            is_unsure=bool(batch and batch.batch_id in self.unsure),
        )

    def _batch_of(self, relative: str, path: Path) -> LandedBatch | None:
        """The batch that a file was taken as, if its records' positions are of use."""
        known = [b for b in self._batches.get(relative, ()) if self.positions.get(b.batch_id)]
        if not known:
            return None
        sha256 = sha256_of(path)
        return next((batch for batch in known if batch.sha256 == sha256), None)

    def _swap(self, path: Path, relative: str, draft: Path, rewriting: Rewriting) -> RewrittenFile:
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
        sync_folder(path.parent)
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


def _look(path: Path) -> tuple[int, int, int]:
    look = path.stat()
    return look.st_size, look.st_mtime_ns, look.st_ino


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
