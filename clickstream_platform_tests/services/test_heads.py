"""Heads of requests over a socket: large, slow and missing ones hold nothing for long."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from clickstream_platform.services.collector import heads
from clickstream_platform.services.collector.app import Message, Receive, Send

TIMEOUT_S = 0.3


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers how many bytes came."""
    _ = scope
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d bytes" % size})


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a server with a short timeout."""
    monkeypatch.setattr(heads, "HEAD_TIMEOUT_S", TIMEOUT_S)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=heads.BoundedHeads, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        with socket.create_connection(listener.getsockname()) as connection:
            connection.settimeout(30)
            yield connection
        server.should_exit = True
        thread.join()


def told(connection: socket.socket, until: bytes = b"nothing ends so") -> bytes:
    """What the server says until it has said something, or closes."""
    said = b""
    try:
        while until not in said and (piece := connection.recv(65_536)):
            said += piece
    except ConnectionResetError:  # it closed before all was read that we had sent
        pass
    return said


def test_large_head_is_refused_before_it_ends(dialled: socket.socket) -> None:
    dialled.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
    sent = 0
    with pytest.raises(OSError, match=r"reset|pipe|aborted"):  # noqa: PT012 - until it closes
        for _ in range(1_000):
            dialled.sendall(b"a" * 65_536)
            sent += 65_536
            time.sleep(0.001)
    assert sent < 30_000_000, "what is on its way already may still be sent"


def test_head_below_the_bound_is_read(dialled: socket.socket) -> None:
    for piece in (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", *[b"a" * 10_000] * 6, b"\r\n\r\n"):
        dialled.sendall(piece)
        time.sleep(0.005)
    assert told(dialled, until=b"0 bytes").startswith(b"HTTP/1.1 200 ")


def test_large_body_is_no_head(dialled: socket.socket) -> None:
    dialled.sendall(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"b" * 900_000
    )
    assert b"900000 bytes" in told(dialled, until=b"900000 bytes")


@pytest.mark.parametrize("begun", [b"", b"POST /v1/events HTTP/1.1\r\nHost: x\r\n"])
def test_connection_without_a_whole_head_is_closed(dialled: socket.socket, begun: bytes) -> None:
    dialled.sendall(begun)
    assert told(dialled) == b""


def test_second_head_is_bounded_too(dialled: socket.socket) -> None:
    dialled.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"0 bytes" in told(dialled, until=b"0 bytes")
    dialled.sendall(b"GET / HTTP/1.1\r\nHost")
    assert told(dialled) == b""


def test_slow_body_is_no_slow_head(dialled: socket.socket) -> None:
    dialled.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nb")
    time.sleep(3 * TIMEOUT_S)
    dialled.sendall(b"b")
    assert b"2 bytes" in told(dialled, until=b"2 bytes")
