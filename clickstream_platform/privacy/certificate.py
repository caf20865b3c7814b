"""Certificates of erasure: what was found, removed and rewritten, and that nothing was left."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy.audit import replace_file
from clickstream_platform.privacy.keys import Keys
from clickstream_platform.privacy.landed import RewrittenFile
from clickstream_platform.privacy.residual import Residue
from clickstream_platform.privacy.signing import is_signed, public_key, sign
from clickstream_platform.privacy.tables import ErasedTable
from clickstream_platform.settings import Settings

_VERSION = 1


class CertificateError(ClickstreamError, ValueError):
    """A certificate is not what was signed."""

    def __init__(self, request_id: str, reason: str) -> None:
        self.request_id = request_id
        super().__init__(
            f"Certificate of {request_id} {reason}. Compare it with the one in state/certificates, "
            "and the audit log with its signed head."
        )


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Proof of one erasure, without anything of the person."""

    request_id: str
    subject_mark: str
    """Keyed digest of the identifiers: the platform can match it, nobody can read it."""
    received_at: datetime
    erased_at: datetime
    tables: tuple[ErasedTable, ...]
    files: tuple[RewrittenFile, ...]
    vault_rows: int
    """Pseudonyms forgotten, and with them the only way back to the identifiers."""
    suppressed: int
    """Identifiers on the suppression list, so that nothing of the person is taken again."""
    destinations: tuple[tuple[str, int], ...]
    """Systems that were told to erase the person, and how many records they confirmed."""
    residue: Residue
    audit_entries: int
    audit_head: str

    @property
    def rows_found(self) -> int:
        """Rows and records of the person, all stores."""
        return sum(table.rows_found for table in self.tables) + sum(f.records for f in self.files)

    def content(self) -> dict[str, object]:
        """What is signed."""
        return {
            "version": _VERSION,
            "request_id": self.request_id,
            "subject_mark": self.subject_mark,
            "received_at": self.received_at.isoformat(),
            "erased_at": self.erased_at.isoformat(),
            "tables": [asdict(table) for table in self.tables],
            "files": [asdict(file) for file in self.files],
            "vault_rows": self.vault_rows,
            "suppressed": self.suppressed,
            "destinations": dict(self.destinations),
            "residual": {
                "findings": self.residue.total,
                "by_store": self.residue.by_store,
                "files_read": self.residue.files,
            },
            "audit": {"entries": self.audit_entries, "head": self.audit_head},
        }


def certificate_from(content: Mapping[str, object]) -> Certificate:
    """Read what `Certificate.content` wrote."""
    held: dict[str, Any] = dict(content)
    residual = held["residual"]
    return Certificate(
        request_id=held["request_id"],
        subject_mark=held["subject_mark"],
        received_at=datetime.fromisoformat(held["received_at"]),
        erased_at=datetime.fromisoformat(held["erased_at"]),
        tables=tuple(map(table_from, held["tables"])),
        files=tuple(RewrittenFile(**file) for file in held["files"]),
        vault_rows=held["vault_rows"],
        suppressed=held["suppressed"],
        destinations=tuple(sorted(held["destinations"].items())),
        residue=Residue(residual["by_store"], residual["files_read"]),
        audit_entries=held["audit"]["entries"],
        audit_head=held["audit"]["head"],
    )


def table_from(held: Mapping[str, Any]) -> ErasedTable:
    """Read one table of a certificate."""
    digests = {name: tuple(held[name]) for name in ("sha256_before", "sha256_after")}
    return ErasedTable(**(dict(held) | digests))


def write_certificate(settings: Settings, keys: Keys, certificate: Certificate) -> tuple[Path, str]:
    """Sign a certificate and write it as JSON and as text; return the JSON file and its SHA-256."""
    content = json.loads(json.dumps(certificate.content()))
    signed = content | {"public_key": public_key(keys), "signature": sign(keys, content)}
    folder = settings.state / "certificates"
    file = folder / f"{certificate.request_id}.json"
    text = json.dumps(signed, indent=2, sort_keys=True).encode() + b"\n"
    replace_file(file, text)
    replace_file(file.with_suffix(".txt"), readable(content).encode())
    return file, hashlib.sha256(text).hexdigest()


def read_certificate(settings: Settings, request_id: str) -> dict[str, object]:
    """Read the certificate of an answered erasure."""
    file = settings.state / "certificates" / f"{request_id}.json"
    try:
        held: dict[str, object] = json.loads(file.read_text())
    except (OSError, ValueError):
        raise CertificateError(request_id, "cannot be read") from None
    return held


def verify_certificate(
    certificate: Mapping[str, object], *, key: str, audit: Sequence[tuple[int, str]] = ()
) -> None:
    """Check that a certificate was signed by a key, and that its audit log reached so far.

    Args:
        certificate: As `read_certificate` reads it.
        key: The public key that the platform is known by; not the one in the certificate.
        audit: Number and hash of each entry of the audit log, to compare the head with.

    Raises:
        CertificateError: It was changed, signed by somebody else, or its log is gone.
    """
    request_id = str(certificate.get("request_id", "(unknown)"))
    content = {k: v for k, v in certificate.items() if k not in {"signature", "public_key"}}
    if not is_signed(content, str(certificate.get("signature", "")), key=key):
        raise CertificateError(request_id, "does not carry the platform's signature")
    claimed = certificate.get("audit")
    if audit and isinstance(claimed, dict):
        held = dict(audit).get(int(claimed["entries"]))
        if held != claimed["head"]:
            raise CertificateError(request_id, "names an audit log that is not this one")


def readable(content: Mapping[str, object]) -> str:
    """Print what a certificate says, for people."""
    tables = [table for table in _dicts(content["tables"]) if _touched(table)]
    files: dict[str, tuple[int, int]] = {}
    for file in _dicts(content["files"]):
        count, records = files.get(str(file["store"]), (0, 0))
        files[str(file["store"])] = count + 1, records + int(str(file["records"]))
    residual = content["residual"]
    if not isinstance(residual, dict):
        raise CertificateError(str(content["request_id"]), "names no residual scan")
    lines = [
        "Certificate of erasure",
        "",
        f"Request            {content['request_id']}",
        f"Received           {content['received_at']}",
        f"Erased             {content['erased_at']}",
        f"Residual scan      {residual['findings']} findings in {residual['files_read']:,} files",
        f"Vault              {content['vault_rows']} pseudonyms forgotten",
        f"Suppression list   {content['suppressed']} identifiers",
        "",
        "Table                    rows found   removed   unlinked   files rewritten",
    ]
    lines += [
        f"{table['table']!s:<24}{int(str(table['rows_found'])):>11,}"
        f"{int(str(table['rows_removed'])):>10,}{int(str(table['rows_unlinked'])):>11,}"
        f"{len(list(_any(table['sha256_before']))):>18,}"
        for table in tables
    ] or ["(none)"]
    lines += ["", "Files outside the lake        files   records"]
    lines += [f"{name:<24}{count:>11,}{records:>10,}" for name, (count, records) in files.items()]
    return "\n".join([*lines, ""])


def _dicts(value: object) -> list[dict[str, object]]:
    return [item for item in _any(value) if isinstance(item, dict)]


def _any(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else []


def _touched(table: Mapping[str, object]) -> bool:
    return any(table[name] for name in ("rows_found", "rows_removed", "rows_unlinked"))
