"""The vault: pseudonyms that stay, join, can be revealed, rotated and forgotten."""

import hashlib
import hmac
import multiprocessing
import random
import secrets
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_platform.errors import ParameterError
from clickstream_platform.privacy import (
    Keys,
    KeyUnavailableError,
    Namespace,
    Vault,
    VaultUnavailableError,
    canonical,
    surrogates,
)
from clickstream_platform.privacy.vault import VAULT_FILE

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault")


def tokens(vault: Vault, *raw: str | None, namespace: Namespace = "visitor") -> list[str | None]:
    return vault.tokens(namespace, pl.Series("id", raw, dtype=pl.String)).to_list()


def token(vault: Vault, raw: str, namespace: Namespace = "visitor") -> str:
    (found,) = tokens(vault, raw, namespace=namespace)
    assert found is not None
    return found


def stored_bytes(vault: Vault) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(vault.folder.glob("*.sqlite*")))


def test_pseudonyms_are_aligned_and_equal_for_equal_identifiers(vault: Vault) -> None:
    found = vault.tokens("visitor", pl.Series("id", ["a", None, "b", " ", "a", ""]))
    assert found.name == "id"
    first, null, second, blank, again, empty = found
    assert (null, blank, empty) == (None, None, None)
    assert first == again != second
    assert found.drop_nulls().str.contains("^pv_[0-9a-f]{32}$").all()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        pytest.param("Ann@Example.com ", ANN, True, id="case and blanks of a mailbox"),
        pytest.param("ａnn@example.com", ANN, True, id="full-width letter"),  # noqa: RUF001 - meant
        pytest.param("STRASSE@example.com", "straße@example.com", True, id="folded case"),
        pytest.param("Ann", "ann", False, id="case of an account"),
        pytest.param("00123", "123", False, id="leading zeros"),
        pytest.param("1" * 30, "1" * 29 + "2", False, id="last of thirty digits"),
    ],
)
def test_identifiers_are_one_if_they_are_canonically_the_same(
    vault: Vault, one: str, other: str, *, is_same: bool
) -> None:
    found = tokens(vault, one, other)
    assert (found[0] == found[1]) == is_same
    assert (vault.find("visitor", other) == found[0]) == is_same


@given(st.text())
def test_canonical_form_of_a_canonical_form_is_itself(identifier: str) -> None:
    assert canonical(canonical(identifier)) == canonical(identifier)


def test_namespaces_do_not_join(vault: Vault) -> None:
    visitor, user = token(vault, ANN), token(vault, ANN, "user")
    assert (visitor[:3], user[:3]) == ("pv_", "pu_")
    assert visitor[3:] != user[3:]
    assert vault.find("user", BOB) is None


def test_finding_makes_nothing(vault: Vault) -> None:
    assert vault.find("visitor", ANN) is None
    assert vault.find("visitor", ANN) is None


def test_surrogate_is_the_number_of_the_first_fifteen_digits() -> None:
    table = pl.DataFrame({"id": ["pv_00000000000000f" + "0" * 17, None, "pv_x", "pu_" + "f" * 32]})
    found = table.select(surrogates("id").alias("key"))["key"]
    assert found.dtype == pl.Int64
    assert found.to_list() == [15, None, None, 2**60 - 1]


