"""Activation: telling other systems what is known about people who agreed to it."""

from clickstream_platform.activation.delivery import Courier, Patience
from clickstream_platform.activation.destination import (
    BusyError,
    Destination,
    MisconfiguredError,
    Outcome,
    Record,
    RefusedError,
    UnavailableError,
)
from clickstream_platform.activation.plan import PROPERTIES, plan_sync
from clickstream_platform.activation.sync import retry_failed, sync_crm

__all__ = [
    "PROPERTIES",
    "BusyError",
    "Courier",
    "Destination",
    "MisconfiguredError",
    "Outcome",
    "Patience",
    "Record",
    "RefusedError",
    "UnavailableError",
    "plan_sync",
    "retry_failed",
    "sync_crm",
]
