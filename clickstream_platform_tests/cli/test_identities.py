"""`clickstream identity`: shown, split, restored, asked as of a moment; sessions follow."""

import json
from datetime import timedelta
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
    NOON,
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
    assert [row["undone_by"] for row in before if row["identifier_id"] == tablet] == [None]
    now = rows_of(*ask, data=home.data)
    assert {row["undone_by"] for row in now} == {"shared"}
    assert rows_of(*ask, "--recorded", "2026-03-02T11:00:00", data=home.data) == []


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Ann gave her address in an order; Carl his, and his number, on his phone."""
    settings = load_settings(tmp_path_factory.mktemp("shop"))
    records = [
        tracked(0, "s-1", userId="ann-7", traits={"email": "ann@example.com"}),
        tracked(1, "s-2", anonymousId="c", traits={"email": "carl@example.com", "phone": "4711"}),
    ]
    land(settings, "shop.ndjson.gz", zipped(records), source="segment")
    materialize(settings)
    return settings


def tracked(minute: int, number: str, traits: dict[str, str], **ids: str) -> dict[str, object]:
    at = (NOON + timedelta(minutes=minute, microseconds=250_000)).isoformat()
    event: dict[str, object] = {"type": "track", "event": "Order", "messageId": number}
    return event | {"timestamp": at, "receivedAt": at, "context": {"traits": traits}} | ids


def test_as_of_knows_identifiers_of_every_kind_at_moments_as_they_are_shown(
    shop: Settings,
) -> None:
    ann = token(shop, "user", "ann-7")
    ask = ("identity", "as-of", "--identifier", "email=ann@example.com")
    (now,) = rows_of(*ask, data=shop.data)
    assert (now["cause"], now["person_id"]) == ("login", ann)
    assert rows_of("identity", "as-of", "--user", ann, data=shop.data) == [now]
    assert rows_of(*ask, "--recorded", now["recorded_at"], data=shop.data) == [now]
    in_paris = "2026-03-02T13:00:00+01:00"  # a quarter of a second earlier
    assert rows_of(*ask, "--recorded", in_paris, data=shop.data) == []
    clickstream(*ask, "--valid", "yesterday", data=shop.data, code=2)


def test_link_between_two_further_identifiers_can_be_undone(shop: Settings) -> None:
    ends = ("--identifier", "email=carl@example.com", "--identifier", "phone=4711")
    clickstream("identity", "unmerge", *ends, "--reason", "his mother's", data=shop.data)
    refresh_identity(Lake(shop.lake_folder), shop)
    shown = rows_of("identity", "show", "--visitor", "c", data=shop.data)
    assert {(row["identifier_type"], row["other_type"], row["undone_by"]) for row in shown} == {
        ("visitor", "email", None), ("visitor", "phone", None), ("phone", "email", "decision"),
    }  # fmt: skip


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
