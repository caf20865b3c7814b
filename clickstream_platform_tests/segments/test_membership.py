"""Membership over time: who enters, leaves and returns, and that asking twice changes nothing."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.segments import load_segments, refresh_scores, refresh_segments
from clickstream_platform.segments.membership import update_members
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.segments import SegmentMembers, Segments
from clickstream_platform_tests.frames import NOON, sessions_frame

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MEMBERS = polars_schema("segment_members")

RETURNING = """
description = "People who came twice this week."
owner = "us"
purpose = "marketing"
expires = 2026-03-20
table = "sessions"
count = { min = 2 }
within_days = 7
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    own = tmp_path / "own"
    (own / "segments").mkdir(parents=True)
    for name in load_segments():  # leave the shipped ones without members
        (own / "segments" / f"{name}.toml").write_text(RETURNING.replace("2026", "2020"))
    (own / "segments" / "returning.toml").write_text(RETURNING)
    return load_settings(tmp_path / "data").model_copy(update={"definitions": own})


@pytest.fixture
def visit(lake: Lake, settings: Settings) -> Callable[..., None]:
    """Append a session and bring the scores up to date."""
    visits = 0

    def come(at: datetime, person: str = "ann", *, consent: bool | None = True) -> None:
        nonlocal visits
        visits += 1
        row = {"session_key": visits, "started_at": at, "person_id": person}
        lake.append("sessions", sessions_frame([row | {"consent_marketing": consent}]))
        refresh_scores(lake, settings)

    return come


Visit = Callable[..., None]


def intervals(lake: Lake) -> list[tuple[str, datetime, datetime | None]]:
    members = require(SegmentMembers, lake.scan("segment_members").collect())
    return members.sort("person_id", "since_at").select("person_id", "since_at", "until_at").rows()


def catalogue(lake: Lake) -> dict[str, object]:
    segments = require(Segments, lake.scan("segments").collect())
    return segments.filter(segment="returning").row(0, named=True)


def test_person_enters_leaves_and_returns(lake: Lake, settings: Settings, visit: Visit) -> None:
    visit(NOON)
    visit(NOON + HOUR)
    refresh_segments(lake, settings, now=NOON + HOUR)
    assert intervals(lake) == [("ann", NOON + HOUR, None)]
    refresh_segments(lake, settings, now=NOON + 8 * DAY)
    assert intervals(lake) == [("ann", NOON + HOUR, NOON + 8 * DAY)]
    visit(NOON + 9 * DAY)
    visit(NOON + 9 * DAY + HOUR)
    done = refresh_segments(lake, settings, now=NOON + 10 * DAY)
    assert intervals(lake)[1:] == [("ann", NOON + 10 * DAY, None)]
    assert done.details["joined"] == 1
    assert (done.table, done.rows_written) == ("segment_members", 1)


def test_same_moment_and_data_write_nothing(lake: Lake, settings: Settings, visit: Visit) -> None:
    visit(NOON)
    visit(NOON)
    refresh_segments(lake, settings, now=NOON)
    versions = lake.version("segment_members"), lake.version("segments")
    refresh_segments(lake, settings, now=NOON)
    assert (lake.version("segment_members"), lake.version("segments")) == versions
    assert catalogue(lake)["joined"] == 1


def test_unchanged_members_are_not_written_at_a_later_moment(
    lake: Lake, settings: Settings, visit: Visit
) -> None:
    visit(NOON)
    visit(NOON)
    refresh_segments(lake, settings, now=NOON)
    version = lake.version("segment_members")
    refresh_segments(lake, settings, now=NOON + HOUR)
    assert lake.version("segment_members") == version
    assert catalogue(lake) | {"evaluated_at": 0} == catalogue(lake) | {
        "joined": 0,
        "members": 1,
        "evaluated_at": 0,
    }


def test_catalogue_lost_in_a_crash_is_made_again(
    lake: Lake, settings: Settings, visit: Visit
) -> None:
    visit(NOON)
    visit(NOON)
    refresh_segments(lake, settings, now=NOON)
    before = catalogue(lake)
    lake.delete("segments", "true")
    refresh_segments(lake, settings, now=NOON)
    assert catalogue(lake) == before


