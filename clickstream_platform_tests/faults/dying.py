"""Refreshes that are killed: a process with everything imported, forked for each.

Reads a JSON object a line: ``data`` (folder), ``now``, and when to die: ``point`` (before the nth
change to a disk) or ``after_s`` (seconds). Answers each with ``died``, ``points`` (changes that
were made), ``seconds`` and ``error``.
"""

import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from clickstream_platform.lake import Lake
from clickstream_platform.orchestration.stages import STAGES, Work, bring_up_to_date
from clickstream_platform.settings import load_settings

for engine in (
    "activation",
    "attribution",
    "collection.consent_log",
    "connectors",
    "events",
    "identity",
    "privacy",
    "segments",
    "sessions",
):  # stages import them when they run; here that is before any fork
    importlib.import_module(f"clickstream_platform.{engine}")

PATIENCE_S = 180.0
"""Time that no refresh takes, also on a loaded machine; one that does hangs."""

COMMITS = ("append", "overwrite", "replace", "delete", "update", "merge", "compact", "vacuum")
"""Methods of the lake that write; what they do themselves is done outside of Python."""


class Points:
    """Counts the changes that a process makes to a disk, and kills it before one of them."""

    def __init__(self, fatal: int | None, tell: Callable[[int], None]) -> None:
        self.fatal, self.tell, self.made = fatal, tell, 0

    def watch(self, data: Path) -> None:
        """Look at files that Python writes, moves, removes, at SQLite, and at commits."""
        below = str(data)

        def heard(name: str, arguments: tuple[Any, ...]) -> None:
            is_change = name in {"os.rename", "os.remove", "sqlite3.connect"} or (
                name == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
            )
            if is_change and below in str(arguments[0]):
                self.reached()

        sys.addaudithook(heard)
        for name in COMMITS:
            setattr(Lake, name, self._between(getattr(Lake, name)))

    def reached(self) -> None:
        """Note one change that is about to be made, or was just made."""
        self.made += 1
        if self.made == self.fatal:
            self.tell(self.made)
            os.kill(os.getpid(), signal.SIGKILL)

    def _between(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as the method
            self.reached()
            result = write(*arguments, **named)
            self.reached()
            return result

        return written


def refresh(order: dict[str, Any], tell: Callable[[int], None]) -> None:
    """Take what has landed and bring every table up to date, as a tick does."""
    settings = load_settings(order["data"])
    points = Points(order.get("point"), tell)
    points.watch(settings.data)
    work = Work(settings=settings, now=datetime.fromisoformat(order["now"]))
    for stage in STAGES:
        bring_up_to_date(stage, work)
    tell(points.made)


def tell(pipe: int, made: int) -> None:
    """Say how many changes were made, to whoever waits at the other end."""
    os.write(pipe, f"{made}\n".encode())


def forked(order: dict[str, Any]) -> dict[str, Any]:
    """Refresh in a process of its own, and say how that went."""
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            refresh(order, lambda made: tell(writing, made))
        except Exception:  # noqa: BLE001 - whoever ordered it is told
            os.write(writing, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    end = started + order.get("after_s", PATIENCE_S)
    while (waited := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            waited = os.waitpid(child, 0)
            break
        time.sleep(0.005)
    status = waited[1]
    with os.fdopen(reading) as told:
        said = told.read()
    if "after_s" not in order and time.monotonic() > end:
        said, status = "it did not end", 1
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    sound = died or status == 0
    return {
        "died": died,
        "points": int(said) if sound and said else 0,
        "error": "" if sound else said or f"status {status}",
        "seconds": time.monotonic() - started,
    }


def main() -> None:
    """Refresh once a line."""
    gc.freeze()  # what is loaded is shared with every fork, and never looked at again
    for line in sys.stdin:
        sys.stdout.write(json.dumps(forked(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
