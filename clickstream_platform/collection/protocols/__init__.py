"""Protocols: one module for each way in which clients send events."""

from clickstream_platform.collection.arrivals import Answer, Protocol
from clickstream_platform.collection.protocols import compact

ROUTES: dict[str, Protocol] = {
    **dict.fromkeys(compact.PATHS, compact.COMPACT),
}
"""Protocol by path."""

STUBS: dict[str, Answer] = {}
"""Fixed answers that clients of a protocol ask for before they send anything."""

__all__ = ["ROUTES", "STUBS"]
