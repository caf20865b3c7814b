"""Answers on the wire: head and body of an answer leave together.

The server writes the head, and then the body: two system calls, two packets, and two times that the
client is woken, for a few bytes.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD, _GO_ON = b"HTTP/1.1 ", b"HTTP/1.1 100 "


class JoinedWrites:
    """A transport that keeps the head of an answer until its body comes.

    Args:
        transport: The transport of the connection, which does all else.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Keep a head; write anything else, behind the head that is kept."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(_HEAD) and not data.startswith(_GO_ON):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Write a head that no body follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Write what is kept, and close."""
        self.flush()
        self._transport.close()


class JoinedHttp(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, with answers in one piece."""

    def connection_made(  # type: ignore[override]  # uvicorn's connections are of TCP
        self, transport: asyncio.Transport
    ) -> None:
        """Begin a connection."""
        super().connection_made(transport)
        self.transport: Any = JoinedWrites(transport)

    def on_response_complete(self) -> None:
        """End an answer; one to HEAD has no body."""
        self.transport.flush()
        super().on_response_complete()
