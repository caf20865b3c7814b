"""Events: sources, landing, the canonical event, its rules, quarantine and the ledger."""

from clickstream_platform.events.adapters import (
    Adapter,
    UnknownSourceError,
    foreign_sources,
    load_adapters,
    read_adapters,
)
from clickstream_platform.events.canonical import violation_codes
from clickstream_platform.events.formats import read_records
from clickstream_platform.events.judging import Verdict, judge
from clickstream_platform.events.landed import (
    LandedFile,
    foreign_files,
    pending_files,
    unfinished_batches,
    wait_until_settled,
)
from clickstream_platform.events.landing import ingest_files, ingest_landing
from clickstream_platform.events.ledger import FATES, Ledger, LedgerError, Progress
from clickstream_platform.events.loading import refresh_events
from clickstream_platform.events.quarantine import (
    quarantine_rows,
    quarantine_summary,
    replay_quarantine,
)
from clickstream_platform.events.retaking import retake_days

__all__ = [
    "FATES",
    "Adapter",
    "LandedFile",
    "Ledger",
    "LedgerError",
    "Progress",
    "UnknownSourceError",
    "Verdict",
    "foreign_files",
    "foreign_sources",
    "ingest_files",
    "ingest_landing",
    "judge",
    "load_adapters",
    "pending_files",
    "quarantine_rows",
    "quarantine_summary",
    "read_adapters",
    "read_records",
    "refresh_events",
    "replay_quarantine",
    "retake_days",
    "unfinished_batches",
    "violation_codes",
    "wait_until_settled",
]
