"""The collector: takes events over HTTP, and says so only when they are on the disk."""

from clickstream_platform.services.collector.app import Collector
from clickstream_platform.services.collector.log import EventLog, MemoryLog, recover
from clickstream_platform.services.collector.micro import Micro, MicroError, running_micro
from clickstream_platform.services.collector.serve import (
    PortTakenError,
    collector,
    serve,
    write_keys,
)

__all__ = [
    "Collector",
    "EventLog",
    "MemoryLog",
    "Micro",
    "MicroError",
    "PortTakenError",
    "collector",
    "recover",
    "running_micro",
    "serve",
    "write_keys",
]
