"""The log: repair worked by hand and as laws, sealing, locks, and what a power cut may leave."""

import asyncio
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clickstream_platform.collection.lines import framed, is_whole, minimised_lines, prepared
from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.services.collector import EventLog, recover
from clickstream_platform.services.collector.log import OPEN_PREFIX, Segment, open_segment

LINES = [framed(b'"n":%d}' % number) for number in range(5)]


def left_behind(landing: Path, data: bytes) -> Path:
    """A segment that nobody holds, as a crash leaves it."""
    folder = landing / "web"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{OPEN_PREFIX}1.ndjson"
    path.write_bytes(data)
    return path


def sealed(landing: Path) -> list[bytes]:
    """Lines of every sealed file."""
    files = sorted(landing.glob("*/collector-*.ndjson"))
    return [line for path in files for line in path.read_bytes().splitlines(keepends=True)]


def log_of(landing: Path, **options: float) -> EventLog:
    """A log that seals when it is closed."""
    chosen = {"seal_after_s": 3600, "seal_bytes": 10**9, "pending_bytes": 10**6} | options
    return EventLog(
        landing,
        seal_after_s=chosen["seal_after_s"],
        seal_bytes=int(chosen["seal_bytes"]),
        pending_bytes=int(chosen["pending_bytes"]),
    )


def test_line_is_json_with_its_checksum_first() -> None:
    line = framed(b'"a":1}')
    assert line == b'{"_crc":"%08x","a":1}\n' % zlib.crc32(b'"a":1}')
    assert is_whole(line[:-1])


@given(st.integers(0, sum(map(len, LINES))))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cut_anywhere_keeps_the_whole_lines_before(tmp_path: Path, cut: int) -> None:
    landing = tmp_path / str(cut)
    left_behind(landing, b"".join(LINES)[:cut])
    recover(landing)
    whole = [line for place, line in enumerate(LINES) if cut >= sum(map(len, LINES[: place + 1]))]
    assert sealed(landing) == whole
    assert not list(landing.glob("*/.*")), "nothing is left half done"


@given(st.integers(0, sum(map(len, LINES)) - 1), st.integers(0, 7))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bit_costs_the_lines_it_touches(tmp_path: Path, place: int, bit: int) -> None:
    landing = tmp_path / f"{place}-{bit}"
    data = bytearray(b"".join(LINES))
    data[place] ^= 1 << bit
    left_behind(landing, bytes(data))
    recover(landing)
    found = sealed(landing)
    # A line's end that flips joins two lines; anything else is in one.
    assert len(found) >= len(LINES) - 2
    assert [line for line in LINES if line in found] == found


def test_segment_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    segment = open_segment(tmp_path / "web")
    segment.append(LINES[0])
    assert recover(tmp_path) == 0
    os.close(segment.descriptor)
    assert recover(tmp_path) == 1
    assert sealed(tmp_path) == LINES[:1]


def test_empty_segment_goes(tmp_path: Path) -> None:
    left_behind(tmp_path, b"")
    recover(tmp_path)
    assert list((tmp_path / "web").iterdir()) == []


def test_power_cut_leaves_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 10: pages that were not synced are gone, in whole or in part."""
    append, survived = Segment.append, b""

    def remember(self: Segment, data: bytes) -> None:
        nonlocal survived
        append(self, data)
        # What was durable at this commit, and a page of the next that happened to be written.
        survived = self.path.read_bytes()

    monkeypatch.setattr(Segment, "append", remember)
    log = log_of(tmp_path / "before")
    log.start()

    async def acknowledged() -> None:
        for number in range(20):
            await log.append("web", framed(b'"n":%d}' % number), 1)

    asyncio.run(acknowledged())
    left_behind(tmp_path / "after", survived + b'{"_crc":"00000000","torn')
    recover(tmp_path / "after")
    log.close()
    assert sealed(tmp_path / "after") == sealed(tmp_path / "before")
    assert len(sealed(tmp_path / "after")) == 20


def append_all(log: EventLog, batches: Sequence[tuple[str, int]]) -> None:
    """Append batches of so many records to sources, all at once."""

    async def together() -> None:
        await asyncio.gather(
            *[
                log.append(
                    source,
                    b"".join([framed(b'"n":"%d-%d"}' % (place, n)) for n in range(size)]),
                    size,
                )
                for place, (source, size) in enumerate(batches)
            ]
        )

    asyncio.run(together())


def test_waiting_requests_are_committed_together(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.start()
    append_all(log, [("web", 3)] * 40 + [("app", 2)] * 10)
    log.close()
    assert log.counts.records == 140
    assert log.counts.commits < 50, "requests share commits"
    assert len(list(tmp_path.glob("web/collector-*"))) == 1
    assert len(list(tmp_path.glob("app/collector-*"))) == 1
    assert len(sealed(tmp_path)) == 140


def test_segment_is_sealed_by_size_and_by_age(tmp_path: Path) -> None:
    log = log_of(tmp_path, seal_bytes=1)
    log.start()
    append_all(log, [("web", 1)])
    append_all(log, [("web", 1)])
    log.close()
    assert log.counts.sealed == 2
    aged = log_of(tmp_path / "aged", seal_after_s=0.05)
    aged.start()
    append_all(aged, [("web", 1)])
    for _ in range(200):
        if sealed(tmp_path / "aged"):
            break
        asyncio.run(asyncio.sleep(0.02))
    assert len(sealed(tmp_path / "aged")) == 1, "without another request"
    aged.close()


def test_closed_log_takes_nothing(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.start()
    log.close()
    with pytest.raises(RefusedError, match="shutting_down"):
        append_all(log, [("web", 1)])


def test_more_than_memory_may_hold_is_refused(tmp_path: Path) -> None:
    log = log_of(tmp_path, pending_bytes=10)
    log.start()
    with pytest.raises(RefusedError, match="overloaded"):
        append_all(log, [("web", 5)])
    log.close()
    assert sealed(tmp_path) == []


def test_identifiers_are_kept_and_texts_are_scrubbed() -> None:
    record = {
        "event_id": "5048d7d6-b5fb-47e1-b329-fa583ddf0fbb",
        "visitor_id": "v",
        "user_id": "ann@example.com",
        "page_title": "Mail to ann@example.com",
    }
    line = minimised_lines([prepared(dict(record))])
    assert b'"user_id":"ann@example.com"' in line
    assert b'"page_title":"Mail to [email]"' in line
    assert is_whole(line[:-1])
