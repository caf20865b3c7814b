"""Landed files: which there are, which are whole, and which the ledger does not know yet."""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clickstream_platform.events.adapters import adapter_file, read_adapters, sha256_of_adapter
from clickstream_platform.events.ledger import Ledger
from clickstream_platform.settings import Settings

ENDINGS = {".ndjson", ".jsonl", ".json", ".csv", ".tsv", ".log", ".txt", ".parquet", ".gz"}
"""Endings of files that are taken. Others, such as `.part`, lie in landing and are reported."""

SETTLE_S = 1.0
"""A file younger than this may still be written to by somebody we cannot see; seconds."""

_HASH_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class LandedFile:
    """A file in the landing folder that the ledger does not know as it is now."""

    path: Path
    source: str
    relative: str
    size: int
    mtime_ns: int


def pending_files(settings: Settings) -> list[LandedFile]:
    """List landed files that wait to be taken; cheap enough to ask every few seconds.

    A file that was refused is listed again when its adapter is another one than then. One whose
    adapter cannot be used as written waits until that is mended.

    A file is left alone while its name says that it is not whole, while a process holds it open
    for writing, and until it has been still for `SETTLE_S`.
    """
    ledger = Ledger(settings.state)
    known, refused = ledger.known_files(), ledger.refusals()
    found = [
        file
        for file in _landed(settings.landing)
        if known.get(file.relative) != (file.size, file.mtime_ns)
        or (file.relative in refused and _is_mended(file, refused[file.relative], settings))
    ]
    if not found:
        return []
    adapters = read_adapters(settings.definitions)
    found = [file for file in found if not adapters.stops(file.source)]
    now_ns = time.time_ns()
    settled = [file for file in found if now_ns - file.mtime_ns >= SETTLE_S * 1e9]
    busy = _open_for_writing({file.path for file in settled})
    return sorted((f for f in settled if f.path not in busy), key=lambda f: f.relative)


def unfinished_batches(settings: Settings) -> list[dict[str, object]]:
    """List batches that are taken and not loaded, but for those whose adapter cannot be used."""
    rows = Ledger(settings.state).in_state("landed", "loading")
    adapters = read_adapters(settings.definitions) if rows else None
    return [row for row in rows if adapters and not adapters.stops(str(row["source"]))]


def _is_mended(file: LandedFile, adapter_sha256: str | None, settings: Settings) -> bool:
    """Whether the adapter for which a file was refused is written otherwise by now."""
    adapter = adapter_file(file.source, settings.definitions)
    return sha256_of_adapter(adapter) != adapter_sha256


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


def is_taken(path: Path) -> bool:
    """Whether files of such a name are taken."""
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
            if "/" not in relative or not is_taken(path):
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


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


def has_changed(file: LandedFile) -> bool:
    """Whether a file is gone, or looks otherwise than when it was listed."""
    try:
        look = file.path.stat()
    except FileNotFoundError:
        return True
    return (look.st_size, look.st_mtime_ns) != (file.size, file.mtime_ns)
