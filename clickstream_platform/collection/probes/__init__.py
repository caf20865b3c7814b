"""Probes: what should be tracked, and whether it is; canaries through the real path."""

from clickstream_platform.collection.probes.canary import (
    AGENT,
    FAULTY,
    PREFIX,
    Arrival,
    Canary,
    arrivals,
    canary_batch,
    canary_id_of,
)
from clickstream_platform.collection.probes.scenario import Scenario, Sent, Step, read_scenario
from clickstream_platform.collection.probes.verdict import Record, failures

__all__ = [
    "AGENT",
    "FAULTY",
    "PREFIX",
    "Arrival",
    "Canary",
    "Record",
    "Scenario",
    "Sent",
    "Step",
    "arrivals",
    "canary_batch",
    "canary_id_of",
    "failures",
    "read_scenario",
]
