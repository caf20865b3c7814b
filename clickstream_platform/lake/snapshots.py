"""Opened tables, kept per process: opening reads the log, looking whether it moved on does not.

A table that is kept is as new as the log, which is looked at every time: its newest commit must be
the very file that was read, and no further one may follow. A writer takes the table out and puts
it back with its commit, so that nobody reads through an object that changes.
"""

import os
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple, TypeAlias

from deltalake import DeltaTable

MOST_KEPT = 64
"""Tables that are kept; the one that was used longest ago goes first."""

Look: TypeAlias = tuple[int, int, int]
"""Inode, bytes and time of change of a file."""


class Kept(NamedTuple):
    """An opened table, and the commit that was its newest."""

    table: DeltaTable
    version: int
    look: Look


_kept: OrderedDict[str, Kept] = OrderedDict()

# What an engine has opened does not survive a fork.
os.register_at_fork(after_in_child=_kept.clear)


def look(file: Path) -> Look:
    """How a file looks, without reading it."""
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def snapshot(path: Path) -> DeltaTable:
    """Open a table to read its newest snapshot."""
    return keep(path, take(path))


def take(path: Path) -> DeltaTable:
    """Open a table to write it; give it back by `keep`."""
    kept = _kept.pop(str(path), None)
    if kept is not None and _is_newest(path, kept):
        return kept.table
    return DeltaTable(path)


def keep(path: Path, table: DeltaTable) -> DeltaTable:
    """Keep a table that is as new as its log, and return it."""
    version = table.version()
    try:
        seen = look(_commit(path, version))
    except FileNotFoundError:  # nobody could tell whether it is still the same
        return table
    _kept[str(path)] = Kept(table, version, seen)
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)
    return table


def _is_newest(path: Path, kept: Kept) -> bool:
    try:
        is_same = look(_commit(path, kept.version)) == kept.look
    except FileNotFoundError:
        return False
    return is_same and not _commit(path, kept.version + 1).exists()


def _commit(path: Path, version: int) -> Path:
    return path / "_delta_log" / f"{version:020d}.json"
