"""Erased people whom a restored backup brings back: found, and erased once more."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from clickstream_platform.privacy.register import Register
from clickstream_platform.privacy.residual import scan_residue
from clickstream_platform.privacy.returned import reapply_erasures, returned_people
from clickstream_platform.settings import Settings
from clickstream_platform_tests.privacy.household import (
    ANN,
    ANN_PHONE,
    TODAY,
    contents,
    erase,
    materialize,
    token,
)

NEWEST = ("state/requests.db", "state/requests.head.json", "state/vault/suppression.sqlite")
"""What is put back from the newest copy when the whole folder was restored."""

VAULT = "state/vault/vault.sqlite"
LEDGER = "state/ledger.db"


def restore(home: Settings, backup: Path, parts: Sequence[str]) -> None:
    """Put parts of a data folder back as they were in a backup."""
    for part in parts:
        target = home.data / part
        if target.is_dir():
            shutil.rmtree(target)
            shutil.copytree(backup / part, target)
        else:
            for file in target.parent.glob(f"{target.name}*"):
                file.unlink()
            for file in (backup / part).parent.glob(f"{target.name}*"):
                shutil.copy2(file, target.parent)


def dies(*_: object, **__: object) -> None:
    """Stand for the eraser in a process that is killed."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(["lake", "landing", LEDGER, VAULT], id="all but register and list"),
        pytest.param(["lake", "landing", LEDGER], id="all but register, list and vault"),
        pytest.param(["lake", "landing"], id="lake and landing"),
        pytest.param(["lake"], id="lake"),
        pytest.param(["lake/events"], id="one table"),
        pytest.param([VAULT], id="vault"),
    ],
)
def test_who_comes_back_with_a_backup_is_found_and_erased_again(
    home: Settings, ingested: Path, parts: list[str]
) -> None:
    tokens = [token(home, "user", ANN), token(home, "visitor", ANN_PHONE)]
    first = erase(home, ("user", ANN)).request_id
    materialize(home)
    before = contents(home)
    restore(home, ingested, parts)
    (back,) = returned_people(home)
    assert (back.request_id, back.tokens, back.is_erased) == (first, tuple(sorted(tokens)), True)
    materialize(home)  # what waits is taken, as the command does
    (again,) = reapply_erasures(home, now=TODAY)
    assert Register(home).steps(again.request_id)["reapplies"] == {"request": first}
    assert returned_people(home) == []
    assert scan_residue(home, [("user", ANN), ("visitor", ANN_PHONE)], tokens).by_store == {}
    materialize(home)
    for table in ("identity_map", "sessions", "conversions"):
        assert len(contents(home)[table]) == len(before[table])
    assert reapply_erasures(home, now=TODAY) == []


def test_nobody_is_back_after_an_erasure(home: Settings) -> None:
    assert returned_people(home) == []
    erase(home, ("user", ANN))
    materialize(home)
    assert returned_people(home) == []


def test_an_unfinished_erasure_is_no_return_and_is_left_alone(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickstream_platform.privacy.erasure.LandedEraser", dies)
    with pytest.raises(KeyboardInterrupt):
        erase(home, ("user", ANN))
    assert [each.is_erased for each in returned_people(home)] == [False]
    assert reapply_erasures(home, now=TODAY) == []


def test_a_killed_repetition_goes_on_under_its_request(
    home: Settings, ingested: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    erase(home, ("user", ANN))
    restore(home, ingested, ["lake", "landing", LEDGER, VAULT])
    with monkeypatch.context() as patch:
        patch.setattr("clickstream_platform.privacy.erasure.LandedEraser", dies)
        with pytest.raises(KeyboardInterrupt):
            reapply_erasures(home, now=TODAY)
    (again,) = reapply_erasures(home, now=TODAY)
    erasures = [each.request_id for each in Register(home).requests()]
    assert len(erasures) == 2
    assert again.request_id in erasures
