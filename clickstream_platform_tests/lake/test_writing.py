"""Added rows: equal to what Delta's own writer would have written, and as good to its reader."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_platform.lake import Lake, connect, polars_schema, view
from clickstream_platform.lake.writing import write_files
from clickstream_platform.settings import LakeSettings
from clickstream_platform_tests.frames import NOON, events_frame

DAYS = st.integers(0, 3)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def rows_of(days: list[int], texts: list[str | None]) -> pl.DataFrame:
    return events_frame(
        [
            {"event_id": f"e{n}", "occurred_at": NOON + timedelta(days=day), "page_title": text}
            for n, (day, text) in enumerate(zip(days, texts, strict=True))
        ]
    )


def in_order(lake: Lake) -> pl.DataFrame:
    return lake.scan("events").sort("event_id").collect()


def log_of(lake: Lake, table: str = "events") -> list[dict[str, dict[str, object]]]:
    logs = sorted(lake.path(table).glob("_delta_log/*.json"))
    return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


@settings(max_examples=20)
@given(rows=st.lists(st.tuples(DAYS, TEXTS), min_size=1, max_size=40))
def test_rows_come_back_as_from_deltas_own_writer(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str | None]]
) -> None:
    frame = rows_of([day for day, _ in rows], [text for _, text in rows])
    folder = tmp_path_factory.mktemp("lake")
    ours, theirs = Lake(folder / "ours"), Lake(folder / "theirs")
    ours.append("events", frame)
    write_deltalake(theirs.path("events"), frame.to_arrow(), partition_by=["event_date", "bucket"])
    assert in_order(ours).equals(in_order(theirs))
    assert ours.dates("events") == theirs.dates("events")
    assert ours.row_count("events") == frame.height


def test_delta_deletes_updates_and_compacts_what_was_added(lake: Lake) -> None:
    for start in (0, 10):
        frame = rows_of([0, 1] * 5, ["Page"] * 10)
        lake.append("events", frame.with_columns(event_id="e" + pl.int_range(10).cast(str)
                                                  + f"-{start}"))  # fmt: skip
    assert lake.delete("events", "event_id = 'e3-0'") == 1
    assert lake.update("events", {"page_title": "NULL"}, "event_id = 'e4-10'") == 1
    assert lake.compact("events") > 0
    held = in_order(lake)
    assert held.height == 19
    assert held.filter(pl.col("page_title").is_null())["event_id"].to_list() == ["e4-10"]
    assert held.schema == polars_schema("events")
    assert lake.broken("events") == []


def test_a_list_of_structures_is_written_in_every_partition(lake: Lake) -> None:
    violation = {"code": "c", "field": "f", "expected": "e", "got": None}
    frame = pl.DataFrame(
        [
            dict.fromkeys(polars_schema("quarantined_events"))
            | {"batch_id": "b", "ordinal": n, "arrival_date": date(2026, 3, 1 + n),
               "arrived_at": NOON, "violations": [violation] * n}
            for n in range(3)
        ],
        schema=polars_schema("quarantined_events"),
    )  # fmt: skip
    lake.append("quarantined_events", frame)
    assert lake.scan("quarantined_events").sort("ordinal").collect().equals(frame)


def test_rows_of_a_file_are_in_the_order_of_the_catalog(lake: Lake) -> None:
    keys = [5, 1, 3, 1]
    frame = rows_of([0] * 4, ["Page"] * 4).with_columns(
        visitor_key=pl.Series(keys), occurred_us=pl.Series([1, 9, 1, 2]), bucket=pl.lit(0, pl.Int32)
    )
    lake.append("events", frame)
    (file,) = lake.files("events")
    held = pl.read_parquet(file, hive_partitioning=False)
    assert held.select("visitor_key", "occurred_us").rows() == [(1, 2), (1, 9), (3, 1), (5, 1)]


def test_the_log_tells_ranges_of_numbers_and_batches_and_no_other_text(lake: Lake) -> None:
    lake.append("events", rows_of([0, 0], ["Ann's page", "Bob's page"]))
    said = [json.loads(str(line["add"]["stats"])) for line in log_of(lake) if "add" in line]
    assert sum(each["numRecords"] for each in said) == 2
    for each in said:
        assert each["minValues"].keys() == each["maxValues"].keys()
        texts = {name for name, value in each["minValues"].items() if isinstance(value, str)}
        assert texts == {"batch_id"}
        assert {"event_key", "occurred_us"} <= each["minValues"].keys()
    assert "page" not in json.dumps(said)


def test_rows_that_fail_on_the_way_leave_no_file(lake: Lake) -> None:
    frame = rows_of([0, 1], ["a", "b"]).to_arrow()

    def batches() -> Iterator[pa.RecordBatch]:
        yield from frame.to_batches()
        message = "the source broke"
        raise ValueError(message)

    with pytest.raises(ValueError, match="the source broke"):
        lake.append("events", pa.RecordBatchReader.from_batches(frame.schema, batches()))
    assert not lake.exists("events")
    assert not list(lake.path("events").rglob("*.parquet"))


def test_each_frame_is_a_row_group_and_all_of_a_partition_are_one_file(tmp_path: Path) -> None:
    frames = [pl.DataFrame({"n": [n, n], "day": [1, 2]}) for n in range(3)]
    files = write_files(frames, tmp_path, partition_by=["day"], sort_by=[])
    assert [(file.partition, file.rows, file.ranges) for file in files] == [
        ({"day": "1"}, 3, {"n": (0, 2)}),
        ({"day": "2"}, 3, {"n": (0, 2)}),
    ]
    assert pq.read_metadata(files[0].path).num_row_groups == 3
    assert all(file.size == file.path.stat().st_size for file in files)


def test_a_column_without_a_value_has_no_range(tmp_path: Path) -> None:
    frames = [pl.DataFrame({"n": [None, None]}, schema={"n": pl.Int64}), pl.DataFrame({"n": [4]})]
    (file,) = write_files(frames, tmp_path, partition_by=[], sort_by=["n"])
    assert file.ranges == {"n": (4, 4)}
    (file,) = write_files(frames[:1], tmp_path, partition_by=[], sort_by=[])
    assert file.ranges == {}


def test_texts_have_a_dictionary_and_numbers_and_instants_have_none(tmp_path: Path) -> None:
    frame = pl.DataFrame({"key": [1, 2], "name": ["a", "b"], "at": [NOON, NOON]})
    (file,) = write_files([frame], tmp_path, partition_by=[], sort_by=[])
    group = pq.read_metadata(file.path).row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    assert [each.path_in_schema for each in columns if each.has_dictionary_page] == ["name"]


def test_rows_without_a_partition_come_back_without_it(lake: Lake) -> None:
    frame = rows_of([0, 1, 1], ["Page"] * 3)
    nobody = pl.when(pl.int_range(3) > 0).then("bucket")
    lake.append("events", frame.with_columns(bucket=nobody))
    expected = [None, *frame["bucket"][1:]]
    assert in_order(lake)["bucket"].to_list() == expected
    events = view(connect(LakeSettings()), lake, "events").order_by("event_id")
    assert events.bucket.to_pyarrow().to_pylist() == expected
    assert lake.delete("events", "bucket IS NULL") == 1
