"""`clickstream identity`: shown, split, restored, asked as of a moment; sessions follow."""

import json
from pathlib import Path

import pytest

from clickstream_platform.identity import refresh_identity
from clickstream_platform.lake import Lake
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.cli.test_commands import clickstream, rows_of
from clickstream_platform_tests.privacy.household import (
    ANN,
    ANN_PHONE,
    BOB,
    TABLET,
    household,
    land,
    materialize,
    token,
    zipped,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Ann's and Bob's household, everything up to date; each test leaves it as it was."""
    settings = load_settings(tmp_path_factory.mktemp("home"))
    land(settings, "household.ndjson.gz", zipped(household()))
    materialize(settings)
    return settings


def follow(settings: Settings) -> None:
    """Bring people and their sessions up to date."""
    lake = Lake(settings.lake_folder)
    refresh_identity(lake, settings)
    refresh_sessions(lake, settings)


def person_of_phone(settings: Settings) -> set[str]:
    phone = token(settings, "visitor", ANN_PHONE)
    sessions = Lake(settings.lake_folder).scan("sessions").collect()
    return set(sessions.filter(sessions["visitor_id"] == phone)["person_id"])


def test_shown_split_and_restored(home: Settings) -> None:
    ann, phone = token(home, "user", ANN), token(home, "visitor", ANN_PHONE)
    shown = rows_of("identity", "show", "--user", ANN, data=home.data)
    links = {(row["identifier_id"], row["other_id"]): row for row in shown}
    assert links[phone, ann]["person_id"] == ann
    tablet = token(home, "visitor", TABLET)
    assert links[tablet, ann]["undone_by"] == "shared"
    assert person_of_phone(home) == {ann}

    words = ("--visitor", ANN_PHONE, "--reason", "sold to ann@example.com", "--actor", "care")
    decided = json.loads(clickstream("identity", "split", *words, "--json", data=home.data))
    follow(home)
    assert person_of_phone(home) == {ann, phone}, "what was hers while signed in stays hers"
    listed = rows_of("identity", "decisions", data=home.data)
    assert [(row["kind"], row["actor"], row["stands"]) for row in listed] == [
        ("split", "care", True)
    ]
    assert "example.com" not in listed[0]["reason"], "reasons are minimised"

    again = (decided["decision_id"], "--reason", "still hers")
    clickstream("identity", "restore", *again, data=home.data)
    follow(home)
    assert person_of_phone(home) == {ann}


def test_as_of_a_moment(home: Settings) -> None:
    # The tablet was Ann's (12:05) until Bob signed in a minute later.
    tablet = token(home, "visitor", TABLET)
    ask = ("identity", "as-of", "--visitor", tablet)
    before = rows_of(*ask, "--valid", "2026-03-02T12:05:30", data=home.data)
    assert [
        (row["visitor_id"], row["is_shared"]) for row in before if row["visitor_id"] == tablet
    ] == [(tablet, False)]
    now = rows_of(*ask, data=home.data)
    assert {row["is_shared"] for row in now} == {True}
    assert rows_of(*ask, "--recorded", "2026-03-02T11:00:00", data=home.data) == []


def test_unmerge_and_pictures(home: Settings, tmp_path: Path) -> None:
    words = ("--visitor", TABLET, "--user", BOB, "--reason", "a guest")
    said = clickstream("identity", "unmerge", *words, data=home.data)
    assert "Next: clickstream materialize" in said
    refresh_identity(Lake(home.lake_folder), home)
    file = tmp_path / "ann.png"
    shown = rows_of("identity", "show", "--user", ANN, "--picture", str(file), data=home.data)
    assert {row["undone_by"] for row in shown if row["other_id"] == token(home, "user", BOB)} == {
        "decision"
    }
    decision = rows_of("identity", "decisions", data=home.data)[-1]["decision_id"]
    clickstream("identity", "restore", decision, "--reason", "x", data=home.data)
    refresh_identity(Lake(home.lake_folder), home)
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("show",), id="nobody is named"),
        pytest.param(("show", "--user", ANN, "--visitor", TABLET), id="two are named"),
        pytest.param(("show", "--user", "nobody-we-know"), id="never seen"),
        pytest.param(("unmerge", "--user", ANN, "--reason", "x"), id="a link with one end"),
        pytest.param(("split", "--user", ANN), id="no reason"),
    ],
)
def test_what_cannot_be_done_is_refused(words: tuple[str, ...], home: Settings) -> None:
    clickstream("identity", *words, data=home.data, code=1)
