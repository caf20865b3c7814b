"""Answers on the wire: in one piece, and whole where no body follows the head."""

import asyncio
import socket

import uvicorn
from uvicorn.server import ServerState

from clickstream_platform.services.collector import Collector, MemoryLog, write_keys
from clickstream_platform.services.collector.answers import JoinedHttp
from clickstream_platform.settings import CollectorSettings
from clickstream_platform_tests.services.process import Zygote
from clickstream_platform_tests.services.wire import Door


class Written(asyncio.Transport):
    """Remembers what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return b"close" in self.pieces

    def close(self) -> None:
        self.pieces.append(b"close")


def pieces(door: Door, *requests: bytes) -> list[bytes]:
    """What is written in answer to requests on one connection, piece by piece."""

    async def written() -> list[bytes]:
        app = Collector(CollectorSettings(), MemoryLog(), write_keys(door.settings))
        config = uvicorn.Config(app, http=JoinedHttp, lifespan="off", log_config=None)
        config.load()
        transport = Written()
        protocol = JoinedHttp(config, ServerState(), {})
        protocol.connection_made(transport)
        for request in requests:
            protocol.data_received(request)
            for _ in range(20):
                await asyncio.sleep(0)
        if protocol.timeout_keep_alive_task:
            protocol.timeout_keep_alive_task.cancel()
        return transport.pieces

    return asyncio.run(written())


def request(method: str, path: str = "/health", *headers: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode()


def test_head_and_body_leave_together(door: Door) -> None:
    health, missing = pieces(door, request("GET"), request("GET", "/nothing"))
    assert health.startswith(b"HTTP/1.1 200")
    assert health.endswith(b"}")
    assert missing.startswith(b"HTTP/1.1 404")
    assert b'"not_found"' in missing


def test_head_without_a_body_leaves_alone(door: Door) -> None:
    head, options = pieces(door, request("HEAD"), request("OPTIONS", "/v1/events"))
    assert head.startswith(b"HTTP/1.1 200")
    assert head.endswith(b"\r\n\r\n")
    assert options.startswith(b"HTTP/1.1 204")
    assert options.endswith(b"\r\n\r\n")


def test_client_that_asks_whether_to_go_on_is_told_at_once(door: Door) -> None:
    asks = request("POST", "/v1/events", "Expect: 100-continue", "Content-Length: 2")
    go_on, refused = pieces(door, asks, b"{}")
    assert go_on == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert refused.startswith(b"HTTP/1.1 401")


def test_what_is_no_http_is_told_so_before_the_connection_ends(door: Door) -> None:
    refused, end = pieces(door, b"\0\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 400")
    assert end == b"close"


def test_real_collector_answers_one_request_after_another(door: Door, zygote: Zygote) -> None:
    collector = zygote.start(door.settings.data)
    with socket.create_connection(("127.0.0.1", collector.port), timeout=20) as connection:
        connection.sendall(request("HEAD") + request("GET", "/nothing"))
        connection.sendall(request("GET", "/health", "Connection: close"))
        told = b"".join(iter(lambda: connection.recv(65_536), b""))
    collector.kill()
    statuses = [part[:3] for part in told.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200"]
    assert told.endswith(b"}")
