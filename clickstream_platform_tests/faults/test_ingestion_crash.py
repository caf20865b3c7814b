"""Kill -9 at every step of taking and loading: nothing is lost, nothing doubled."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.events import (
    Ledger,
    foreign_files,
    ingest_landing,
    pending_files,
    refresh_events,
    wait_until_settled,
)
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import (
    HOUR,
    NOW,
    drop,
    event,
    events,
    fates,
    landed,
    take,
)

KILLED_AT = {
    "before raw events are written": ("Lake.append", "raw_events", "before"),
    "between raw events and the ledger": ("Lake.append", "raw_events", "after"),
    "after the file was noted": ("Ledger.note_file", "", "after"),
    "before quarantine is written": ("Lake.append", "quarantined_events", "before"),
    "between quarantine and events": ("Lake.append", "quarantined_events", "after"),
    "between events and the ledger": ("Lake.append", "events", "after"),
    "before the fates are counted": ("Ledger.count", "", "before"),
}

BEATEN_AT = {
    "between the note of what is beaten and its end": ("Lake.append", "duplicate_events", "after"),
    "between the end of what is beaten and its winner": ("Lake.delete", "events", "after"),
    "between the winner and the ledger": ("Lake.append", "events", "after"),
}

WORKER = """
import os, signal, sys
from pathlib import Path
from clickstream_platform.events import Ledger, ingest_landing, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.events.door import NOW, landed

folder, file, target, table, moment = sys.argv[1:]
owner, name = target.split(".")
owner = {"Lake": Lake, "Ledger": Ledger}[owner]
original = getattr(owner, name)

def deadly(self, *arguments, **named):
    fatal = not table or arguments[0] == table
    if fatal and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(self, *arguments, **named)
    if fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, deadly)
