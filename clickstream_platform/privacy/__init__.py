"""Privacy: minimisation before disk, pseudonyms, suppression, keys and subject requests."""

from clickstream_platform.privacy.audit import AuditError, chained, replace_file
from clickstream_platform.privacy.certificate import (
    Certificate,
    CertificateError,
    read_certificate,
    verify_certificate,
)
from clickstream_platform.privacy.erasure import (
    ApprovalNeededError,
    ErasesPeople,
    ResidueError,
    erase_subject,
)
from clickstream_platform.privacy.export import export_subject
from clickstream_platform.privacy.identifiers import Namespace, canonical, surrogates
from clickstream_platform.privacy.keys import (
    MASTER_VARIABLE,
    Keys,
    KeyUnavailableError,
    SealedDataError,
)
from clickstream_platform.privacy.leaks import Mended, mend_leaks, scan_leaks
from clickstream_platform.privacy.minimisation import (
    QueryKeys,
    find_personal,
    read_address,
    scrub_payloads,
    scrub_records,
    scrub_texts,
    scrub_urls,
    truncate_ips,
    truncated_ip,
)
from clickstream_platform.privacy.proof import Proof, verify_proof
from clickstream_platform.privacy.register import Register, register_request
from clickstream_platform.privacy.requests import (
    RequestBusyError,
    RequestError,
    SubjectRequest,
)
from clickstream_platform.privacy.residual import ScannerBlindError, scan_residue
from clickstream_platform.privacy.returned import reapply_erasures, returned_people
from clickstream_platform.privacy.signing import canonical_json, is_signed, public_key, sign
from clickstream_platform.privacy.suppression import Suppression, SuppressionUnavailableError
from clickstream_platform.privacy.vault import Vault, VaultUnavailableError

__all__ = [
    "MASTER_VARIABLE",
    "ApprovalNeededError",
    "AuditError",
    "Certificate",
    "CertificateError",
    "ErasesPeople",
    "KeyUnavailableError",
    "Keys",
    "Mended",
    "Namespace",
    "Proof",
    "QueryKeys",
    "Register",
    "RequestBusyError",
    "RequestError",
    "ResidueError",
    "ScannerBlindError",
    "SealedDataError",
    "SubjectRequest",
    "Suppression",
    "SuppressionUnavailableError",
    "Vault",
    "VaultUnavailableError",
    "canonical",
    "canonical_json",
    "chained",
    "erase_subject",
    "export_subject",
    "find_personal",
    "is_signed",
    "mend_leaks",
    "public_key",
    "read_address",
    "read_certificate",
    "reapply_erasures",
    "register_request",
    "replace_file",
    "returned_people",
    "scan_leaks",
    "scan_residue",
    "scrub_payloads",
    "scrub_records",
    "scrub_texts",
    "scrub_urls",
    "sign",
    "surrogates",
    "truncate_ips",
    "truncated_ip",
    "verify_certificate",
    "verify_proof",
]
