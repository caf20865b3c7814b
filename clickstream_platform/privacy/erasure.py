"""Erasing a person from every store, and proving it.

Suppression comes first, so that nothing enters while we search. Then the stores from the outside
in: landed files, derived tables, events, raw events, what was handed out, the orchestrator's
storage, and last the vault. A scan that shares no code with the eraser reads everything; only when
it finds nothing is the request completed and the certificate signed. Every step may be run again.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Protocol, get_args

import polars as pl

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.lake import Lake, require_current, rewriting
from clickstream_platform.privacy.certificate import (
    Certificate,
    certificate_from,
    read_certificate,
    table_from,
    write_certificate,
)
from clickstream_platform.privacy.folders import (
    delete_databases,
    delete_exports,
    delete_reports,
    erase_from_outbox,
    redact_dagster,
)
from clickstream_platform.privacy.identifiers import Namespace
from clickstream_platform.privacy.landed import LandedEraser, RewrittenFile
from clickstream_platform.privacy.register import Register
from clickstream_platform.privacy.requests import Outcome, RequestError
from clickstream_platform.privacy.residual import Residue, scan_residue
from clickstream_platform.privacy.subjects import Subject, find_subject
from clickstream_platform.privacy.suppression import Suppression
from clickstream_platform.privacy.tables import (
    ErasedTable,
    LakePart,
    needles_of,
    recount_ledger,
    reload_batches,
)
from clickstream_platform.privacy.vault import Vault, VaultUnavailableError
from clickstream_platform.settings import Settings

PASSES = 3
"""How often the stores are gone through before a residue is a failure: a run that started before
the person was suppressed may write once more."""


class ErasesPeople(Protocol):
    """A system that people were sent to, and that can be told to erase them."""

    @property
    def name(self) -> str:
        """What it is called in the settings."""

    def erase(self, user_ids: Sequence[str]) -> int:
        """Erase people by the identifiers they were sent under; return how many are gone."""


class ApprovalNeededError(ClickstreamError):
    """An erasure would remove so much that somebody must look at it first."""

    def __init__(self, request_id: str, own: int, total: int, limit: float) -> None:
        self.request_id, self.own, self.total = request_id, own, total
        super().__init__(
            f"Subject request {request_id} would erase {own:,} of {total:,} events "
            f"({own / total:.1%}), more than {limit:.1%}: perhaps an identifier that many share. "
            "Look at it, then approve it (`clickstream subject approve`) and run it again. "
            "Nothing was erased; the identifiers given are suppressed."
        )


class ResidueError(ClickstreamError):
    """Something of the person is left after every pass."""

    def __init__(self, request_id: str, residue: Residue) -> None:
        self.request_id, self.residue = request_id, residue
        listed = ", ".join(f"{store}: {count:,}" for store, count in residue.by_store.items())
        super().__init__(
            f"Subject request {request_id} left {residue.total:,} findings ({listed}). "
            "Run it again when nothing else writes; remove by hand what no store of ours holds."
        )


def erase_subject(
    settings: Settings,
    request_id: str,
    *,
    now: datetime,
    destination: ErasesPeople | None = None,
    progress: Callable[[str], None] | None = None,
) -> Certificate:
    """Erase the person of a registered request from every store.

    Derived tables lose the person's rows here. What others' rows say differently without the
    person (a device that is not shared any more) follows at the next refresh.

    Args:
        settings: Where everything lies.
        request_id: Opaque identifier of the request.
        now: Time of the erasure.
        destination: A CRM that is told to erase the person too.
        progress: Told of each step.

    Returns:
        The signed certificate; that of the first run, if the request is completed already.

    Raises:
        RequestError: The request is unknown, or no erasure. Also `ApprovalNeededError` where the
            person has a larger share of all events than the settings allow, `RequestBusyError`
            where the person is being worked on, `ResidueError` where something is left.
    """
    register = Register(settings)
    request = register.get(request_id)
    if request.request_type != "erase":
        raise RequestError(
            request_id, f"is of type {request.request_type}", remedy="Register an erasure."
        )
    require_current(Lake(settings.lake_folder))
    with register.working(request_id):
        if register.get(request_id).status == "completed":
            return certificate_from(read_certificate(settings, request_id))
        run = _Run(settings, register, request_id, now, progress or (lambda _: None))
        register.move(request_id, "in_progress", now=now)
        try:
            return run.erase(destination)
        except BaseException as error:
            left = error.residue.total if isinstance(error, ResidueError) else None
            register.move(
                request_id,
                "failed",
                now=now,
                details={"error": type(error).__name__},
                outcome=Outcome(rows_left=left),
            )
            raise


class _Run:
    """One run over all stores for one request."""

    def __init__(
        self,
        settings: Settings,
        register: Register,
        request_id: str,
        now: datetime,
        progress: Callable[[str], None],
    ) -> None:
        self.settings, self.register, self.request_id = settings, register, request_id
        self.now, self.progress = now, progress
        self.vault = Vault(settings.state / "vault")
        self.suppression = Suppression(settings.state / "vault")
        self.tables: dict[str, ErasedTable] = {}
        self.files: list[RewrittenFile] = []

    def erase(self, destination: ErasesPeople | None) -> Certificate:
        self._restore()
        subject = self._suppressed_subject()
        self.register.claim(
            self.request_id, [self.register.mark(*marked) for marked in subject.marked]
        )
        part = LakePart(self.settings, subject)
        self._stop_if_too_much(part)
        batches, again = self._located(part)
        confirmed = self._propagated(subject, destination)
        for number in range(PASSES):
            with rewriting(self.settings.state, progress=lambda what, *_: self.progress(what)):
                self._pass(subject, part)
                recount_ledger(self.settings, part.lake, batches)
                reload_batches(self.settings, again)
            forgotten = self._forgotten(subject)
            self.progress(f"looking for what is left, pass {number + 1}")
            residue = scan_residue(self.settings, subject.values, subject.tokens)
            self.register.note(
                self.request_id,
                "scanned",
                {"pass": number + 1, "findings": residue.total, "by_store": residue.by_store},
                now=self.now,
            )
            if not residue.total:
                return self._certified(subject, residue, forgotten, confirmed)
            self._mend(subject, residue)
        raise ResidueError(self.request_id, residue)

    # -- Before anything goes ------------------------------------------------------------------

    def _suppressed_subject(self) -> Subject:
        """Suppress and look in turns until the look brings nothing new; kept for a later run."""
        if held := self.register.subject(self.request_id):
            subject = Subject.from_json(held)
            self._suppress(subject.identifiers, subject.tokens)
            return subject
        given = self.register.identifiers(self.request_id)
        self._suppress([identifier for identifier in given if identifier[0] == "user"], ())
        while True:
            subject = find_subject(self.settings, given, now=self.now)
            if not self._suppress(subject.identifiers, subject.tokens):
                break
        self.register.keep_subject(self.request_id, subject.to_json())
        self.register.note(
            self.request_id,
            "suppressed",
            {
                "identifiers": len(subject.identifiers),
                "users": len(subject.users),
                "visitors": len(subject.visitors),
                "others": len(subject.others),
                "shared": len(subject.shared),
            },
            now=self.now,
        )
        return subject

    def _suppress(self, identifiers: Sequence[tuple[str, str]], tokens: Sequence[str]) -> int:
        new = 0
        for namespace in get_args(Namespace):
            raw = [text for space, text in identifiers if space == namespace]
            new += self.suppression.add(
                namespace,
                raw,
                request_id=self.request_id,
                now=self.now,
            )
        return new + self.suppression.add_tokens(tokens, request_id=self.request_id, now=self.now)

    def _stop_if_too_much(self, part: LakePart) -> None:
        own, total = part.share()
        limit = self.settings.privacy.max_erased_share
        if own > limit * total and not self.register.is_approved(self.request_id):
            raise ApprovalNeededError(self.request_id, own, total, limit)

    def _located(self, part: LakePart) -> tuple[list[str], list[str]]:
        """Batches that hold the person, and those of others to load again; kept for a later run."""
        held = self.register.steps(self.request_id).get("located")
        if held is None:
            held = {
                "rows": part.rows(),
                "batches": sorted(part.positions()),
                "reload": part.batches_to_reload(),
            }
            counted = {"rows": held["rows"], "batches": len(held["batches"])}
            self.register.note(self.request_id, "located", held, now=self.now, summary=counted)
        return held["batches"], held["reload"]

    def _propagated(
        self, subject: Subject, destination: ErasesPeople | None
    ) -> tuple[tuple[str, int], ...]:
        """Tell the CRM, once."""
        done: dict[str, int] = {
            name.removeprefix("told "): details["confirmed"]
            for name, details in self.register.steps(self.request_id).items()
            if name.startswith("told ")
        }
        if destination is not None and destination.name not in done:
            users = sorted({raw for space, raw in subject.identifiers if space == "user"})
            confirmed = destination.erase(users) if users else 0
            self.register.note(
                self.request_id, f"told {destination.name}", {"confirmed": confirmed}, now=self.now
            )
            done[destination.name] = confirmed
        return tuple(sorted(done.items()))

    # -- Store by store ------------------------------------------------------------------------

    def _pass(self, subject: Subject, part: LakePart) -> None:
        needles = needles_of(subject)
        self.progress("landed files")
        positions = part.positions()
        eraser = LandedEraser(
            self.settings,
            subject,
            needles,
            self.register.rewrites,
            positions,
            part.unreadable(sorted(positions)),
        )
        self._note_files("landing", eraser.erase())
        self.progress("tables")
        self._note_tables(part.erase())
        self.progress("files handed out")
        settings = self.settings
        self._note_files("outbox", erase_from_outbox(settings, subject, needles))
        marks = [self.register.mark(*marked) for marked in subject.marked]
        exports = self.register.requests_of(marks, "export")
        self._note_files("exports", delete_exports(settings, exports, needles))
        self._note_files("reports", delete_reports(settings, needles))
        self._note_files("databases", delete_databases(settings, needles))
        self._note_files("dagster", redact_dagster(settings, needles))

    def _forgotten(self, subject: Subject) -> int:
        """Crypto-shred: without the vault's rows nothing leads from a pseudonym to the person."""
        before: int = self.register.steps(self.request_id).get("vault", {}).get("rows", 0)
        rows = before + self.vault.forget(pl.Series(subject.tokens, dtype=pl.String))
        self.register.note(self.request_id, "vault", {"rows": rows}, now=self.now)
        return rows

    def _drop_unused(self, subject: Subject) -> None:
        """Forget new names of visitors that no row needed."""
        new = {each.new for each in subject.replacements}
        held = (
            Lake(self.settings.lake_folder)
            .scan("raw_events")
            .filter(pl.col("visitor_id").is_in(sorted(new)))
            .select(pl.col("visitor_id").unique())
            .collect(engine="streaming")
            .to_series()
        )
        with suppress(VaultUnavailableError):
            self.vault.forget(pl.Series(sorted(new - set(held)), dtype=pl.String))

    def _mend(self, subject: Subject, residue: Residue) -> None:
        """Redact the person where the scan still found it in texts of other people's rows."""
        part = LakePart(self.settings, subject)
        tables = [store.removeprefix("lake/") for store in residue.by_store if "/" in store]
        self._note_tables(part.redact(tables))

    # -- What was done -------------------------------------------------------------------------

    def _restore(self) -> None:
        """Read what earlier runs of this request noted."""
        for step, details in self.register.steps(self.request_id).items():
            if step.startswith("erased "):
                for held in details.get("tables", ()):
                    table = table_from(held)
                    self.tables[table.table] = table
                self.files += [RewrittenFile(**held) for held in details.get("files", ())]

    def _note_tables(self, erased: Sequence[ErasedTable]) -> None:
        for table in erased:
            known = self.tables.get(table.table)
            self.tables[table.table] = _joined(known, table) if known else table
        held = {"tables": [asdict(table) for table in self.tables.values()]}
        counted = {table.table: table.rows_removed for table in erased if table.rows_removed}
        self.register.note(
            self.request_id, "erased tables", held, now=self.now, summary={"rows": counted}
        )

    def _note_files(self, store: str, files: Sequence[RewrittenFile]) -> None:
        if files:
            self.files += files
            held = {"files": [asdict(file) for file in self.files if file.store == store]}
            counted = {"files": len(files), "records": sum(file.records for file in files)}
            self.register.note(
                self.request_id, f"erased {store}", held, now=self.now, summary=counted
            )

    def _certified(
        self,
        subject: Subject,
        residue: Residue,
        forgotten: int,
        confirmed: tuple[tuple[str, int], ...],
    ) -> Certificate:
        head = self.register.verify_audit()
        certificate = Certificate(
            request_id=self.request_id,
            subject_mark=self.register.mark(
                "subject", "|".join(sorted(f"{space}:{raw}" for space, raw in subject.identifiers))
            ),
            received_at=self.register.get(self.request_id).received_at,
            erased_at=self.now,
            tables=tuple(self.tables.values()),
            files=tuple(self.files),
            vault_rows=forgotten,
            suppressed=len(subject.identifiers),
            destinations=confirmed,
            residue=residue,
            audit_entries=head.entries,
            audit_head=head.hash,
        )
        self._drop_unused(subject)
        _, digest = write_certificate(self.settings, self.register.keys, certificate)
        for export in self.register.requests_of(
            [self.register.mark(*marked) for marked in subject.marked], "export"
        ):
            self.register.forget(export, keep_marks=False)
        self.register.forget(self.request_id, keep_marks=False)
        self.register.move(
            self.request_id,
            "completed",
            now=self.now,
            details={"certificate_sha256": digest},
            outcome=Outcome(certificate.rows_found, residue.total, digest),
        )
        return certificate


def _joined(first: ErasedTable, then: ErasedTable) -> ErasedTable:
    """What two passes did to one table."""
    return ErasedTable(
        table=first.table,
        rows_found=first.rows_found + then.rows_found,
        rows_removed=first.rows_removed + then.rows_removed,
        rows_unlinked=first.rows_unlinked + then.rows_unlinked,
        sha256_before=first.sha256_before + then.sha256_before,
        sha256_after=first.sha256_after + then.sha256_after,
    )
