"""Opened tables are kept, and are never older than their log."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from clickstream_platform.lake import Lake, snapshots
from clickstream_platform.lake.history import scrub_history
from clickstream_platform_tests.lake.test_store import ids, one


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.append("events", one("a"))
    return lake


def test_a_table_that_does_not_move_is_opened_once(lake: Lake) -> None:
    assert lake.opened("events") is lake.opened("events")
    assert Lake(lake.folder).opened("events") is lake.opened("events")


def test_a_table_is_not_opened_again_for_its_own_commits(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.version("events")
    monkeypatch.setattr(snapshots, "DeltaTable", None)
    lake.append("events", one("b"))
    lake.overwrite("events", one("c"))
    assert (lake.version("events"), ids(lake)) == (2, ["c"])


def test_commit_of_another_process_is_seen(lake: Lake) -> None:
    program = (
        "import sys; from pathlib import Path; from clickstream_platform.lake import Lake; "
        "Lake(Path(sys.argv[1])).delete('events', \"event_id = 'a'\")"
    )
    subprocess.run([sys.executable, "-c", program, str(lake.folder)], check=True)  # noqa: S603 - our own module
    assert (lake.version("events"), ids(lake)) == (1, [])


def test_table_that_took_the_place_of_another_is_seen(lake: Lake) -> None:
    assert ids(lake) == ["a"]
    shutil.rmtree(lake.path("events"))
    lake.append("events", one("b"))
    assert (lake.version("events"), ids(lake)) == (0, ["b"])


def test_every_way_to_write_is_seen_by_who_reads_next(lake: Lake) -> None:
    seen = [lake.version("events")]
    lake.append("events", one("b"))
    seen.append(lake.version("events"))
    lake.update("events", {"country": "'DE'"}, "event_id = 'b'")
    lake.compact("events")
    lake.delete("events", "event_id = 'a'")
    seen.append(lake.version("events"))
    lake.vacuum("events")
    newest = DeltaTable(lake.path("events")).version()
    assert seen[:2] == [0, 1]
    assert seen[2] >= 3
    assert (lake.version("events"), ids(lake)) == (newest, ["b"])
    assert scrub_history(lake, "events", lambda content: b"event_id" in content) > 0
    assert ids(lake) == ["b"]


def test_no_more_are_kept_than_allowed(lake: Lake, tmp_path: Path) -> None:
    for number in range(snapshots.MOST_KEPT + 3):
        shutil.copytree(lake.folder, tmp_path / str(number))
        assert Lake(tmp_path / str(number)).row_count("events") == 1
    assert len(snapshots._kept) == snapshots.MOST_KEPT  # noqa: SLF001 - what is kept shows in nothing else


def test_nothing_is_kept_through_a_fork(lake: Lake) -> None:
    assert lake.row_count("events") == 1
    child = os.fork()
    if not child:
        os._exit(len(snapshots._kept))  # noqa: SLF001 - as above
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
