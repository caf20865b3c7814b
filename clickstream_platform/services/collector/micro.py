"""Micro: the collector in memory, to test tracking against, in the manner of Snowplow Micro.

It takes every key and every origin, keeps what it takes in memory, and tells at ``/micro/all``,
``/micro/good`` and ``/micro/bad`` what ingestion would make of it; ``/micro/reset`` forgets it.
Nothing is written to a disk. It is for tests and must not be reached by anybody else.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvicorn

from clickstream_platform.collection.origins import Origins
from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.collection.write_keys import WriteKey, WriteKeys
from clickstream_platform.errors import ClickstreamError
from clickstream_platform.events import judge
from clickstream_platform.services.collector.app import Collector, Message, Receive, Send
from clickstream_platform.services.collector.log import MemoryLog
from clickstream_platform.settings import CollectorSettings, Settings

SOURCE = "micro"
"""Source of what it takes, but for reports of browsers, which have one of their own."""

STARTS_IN_S = 15.0
"""How long `running_micro` waits for the server."""


class EveryKey(WriteKeys):
    """Takes every key, and a request without one."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"), Path("/nonexistent"))

    def refresh(self) -> None:
        """There is no file to read."""

    def find(self, key: str | None) -> WriteKey:
        """The one key that there is."""
        return WriteKey(
            key_id="wk_micro", source=SOURCE, kind="browser", digest=key or "", created_at=""
        )


class EveryOrigin(Origins):
    """Lets every page send."""

    def __init__(self) -> None:
        super().__init__(())

    def allows(self, origin: str, host: str = "") -> bool:
        """Every origin is allowed, on a machine of one's own."""
        return bool(origin or host)


class MicroError(ClickstreamError, AssertionError):
    """What was tracked is not what was expected."""

    def __init__(self, what: str, found: object) -> None:
        super().__init__(f"{what}; found {found}")


class Micro:
    """The application, and what tests ask of it.

    Args:
        settings: Definitions, currency and rates by which records are judged.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = MemoryLog()
        self._app = Collector(CollectorSettings(), self._log, EveryKey(), origins=EveryOrigin())
        self.url = ""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer what is asked about events; everything else is the collector's."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith("/micro/"):
            await self._app(scope, receive, send)
            return
        body = await asyncio.to_thread(self._answer, path.removeprefix("/micro/"))
        status = 404 if body is None else 200
        headers = [(b"content-type", b"application/json"), (b"access-control-allow-origin", b"*")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body or b'{"error":"not_found"}'})

    def _answer(self, question: str) -> bytes | None:
        if question == "reset":
            self.reset()
        if question in {"all", "reset"}:
            good, bad = self.good(), self.bad()
            counts = {"total": len(good) + len(bad), "good": len(good), "bad": len(bad)}
            return msgspec.json.encode(counts)
        if question in {"good", "bad"}:
            return msgspec.json.encode(self.good() if question == "good" else self.bad())
        return None

    def good(self) -> list[dict[str, object]]:
        """Records that would become events, in order of arrival, named by the taxonomy."""
        return [record for record in self._judged() if not record["violations"]]

    def bad(self) -> list[dict[str, object]]:
        """Records that would wait in quarantine, with every rule that they break."""
        return [record for record in self._judged() if record["violations"]]

    def reset(self) -> None:
        """Forget everything."""
        self._log.lines.clear()

    def _judged(self) -> list[dict[str, object]]:
        lines = [(source, line.decode().rstrip("\n")) for source, line in self._log.lines]
        now = datetime.now(UTC)
        verdicts = {
            source: iter(
                judge([p for s, p in lines if s == source], source, self._settings, now=now)
            )
            for source in {source for source, _ in lines}
        }
        found = []
        for source, payload in lines:
            verdict = next(verdicts[source])
            record: dict[str, object] = msgspec.json.decode(payload)
            del record["_crc"]
            record["event_name"] = verdict.event_name
            found.append(record | {"violations": asdict(verdict)["violations"]})
        return found

    def expect_events(self, *names: str) -> list[dict[str, object]]:
        """Expect exactly these events, in this order, and none that is bad.

        Returns:
            The events.

        Raises:
            MicroError: Other events were tracked, in another order, or some are bad.
        """
        self.expect_none_bad()
        good = self.good()
        found = [record["event_name"] for record in good]
        if found != list(names):
            what = f"expected {list(names)}"
            raise MicroError(what, found)
        return good

    def expect_count(self, name: str, number: int) -> list[dict[str, object]]:
        """Expect a number of events of one name, whatever else there is.

        Returns:
            Those events.

        Raises:
            MicroError: There are more or fewer.
        """
        found = [record for record in self.good() if record["event_name"] == name]
        if len(found) != number:
            what = f"expected {number} of {name}"
            raise MicroError(what, len(found))
        return found

    def expect_none_bad(self) -> None:
        """Expect that every record would become an event.

        Raises:
            MicroError: Some would wait in quarantine.
        """
        if bad := self.bad():
            what = "expected no bad event"
            raise MicroError(what, [record["violations"] for record in bad])

    def wait_for(self, number: int, *, timeout_s: float = 10) -> None:
        """Wait until so many records have come, for clients that send when they please.

        Raises:
            MicroError: They did not come in time.
        """
        until = time.monotonic() + timeout_s
        while len(self._log.lines) < number:
            if time.monotonic() > until:
                what = f"expected {number} records within {timeout_s:g} s"
                raise MicroError(what, len(self._log.lines))
            time.sleep(0.02)


@contextmanager
def running_micro(settings: Settings, *, port: int = 0) -> Iterator[Micro]:
    """Run it beside a test; ``url`` says where.

    Raises:
        RefusedError: The server did not start.
    """
    micro = Micro(settings)
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(micro, log_config=None, lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        until = time.monotonic() + STARTS_IN_S
        while not server.started:
            if time.monotonic() > until:
                reason = "shutting_down"
                raise RefusedError(reason)
            time.sleep(0.01)
        micro.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield micro
        finally:
            server.should_exit = True
            thread.join()
