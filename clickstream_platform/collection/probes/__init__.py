"""Probes: what should be tracked, and whether it is."""

from clickstream_platform.collection.probes.scenario import Scenario, Sent, Step, read_scenario
from clickstream_platform.collection.probes.verdict import Record, failures

__all__ = ["Record", "Scenario", "Sent", "Step", "failures", "read_scenario"]