def test_surrogates_stay_unique_when_chance_repeats_one(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = token(vault, "a")
    draws = iter([taken[3:18] + "0" * 17 + "1" * 32, "2" * 32])
    monkeypatch.setattr(
        "clickstream_platform.privacy.vault.secrets.token_hex", lambda _: next(draws)
    )
    assert set(tokens(vault, "b", "c")) == {"pv_" + "1" * 32, "pv_" + "2" * 32}
    assert token(vault, "a") == taken


def test_pseudonyms_pass_only_when_they_may_and_are_known(vault: Vault) -> None:
    known, unknown = token(vault, "a"), "pv_" + "0" * 32
    given = pl.Series([known, unknown, "a"])
    assert vault.tokens("visitor", given, keep_tokens=True).to_list() == [known, None, known]
    outsider = vault.tokens("visitor", given)
    assert outsider[2] == known
    assert outsider[0] not in {known, None}


def test_revealing_gives_identifiers_and_is_logged(vault: Vault) -> None:
    found = [*tokens(vault, " Ann@example.com", "00123"), None, "pv_" + "0" * 32]
    revealed = vault.reveal(pl.Series("id", found), purpose="crm", now=NOON)
    assert revealed.to_list() == [ANN, "00123", None, None]
    assert vault.reveals().rows() == [(NOON, "crm", 2)]
    with pytest.raises(ParameterError, match="purpose must say why"):
        vault.reveal(revealed, purpose=" ", now=NOON)


def test_rotation_keeps_joins_and_leaves_nothing_of_the_old_key(vault: Vault) -> None:
    before = tokens(vault, *(f"id{i}" for i in range(50)), ANN)
    old = Keys(vault.folder).get("vault-1")
    other_process = Vault(vault.folder)
    assert token(other_process, ANN) == before[-1]

    assert vault.rotate(NOON) == 2
    assert tokens(vault, *(f"id{i}" for i in range(50)), ANN) == before
    assert token(other_process, ANN) == before[-1]
    assert vault.find("visitor", ANN) == before[-1]
    assert vault.reveal(pl.Series(before[-1:]), purpose="test", now=NOON).to_list() == [ANN]
    assert Keys(vault.folder).names() == ["vault-2"]
    assert Keys(vault.folder).get("vault-2") != old


def test_rotation_cut_off_in_the_middle_changes_nothing(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tokens(vault, "a", "b", "c")
    reads = 0

    def interrupted(*_: object) -> int:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise KeyboardInterrupt
        return 1

    with monkeypatch.context() as patch:
        patch.setattr("clickstream_platform.privacy.vault.surrogate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            vault.rotate(NOON)
    assert tokens(Vault(vault.folder), "a", "b", "c") == before
    assert Vault(vault.folder).rotate(NOON) == 2
    assert tokens(vault, "a", "b", "c") == before


def test_old_key_that_a_crash_left_behind_is_destroyed_later(vault: Vault, tmp_path: Path) -> None:
    before = token(vault, ANN)
    key = vault.folder / "keys" / "vault-1.key"
    shutil.copy(key, tmp_path / "kept")
    vault.rotate(NOON)
    shutil.copy(tmp_path / "kept", key)
    assert token(Vault(vault.folder), ANN) == before
    assert Keys(vault.folder).names() == ["vault-2"]


def test_forgotten_pseudonym_leaves_no_byte_and_never_comes_back(vault: Vault) -> None:
    found = tokens(vault, *(f"id{i}" for i in range(500)), ANN)
    ann = found[-1]
    assert ann is not None
    rest, number = ann[18:].encode(), int(ann[3:18], 16).to_bytes(8, "big")
    assert rest in stored_bytes(vault)
    assert number in stored_bytes(vault)

    assert vault.forget(pl.Series([ann, None, "pv_" + "0" * 32])) == 1
    assert rest not in stored_bytes(vault)
    assert number not in stored_bytes(vault)
    assert vault.find("visitor", ANN) is None
    assert vault.forget(pl.Series([ann])) == 0
    assert tokens(vault, "id0") == found[:1]
    assert token(vault, ANN) != ann


def test_dictionary_attack_on_the_files_fails_without_the_key(vault: Vault) -> None:
    # Who steals the files hashes every address there is, as one may with salted hashes.
    found = token(vault, ANN)
    stolen = stored_bytes(vault)
    guesses = [ANN.encode(), b"visitor|" + ANN.encode(), ANN.encode() + b"visitor"]
    for guess in guesses:
        assert guess not in stolen
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
            digests = [hashlib.new(name, guess).digest()]
            digests += [
                hmac.digest(key, guess, name) for key in (b"", b"visitor", b"pv_", found.encode())
            ]
            for digest in digests:
                assert digest[:16] not in stolen
                assert digest[:12].hex() not in found
    assert found not in {token(Vault(vault.folder.parent / "other"), ANN)}


def test_same_vault_under_a_new_key_is_refused(vault: Vault) -> None:
    token(vault, ANN)
    Keys(vault.folder).destroy("vault-1")
    with pytest.raises(KeyUnavailableError, match="vault-1 is missing") as raised:
        token(Vault(vault.folder), ANN)
    assert "ann" not in str(raised.value).replace("cannot", "")


def test_lost_vault_is_not_silently_begun_anew(vault: Vault) -> None:
    token(vault, ANN)
    vault.file.unlink()
    with pytest.raises(VaultUnavailableError, match="is missing, though its keys exist"):
        token(vault, ANN)


def test_damaged_vault_is_refused(vault: Vault) -> None:
    token(vault, ANN)
    vault.file.write_bytes(b"not a database" * 1_000)
    with pytest.raises(VaultUnavailableError, match="is damaged"):
        token(vault, ANN)


def test_numbers_are_refused_rather_than_read_as_identifiers(vault: Vault) -> None:
    with pytest.raises(ParameterError, match="must be a column of text"):
        vault.tokens("visitor", pl.Series([123]))
    with pytest.raises(ParameterError, match="namespace must be"):
        vault.tokens("crm", pl.Series(["a"]))  # type: ignore[arg-type]  # what is tested
    assert vault.tokens("visitor", pl.Series([None, None])).to_list() == [None, None]


def test_files_are_for_their_owner_alone(vault: Vault) -> None:
    token(vault, ANN)
    assert {file.stat().st_mode & 0o077 for file in vault.folder.rglob("*.*")} == {0}
    assert ANN not in repr(vault)


def pseudonyms(folder: Path, seed: int) -> dict[str, str | None]:
    """Pseudonyms that one process gets for identifiers which it shares with others."""
    vault, rng = Vault(folder), random.Random(seed)
    found: dict[str, str | None] = {}
    for _ in range(3):
        raw = [f"id{rng.randrange(200)}" for _ in range(100)]
        found |= zip(raw, tokens(vault, *raw), strict=True)
        if seed == 0:
            vault.rotate(NOON)
    return found


@pytest.mark.slow
def test_processes_that_work_and_rotate_at_once_agree(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        results = [*pool.map(pseudonyms, [tmp_path] * 3, range(3))]
    agreed: dict[str, str | None] = {}
    for found in results:
        assert found.items() == {raw: agreed.setdefault(raw, t) for raw, t in found.items()}.items()
    assert len(set(agreed.values())) == len(agreed)
    assert tokens(Vault(tmp_path), *agreed) == list(agreed.values())


@pytest.mark.slow
def test_pseudonyms_that_were_given_out_survive_a_kill(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import polars as pl\n"
        "from clickstream_platform.privacy import Vault\n"
        f"vault = Vault(Path({str(tmp_path)!r}))\n"
        "for i in range(10**6):\n"
        "    raw = [f'id{i}', f'id{i + 1}']\n"
        "    print(*raw, *vault.tokens('visitor', pl.Series(raw)), flush=True)\n"
    )
    process = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(secrets.randbelow(40) + 10)]
    process.send_signal(signal.SIGKILL)
    lines += [line for line in process.stdout.read().splitlines() if line.count(" ") == 3]
    process.wait()
    process.stdout.close()
    given = {
        raw: token
        for line in lines
        for raw, token in zip(line.split()[:2], line.split()[2:], strict=True)
        if len(token) == 35
    }
    assert tokens(Vault(tmp_path), *given) == list(given.values())
    assert (tmp_path / VAULT_FILE).exists()
