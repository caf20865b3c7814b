"""Arrivals: a request as the decoders of protocols see it, and what they make of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clickstream_platform.collection.limits import MAX_EVENTS
from clickstream_platform.collection.refusals import Rejection

Record = dict[str, object]
"""A canonical record: field names of `events/sources/canonical.toml`."""


@dataclass(slots=True, kw_only=True)
class Arrival:
    """A request whose body is plain again. Nothing of it is stored but what decoders take."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    received_us: int
    """When it came, in microseconds since 1970."""
    address: str | None = None
    """Of the client, cut to its network."""
    client: str | None = None
    """Whole address of the client, to be looked at and never stored."""
    is_server: bool = False
    """Whether the key is a server's; known only after the key was found."""

    @property
    def received_ms(self) -> int:
        """When it came, in milliseconds since 1970."""
        return self.received_us // 1000


@dataclass(slots=True)
class Batch:
    """What a decoder found: records to take, events to refuse."""

    records: list[Record] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def reject(self, index: int, reason: str, record: Record | None = None) -> None:
        """Refuse one event."""
        event_id = record.get("event_id") if record else None
        self.rejected.append(
            Rejection(index, reason, event_id if isinstance(event_id, str) else None, record)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client is told."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ((b"cache-control", b"no-store"),)
    """Further headers, such as how long it may be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One way to send events.

    ``parse`` makes a value of the bytes, ``key`` finds the write key in it, ``decode`` makes
    records; ``answer`` and ``refuse`` say what this protocol's clients expect to hear.
    """

    name: str
    methods: frozenset[str]
    parse: Callable[[Arrival], object]
    key: Callable[[Arrival, object], str | None]
    decode: Callable[[Arrival, object], Batch]
    answer: Callable[[Arrival, Batch], Answer]
    refuse: Callable[[Mapping[str, str], int, str], Answer] | None = None
    """Makes the answer of a refusal of the request's headers, a status and what to do about it;
    None where clients have no form of their own for that."""
    source: str | None = None
    """Where its records land, if not under the source of the key."""
    max_events: int = MAX_EVENTS
    """Events of one request."""
