"""Heads of requests: how large the line and headers before a body may be, and how slow.

The server's parser bounds neither, and what it has of a head it keeps: without a bound one client
could fill the memory, or hold every connection that there is.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
"""Bytes of a head, beyond the piece in which it began."""

HEAD_TIMEOUT_S = 10.0
"""How long a client may take from connecting, or from the first byte, to the end of a head."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class BoundedHeads(HttpToolsProtocol):
    """Closes connections whose heads are too large or too slow."""

    _is_reading = True
    _received = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless what a head has come to is enough."""
        was_reading = self._is_reading
        super().data_received(data)
        if not self._is_reading or self.transport.is_closing():
            return  # as after most pieces: they hold whole heads, and cost no timer
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)
        if was_reading:
            self._received += len(data)
        if self._received > MAX_HEAD_BYTES:
            is_answering = bool(self.cycle) and not self.cycle.response_complete
            if not is_answering:
                self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        super().on_message_begin()
        self._is_reading = True
        self._received = 0

    def on_headers_complete(self) -> None:
        """End it."""
        self._is_reading = False
        self._stop_timer()
        super().on_headers_complete()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
