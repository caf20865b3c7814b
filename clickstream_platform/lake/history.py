"""The past of a table: what its log still says of rows that are gone."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from clickstream_platform.lake.store import Lake


def scrub_history(lake: Lake, table: str, holds: Callable[[bytes], bool]) -> int:
    """Take texts out of a table's log, where deletes leave them behind.

    A commit names the predicate of its delete, and the least and greatest value of every column
    of every file it added; both outlive the rows and a vacuum. Predicates and statistics that
    hold one of the texts are cut out of old commits, and the newest checkpoint replaces older
    ones. Snapshots and what followed what stay readable.

    Args:
        lake: The lake.
        table: A table that was deleted from and vacuumed.
        holds: Whether bytes hold a text that may not stay.

    Returns:
        How many commits were rewritten.
    """
    if not lake.exists(table):
        return 0
    log = lake.path(table) / "_delta_log"
    rewritten = [file for file in sorted(log.glob("*.json")) if _scrub_commit(file, holds)]
    if any(log.glob("*.checkpoint*.parquet")):
        opened = DeltaTable(lake.path(table))
        opened.create_checkpoint()
        for file in log.glob("*.checkpoint*.parquet"):
            if int(file.name.split(".", 1)[0]) != opened.version():
                file.unlink()
    return len(rewritten)


def _scrub_commit(file: Path, holds: Callable[[bytes], bool]) -> bool:
    content = file.read_bytes()
    if not holds(content):
        return False
    lines = [_scrubbed(line) if holds(line) else line for line in content.splitlines()]
    draft = file.with_suffix(".scrubbed")
    with draft.open("wb") as handle:
        handle.write(b"\n".join(lines) + b"\n")
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(file)
    return True


def _scrubbed(line: bytes) -> bytes:
    action: dict[str, dict[str, Any]] = json.loads(line)
    for kind in ("add", "remove"):
        if stats := action.get(kind, {}).get("stats"):
            kept = {"numRecords": json.loads(stats).get("numRecords")}
            action[kind]["stats"] = json.dumps(kept)
    if "commitInfo" in action:
        action["commitInfo"]["operationParameters"] = {}
    return json.dumps(action, separators=(",", ":")).encode()
