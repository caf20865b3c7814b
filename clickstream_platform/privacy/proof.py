"""Checking what proves that subject requests were answered: certificates, and the log they name."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from clickstream_platform.privacy.audit import Head
from clickstream_platform.privacy.certificate import (
    CertificateError,
    read_certificate,
    verify_certificate,
)
from clickstream_platform.privacy.register import Register
from clickstream_platform.privacy.signing import public_key
from clickstream_platform.settings import Settings


class Proof(NamedTuple):
    """What was checked and held."""

    audit: Head
    """End of the audit log, which follows link by link and is as it was signed."""
    public_key: str
    """By which this platform is known."""
    certificates: tuple[str, ...]
    """Requests whose certificates it signed, and that name this log."""


def verify_proof(
    settings: Settings,
    *,
    request_id: str | None = None,
    copy: Mapping[str, object] | None = None,
) -> Proof:
    """Check the audit log, and certificates of erasure against it and the platform's key.

    Args:
        settings: Where everything lies.
        request_id: This certificate only; otherwise that of each erasure that was answered.
        copy: A certificate that was handed over, to check in place of those that are kept.

    Raises:
        CertificateError: A certificate is missing, was changed or is of another platform.

    A log that was changed is an `AuditError`, a request that nobody made a `RequestError`.
    """
    register = Register(settings)
    audit, key = register.verify_audit(), public_key(register.keys)
    entries = [(entry.number, entry.hash) for entry in register.audit()]
    if copy is not None:
        verify_certificate(copy, key=key, audit=entries)
        return Proof(audit, key, (str(copy["request_id"]),))
    asked = register.requests() if request_id is None else [register.get(request_id)]
    erased = [each for each in asked if each.certificate_sha256 is not None]
    if request_id is not None and not erased:
        raise CertificateError(request_id, "does not exist: it is no erasure that was answered")
    for each in erased:
        verify_certificate(read_certificate(settings, each.request_id), key=key, audit=entries)
        file = settings.state / "certificates" / f"{each.request_id}.json"
        if hashlib.sha256(file.read_bytes()).hexdigest() != each.certificate_sha256:
            raise CertificateError(each.request_id, "is not the one that the register names")
    return Proof(audit, key, tuple(each.request_id for each in erased))