def test_person_who_withdraws_consent_leaves(lake: Lake, settings: Settings, visit: Visit) -> None:
    visit(NOON)
    visit(NOON + HOUR)
    refresh_segments(lake, settings, now=NOON + HOUR)
    visit(NOON + 2 * HOUR, consent=None)
    refresh_segments(lake, settings, now=NOON + 2 * HOUR)
    assert intervals(lake) == [("ann", NOON + HOUR, NOON + 2 * HOUR)]


def test_everybody_leaves_an_expired_segment(lake: Lake, settings: Settings, visit: Visit) -> None:
    last = datetime.combine(date(2026, 3, 20), NOON.timetz())
    visit(last - HOUR)
    visit(last)
    refresh_segments(lake, settings, now=last)
    assert catalogue(lake)["members"] == 1
    done = refresh_segments(lake, settings, now=last + DAY)
    assert intervals(lake) == [("ann", last, last + DAY)]
    assert (catalogue(lake)["is_expired"], catalogue(lake)["departed"]) == (True, 1)
    assert done.details["expired"] == len(load_segments(settings.definitions))


def test_expiry_is_a_day_of_the_reporting_time_zone(
    lake: Lake, settings: Settings, visit: Visit
) -> None:
    visit(NOON)
    # 2026-03-20 20:00 UTC is the 21st in Tokyo.
    evening = datetime.combine(date(2026, 3, 20), NOON.timetz()) + 8 * HOUR
    refresh_segments(lake, settings, now=evening)
    assert not catalogue(lake)["is_expired"]
    refresh_segments(lake, settings.model_copy(update={"time_zone": "Asia/Tokyo"}), now=evening)
    assert catalogue(lake)["is_expired"]


def test_everybody_leaves_a_segment_that_is_no_more(
    lake: Lake, settings: Settings, visit: Visit
) -> None:
    visit(NOON)
    visit(NOON)
    refresh_segments(lake, settings, now=NOON)
    assert settings.definitions
    (settings.definitions / "segments" / "returning.toml").unlink()
    refresh_segments(lake, settings, now=NOON + HOUR)
    assert intervals(lake) == [("ann", NOON, NOON + HOUR)]
    assert "returning" not in lake.scan("segments").collect()["segment"]


def test_clock_that_goes_back_stands_still(lake: Lake, settings: Settings, visit: Visit) -> None:
    visit(NOON)
    visit(NOON)
    refresh_segments(lake, settings, now=NOON + HOUR)
    visit(NOON, "bob")
    visit(NOON, "bob")
    refresh_segments(lake, settings, now=NOON)
    assert intervals(lake) == [("ann", NOON + HOUR, None), ("bob", NOON + HOUR, None)]


def test_empty_lake_has_no_members_and_a_catalogue(lake: Lake, settings: Settings) -> None:
    done = refresh_segments(lake, settings, now=NOON)
    assert (done.version, done.rows_written) == (-1, 0)
    assert catalogue(lake)["members"] == 0


PERSONS = st.sets(st.integers(0, 4))
EVALUATIONS = st.lists(st.tuples(st.integers(0, 2), PERSONS), max_size=8)


@budget(max_examples=60)
@given(EVALUATIONS)
def test_intervals_say_who_was_inside_when(evaluations: list[tuple[int, set[int]]]) -> None:
    """At each moment the open intervals are the last evaluation of it; they never overlap."""
    members = pl.DataFrame(schema=MEMBERS)
    now, last = NOON, {}
    for hours, persons in evaluations:
        now += hours * HOUR  # zero: evaluated again at the same moment
        inside = pl.DataFrame(
            {
                "segment": ["s"] * len(persons),
                "person_key": [*persons],
                "person_id": ["p"] * len(persons),
            },
            schema={name: MEMBERS[name] for name in ("segment", "person_key", "person_id")},
        )
        members = require(SegmentMembers, update_members(members, inside, now=now))
        assert update_members(members, inside, now=now).equals(members)
        last[now] = persons
    for moment, persons in last.items():
        began = pl.col("since_at") <= moment
        goes_on = pl.col("until_at").is_null() | (pl.col("until_at") > moment)
        found = members.filter(began & goes_on)["person_key"].to_list()
        assert sorted(found) == sorted(persons)
    assert members.filter(pl.col("until_at") <= pl.col("since_at")).is_empty()
