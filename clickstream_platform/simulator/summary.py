"""What a simulation wrote, in numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from clickstream_platform.simulator.behaviour import Name, revenues
from clickstream_platform.simulator.lines import Flaw, Slot
from clickstream_platform.simulator.truth import CONVERSIONS
from clickstream_platform.simulator.visitors import NEVER
from clickstream_platform.simulator.world import World


@dataclass(frozen=True, kw_only=True)
class SimulationSummary:
    """Counts of one simulation; ``lines = events + duplicates + conflicts + malformed``."""

    files: tuple[Path, ...]
    """Files written, in order of time."""
    lines: int
    events: int
    """Different events, those of bots included."""
    duplicates: int
    """Lines that repeat another one byte by byte."""
    conflicts: int
    """Lines that repeat the id of an event with another body."""
    malformed: int
    """Lines that are broken."""
    late: int
    """Events that arrived late."""
    skewed: int
    """Events whose device had a wrong clock."""
    personal_data: int
    """Events whose address carries an e-mail address."""
    persons: int
    bots: int
    bot_events: int
    sessions: int
    """True sessions, those of bots included."""
    conversions: int
    """Purchases, sign-ups and leads."""
    purchases: int
    revenue: Mapping[str, Decimal]
    """Sum of the purchases, by currency."""


class Tally:
    """Counts while slots go by."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.counts: Counter[str] = Counter()
        self.hundredths: Counter[str] = Counter()

    def add(self, slot: Slot) -> None:
        """Count what happened and what arrived in a slot."""
        events, visitors, flaws = slot.events, slot.visitors, slot.lines["flaw"]
        is_bot = visitors["is_bot"]
        is_first = visitors["ordinal"] == 0
        purchases = events.compress(events["name"] == Name.PURCHASE)
        self.counts.update(
            lines=len(flaws),
            events=len(events),
            duplicates=int((flaws == Flaw.DUPLICATE).sum()),
            conflicts=int((flaws == Flaw.CONFLICT).sum()),
            malformed=int((flaws >= Flaw.TRUNCATED).sum()),
            late=int(events["is_late"].sum()),
            skewed=int((visitors["clock_off_ms"][events["visit"]] != 0).sum()),
            personal_data=int((events["personal"] > 0).sum()),
            persons=int((is_first & ~is_bot).sum()),
            bots=int((is_first & is_bot).sum()),
            bot_events=int(is_bot[events["visit"]].sum()),
            sessions=len(visitors) + int((visitors["cut_at"] < NEVER).sum()),
            conversions=int(np.isin(events["name"], CONVERSIONS).sum()),
            purchases=len(purchases),
        )
        revenue, _ = revenues(self.world, visitors, purchases)
        sold = np.bincount(
            visitors["country"][purchases["visit"]],
            weights=revenue,
            minlength=len(self.world.shop.country),
        )
        for country, hundredths in zip(self.world.shop.country, sold.tolist(), strict=True):
            self.hundredths[country.currency] += int(hundredths)

    def summary(self, files: list[Path]) -> SimulationSummary:
        """Sum up."""
        revenue = {name: Decimal(sold) / 100 for name, sold in sorted(self.hundredths.items())}
        return SimulationSummary(files=tuple(files), revenue=revenue, **self.counts)
