"""Seals: the sha256 of every data file, noted when it is written and compared before it is trusted.

Parquet has checksums of its own pages at best, which few readers look at: a bit that flips on a
disk is read as data. The seals of a table lie beside its log as `_SHA256SUMS`, in the words of
`sha256sum`, which can check them too. A file without a seal was written just before a crash; the
next commit seals it.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.lake.snapshots import Look, look

SEALS = "_SHA256SUMS"
"""Name of the file; what begins with an underscore is no data of a Delta table."""

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")

_sound: dict[str, Look] = {}
"""Files that this process has written or compared, as they looked then: not hashed again."""


class Hashed(NamedTuple):
    """What was read of a file."""

    sha256: str | None
    """None if it is gone."""
    look: Look


class BrokenSealError(ClickstreamError, OSError):
    """Files of a table are not what was written."""

    def __init__(self, table: str, files: Iterable[str]) -> None:
        self.table, self.files = table, sorted(files)
        super().__init__(
            f"{table}: {len(self.files):,} of its files are not what was written "
            f"({self.files[0]}). A disk changed or lost them, and they are not read. "
            "`clickstream doctor --mend` makes anew what can be; restore the rest from a backup."
        )


def seal(folder: Path, files: Iterable[str]) -> None:
    """Note the sha256 of those of a table's files that have none yet."""
    fresh = unsealed(folder, files)
    if not fresh:
        return
    found = _hashed(folder, fresh)
    _sound.update({str(folder / name): each.look for name, each in found.items()})
    lines = "".join(f"{each.sha256}  {name}\n" for name, each in found.items() if each.sha256)
    sums = folder / SEALS
    if sums.exists() and not sums.read_bytes().endswith(b"\n"):
        lines = "\n" + lines  # a crash cut the last line off
    with sums.open("a", encoding="utf-8") as handle:
        handle.write(lines)


def unseal(folder: Path, files: Iterable[str]) -> None:
    """Forget files that were removed."""
    gone = set(_names(folder, files))
    known = read_seals(folder)
    if not gone.isdisjoint(known):
        kept = [f"{sha256}  {name}\n" for name, sha256 in known.items() if name not in gone]
        draft = folder / f"{SEALS}.tmp"
        draft.write_text("".join(kept), encoding="utf-8")
        draft.replace(folder / SEALS)


def broken(folder: Path, files: Iterable[str], *, anew: bool = False) -> list[str]:
    """Those of a table's files that are gone or not what was sealed, relative to its folder.

    Args:
        folder: Folder of the table.
        files: Files to look at; those without a seal pass.
        anew: Read also what this process knows to be sound, if its look has not changed.
    """
    known = read_seals(folder)
    sealed = [name for name in _names(folder, files) if name in known]
    doubtful = [name for name in sealed if anew or not _is_known(folder / name)]
    found = _hashed(folder, doubtful)
    return [name for name in doubtful if not _is_sound(folder / name, found[name], known[name])]


def unsealed(folder: Path, files: Iterable[str]) -> list[str]:
    """Those of a table's files that have no seal, relative to its folder."""
    known = read_seals(folder)
    return [name for name in _names(folder, files) if name not in known]


def _is_known(path: Path) -> bool:
    """Whether this process has found a file to be sound, and it looks as it did then."""
    return path.exists() and _sound.get(str(path)) == look(path)


def _is_sound(path: Path, found: Hashed, sealed: str) -> bool:
    if found.sha256 == sealed:
        _sound[str(path)] = found.look
    return found.sha256 == sealed


def read_seals(folder: Path) -> Mapping[str, str]:
    """Sealed files of a table and their sha256, by path relative to its folder."""
    sums = folder / SEALS
    if not sums.exists():
        return {}
    # What a disk has made of lines is no seal; the files that it was of are without one.
    found = map(_LINE.fullmatch, sums.read_text(encoding="utf-8", errors="replace").splitlines())
    return {line[2]: line[1] for line in found if line}


def _names(folder: Path, files: Iterable[str]) -> list[str]:
    # Delta resolves links and relative paths, so what stands before may be written otherwise.
    return [file.rsplit(f"/{folder.name}/", 1)[-1] for file in files]


def _hashed(folder: Path, names: list[str]) -> dict[str, Hashed]:
    """Hash files on every core."""
    paths = [folder / name for name in names]
    if len(paths) < 2:  # noqa: PLR2004 - nothing to share
        return dict(zip(names, map(_hash, paths), strict=True))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return dict(zip(names, pool.map(_hash, paths), strict=True))


def _hash(path: Path) -> Hashed:
    try:
        seen = look(path)
        with path.open("rb") as file:
            return Hashed(hashlib.file_digest(file, "sha256").hexdigest(), seen)
    except FileNotFoundError:
        return Hashed(None, (0, 0, 0))
