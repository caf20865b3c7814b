"""The collector's process: a socket, a server, and what signals do to them."""

import gc
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from clickstream_platform.collection.bots import (
    RANGES_FOLDER,
    BotScoring,
    load_bot_rules,
    load_ranges,
)
from clickstream_platform.collection.consent import ConsentDoor, load_policy
from clickstream_platform.collection.policy import Enrichment
from clickstream_platform.collection.write_keys import WriteKeys
from clickstream_platform.errors import ClickstreamError
from clickstream_platform.events import foreign_sources
from clickstream_platform.services.collector.app import Collector
from clickstream_platform.services.collector.heads import BoundedHeads
from clickstream_platform.services.collector.log import EventLog
from clickstream_platform.settings import Settings

DRAIN_S = 8
"""How long requests may finish after SIGTERM; the process is gone within 10 seconds."""

SWITCH_S = 0.0005
"""How long one thread may keep the interpreter from the others, in seconds."""

YOUNG_OBJECTS = 20_000
"""New containers after which unreachable cycles are looked for; a few requests hold as many."""

MAX_CONNECTIONS = 4_000
"""Connections beyond which the server answers 503 at once."""


class PortTakenError(ClickstreamError, OSError):
    """The collector cannot listen where it should."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"cannot listen on {host}:{port}: {reason}. Choose another with --port or "
            "collector.port."
        )


class DrainingServer(uvicorn.Server):
    """Tells the application that it drains, so that health checks see it at once."""

    def __init__(self, config: uvicorn.Config, collector: Collector) -> None:
        super().__init__(config)
        self._collector = collector

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second interrupt ends at once."""
        self._collector.is_draining = True
        super().handle_exit(sig, frame)


def write_keys(settings: Settings) -> WriteKeys:
    """The write keys of a data folder."""
    return WriteKeys(
        settings.state / "collector",
        settings.state / "vault",
        foreign=foreign_sources(settings.definitions),
    )


def collector(settings: Settings) -> Collector:
    """The application over a data folder."""
    section = settings.collector
    log = EventLog(
        settings.landing,
        seal_after_s=section.seal_after_s,
        seal_bytes=section.seal_mb * 1_000_000,
        pending_bytes=section.pending_mb * 1_000_000,
    )
    # Bots are told by what a refusal then takes away.
    doors: list[Enrichment] = [bot_scoring(settings)]
    if section.strip_refused:
        doors.append(ConsentDoor(load_policy(settings.definitions)))
    return Collector(section, log, write_keys(settings), enrichments=doors)


def bot_scoring(settings: Settings) -> BotScoring:
    """What scores bots at the door, by the rules and lists of a data folder."""
    rules = load_bot_rules(settings.definitions)
    return BotScoring(rules, load_ranges(settings.state / RANGES_FOLDER))


def serve(app: Collector, *, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain: finish what was begun, commit and seal.

    Args:
        app: The application.
        host: Address to listen on.
        port: Port; 0 for any that is free.
        ready: Told the port, once connections are taken.

    Raises:
        PortTakenError: The address is in use or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTakenError(host, port, error.strerror or "refused") from None
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedHeads,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=MAX_CONNECTIONS,
    )
    server = DrainingServer(config, app)
    # The server raises the signal again when it is done; then it has no work left to do.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # The writer of the log waits for the interpreter at most this long behind busy handlers.
    sys.setswitchinterval(SWITCH_S)
    # What was imported stays; a full collection that looked through it would stop all for 50 ms.
    # What a request leaves holds no cycles, so that looking for them can wait.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    with listener:
        listener.listen(2048)
        ready(listener.getsockname()[1])
        server.run(sockets=[listener])
