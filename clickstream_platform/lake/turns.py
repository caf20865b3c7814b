"""Turns: one process at a time takes files, loads events, or takes people out of them.

Between the ledger and the tables there is no transaction. Two processes that load the same batch
at once would both find that it is not loaded yet, and load it twice.
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
    """Wait until no other process or thread works on events, then keep others waiting.

    Who has the turn may ask for it again. It ends with the process, however that ends.

    Args:
        state: Folder of the ledger.
        progress: Told once, if others take long.
    """
    taken: set[Path] = _held.__dict__.setdefault("taken", set())
    file = (state / "locks" / "events.lock").absolute()
    if file in taken:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, progress)
        taken.add(file)
        yield
    finally:
        taken.discard(file)
        os.close(descriptor)


def _wait_for(descriptor: int, progress: Told | None) -> None:
    since = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress and time.monotonic() - since > _PATIENCE_S:
                progress("waiting for another process that takes or loads events", 0, 0)
                progress = None
            time.sleep(LOOK_S)
        else:
            return
