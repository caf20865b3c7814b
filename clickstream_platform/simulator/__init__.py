"""A shop whose truth is known: visitors, sessions, campaigns, bots, consent, and faults."""

from clickstream_platform.simulator.parameters import Simulation
from clickstream_platform.simulator.run import simulate
from clickstream_platform.simulator.shop import Shop, load_shop
from clickstream_platform.simulator.summary import SimulationSummary
from clickstream_platform.simulator.truth import Truth, truth, write_truth

__all__ = [
    "Shop",
    "Simulation",
    "SimulationSummary",
    "Truth",
    "load_shop",
    "simulate",
    "truth",
    "write_truth",
]
