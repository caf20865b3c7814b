"""Seals: what a disk changed is never read, written anew, or sealed."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from clickstream_platform.lake import SEALS, BrokenSealError, Lake, LakeError
from clickstream_platform_tests.faults.disk import flip
from clickstream_platform_tests.frames import events_frame, sessions_frame

WORDS = (
    r"^sessions: 1 of its files are not what was written \(session_date=2026-03-01/bucket=0/.*"
    r"\.parquet\)\. .* `clickstream doctor --mend` .* backup\.$"
)


def filled(lake: Lake, commits: int = 2) -> Lake:
    """Sessions of some commits, one file each."""
    for number in range(commits):
        lake.append("sessions", sessions_frame([{"session_key": number}]))
    return lake


def seals(lake: Lake) -> list[str]:
    """Sealed files, by the lines of the file."""
    lines = (lake.path("sessions") / SEALS).read_text().splitlines()
    return sorted(line.split("  ")[1] for line in lines)


def names(lake: Lake) -> list[str]:
    """Files of the newest snapshot, as seals name them."""
    return [file.split("/sessions/")[1] for file in lake.files("sessions")]


def test_every_file_is_sealed_in_the_words_of_sha256sum(lake: Lake) -> None:
    filled(lake)
    assert seals(lake) == names(lake)
    done = subprocess.run(  # noqa: S603 - our own words
        ["sha256sum", "--check", "--strict", SEALS],  # noqa: S607 - wherever it lies
        cwd=lake.path("sessions"),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_seals_follow_compaction_deletes_and_vacuum(lake: Lake) -> None:
    filled(lake, 3)
    assert lake.compact("sessions") == 2
    lake.delete("sessions", "session_key = 1")
    lake.update("sessions", {"events": "7"}, "session_key = 2")
    assert set(names(lake)) < set(seals(lake))
    lake.vacuum("sessions")
    assert seals(lake) == names(lake)
    assert lake.broken("sessions") == []


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda lake: lake.delete("sessions", "session_key = 1"), id="delete"),
        pytest.param(lambda lake: lake.update("sessions", {"events": "7"}, "true"), id="update"),
        pytest.param(
            lambda lake: lake.merge("sessions", sessions_frame([{}]), on=["session_id"]), id="merge"
        ),
        pytest.param(lambda lake: lake.compact("sessions"), id="compaction"),
        pytest.param(
            lambda lake: lake.overwrite(
                "sessions", sessions_frame([{"session_key": 1}]), where="session_key = 1"
            ),
            id="replacing rows",
        ),
    ],
)
@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.8, 0.999])
def test_flipped_bit_is_named_and_never_written_anew(
    lake: Lake, write: Callable[[Lake], object], at: float
) -> None:
    version = filled(lake).version("sessions")
    flip(lake.files("sessions")[0], at=at)
    for _ in range(2):  # it is not taken for sound the second time
        with pytest.raises(BrokenSealError, match=WORDS):
            write(lake)
    assert lake.version("sessions") == version
    assert lake.broken("sessions") == names(lake)[:1]


def test_lost_file_is_broken(lake: Lake) -> None:
    filled(lake)
    Path(lake.files("sessions")[1]).unlink()
    with pytest.raises(BrokenSealError, match=r"^sessions: 1 of its files"):
        lake.compact("sessions")


def test_whole_partitions_are_replaced_without_a_look_at_what_is_broken(lake: Lake) -> None:
    rows = sessions_frame([{"session_key": 1}])
    flip(filled(lake).files("sessions")[0])
    lake.overwrite_dates("sessions", rows, dates=rows["session_date"])
    assert lake.broken("sessions") == []


def test_bit_that_flips_without_a_trace_is_found_by_reading_anew(lake: Lake) -> None:
    file = Path(filled(lake).files("sessions")[0])
    look = file.stat()
    flip(file)
    os.utime(file, ns=(look.st_atime_ns, look.st_mtime_ns))
    lake.require_sound("sessions")  # this process has just written it
    assert lake.broken("sessions") == names(lake)[:1]


def test_crash_before_the_seal_is_made_up_for_by_the_next_commit(lake: Lake) -> None:
    filled(lake)
    sums = lake.path("sessions") / SEALS
    sums.write_text(sums.read_text()[:-40])  # in the midst of the second line
    assert lake.broken("sessions") == []
    filled(lake, 1)
    assert lake.broken("sessions") == []
    assert set(names(lake)) <= set(seals(lake))


def test_lake_that_was_moved_keeps_its_seals(lake: Lake) -> None:
    filled(lake)
    moved = Lake(lake.folder.rename(lake.folder.with_name("moved")))
    flip(moved.files("sessions")[0])
    assert len(moved.broken("sessions")) == 1


def test_other_tables_are_not_concerned(lake: Lake) -> None:
    flip(filled(lake).files("sessions")[0])
    lake.append("events", events_frame([{"event_id": "e1"}]))
    assert lake.delete("events", "event_id = 'e1'") == 1
    with pytest.raises(LakeError, match=r"^nothing: is not a table"):
        lake.require_sound("nothing")
