"""The lake: commits are whole, versions are followed, conflicts refused, erased bytes gone."""

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from clickstream_platform.lake import Lake, LakeError, polars_schema
from clickstream_platform.lake.history import scrub_history
from clickstream_platform_tests.frames import NOON, events_frame, sessions_frame

TODAY = NOON.date()
DAY = timedelta(days=1)


def one(event_id: str, *, days: int = 0) -> pl.DataFrame:
    """One event, so many days after the first."""
    return events_frame([{"event_id": event_id, "occurred_at": NOON + days * DAY}])


def ids(lake: Lake, table: str = "events") -> list[str]:
    column = f"{table.removesuffix('s')}_id"
    return lake.scan(table).select(column).collect().to_series().sort().to_list()


def test_merge_sets_columns_of_the_rows_that_agree_and_no_others(lake: Lake) -> None:
    assert lake.merge("events", one("e1").select("event_id", "country"), on=["event_id"]) == 0
    lake.append("events", pl.concat([one("e1"), one("e2"), one("e3", days=1)]))
    files = lake.files("events")
    noted = pl.DataFrame({"event_id": ["e2", "e9"], "country": ["DE", "FR"]})
    assert lake.merge("events", noted, on=["event_id"]) == 1
    rows = lake.scan("events").select("event_id", "country").sort("event_id").collect()
    assert rows.rows() == [("e1", None), ("e2", "DE"), ("e3", None)]
    assert len(set(files) & set(lake.files("events"))) == 1, "the other file is as it was"


def test_before_the_first_commit_a_table_is_empty_with_its_columns(lake: Lake) -> None:
    assert (lake.exists("events"), lake.version("events"), lake.row_count("events")) == (
        False,
        -1,
        0,
    )
    assert lake.scan("events").collect().schema == polars_schema("events")
    assert lake.files("events") == lake.dates("events") == lake.vacuum("events") == []
    assert lake.delete("events", "true") == lake.compact("events") == 0


def test_commit_says_in_itself_what_was_consumed(lake: Lake) -> None:
    lake.append("sessions", sessions_frame([{"session_key": 1}]), consumed={"events": 7})
    assert (lake.consumed("sessions", "events"), lake.consumed("sessions", "identity_map")) == (
        7,
        -1,
    )
    lake.append("sessions", sessions_frame([{"session_key": 2}]), consumed={"identity_map": 3})
    assert lake.consumed("sessions", "events") == 7
    assert lake.consumed("sessions", "identity_map") == 3
    assert lake.consumed("touchpoints", "sessions") == -1


def test_dates_are_replaced_whole_and_others_left_alone(lake: Lake) -> None:
    for number in range(3):
        lake.append("events", one(f"e{number}", days=number))
    version = lake.overwrite_dates("events", one("new", days=1), dates=[TODAY + DAY])
    assert ids(lake) == ["e0", "e2", "new"]
    assert lake.version("events") == version == 3
    assert lake.dates("events") == [TODAY + n * DAY for n in range(3)]
    lake.overwrite_dates("events", one("x").clear(), dates=[TODAY])
    assert lake.dates("events") == [TODAY + DAY, TODAY + 2 * DAY]


def test_replacing_no_dates_notes_what_was_consumed_alone(lake: Lake) -> None:
    lake.append("events", one("e0"))
    lake.overwrite_dates("events", one("x").clear(), dates=[], consumed={"raw_events": 4})
    assert (ids(lake), lake.consumed("events", "raw_events")) == (["e0"], 4)


def test_rows_of_dates_that_are_not_replaced_are_refused_and_nothing_changes(lake: Lake) -> None:
    lake.append("events", one("e0"))
    with pytest.raises(Exception, match=r"(?i)predicate|partition|check"):
        lake.overwrite_dates("events", one("stray", days=5), dates=[TODAY])
    assert ids(lake) == ["e0"]


def test_stream_that_breaks_off_leaves_the_table_as_it_was(lake: Lake) -> None:
    lake.append("events", one("e0"))
    sound = one("e1").to_arrow()

    def batches() -> object:
        yield from sound.to_batches()
        message = "it broke off"
        raise OSError(message)

    reader = pa.RecordBatchReader.from_batches(sound.schema, batches())
    with pytest.raises(Exception, match=r"it broke off"):
        lake.overwrite("events", reader)
    assert (ids(lake), lake.version("events")) == (["e0"], 0)


def test_changes_are_what_followed_a_version(lake: Lake) -> None:
    lake.append("events", one("e0"))
    lake.append("events", one("e1", days=1))
    changes = lake.changes("events", since=0)
    assert changes is not None
    assert (changes.version, changes.removed, changes.dates) == (1, [], [TODAY + DAY])
    assert [f"event_date={TODAY + DAY}" in file for file in changes.added] == [True]
    assert lake.changes("events", since=-1) is None
    same = lake.changes("events", since=1)
    assert same is not None
    assert (same.added, same.removed, same.dates) == ([], [], [])


