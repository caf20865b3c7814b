"""Turns: what must not happen at once in one data folder, whichever process does it.

Between the ledger and the tables there is no transaction. Two processes that load the same batch
at once would both find that it is not loaded yet, and load it twice. And a table that is derived
from rows read before an erasure, and written after it, would bring the person back.
"""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_S = 0.1
"""How often a process that waits looks whether it is its turn."""

_PATIENCE_S = 1.0
"""After how long somebody who waits is told."""

_held = threading.local()

Told = Callable[[str, int, int], None]
"""Told of long work: what is done, how far, out of how much."""


@contextmanager
def turn(state: Path, *, progress: Told | None = None) -> Iterator[None]:
    """Wait until no other process or thread takes or loads events, then keep others waiting.

    Who has the turn may ask for it again. It ends with the process, however that ends.

    Args:
        state: Folder of the ledger.
        progress: Told once, if others take long.
    """
    waiting = "waiting for another process that takes or loads events"
    with _locked(state / "locks" / "events.lock", fcntl.LOCK_EX, waiting, progress):
        yield


@contextmanager
def deriving(state: Path, *, progress: Told | None = None) -> Iterator[None]:
    """Derive tables, beside others who do, while nobody rewrites what is there."""
    waiting = "waiting for an erasure or the like"
    with _locked(state / "locks" / "tables.lock", fcntl.LOCK_SH, waiting, progress):
        yield


@contextmanager
def rewriting(state: Path, *, progress: Told | None = None) -> Iterator[None]:
    """Rewrite tables as an erasure does, while nobody derives tables or works on events."""
    waiting = "waiting for another process that derives tables"
    with (
        _locked(state / "locks" / "tables.lock", fcntl.LOCK_EX, waiting, progress),
        turn(state, progress=progress),
    ):
        yield


@contextmanager
def _locked(file: Path, how: int, waiting: str, progress: Told | None) -> Iterator[None]:
    taken: set[Path] = _held.__dict__.setdefault("taken", set())
    file = file.absolute()
    if file in taken:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        since = time.monotonic()
        while not _is_locked(descriptor, how):
            if progress and time.monotonic() - since > _PATIENCE_S:
                progress(waiting, 0, 0)
                progress = None
            time.sleep(LOOK_S)
        taken.add(file)
        yield
    finally:
        taken.discard(file)
        os.close(descriptor)


def _is_locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
