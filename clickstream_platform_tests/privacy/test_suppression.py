"""The suppression list: who is on it stays on it, and without it nothing passes."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.privacy import Suppression, SuppressionUnavailableError, Vault

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def suppression(tmp_path: Path) -> Suppression:
    return Suppression(tmp_path)


def is_suppressed(suppression: Suppression, *raw: str | None) -> list[bool]:
    return suppression.mask("user", pl.Series("id", raw, dtype=pl.String)).to_list()


def test_listed_people_are_masked_in_every_spelling(suppression: Suppression) -> None:
    assert (
        suppression.add("user", [ANN, " ANN@example.com", "", "7"], request_id="r", now=NOON) == 2
    )
    found = is_suppressed(suppression, "Ann@Example.com", BOB, None, "", "7", "07")
    assert found == [True, False, False, False, True, False]


def test_empty_list_masks_nobody(suppression: Suppression) -> None:
    assert is_suppressed(suppression, ANN, None) == [False, False]
    assert suppression.mask("user", pl.Series([], dtype=pl.String)).to_list() == []


def test_namespaces_and_pseudonyms_are_apart(suppression: Suppression) -> None:
    token = "pu_" + "1" * 32
    suppression.add("user", [ANN], request_id="r", now=NOON)
    suppression.add_tokens([token], request_id="r", now=NOON)
    assert suppression.mask("visitor", pl.Series([ANN])).to_list() == [False]
    assert suppression.mask_tokens(pl.Series([token, None, ANN])).to_list() == [True, False, False]


def test_adding_twice_changes_nothing(suppression: Suppression) -> None:
    assert suppression.add("user", [ANN], request_id="r1", now=NOON) == 1
    assert suppression.add("user", [ANN, BOB], request_id="r2", now=NOON) == 1


def test_list_holds_no_identifiers_and_outlives_the_keys_of_the_vault(tmp_path: Path) -> None:
    vault, suppression = Vault(tmp_path), Suppression(tmp_path)
    token = vault.tokens("user", pl.Series([ANN]))
    suppression.add("user", [ANN], request_id="r", now=NOON)
    vault.rotate(NOON)
    assert is_suppressed(Suppression(tmp_path), ANN) == [True]
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("suppression*"))
    assert ANN.encode() not in stored
    assert token[0].encode() not in stored


def test_lost_list_lets_nobody_pass(suppression: Suppression) -> None:
    suppression.add("user", [ANN], request_id="r", now=NOON)
    suppression.file.unlink()
    with pytest.raises(SuppressionUnavailableError, match="is missing, though its key exists"):
        is_suppressed(suppression, BOB)


def test_lost_key_lets_nobody_pass(tmp_path: Path) -> None:
    Suppression(tmp_path).add("user", [ANN], request_id="r", now=NOON)
    (tmp_path / "keys" / "suppression.key").unlink()
    with pytest.raises(SuppressionUnavailableError, match="has no key"):
        is_suppressed(Suppression(tmp_path), BOB)


@pytest.mark.parametrize("content", [b"", b"garbage" * 2_000])
def test_unreadable_list_lets_nobody_pass(suppression: Suppression, content: bytes) -> None:
    suppression.add("user", [ANN], request_id="r", now=NOON)
    suppression.file.write_bytes(content)
    with pytest.raises(SuppressionUnavailableError, match="cannot be read"):
        is_suppressed(suppression, BOB)


def test_many_identifiers_are_masked_at_once(suppression: Suppression) -> None:
    listed = {f"id{i}" for i in range(0, 5_000, 7)}
    suppression.add("user", listed, request_id="r", now=NOON)
    raw = [f"id{i}" for i in range(5_000)]
    assert is_suppressed(suppression, *raw) == [each in listed for each in raw]