def test_file_that_came_and_went_in_between_is_no_change(lake: Lake) -> None:
    # A sync appends what it is about to say, then rewrites it with the outcome: whoever follows
    # would read each row twice, as pending and as delivered.
    lake.append("events", one("e0"))
    lake.append("events", one("e1", days=1))
    lake.update("events", {"event_name": "'click'"}, "event_id = 'e1'")
    changes = lake.changes("events", since=0)
    assert changes is not None
    assert set(changes.added) <= set(lake.files("events"))
    assert changes.removed == []
    found = pl.concat([pl.read_parquet(file, hive_partitioning=True) for file in changes.added])
    assert found.select("event_id", "event_name").rows() == [("e1", "click")]
    lake.delete("events", "event_id = 'e1'")
    gone = lake.changes("events", since=0)
    assert gone is not None
    assert (gone.added, gone.removed) == ([], [])


def test_delete_names_the_file_that_held_the_row_and_the_one_that_holds_the_rest(
    lake: Lake,
) -> None:
    lake.append("events", events_frame([{"event_id": "e0"}, {"event_id": "e1"}]))
    before = lake.files("events")
    assert lake.delete("events", "event_id = 'e0'") == 1
    changes = lake.changes("events", since=0)
    assert changes is not None
    assert (changes.removed, changes.added) == (before, lake.files("events"))


def test_compaction_joins_files_and_changes_nothing_for_followers(lake: Lake) -> None:
    for number in range(4):
        lake.append("events", one(f"e{number}"))
    held = ids(lake)
    assert lake.compact("events") == 3
    assert (ids(lake), len(lake.files("events"))) == (held, 1)
    changes = lake.changes("events", since=3)
    assert changes is not None
    assert (changes.added, changes.removed) == ([], [])


def test_changes_are_not_known_when_a_file_is_gone(lake: Lake) -> None:
    for number in range(3):
        lake.append("events", one(f"e{number}"))
    lake.compact("events")
    lake.vacuum("events")
    assert lake.changes("events", since=0) is None


def test_vacuum_after_a_delete_leaves_no_byte_and_takes_what_no_log_names(lake: Lake) -> None:
    secret = "visitor-whom-nobody-should-find"  # noqa: S105 - a text to look for
    rows: list[dict[str, object]] = [
        {"event_id": "e0", "page_path": f"/{secret}"},
        {"event_id": "e1", "page_path": "/"},
    ]
    lake.overwrite("events", events_frame(rows))
    orphan = lake.path("events") / "orphan.parquet"
    orphan.write_bytes(secret.encode())
    lake.delete("events", "event_id = 'e0'")
    lake.vacuum("events")
    data = [file for file in lake.path("events").rglob("*.parquet") if file.is_file()]
    assert not orphan.exists()
    assert sorted(map(str, data)) == lake.files("events")
    assert all(secret.encode() not in file.read_bytes() for file in data)
    # The log still names it, as the least value of a file that is gone.
    assert scrub_history(lake, "events", lambda text: secret.encode() in text) == 1
    everything = [file for file in lake.path("events").rglob("*") if file.is_file()]
    assert all(secret.encode() not in file.read_bytes() for file in everything)
    assert ids(lake) == ["e1"]
    assert scrub_history(lake, "events", lambda text: secret.encode() in text) == 0


def test_vacuum_spares_young_files_for_readers(lake: Lake) -> None:
    lake.append("events", one("e0"))
    old = lake.files("events")
    lake.overwrite("events", one("e1"))
    assert lake.vacuum("events", keep=timedelta(days=2)) == []
    assert all(Path(file).exists() for file in old)


WRITER = """
import sys
from pathlib import Path
from clickstream_platform.lake import Lake
from clickstream_platform_tests.frames import events_frame
for number in range(5):
    rows = events_frame([{"event_id": f"{sys.argv[2]}-{number}"}])
    Lake(Path(sys.argv[1])).append("events", rows)
"""


def test_two_writers_at_once_lose_nothing(lake: Lake) -> None:
    lake.append("events", one("first"))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(lake.folder), name])  # noqa: S603 - our own words
        for name in ("a", "b")
    ]
    assert [writer.wait(300) for writer in writers] == [0, 0]
    assert ids(lake) == sorted(["first", *(f"{w}-{n}" for w in "ab" for n in range(5))])
    assert lake.version("events") == 10


def test_other_columns_than_the_contracts_are_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"events: rows to write have other columns.*page_url"):
        lake.append("events", one("e0").drop("page_url"))
    assert not lake.exists("events")


def test_unknown_table_names_those_there_are(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"visits: is not a table of the lake\. Tables: .*events"):
        lake.version("visits")


def test_table_without_dates_is_not_read_by_date(lake: Lake) -> None:
    lake.append("identity_map", pl.DataFrame(schema=polars_schema("identity_map")))
    with pytest.raises(LakeError, match=r"identity_map: has no date partition"):
        lake.files("identity_map", dates=[date(2026, 3, 1)])
