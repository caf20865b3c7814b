"""Collector processes for tests: imported once, forked for each, so that one starts in no time.

Reads a JSON object a line: ``data`` (folder), ``options`` (section ``collector``), ``hook`` (a
fault to inject), ``scores_bots``. Answers each with ``pid`` and ``port`` of a real collector over
that folder.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

from clickstream_platform.services.collector import Collector, EventLog, serve, write_keys
from clickstream_platform.services.collector import log as log_module
from clickstream_platform.services.collector.serve import bot_scoring
from clickstream_platform.settings import CollectorSettings, load_settings

SYNCS_BEFORE = 5
"""Commits that go well before a hook strikes."""

write, fdatasync = os.write, os.fdatasync


def is_segment(descriptor: int) -> bool:
    """Whether a descriptor is of the log; the server writes to others, too."""
    return log_module.OPEN_PREFIX in str(Path(f"/proc/self/fd/{descriptor}").readlink())


def die() -> None:
    """What kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_before_sync(_: Path) -> None:
    """Fault 1: the bytes are written, the disk has not confirmed them."""
    calls = [0]

    def deadly(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > SYNCS_BEFORE:
            die()
        fdatasync(descriptor)

    os.fdatasync = deadly  # type: ignore[assignment]


def kill_after_sync(_: Path) -> None:
    """Fault 2: the disk has confirmed, the client was not told."""
    calls = [0]

    def deadly(descriptor: int) -> None:
        fdatasync(descriptor)
        calls[0] += 1
        if calls[0] > SYNCS_BEFORE:
            die()

    os.fdatasync = deadly  # type: ignore[assignment]


def kill_mid_line(_: Path) -> None:
    """Fault 3: half of what was to be written is."""
    calls = [0]

    def deadly(descriptor: int, data: memoryview) -> int:
        if is_segment(descriptor):
            calls[0] += 1
            if calls[0] > SYNCS_BEFORE:
                write(descriptor, data[: len(data) // 2 + 1])
                die()
        return write(descriptor, data)

    os.write = deadly  # type: ignore[assignment]


def full_disk(data: Path) -> None:
    """Fault 11: while the file ``full`` exists, the disk takes 8 bytes and is full then."""

    def full(descriptor: int, view: memoryview) -> int:
        if is_segment(descriptor) and (data / "full").exists():
            write(descriptor, view[:8])
            raise OSError(ENOSPC, "No space left on device")
        return write(descriptor, view)

    os.write = full  # type: ignore[assignment]


def small_files(_: Path) -> None:
    """Fault 11 as the kernel does it: no file may grow past 40,000 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))


def acknowledge_early(_: Path) -> None:
    """A collector as it must not be: it acknowledges, and writes half a second later."""
    commit = EventLog._commit  # noqa: SLF001 - breaks it on purpose

    def early(self: EventLog, source: str, group: list[log_module._Append]) -> None:
        loop = group[0].done.get_loop()
        loop.call_soon_threadsafe(log_module._settle, group, None)  # noqa: SLF001
        time.sleep(0.5)
        commit(self, source, group)

    EventLog._commit = early  # type: ignore[method-assign,assignment]  # noqa: SLF001


def slow_disk(_: Path) -> None:
    """Fault 42: a disk that takes 50 ms for each commit."""

    def slow(descriptor: int) -> None:
        time.sleep(0.05)
        fdatasync(descriptor)

    os.fdatasync = slow  # type: ignore[assignment]


HOOKS: dict[str, Callable[[Path], None]] = {
    hook.__name__: hook
    for hook in (
        kill_before_sync,
        kill_after_sync,
        kill_mid_line,
        full_disk,
        small_files,
        acknowledge_early,
        slow_disk,
    )
}


def become_collector(order: dict[str, object]) -> None:
    """Serve until killed; never returns to the loop."""
    settings = load_settings(str(order["data"]))
    section = CollectorSettings.model_validate(order["options"])
    log = EventLog(
        settings.landing,
        seal_after_s=section.seal_after_s,
        seal_bytes=section.seal_mb * 1_000_000,
        pending_bytes=section.pending_mb * 1_000_000,
    )
    if hook := order.get("hook"):
        HOOKS[str(hook)](settings.data)

    def ready(port: int) -> None:
        sys.stdout.write(json.dumps({"pid": os.getpid(), "port": port}) + "\n")
        sys.stdout.flush()

    enrichments = [bot_scoring(settings)] if order.get("scores_bots") else []
    app = Collector(section, log, write_keys(settings), enrichments=enrichments)
    serve(app, host="127.0.0.1", port=0, ready=ready)


def main() -> None:
    """Fork one collector a line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            sys.stdin.close()
            become_collector(json.loads(line))
            os._exit(0)


if __name__ == "__main__":
    main()
