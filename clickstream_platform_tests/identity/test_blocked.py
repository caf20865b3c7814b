"""Blocked identifiers: what stands for nobody."""

import os
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.errors import DefinitionError
from clickstream_platform.identity import BLOCKED_IDS, blocked_ids, load_blocked


def blocked(*identifiers: str | None) -> list[bool | None]:
    frame = pl.DataFrame({"id": identifiers}, schema={"id": pl.String})
    return frame.select(blocked_ids().is_blocked(pl.col("id")))["id"].to_list()


@pytest.mark.parametrize(
    "identifier",
    [
        *("", " ", "NULL", " Undefined\n", "00000000-0000-0000-0000-000000000000"),
        *('"null"', "'Undefined'", "\"'0'\"", "''", '" "', "distinctId", "not_authenticated"),
        *("(null)", "{{ user.id }}", "${userId}", "<%= id %>", "%%ID%%", "\uff4eull", "\uff10"),
        *("0000", "0-0", "-1", "[email]", "[erased]", "Test@example.org", "no-reply@example.com"),
    ],
)
def test_stands_for_nobody(identifier: str) -> None:
    assert blocked(identifier) == [True]


@pytest.mark.parametrize(
    "identifier",
    [
        "00123",
        '"',
        '"null',
        "'ann'",
        "email-1",
        "1",
        "nobody",
        "a0",
        "0x0",
        "null-7",
        "annonymous",
        "my-test@x.org",
        "[1]",
        "{ann}",
        "$ann",
        "100%%",
    ],
)
def test_stands_for_somebody(identifier: str) -> None:
    assert blocked(identifier) == [False]


def test_where_there_is_no_identifier_nothing_is_said() -> None:
    assert blocked(None, "x") == [None, False]


def test_own_file_replaces_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "blocked.toml").write_text(
        'values = ["kiosk"]\npatterns = ["t-\\\\d"]'
    )
    own = blocked_ids(tmp_path)
    frame = pl.DataFrame({"id": ["kiosk", "null", "T-1", "t-12"]})
    assert frame.select(own.is_blocked(pl.col("id")))["id"].to_list() == [True, False, True, False]


def test_file_that_changes_is_read_again(tmp_path: Path) -> None:
    own = tmp_path / "identity" / "blocked.toml"
    own.parent.mkdir()
    own.write_text('values = ["kiosk"]')
    assert blocked_ids(tmp_path).values == {"kiosk"}
    own.write_text('values = ["till"]')
    os.utime(own, ns=(1, 1))
    assert blocked_ids(tmp_path).values == {"till"}
    own.unlink()
    assert blocked_ids(tmp_path).values == BLOCKED_IDS


def test_shipped_values_are_used_where_there_is_no_own_file(tmp_path: Path) -> None:
    assert blocked_ids(tmp_path).values == BLOCKED_IDS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("values = [", "syntax.*must be TOML", id="no TOML"),
        pytest.param("patterns = []", "values.*is missing", id="no values"),
        pytest.param("values = []\nother = 1", "other.*is no key here", id="unknown key"),
    ],
)
def test_unusable_file_is_refused_with_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "blocked.toml"
    file.write_text(text)
    with pytest.raises(DefinitionError, match=f"(?s)blocked.toml.*{complaint}"):
        load_blocked(file)
