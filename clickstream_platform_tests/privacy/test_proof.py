"""Proof: certificates and the audit log that they name are checked, and changes are seen."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.privacy import AuditError, CertificateError, verify_proof
from clickstream_platform.privacy.audit import Head
from clickstream_platform.privacy.requests import RequestError
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.privacy.household import ANN, BOB, asked, erase

load_commands()


def certificate(home: Settings) -> Path:
    (file,) = (home.state / "certificates").glob("*.json")
    return file


def rewritten(home: Settings) -> None:
    """The same certificate with other line ends: signed still, but not what was answered."""
    file = certificate(home)
    file.write_text(json.dumps(json.loads(file.read_text())))


def changed(home: Settings) -> None:
    file = certificate(home)
    file.write_text(file.read_text().replace('"vault_rows": 2', '"vault_rows": 3'))


def edited(home: Settings) -> None:
    with closing(sqlite3.connect(home.state / "requests.db")) as connection:
        connection.execute("UPDATE audit SET entry = replace(entry, 'erase', 'export')")
        connection.commit()


def test_every_certificate_is_checked_with_the_log_that_it_names(home: Settings) -> None:
    request_id = erase(home, ("user", ANN)).request_id
    asked(home, ("user", BOB))
    proof = verify_proof(home)
    assert proof.certificates == (request_id,)
    assert proof == verify_proof(home, request_id=request_id)
    copy = json.loads(certificate(home).read_text())
    certificate(home).unlink()
    assert verify_proof(home, copy=copy) == proof


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        pytest.param(changed, CertificateError, "signature", id="a number in the certificate"),
        pytest.param(rewritten, CertificateError, "register names", id="its bytes"),
        pytest.param(
            lambda home: certificate(home).unlink(), CertificateError, "cannot be read", id="gone"
        ),
        pytest.param(edited, AuditError, "does not follow", id="an entry of the log"),
    ],
)
def test_what_was_changed_is_seen(
    home: Settings, change: Callable[[Settings], None], error: type[Exception], told: str
) -> None:
    erase(home, ("user", ANN))
    change(home)
    with pytest.raises(error, match=told):
        verify_proof(home)


def test_certificate_of_another_platform_is_none_of_this(home: Settings, tmp_path: Path) -> None:
    erase(home, ("user", ANN))
    other = load_settings(tmp_path / "other")
    erase(other, ("user", BOB))
    with pytest.raises(CertificateError, match="does not carry the platform's signature"):
        verify_proof(other, copy=json.loads(certificate(home).read_text()))


def test_nothing_answered_and_nothing_known_are_told(settings: Settings, home: Settings) -> None:
    assert verify_proof(settings).audit == Head(0, "0" * 64)
    with pytest.raises(CertificateError, match="no erasure that was answered"):
        verify_proof(home, request_id=asked(home, ("user", ANN)))
    with pytest.raises(RequestError):
        verify_proof(home, request_id="req_000000000000")


def test_command_checks_all_one_or_a_copy(home: Settings, tmp_path: Path) -> None:
    request_id = erase(home, ("user", ANN)).request_id

    def verify(*words: str) -> str:
        found = CliRunner().invoke(app, ["subject", "verify", *words, "--data", str(home.data)])
        return found.stdout if found.exit_code == 0 else str(found.exception)

    assert json.loads(verify("--json"))["certificates"] == [request_id]
    assert f"Certificate of {request_id}: signed" in verify(request_id)
    assert f"Certificate of {request_id}: signed" in verify("--copy", str(certificate(home)))
    assert "a copy says itself" in verify(request_id, "--copy", str(certificate(home)))
    (tmp_path / "list.json").write_text("[]")
    assert "holds no certificate" in verify("--copy", str(tmp_path / "list.json"))
    changed(home)
    assert "does not carry the platform's signature" in verify()
