"""Writing a simulation into files."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from clickstream_platform.simulator.files import Files, lines_by_file
from clickstream_platform.simulator.lines import CHUNK, slots_of
from clickstream_platform.simulator.ndjson import LINES_AT_ONCE, Writer
from clickstream_platform.simulator.parameters import Simulation
from clickstream_platform.simulator.summary import SimulationSummary, Tally
from clickstream_platform.simulator.world import world_of

WRITERS = 2
"""Threads that turn lines into text, beside the one that draws and the one that packs."""

BACKLOG = 4
"""Batches of text that may wait to be written; about 50 MB each."""


def simulate(
    simulation: Simulation,
    folder: Path,
    *,
    progress: Callable[[float], None] | None = None,
    chunk: int = CHUNK,
) -> SimulationSummary:
    """Write a simulation as canonical NDJSON, in order of arrival.

    Files are named ``<prefix>-YYYY-MM-DD.ndjson.gz`` (``…THH`` for hours) and appear when they
    are complete, the earliest first. Equal simulations write equal bytes. Files of the same name
    are replaced; others in the folder stay.

    Args:
        simulation: What to simulate.
        folder: Where to; made if absent.
        progress: Called with the part of the window that is written, up to 1.
        chunk: About how many events are worked on at once: more is faster and takes more memory.
            It does not change the bytes.

    Returns:
        What was written, in numbers; everything else that is true of it is in
        `clickstream_platform.simulator.truth`.
    """
    world = world_of(simulation)
    writer, tally = Writer(world), Tally(world)
    waiting: deque[Future[None]] = deque()
    with (
        Files(folder, is_compressed=simulation.is_compressed) as files,
        ThreadPoolExecutor(1) as packers,
        ThreadPoolExecutor(WRITERS) as writers,
    ):

        def pack(name: str, text: Future[list[bytes | memoryview]]) -> None:
            for data in text.result():
                files.write(name, data)

        for slot in slots_of(world, chunk=chunk):
            tally.add(slot)
            pieces = writer.pieces(slot.senders)
            for name, lines in lines_by_file(simulation, slot.lines):
                for first in range(0, len(lines), LINES_AT_ONCE):
                    batch = lines[first : first + LINES_AT_ONCE]
                    text = writers.submit(writer.text, pieces, batch)
                    waiting.append(packers.submit(pack, name, text))
                    if len(waiting) > BACKLOG:
                        waiting.popleft().result()
            if progress:
                progress(slot.share)
        while waiting:
            waiting.popleft().result()
    return tally.summary(files.written)
