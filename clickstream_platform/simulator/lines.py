"""What arrives: the lines of events in order of arrival, with repetitions and broken ones."""

import tempfile
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clickstream_platform.simulator import draws
from clickstream_platform.simulator.behaviour import EVENT, events_of
from clickstream_platform.simulator.visitors import VISITOR, visitors_of
from clickstream_platform.simulator.visits import VISIT, Records, chunks_of_visits, crowd, stacked
from clickstream_platform.simulator.world import DAY_MS, SECOND_MS, World

CHUNK = 250_000
"""Events held at once unless stated; about 300 MB."""


class Flaw(IntEnum):
    """What is wrong with a line; 0 if nothing is."""

    NONE = 0
    DUPLICATE = 1
    CONFLICT = 2
    TRUNCATED = 3
    NAME_OF_WRONG_TYPE = 4
    NAME_MISSING = 5
    TIME_UNREADABLE = 6
    BAD_UTF8 = 7


MALFORMED = tuple(flaw for flaw in Flaw if flaw >= Flaw.TRUNCATED)
"""Flaws of lines that hold no event that could be read."""

LATEST_CONFLICT_MS = 2 * DAY_MS
"""Longest time after which an event is sent again with another body."""

SLOTS_PER_DAY = (1, 2, 3, 4, 6, 8, 12, 24, 48, 96, 288, 1440)
"""Numbers of slots that divide a day evenly."""

EVENTS_PER_VISIT = 4
"""Events of a visit, pings included, rounded; sizes chunks."""


class Slot(NamedTuple):
    """A span of arrival time: what happened to those who came in it, and what arrived."""

    share: float
    """Part of the window that is done after it."""
    visitors: Records
    """Visits that begin in the slot."""
    events: Records
    """All their events, in no particular order, whenever they arrive."""
    senders: Records
    """Visits of the lines."""
    lines: Records
    """What arrives in the slot, in order; ``visit`` points into ``senders``."""


def slots_of(world: World, *, chunk: int) -> Iterator[Slot]:
    """Go through the window in order of arrival.

    Args:
        world: The simulation.
        chunk: About how many events are held at once. It does not change the lines.
    """
    people = crowd(world)
    slot_ms = slot_length(people.events / world.simulation.days, chunk)
    with tempfile.TemporaryDirectory(prefix="simulator-") as name:
        folder = Path(name)
        for visits in chunks_of_visits(world, people, max(1, chunk // EVENTS_PER_VISIT)):
            spill(visits, folder, slot_ms)
        senders, waiting = np.zeros(0, VISITOR), np.zeros(0, EVENT)
        for begin_ms in range(0, world.window_ms, slot_ms):
            end_ms = begin_ms + slot_ms
            visitors = visitors_of(world, spilled(folder, begin_ms // slot_ms))
            events = events_of(world, visitors)
            lines = lines_of(world, events)
            lines["visit"] += len(senders)
            lines, senders = stacked(waiting, lines), stacked(senders, visitors)
            is_due = lines["received_ms"] < end_ms
            due, waiting = lines.compress(is_due), lines.compress(~is_due)
            yield Slot(end_ms / world.window_ms, visitors, events, senders, in_order(due, begin_ms))
            used, position = np.unique(waiting["visit"], return_inverse=True)
            senders, waiting["visit"] = senders.take(used), position


def slot_length(events_per_day: float, chunk: int) -> int:
    """Choose the longest slot, in milliseconds, that holds no more events than a chunk."""
    per_day = next((n for n in SLOTS_PER_DAY if events_per_day / n <= chunk), SLOTS_PER_DAY[-1])
    return DAY_MS // per_day


def spill(visits: Records, folder: Path, slot_ms: int) -> None:
    """Append visits to the file of the slot in which they begin."""
    number = visits["start_ms"] // slot_ms
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    for part in np.split(visits.take(order), starts[1:]) if len(visits) else ():
        with (folder / str(part["start_ms"][0] // slot_ms)).open("ab") as file:
            part.tofile(file)


def spilled(folder: Path, slot: int) -> Records:
    """Read the visits that begin in a slot."""
    file = folder / str(slot)
    return np.fromfile(file, VISIT) if file.exists() else np.zeros(0, VISIT)


def lines_of(world: World, events: Records) -> Records:
    """Add to events the lines that repeat them and the lines that are broken."""
    chosen = world.simulation
    chance = draws.draws(events["hash"], "flaw")
    until = np.cumsum([chosen.duplicate_rate, chosen.conflict_rate, chosen.malformed_rate])
    flawed = np.flatnonzero(draws.happens(chance, float(until[-1])))
    kind = np.searchsorted(until * 2.0**32, chance[flawed] & np.uint64(2**32 - 1), side="right")
    extra, chance = events.take(flawed), chance[flawed]
    extra["flaw"] = 1 + kind

    is_conflict = extra["flaw"] == Flaw.CONFLICT
    delay = SECOND_MS + draws.level(chance, 2).astype(np.int64) * LATEST_CONFLICT_MS // draws.LEVELS
    later = extra["received_ms"] + delay
    extra["received_ms"] = np.where(is_conflict, later, extra["received_ms"])
    extra["sent_ms"] = np.where(is_conflict, extra["sent_ms"] + delay, extra["sent_ms"])
    extra["page"] += is_conflict

    is_broken = extra["flaw"] >= Flaw.TRUNCATED
    which = draws.level(chance, 2) % np.uint16(len(MALFORMED))
    extra["flaw"] = np.where(is_broken, Flaw.TRUNCATED + which, extra["flaw"])
    extra["hash"] = np.where(is_broken, draws.draws(extra["hash"], "broken"), extra["hash"])
    fits = extra["received_ms"] < world.window_ms
    return stacked(events, extra.compress(fits))


def in_order(lines: Records, begin_ms: int) -> Records:
    """Sort lines by arrival, and those of one millisecond by the hash of their event."""
    after = (lines["received_ms"] - begin_ms) << np.int64(36)
    key = after | (lines["hash"] >> np.uint64(28)).astype(np.int64)
    return lines.take(np.argsort(key, kind="stable"))
