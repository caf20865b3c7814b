"""The outbox: audiences as files, for whoever has no CRM yet or fetches them from a folder.

Its files hold raw user identifiers by nature, so only their owner may read them, and an erasure
rewrites them (`remove_from_outbox`).
"""

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from datetime import UTC
from pathlib import Path

from clickstream_platform.activation import Outcome, Record

SUFFIX = ".jsonl"
UNFINISHED = ".unfinished"
"""Suffix of a file that is being written; left behind only by a crash."""


class Outbox:
    """A folder of files, one JSON object per line and record.

    A file appears whole or not at all. A record that may have been written before is looked for
    by its key, so a sync that was killed writes nobody twice.

    Args:
        folder: Where the files go; made when there is something to write.
        id_property: Name of the property that holds the identifier, for the reader.
    """

    name = "outbox"
    batch_size = 10_000

    def __init__(self, folder: Path, *, id_property: str = "external_user_id") -> None:
        self.folder = folder
        self.id_property = id_property

    def __repr__(self) -> str:
        return f"Outbox({str(self.folder)!r})"

    def upsert(self, records: Sequence[Record]) -> list[Outcome]:
        """Write records into one new file, those left out that are there already."""
        resent = {record.idempotency_key for record in records if record.is_resend}
        there = self._written(resent) if resent else set()
        lines = [self._line(record) for record in records if record.idempotency_key not in there]
        if lines:
            replace_file(self.folder / self._file_name(records), "".join(lines))
        return [Outcome(record.idempotency_key, "delivered") for record in records]

    def erase(self, ids: Sequence[str]) -> int:
        """Take people out of the files that lie here, and return how many records that were."""
        return remove_from_outbox(self.folder, ids)

    def _line(self, record: Record) -> str:
        content = {
            "idempotency_key": record.idempotency_key,
            "operation": record.operation,
            "id_property": self.id_property,
            "id": record.crm_id,
            "properties": dict(record.properties),
            "synced_at": record.synced_at.astimezone(UTC).isoformat(),
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"

    def _file_name(self, records: Sequence[Record]) -> str:
        keys = ",".join(record.idempotency_key for record in records)
        at = max(record.synced_at for record in records).astimezone(UTC)
        return f"{at:%Y%m%dT%H%M%SZ}-{hashlib.sha256(keys.encode()).hexdigest()[:12]}{SUFFIX}"

    def _written(self, keys: Collection[str]) -> set[str]:
        """Those keys that a file holds."""
        found: set[str] = set()
        for file in sorted(self.folder.glob(f"*{SUFFIX}")):
            with file.open(encoding="utf-8") as lines:
                found.update(_field(line, "idempotency_key") or "" for line in lines)
        return found & set(keys)


def remove_from_outbox(folder: Path, raw_user_ids: Collection[str]) -> int:
    """Rewrite the files of an outbox without some people, and return how many records went.

    Files left without a record are deleted, and so is what a crash left unfinished.
    """
    for file in folder.glob(f"*{UNFINISHED}"):
        file.unlink(missing_ok=True)
    wanted = set(raw_user_ids)
    removed = 0
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _field(line, "id") not in wanted]
        if len(kept) == len(lines):
            continue
        removed += len(lines) - len(kept)
        if kept:
            replace_file(file, "".join(kept))
        else:
            file.unlink()
    return removed


def replace_file(file: Path, content: str) -> None:
    """Write a file that only its owner may read; it appears whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + UNFINISHED)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    unfinished.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _field(line: str, name: str) -> str | None:
    """A field of a record, or None for what is no record of ours."""
    try:
        value = json.loads(line).get(name)
    except (ValueError, AttributeError):
        return None
    return value if isinstance(value, str) else None
