"""Handing a person everything that is held of them: machine readable, as tables, and to read.

The package holds rows that are theirs alone. What happened on a shared device while nobody was
signed in could be anybody's, and is handed to nobody.
"""

import csv
import io
import json
import os
import secrets
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl

from clickstream_platform.lake import connect, polars_schema, view
from clickstream_platform.privacy.register import Register
from clickstream_platform.privacy.requests import Outcome, RequestError
from clickstream_platform.privacy.subjects import Subject, find_subject, own_rows
from clickstream_platform.privacy.summary import HeldTable, Shared, summary_html
from clickstream_platform.privacy.tables import PERSON_TABLES, LakePart
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES

BOM = "\ufeff"
"""What a text starts with so that spreadsheets read it as UTF-8."""

TRIGGERS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet take a cell for a formula, in ASCII and in full width."""


@dataclass(frozen=True)
class Held:
    """Everything that is held of one person."""

    rows: Mapping[str, pl.DataFrame]
    """Rows by table; tables without any are left out."""
    landed_files: int
    landed_records: int


def export_subject(settings: Settings, request_id: str, *, now: datetime) -> Path:
    """Write the answer to a registered export request.

    Args:
        settings: Where everything lies.
        request_id: Opaque identifier of the request; the file's name says nothing else.
        now: Time of the export.

    Returns:
        A zip that only its owner may read: ``data.json``, one CSV for each table, and
        ``summary.html``. The first one, if the request is completed already.

    Raises:
        RequestError: The request is unknown, no export, or its file was deleted since.
    """
    register = Register(settings)
    request = register.get(request_id)
    if request.request_type != "export":
        raise RequestError(
            request_id, f"is of type {request.request_type}", remedy="Register an export."
        )
    file = settings.exports / f"{request_id}.zip"
    with register.working(request_id):
        if register.get(request_id).status == "completed":
            if not file.exists():
                raise RequestError(
                    request_id,
                    "is answered, and its file is gone",
                    remedy="Register a new one.",
                )
            return file
        register.move(request_id, "in_progress", now=now)
        try:
            subject = find_subject(settings, register.identifiers(request_id), now=now)
            register.claim(request_id, [register.mark(*marked) for marked in subject.marked])
            held = everything_held(settings, subject)
            _write_package(file, request_id, subject, held, now)
        except BaseException as error:
            register.move(request_id, "failed", now=now, details={"error": type(error).__name__})
            raise
        counts = {table: rows.height for table, rows in held.rows.items()}
        register.forget(request_id, keep_marks=True)
        register.move(
            request_id,
            "completed",
            now=now,
            details={"rows": counts},
            outcome=Outcome(rows_found=sum(counts.values())),
        )
    return file


def everything_held(settings: Settings, subject: Subject) -> Held:
    """Read every row that is the person's alone."""
    part = LakePart(settings, subject)
    backend = connect(settings.lake)
    found: dict[str, pl.DataFrame] = {}
    for table in PERSON_TABLES:
        view(backend, part.lake, table)
        columns = ", ".join(polars_schema(table))
        rows = backend.raw_sql(
            f"SELECT {columns} FROM {table} WHERE {own_rows(subject, table)}"  # noqa: S608 - predicates of the catalog
        ).to_arrow_table()
        frame = pl.DataFrame(pl.from_arrow(rows))
        if not frame.is_empty():
            found[table] = frame.sort(_order(table))
    positions = part.positions()
    return Held(found, len(positions), sum(map(len, positions.values())))


def _order(table: str) -> list[str]:
    return [*(TABLES[table].contract.to_schema().unique or [])]


def _write_package(
    file: Path, request_id: str, subject: Subject, held: Held, now: datetime
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as handle:
            with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as package:
                package.writestr("summary.html", _summary(subject, held, now))
                package.writestr("data.json", data_json(request_id, subject, held, now))
                for table, rows in held.rows.items():
                    package.writestr(f"tables/{table}.csv", BOM + safe_csv(rows))
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def data_json(request_id: str, subject: Subject, held: Held, now: datetime) -> str:
    """Everything as one JSON document."""
    content = {
        "request_id": request_id,
        "made_at": now.isoformat(),
        "identifiers": [{"kind": space, "value": raw} for space, raw in subject.values],
        "pseudonyms": [*subject.tokens],
        "landed": {"files": held.landed_files, "records": held.landed_records},
        "tables": {table: rows.to_dicts() for table, rows in held.rows.items()},
    }
    return json.dumps(content, indent=1, ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    message = f"no JSON form for {type(value).__name__}"
    raise TypeError(message)


def safe_csv(rows: pl.DataFrame) -> str:
    """Rows as CSV that no spreadsheet runs: every cell quoted, formulas made text."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, quoting=csv.QUOTE_ALL)
    writer.writerow(rows.columns)
    for row in rows.iter_rows():
        writer.writerow([safe_cell(value) for value in row])
    return written.getvalue()


def safe_cell(value: object) -> str:
    """Text of a cell, with an apostrophe where a spreadsheet would see a formula."""
    if value is None:
        return ""
    if isinstance(value, list | dict):
        text = json.dumps(value, ensure_ascii=False, default=_plain)
    else:
        text = _plain(value) if isinstance(value, datetime | date | Decimal) else str(value)
    is_formula = text.startswith(TRIGGERS) or text.lstrip().startswith(TRIGGERS)
    return f"'{text}" if is_formula else text


def _summary(subject: Subject, held: Held, now: datetime) -> str:
    tables = [
        HeldTable(name=table, rows=rows.height, first=first, last=last)
        for table, rows in held.rows.items()
        for first, last in [_period(rows)]
    ]
    return summary_html(
        identifiers=subject.values,
        tables=tables,
        shared=_shared(held.rows.get("crm_syncs")),
        landed=(held.landed_files, held.landed_records),
        made_at=now,
    )


def _period(rows: pl.DataFrame) -> tuple[date | None, date | None]:
    """Dates of the first and last thing that a table says of the person."""
    times = [name for name, kind in rows.schema.items() if kind.is_temporal()]
    name = next((name for name in times if name == "occurred_at"), times[0] if times else None)
    if name is None:
        return None, None
    days = rows[name].drop_nulls().cast(pl.Date).to_list()
    return (min(days), max(days)) if days else (None, None)


def _shared(syncs: pl.DataFrame | None) -> Sequence[Shared]:
    if syncs is None:
        return []
    sent = syncs.filter(pl.col("status") == "delivered")
    grouped = sent.group_by("destination").agg(pl.len(), last=pl.col("synced_at").max())
    return [
        Shared(name, count, last.date()) for name, count, last in grouped.sort("destination").rows()
    ]
