"""Lateness: history that is imported against what a live source delivers too late."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_platform.events import Ledger, loading, refresh_events
from clickstream_platform.events.lateness import judged_lateness
from clickstream_platform.lake import Lake
from clickstream_platform.quality import watermarks
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import (
    NOW,
    drop,
    event,
    events,
    fates,
    keep_promises,
    load,
    take,
)

DAY = timedelta(days=1)


def aged(number: int, days: float) -> dict[str, object]:
    """A record that does not say when it was received."""
    return {
        "event_id": f"e{number}",
        "event_name": "page_view",
        "occurred_at": (NOW - days * DAY).isoformat(),
        "visitor_id": "visitor-ann",
    }


def loaded(settings: Settings, *ages: float, first: int = 0) -> list[str]:
    """Load a file of records of these ages in days, and return the ids of all events."""
    rows = load(settings, [aged(n, age) for n, age in enumerate(ages, first)])
    keep_promises(settings)
    return rows["event_id"].to_list()


@pytest.mark.parametrize(
    ("files", "too_late"),
    [
        pytest.param([[400, 300, 100]], 0, id="a first file is history, however long"),
        pytest.param([[400], [900], [31]], 0, id="so are those after it, in any order"),
        pytest.param([[1, 3, 400]], 1, id="a stray one in the first young file"),
        pytest.param([[29, 45, 60]], 1, id="what led up to the young file counts from its newest"),
        pytest.param(
            [[400], [1], [400]], 1, id="history comes to an end with the first young file"
        ),
        pytest.param([[1], [45]], 1, id="of a live source all counts from arrival"),
    ],
)
def test_horizon_holds_for_a_source_that_has_delivered_something_young(
    settings: Settings, files: Sequence[Sequence[float]], too_late: int
) -> None:
    for number, ages in enumerate(files):
        records = [aged(10 * number + n, age) for n, age in enumerate(ages)]
        path = drop(settings, f"{number}.ndjson", records)
        take(settings, path, now=NOW + number * timedelta(minutes=1))
    assert fates(settings)["too_late"] == too_late
    before = events(settings)
    assert before.height == sum(map(len, files)) - too_late
    keep_promises(settings)
    refresh_events(settings, full=True)
    assert events(settings).equals(before)


def test_files_that_arrive_together_are_judged_alike_in_any_order(settings: Settings) -> None:
    # Daily files of ninety days, as a first import finds them.
    ages = [0.2, 35, 29.8, 31.2, 90]
    files = [drop(settings, f"{n}.ndjson", [aged(n, a), aged(n + 10, a + 0.7)])
             for n, a in enumerate(ages)]  # fmt: skip
    take(settings, *files)
    assert (fates(settings)["loaded"], fates(settings)["too_late"]) == (10, 0)
    assert not events(settings)["is_late"].any()


def test_what_names_its_own_arrival_is_late_by_that_alone(settings: Settings) -> None:
    old = (NOW - 400 * DAY).isoformat()
    load(settings, [
        event(1, created_at=old, sent_at=old, received_at=old),
        event(2, occurred_at=old, received_at=(NOW - 300 * DAY).isoformat()),
    ])  # fmt: skip
    assert events(settings)["event_id"].to_list() == ["e1"]
    assert fates(settings)["too_late"] == 1


def test_a_file_in_stretches_is_judged_as_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "CHUNK_ROWS", 2)
    assert loaded(settings, 400, 100, 45, 20, 1) == ["e3", "e4"]
    refresh_events(settings, full=True)
    assert events(settings)["event_id"].to_list() == ["e3", "e4"]


def test_a_ledger_of_an_earlier_version_holds_its_sources_for_live(settings: Settings) -> None:
    loaded(settings, 1)
    with closing(sqlite3.connect(Ledger(settings.state).file)) as connection:
        connection.execute("DROP TABLE deliveries")
        connection.commit()
    take(settings, drop(settings, "late.ndjson", [aged(7, 45)]), now=NOW + DAY)
    assert fates(settings)["too_late"] == 1


def test_a_source_with_history_alone_is_not_silent(settings: Settings) -> None:
    loaded(settings, 400)
    (mark,) = watermarks(Lake(settings.lake_folder), settings, now=NOW)
    assert (mark.is_live, mark.is_late) == (False, False)
    loaded(settings, 2, first=1)
    (mark,) = watermarks(Lake(settings.lake_folder), settings, now=NOW)
    assert (mark.is_live, mark.is_late) == (True, True)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 90), st.booleans()), min_size=1, max_size=12
    ),
    st.randoms(use_true_random=False),
)
def test_order_of_rows_changes_no_verdict(
    rows: list[tuple[int, int, bool]], random: Random
) -> None:
    def verdicts(ordered: Sequence[tuple[int, tuple[int, int, bool]]]) -> dict[int, bool]:
        frame = pl.DataFrame(
            {
                "number": [number for number, _ in ordered],
                "batch_id": [f"b{batch}" for _, (batch, _, _) in ordered],
                "arrived_at": [NOW] * len(ordered),
                "occurred_us": [micros(NOW - age * DAY) for _, (_, age, _) in ordered],
                "received_at_us": [micros(NOW) if own else None for _, (_, _, own) in ordered],
                "is_bad": [False] * len(ordered),
                "is_too_late": [age > 30 for _, (_, age, _) in ordered],
                "is_late": [age > 1 for _, (_, age, _) in ordered],
            },
            schema_overrides={
                "received_at_us": pl.Int64,
                "occurred_us": pl.Int64,
                "arrived_at": pl.Datetime("us", "UTC"),
            },
        )
        judged = judged_lateness(frame, horizon=micros_of(30 * DAY), live_since=None)
        return dict(zip(frame["number"], judged.verdicts["is_too_late"], strict=True))

    numbered = list(enumerate(rows))
    straight = verdicts(numbered)
    random.shuffle(numbered)
    assert verdicts(numbered) == straight


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def micros_of(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
