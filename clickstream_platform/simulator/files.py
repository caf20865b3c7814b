"""Files into which lines go: one per day or hour of arrival, seen only when they are whole."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from isal import igzip

from clickstream_platform.simulator.parameters import Simulation
from clickstream_platform.simulator.visits import Records
from clickstream_platform.simulator.world import DAY_MS, HOUR_MS

GZIP_LEVEL = 1
"""Level of ISA-L; fast, and within a tenth of the size of its best."""


def lines_by_file(simulation: Simulation, lines: Records) -> Iterator[tuple[str, Records]]:
    """Cut lines that are in order of arrival where their file ends, and name the files."""
    file_ms = DAY_MS if simulation.files == "day" else HOUR_MS
    number = lines["received_ms"] // file_ms
    starts = np.flatnonzero(np.diff(number, prepend=-1)).tolist()
    for begin, end in pairwise([*starts, len(lines)]):
        yield file_name(simulation, int(number[begin])), lines[begin:end]


def file_name(simulation: Simulation, number: int) -> str:
    """Name of a file, by its number from 0."""
    ending = ".ndjson.gz" if simulation.is_compressed else ".ndjson"
    if simulation.files == "day":
        day = simulation.starts_at + timedelta(days=number)
        return f"{simulation.prefix}-{day:%Y-%m-%d}{ending}"
    hour = simulation.starts_at + timedelta(hours=number)
    return f"{simulation.prefix}-{hour:%Y-%m-%dT%H}{ending}"


class Files(AbstractContextManager["Files"]):
    """Files of one folder, written one after the other; each appears when it is complete."""

    def __init__(self, folder: Path, *, is_compressed: bool) -> None:
        self.folder, self.is_compressed = folder, is_compressed
        self.written: list[Path] = []
        self._name = ""
        self._open = ExitStack()
        self._file: IO[bytes] | igzip.IGzipFile | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        else:
            self._open.close()
            self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        """Where the current file grows; a hidden name, which no reader takes."""
        return self.folder / f".{self._name}.part"

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Append to a file; another name than before completes the file before."""
        if name != self._name:
            self._finish()
            self._name = name
            file = self._open.enter_context(self._part.open("wb"))
            self._file = self._open.enter_context(gzipped(file)) if self.is_compressed else file
        if self._file is not None:
            self._file.write(data)

    def _finish(self) -> None:
        """Complete the current file, if there is one."""
        if self._file is not None:
            self._open.close()
            self.written.append(self._part.replace(self.folder / self._name))
            self._file = None


def gzipped(file: IO[bytes]) -> igzip.IGzipFile:
    """Open a packed file, without name and time in its header: equal lines make equal files."""
    return igzip.IGzipFile("", "wb", GZIP_LEVEL, file, mtime=0)  # type: ignore[no-untyped-call]  # isal
