"""Keys: made once, wrapped by the master key, destroyed one by one."""

import multiprocessing
import secrets
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from clickstream_platform.privacy import (
    MASTER_VARIABLE,
    Keys,
    KeyUnavailableError,
    SealedDataError,
)


@pytest.fixture(autouse=True)
def no_master_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MASTER_VARIABLE, raising=False)


def test_sealed_bytes_open_in_their_own_context_alone(tmp_path: Path) -> None:
    sealed = Keys(tmp_path).seal(b"ann", "request|1")
    assert b"ann" not in sealed
    assert Keys(tmp_path).unseal(sealed, "request|1") == b"ann"
    with pytest.raises(SealedDataError, match=r"request\|2 cannot be opened"):
        Keys(tmp_path).unseal(sealed, "request|2")


@pytest.mark.parametrize("length", [0, 5, 12, 20])
def test_cut_bytes_are_refused(tmp_path: Path, length: int) -> None:
    sealed = Keys(tmp_path).seal(b"ann", "c")
    with pytest.raises(SealedDataError, match="was changed"):
        Keys(tmp_path).unseal(sealed[:length], "c")


def test_equal_bytes_are_never_sealed_alike(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    assert keys.seal(b"ann", "c") != keys.seal(b"ann", "c")


def test_key_files_are_for_their_owner_only_and_hold_no_plain_key(tmp_path: Path) -> None:
    key = Keys(tmp_path).get("vault-1")
    files = sorted((tmp_path / "keys").iterdir())
    assert [file.name for file in files] == ["master.key", "vault-1.key"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert all(
        key not in file.read_bytes() and key.hex().encode() not in file.read_bytes()
        for file in files
    )


def test_destroyed_key_is_another_one_when_made_anew(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    before = keys.get("vault-1")
    keys.destroy("vault-1")
    keys.destroy("vault-1")
    assert not keys.has("vault-1")
    with pytest.raises(KeyUnavailableError, match="vault-1 is missing"):
        keys.get("vault-1", create=False)
    assert keys.get("vault-1") != before


def test_master_key_of_the_environment_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASTER_VARIABLE, secrets.token_hex(32))
    sealed = Keys(tmp_path).seal(b"ann", "c")
    assert not (tmp_path / "keys" / "master.key").exists()
    assert Keys(tmp_path).unseal(sealed, "c") == b"ann"

    monkeypatch.setenv(MASTER_VARIABLE, secrets.token_hex(32))
    with pytest.raises(KeyUnavailableError, match="cannot be opened by the master key"):
        Keys(tmp_path).unseal(sealed, "c")
    monkeypatch.delenv(MASTER_VARIABLE)
    with pytest.raises(KeyUnavailableError, match="master is missing, though keys"):
        Keys(tmp_path).unseal(sealed, "c")


def test_malformed_master_key_is_refused_without_being_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASTER_VARIABLE, "hunter2hunter2")
    with pytest.raises(KeyUnavailableError, match="is not 32 bytes") as raised:
        Keys(tmp_path).get("vault-1")
    assert "hunter2" not in str(raised.value)


def test_repr_holds_no_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    assert keys.get("vault-1").hex() not in repr(keys) + repr(vars(keys)["folder"])


def make_key(folder: Path) -> str:
    return Keys(folder).get("vault-1").hex()


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    # Spawned: a test process has threads, and their locks would be forked as they are.
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        assert len(set(pool.map(make_key, [tmp_path] * 32))) == 1
