"""Following a table: which files came and went between two of its versions."""

from datetime import date

import polars as pl

from clickstream_platform.lake import Lake
from clickstream_platform_tests.frames import day, events_frame


def one(event_id: str) -> pl.DataFrame:
    return events_frame([{"event_id": event_id}])


def ids(files: list[str]) -> list[str]:
    return sorted(pl.read_parquet(files)["event_id"]) if files else []


def test_file_that_came_and_went_in_between_is_neither_added_nor_removed(lake: Lake) -> None:
    since = lake.append("events", one("a"))
    lake.overwrite_dates("events", one("b"), dates=[day()])
    lake.overwrite_dates("events", one("c"), dates=[day()])
    changes = lake.changes("events", since=since)
    assert changes is not None
    assert (ids(changes.added), ids(changes.removed)) == (["c"], ["a"])
    assert changes.dates == [date(2026, 3, 1)]


def test_compaction_changes_nothing(lake: Lake) -> None:
    lake.append("events", one("a"))
    since = lake.append("events", one("b"))
    lake.compact("events")
    changes = lake.changes("events", since=since)
    assert changes is not None
    assert (changes.version, changes.added, changes.removed) == (lake.version("events"), [], [])


def test_what_came_before_the_first_commit_is_not_known(lake: Lake) -> None:
    lake.append("events", one("a"))
    assert lake.changes("events", since=-1) is None
