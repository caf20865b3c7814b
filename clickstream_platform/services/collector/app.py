"""The collector as an ASGI application: from a request to a durable batch to an answer.

Plain ASGI, without a framework: routing is one dictionary, and the framework would cost a fifth of
what one core can acknowledge (`docs/decisions`).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from clickstream_platform.collection.arrivals import Answer, Arrival, Batch
from clickstream_platform.collection.arrivals import Protocol as WireProtocol
from clickstream_platform.collection.limits import (
    MAX_BODY_BYTES,
    MAX_URL_BYTES,
    inflated,
)
from clickstream_platform.collection.lines import Prepared, minimised_lines
from clickstream_platform.collection.origins import Origins
from clickstream_platform.collection.policy import Enrichment, admitted, refused, refused_request
from clickstream_platform.collection.protocols import protocol_at, stub_at
from clickstream_platform.collection.rates import Meter, Rate
from clickstream_platform.collection.refusals import RETRY_AFTER_S, RefusedError
from clickstream_platform.collection.tracker.serving import script_at
from clickstream_platform.collection.write_keys import WriteKey, WriteKeys
from clickstream_platform.privacy import truncated_ip
from clickstream_platform.services.collector.log import LogCounts
from clickstream_platform.settings import CollectorSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NO_CONTENT = 204

BODY_TIMEOUT_S = 10.0
"""How long a client may take to send a body."""

KEYS_AGE_S = 1.0
"""Age at which the keys are looked at anew: a revoked one is refused that soon."""

QUARANTINE_RATE = "600/minute"
"""Refusals of one key that are stored; beyond, they are counted only."""

_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-max-age", b"3600"),
]
_ALLOWED_HEADERS = (
    b"anonymousid, authorization, content-encoding, content-type, sp-anonymous, x-write-key, "
    b"x-clickstream-timestamp, x-clickstream-signature, posthog-attempt, posthog-request-id, "
    b"posthog-request-timestamp, posthog-sdk-info"
)
_FIXED = [(b"x-content-type-options", b"nosniff")]

logger = logging.getLogger("clickstream.collector")


class Log(Protocol):
    """Where records become durable."""

    counts: LogCounts

    def start(self) -> None:
        """Begin to take records."""

    def append(self, source: str, lines: bytes, records: int) -> Awaitable[None]:
        """Take framed lines, one a record; what is returned is done when they are durable."""

    def close(self) -> None:
        """Take nothing more."""


@dataclass(slots=True)
class Request:
    """One request while it is being answered."""

    scope: Message
    receive: Receive
    headers: dict[str, str]
    received_us: int
    address: str | None

    @property
    def origin(self) -> str | None:
        """Origin of the page that sends it."""
        return self.headers.get("origin")


class Collector:
    """The application.

    Args:
        settings: Section ``collector`` of the settings.
        log: Where records go.
        keys: Who may send.
        enrichments: Called with each record before it is encoded.
        origins: Pages that may send; those of the settings unless given.
        clock_ns: Nanoseconds since 1970.
    """

    def __init__(  # noqa: PLR0913 - what a collector is made of
        self,
        settings: CollectorSettings,
        log: Log,
        keys: WriteKeys,
        *,
        enrichments: Iterable[Enrichment] = (),
        origins: Origins | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.log = log
        self.keys = keys
        self.refusals: dict[str, int] = {}
        self.is_draining = False
        self._settings = settings
        self._origins = origins or Origins(settings.origins)
        self._server_only = frozenset(settings.server_only_events)
        self._enrichments = tuple(enrichments)
        self._clock_ns = clock_ns
        self._keys_at = -KEYS_AGE_S
        self._per_key = Meter(Rate.parse(settings.rate_per_key))
        self._per_address = Meter(Rate.parse(settings.rate_per_address))
        self._per_quarantine = Meter(Rate.parse(QUARANTINE_RATE))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the life of the server."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.log.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.to_thread(self.log.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        request = Request(scope, receive, headers, self._clock_ns() // 1000, None)
        request.address = self._address(request)
        extra: list[tuple[bytes, bytes]] = []
        try:
            answer = await self._route(request)
        except RefusedError as refusal:
            self.refusals[refusal.reason] = self.refusals.get(refusal.reason, 0) + 1
            answer = _refusal(scope["path"], headers, refusal)
            if refusal.reason == "method_not_allowed":
                extra.append((b"allow", _allowed_methods(scope["path"])))
            if (wait_s := RETRY_AFTER_S.get(refusal.reason)) is not None:
                extra.append((b"retry-after", str(wait_s).encode()))
            if refusal.reason.startswith("body_"):
                extra.append((b"connection", b"close"))  # the rest of the body is not read
        except Exception as error:  # noqa: BLE001 - a bug; what it says may hold what was sent
            logger.error("a request failed: %s", type(error).__name__)
            answer = _failure(scope["path"], headers)
        cors = self._origins.headers(request.origin, headers.get("host", ""))
        if scope["method"] == "OPTIONS" and len(cors) > 1:
            extra += [*_PREFLIGHT, (b"access-control-allow-headers", _ALLOWED_HEADERS)]
        form: list[tuple[bytes, bytes]] = []
        if answer.status != NO_CONTENT:  # which has neither a type nor a length
            form = [
                (b"content-type", answer.content_type.encode()),
                (b"content-length", str(len(answer.body)).encode()),
            ]
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [*form, *_FIXED, *answer.headers, *cors, *extra],
            }
        )
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    async def _route(self, request: Request) -> Answer:
        path, method = request.scope["path"], request.scope["method"]
        if path == "/health":
            return Answer(status=503 if self.is_draining else 200, body=self._health())
        is_read = method in {"GET", "HEAD"}
        if is_read and (found := script_at(path, headers=request.headers)) is not None:
            return found
        self._check_origin(request)
        if method == "OPTIONS":
            return Answer(status=204)
        if (stub := stub_at(path)) is not None:
            return stub
        protocol = protocol_at(path)
        if protocol is None:
            reason = "not_found"
            raise RefusedError(reason)
        if method not in protocol.methods:
            reason = "method_not_allowed"
            raise RefusedError(reason)
        if self.is_draining:
            reason = "shutting_down"
            raise RefusedError(reason)
        return await self._collect(request, protocol)

    async def _collect(self, request: Request, protocol: WireProtocol) -> Answer:
        if len(request.scope["query_string"]) > MAX_URL_BYTES:
            reason = "body_too_large"
            raise RefusedError(reason)
        # What is decoded goes before the disk is waited for: what all that wait would hold does not
        # fit into the processor's cache.
        outcome, durable = self._take(request, protocol, await self._body(request))
        if durable is not None:
            await durable
        if isinstance(outcome, str):
            raise RefusedError(outcome)
        return outcome

    def _take(
        self, request: Request, protocol: WireProtocol, raw: bytes
    ) -> tuple[Answer | str, Awaitable[None] | None]:
        """Judge a request, and hand what it brings to the log.

        Returns:
            The answer, or the reason of a refusal; and what to wait for before it is told.
        """
        query = request.scope["query_string"]
        arrival = Arrival(
            path=request.scope["path"],
            query=dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {},
            headers=request.headers,
            body=raw,
            received_us=request.received_us,
            address=network_of(request.address),
            client=request.address,
        )
        key: WriteKey | None = None
        try:
            arrival.body = inflated(raw, request.headers.get("content-encoding", "").lower())
            payload = protocol.parse(arrival)
            key = self._key(protocol.key(arrival, payload))
            self._check_sender(key, request, raw)
            arrival.is_server = key.kind == "server"
            batch = protocol.decode(arrival, payload)
            events = len(batch.records) + len(batch.rejected)
            if events > protocol.max_events:
                reason = "too_many_events"
                raise RefusedError(reason)
            self._check_rate(key, request, events)
        except RefusedError as refusal:
            kept = self._keep_refused(refusal.reason, arrival, protocol, key, len(raw))
            return refusal.reason, kept
        lines = self._judged(batch, arrival, protocol, key)
        answer = protocol.answer(arrival, batch)
        return answer, self._append(lines, protocol.source or key.source) if lines else None

    def _judged(
        self, batch: Batch, arrival: Arrival, protocol: WireProtocol, key: WriteKey
    ) -> list[Prepared]:
        """The sound records of a batch, and its refused ones, too."""
        lines = admitted(
            batch,
            arrival,
            key,
            server_only=self._server_only,
            enrichments=self._enrichments,
        )
        for rejection in batch.rejected:
            self.refusals[rejection.reason] = self.refusals.get(rejection.reason, 0) + 1
            if self._per_quarantine.admits(key.key_id, 1, time.monotonic()):
                lines.append(refused(rejection, arrival, protocol.name))
        return lines

    def _append(self, lines: Sequence[Prepared], source: str) -> Awaitable[None]:
        return self.log.append(source, minimised_lines(lines), len(lines))

    async def _keep_refused(
        self,
        reason: str,
        arrival: Arrival,
        protocol: WireProtocol,
        key: WriteKey | None,
        body_bytes: int,
    ) -> None:
        """Put a refused request into quarantine, if the key says whose it is."""
        if reason.startswith(("key_", "signature_", "rate_")):
            return
        try:
            # A body that cannot be read holds no key, but a header may.
            key = key or self._key(protocol.key(arrival, None))
            if self._per_quarantine.admits(key.key_id, 1, time.monotonic()):
                line = refused_request(reason, arrival, protocol.name, body_bytes)
                await self._append([line], protocol.source or key.source)
        except RefusedError:
            return

    async def _body(self, request: Request) -> bytes:
        """Read the body, and stop as soon as it is too large."""
        declared = request.headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()) or int(declared) > MAX_BODY_BYTES:
            reason = "body_too_large"
            raise RefusedError(reason)
        message = await self._part(request)
        body: bytes = message.get("body", b"")
        while message.get("more_body"):
            message = await self._part(request)
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                reason = "body_too_large"
                raise RefusedError(reason)
        if len(body) > MAX_BODY_BYTES:
            reason = "body_too_large"
            raise RefusedError(reason)
        return body

    @staticmethod
    async def _part(request: Request) -> Message:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await request.receive()
        except TimeoutError:
            reason = "body_too_slow"
            raise RefusedError(reason) from None

    def _key(self, key: str | None) -> WriteKey:
        now = time.monotonic()
        if now - self._keys_at >= KEYS_AGE_S:
            self.keys.refresh()
            self._keys_at = now
        return self.keys.find(key)

    def _check_origin(self, request: Request) -> None:
        origin = request.origin
        if origin is not None and not self._origins.allows(origin, request.headers.get("host", "")):
            reason = "origin_not_allowed"
            raise RefusedError(reason)

    def _check_sender(self, key: WriteKey, request: Request, raw: bytes) -> None:
        if key.is_signed:
            self.keys.check_signature(
                key, request.headers, raw, now_s=request.received_us / 1_000_000
            )

    def _check_rate(self, key: WriteKey, request: Request, events: int) -> None:
        cost = max(events, 1)
        now_s = time.monotonic()
        fits = self._per_key.admits(key.key_id, cost, now_s)
        if key.kind == "browser" and request.address:
            fits = fits and self._per_address.admits(request.address, cost, now_s)
        if not fits:
            reason = "rate_limited"
            raise RefusedError(reason)

    def _address(self, request: Request) -> str | None:
        """Address of the client: as many proxies away as the settings trust."""
        client = request.scope.get("client")
        hops = self._settings.trusted_proxies
        if hops:
            chain = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",")]
            if len(chain) >= hops and chain[-hops]:
                return chain[-hops]
        return client[0] if client else None

    def _health(self) -> bytes:
        counts = self.log.counts
        return msgspec.json.encode(
            {
                "status": "draining" if self.is_draining else "ok",
                "records": counts.records,
                "commits": counts.commits,
                "failures": counts.failures,
                "sealed": counts.sealed,
                "refusals": self.refusals,
            }
        )


def _refusal(path: str, headers: Mapping[str, str], refusal: RefusedError) -> Answer:
    """What a refused client is told, in the form of its protocol if that has one."""
    protocol = protocol_at(path)
    if protocol is not None and protocol.refuse is not None:
        return protocol.refuse(headers, refusal.status, str(refusal))
    return Answer(status=refusal.status, body=refusal_body(refusal))


def _failure(path: str, headers: Mapping[str, str]) -> Answer:
    """What a client is told where a bug kept its request from being answered."""
    protocol = protocol_at(path)
    if protocol is not None and protocol.refuse is not None:
        return protocol.refuse(headers, 500, "internal_error")
    return Answer(status=500, body=b'{"error":"internal_error"}')


def _allowed_methods(path: str) -> bytes:
    """Methods that a path takes, for the header that says so."""
    protocol = protocol_at(path)
    methods = protocol.methods if protocol is not None else frozenset[str]()
    return ", ".join(sorted(methods | {"OPTIONS"})).encode()


def refusal_body(refusal: RefusedError) -> bytes:
    """What a refused client is told: the reason, for programs, and what to do, for people."""
    return msgspec.json.encode(
        {"error": refusal.reason, "message": str(refusal).partition(": ")[2]}
    )


@lru_cache(maxsize=65_536)
def network_of(address: str | None) -> str | None:
    """An address cut to its network, as it may be stored."""
    return None if address is None else truncated_ip(address)