settings = load_settings(folder)
ingest_landing(settings, now=NOW, files=[landed(settings, Path(file))])
refresh_events(settings)
"""


def records() -> list[object]:
    """Sound, repeated, broken and late records."""
    sound = [event(number % 40) for number in range(50)]
    return [*sound, event(90, event_name=None), '{"torn', event(91, occurred_at="2020-01-01")]


def contents(settings: Settings) -> dict[str, pl.DataFrame]:
    """The event tables without what the moment of taking decides."""
    lake = Lake(settings.lake_folder)
    return {
        table: lake.scan(table).sort("batch_id", "ordinal").collect()
        for table in ("raw_events", "events", "quarantined_events", "duplicate_events")
    }


def kill(settings: Settings, path: Path, point: tuple[str, str, str]) -> None:
    """Take a dropped file and load its events, in a process that dies at a point."""
    killed = subprocess.run(  # noqa: S603 - our own interpreter and script
        [sys.executable, "-c", WORKER, str(settings.data), str(path), *point],
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", KILLED_AT)
def test_killed_ingestion_is_taken_up_again(settings: Settings, point: str) -> None:
    kill(settings, drop(settings, "a.ndjson.gz", records()), KILLED_AT[point])
    wait_until_settled(settings)
    # What the sensor would ask for: pending files, then whatever has landed.
    ingest_landing(settings, now=NOW)
    refresh_events(settings)
    ledger = Ledger(settings.state)
    ledger.require_balance()
    assert [row["state"] for row in ledger.batches()] == ["loaded"]
    assert (fates(settings)["received"], fates(settings)["loaded"]) == (53, 40)
    tables = contents(settings)
    assert {name: frame.height for name, frame in tables.items()} == {
        "raw_events": 53,
        "events": 40,
        "quarantined_events": 3,
        "duplicate_events": 10,
    }
    for frame in tables.values():
        assert frame.select("batch_id", "ordinal").n_unique() == frame.height
    refresh_events(settings, full=True)
    for name, frame in contents(settings).items():
        assert frame.equals(tables[name]), name


@pytest.mark.parametrize("point", BEATEN_AT)
def test_event_that_is_beaten_is_noted_once(settings: Settings, point: str) -> None:
    # Two stored events, e1 and e2; then the same two again, which the collector had got earlier,
    # and one that is new. received 2 + 3 = loaded 3 + duplicate 2.
    take(settings, drop(settings, "later.ndjson", [event(1), event(2)]))
    earlier = [event(n, received_at=(NOW - 2 * HOUR).isoformat()) for n in (1, 2, 3)]
    kill(settings, drop(settings, "earlier.ndjson", earlier), BEATEN_AT[point])
    refresh_events(settings)
    Ledger(settings.state).require_balance()
    tables = contents(settings)
    assert tables["events"]["event_id"].sort().to_list() == ["e1", "e2", "e3"]
    assert tables["events"]["batch_id"].n_unique() == 1
    assert tables["duplicate_events"]["event_id"].sort().to_list() == ["e1", "e2"]
    assert (fates(settings)["loaded"], fates(settings)["duplicate"]) == (3, 2)


def test_file_that_is_being_written_is_not_taken(settings: Settings) -> None:
    path = drop(settings, "a.ndjson", [event(1)])
    with path.open("ab") as writer:
        wait_until_settled(settings)
        assert pending_files(settings) == []
        writer.write(b'{"event_id": "e2", "event_name": "page_view"')
    wait_until_settled(settings)
    assert [file.relative for file in pending_files(settings)] == ["web/a.ndjson"]


@pytest.mark.parametrize("name", [".hidden.ndjson", "a.ndjson.tmp", "a.part", "picture.png"])
def test_file_with_another_name_is_not_taken(settings: Settings, name: str) -> None:
    drop(settings, name, [event(1)])
    wait_until_settled(settings)
    assert pending_files(settings) == []
    assert foreign_files(settings) == ([] if name.startswith(".") else [f"web/{name}"])


def test_file_that_changes_while_it_is_read_is_left_for_later(settings: Settings) -> None:
    path = drop(settings, "a.ndjson", [event(1)])
    before = landed(settings, path)
    with path.open("ab") as writer:
        writer.write(b"{}\n")
    refreshed = ingest_landing(settings, now=NOW, files=[before])
    assert refreshed.details["changed"] == 1
    assert Ledger(settings.state).batches() == []


def test_grown_file_brings_only_what_is_new(settings: Settings) -> None:
    """Records without an id get one from source, content and place."""
    lines: list[object] = [event(n, event_id=None) for n in range(3)]
    take(settings, drop(settings, "a.ndjson", lines))
    take(settings, drop(settings, "a.ndjson", [*lines, event(9, event_id=None)]), now=NOW + HOUR)
    assert events(settings).height == 4
    assert fates(settings)["duplicate"] == 3


def test_same_file_under_another_name_changes_nothing(settings: Settings) -> None:
    take(settings, drop(settings, "a.ndjson", [event(1), event(2)]))
    take(settings, drop(settings, "b.ndjson", [event(1), event(2)]))
    assert events(settings).height == 2
    assert fates(settings)["duplicate"] == 2


def test_empty_and_unreadable_files_are_known_and_done_with(settings: Settings) -> None:
    empty = drop(settings, "empty.ndjson", [])
    broken = drop(settings, "broken.parquet", [])
    broken.write_bytes(b"PAR1 is not enough")
    torn = drop(settings, "torn.ndjson.gz", [event(n) for n in range(500)])
    torn.write_bytes(torn.read_bytes()[:-200])
    take(settings, empty, broken, torn)
    states = {str(row["path"]): row["state"] for row in Ledger(settings.state).batches()}
    assert states == {
        "web/broken.parquet": "refused",
        "web/empty.ndjson": "loaded",
        "web/torn.ndjson.gz": "loaded",
    }
    assert fates(settings)["quarantined"] == 1
    wait_until_settled(settings)
    assert pending_files(settings) == []


def test_no_raw_identifier_reaches_the_lake(settings: Settings) -> None:
    ids = {"visitor_id": "visitor-of-ann", "user_id": 8_675_309, "ip_address": "203.0.113.77"}
    url = "https://shop.example.com/?email=ann%40example.com&visitor=1"
    drop(settings, "a.ndjson.gz", [])
    path = settings.landing / "web" / "a.ndjson.gz"
    lines = [
        event(1, **ids, page_url=url),
        event(2, **ids, event_name=None, properties={"mail": "bob@example.com"}),
    ]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    path.write_bytes(gzip.compress(text + b'{"visitor_id": "visitor-of-ann", "user_id": 8675309, '))
    take(settings, path)
    assert (fates(settings)["loaded"], fates(settings)["quarantined"]) == (1, 2)
    lake = Lake(settings.lake_folder)
    for table in ("raw_events", "events", "quarantined_events", "duplicate_events"):
        held = lake.scan(table).collect().write_ndjson()
        for secret in ("visitor-of-ann", "8675309", "203.0.113.77", "ann%40", "bob@", "ann@"):
            assert secret not in held, (table, secret)


def test_fates_survive_a_lost_sensor_cursor(settings: Settings) -> None:
    """The ledger is the cursor: asking again for everything takes nothing twice."""
    path = drop(settings, "a.ndjson", [event(1)])
    take(settings, path)
    again = [landed(settings, Path(path))]
    for _ in range(3):
        ingest_landing(settings, now=NOW, files=again)
        refresh_events(settings)
    assert events(settings).height == 1
