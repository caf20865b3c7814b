"""The sync: what is to be said is written down first, then said, then its outcome is noted."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import polars as pl

from clickstream_platform.activation.delivery import Courier, Patience, code
from clickstream_platform.activation.destination import Destination, Outcome, Record
from clickstream_platform.activation.plan import (
    CONSENT_TABLES,
    NO_CONSENT,
    SUPERSEDED,
    SUPPRESSED,
    UNKNOWN,
    SuppressionList,
    consenting,
    overtaken,
    plan_sync,
)
from clickstream_platform.lake import Lake, Refreshed, polars_schema
from clickstream_platform.privacy import Namespace
from clickstream_platform.settings import Settings

TABLE = "crm_syncs"
UPSTREAM = ("segment_members", "engagement_scores", "consents")
"""Tables that decide what is to be said."""

NOTE_EVERY_S = 2.0
"""How long an outcome may wait for its commit."""

PATIENCE = Patience()
RANDOM = random.SystemRandom()


class Revealer(Protocol):
    """Who can turn pseudonyms back into identifiers."""

    def reveal(self, tokens: pl.Series, *, purpose: str, now: datetime) -> pl.Series:
        """Identifiers behind pseudonyms, aligned with them; null where there is none."""


class Suppressor(SuppressionList, Protocol):
    """Who must not be written to, by pseudonym or by identifier."""

    def mask(self, namespace: Namespace, raw: pl.Series) -> pl.Series:
        """Tell of each identifier whether it is suppressed."""


class Answer(NamedTuple):
    """What is noted of one record."""

    status: str
    reason: str | None


def sync_crm(  # noqa: PLR0913 - who reveals, who forbids, where to and when; the rest has defaults
    lake: Lake,
    settings: Settings,
    *,
    vault: Revealer,
    suppression: Suppressor,
    destination: Destination,
    now: datetime,
    patience: Patience = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = RANDOM.random,
    seconds: Callable[[], float] = time.monotonic,
) -> Refreshed:
    """Tell a destination what has changed about people since it was last told.

    All that is to be said is first written to the ledger as ``pending``, in one commit. Then it
    is sent batch by batch, and outcomes are committed every few seconds. Killed at any point, the
    next sync finds what has no outcome and sends it again under the same key; a destination
    that already has it does nothing new. Consent and the suppression list are asked before each
    call, whatever the segments say.

    Args:
        lake: The lake; writes ``crm_syncs``.
        settings: As for `plan_sync`.
        vault: Reveals users, batch by batch; the identifiers are never stored.
        suppression: People who must not be written to. If it cannot be read, nothing is sent.
        destination: Where to.
        now: Time of the sync. If the ledger has a later one, a microsecond after it.
        patience: How long to try.
        sleep: Waits so many seconds.
        jitter: A random number of [0, 1).
        seconds: A clock that only runs forward, to tell how long the sync has taken so far.

    A destination that refuses everything until a setting is changed is a `MisconfiguredError`;
    what was not sent by then stays pending.
    """
    moment = max([now.astimezone(UTC), *_after_the_last(lake)])
    started = seconds()
    seen = lake.versions(*UPSTREAM)
    plan = plan_sync(
        lake, settings, suppression=suppression, destination=destination.name, now=moment
    )
    _write_ahead(lake, destination.name, plan, moment)
    to_send = plan.filter(pl.col("operation") != "withheld")
    gate = _Gate(
        lake,
        to_send,
        suppression,
        now=lambda: moment + timedelta(seconds=seconds() - started),
    )
    courier = Courier(
        destination,
        patience=patience,
        sleep=sleep,
        jitter=jitter,
        still_allowed=gate.let_through,
        is_doubtful=bool(to_send["is_resend"].any()),
    )
    with _noted(lake, destination.name, seconds) as note:
        for batch in _batches(to_send, destination.batch_size):
            if courier.gave_up_for is not None:
                break
            answers, allowed = _still_allowed(batch, gate.willing())
            held_back, records = _door(allowed, vault, suppression, moment)
            note(answers | held_back)
            note({key: _answer(outcome) for key, outcome in courier.deliver(records).items()})
    lake.note(TABLE, seen)
    return _summary(lake, destination.name, plan, courier)


class _Gate:
    """Who may still be told, whatever has been chosen or asked since the sync began."""

    def __init__(
        self,
        lake: Lake,
        to_send: pl.DataFrame,
        suppression: Suppressor,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._lake, self._suppression, self._now = lake, suppression, now
        self._choices = lake.versions(*CONSENT_TABLES)
        self._willing = self._persons = to_send["person_key"]
        people = to_send.select("idempotency_key", "person_key", "person_id")
        self._people = {key: (person, token) for key, person, token in people.iter_rows()}

    def willing(self) -> pl.Series:
        """Keys of persons who consent; looked up anew only when somebody has chosen."""
        if (newest := self._lake.versions(*CONSENT_TABLES)) != self._choices:
            self._choices = newest
            self._willing = consenting(self._lake, self._persons, now=self._now())
        return self._willing

    def let_through(self, records: Sequence[Record]) -> list[Record]:
        """Those of revealed records that may still be sent."""
        if not records:
            return []
        willing = set(self.willing())
        people = [self._people[record.idempotency_key] for record in records]
        suppressed = self._suppression.mask_tokens(pl.Series([token for _, token in people]))
        suppressed |= self._suppression.mask("user", pl.Series([r.crm_id for r in records]))
        return [
            record
            for record, (person, _), is_suppressed in zip(records, people, suppressed, strict=True)
            if not is_suppressed and (record.operation == "remove" or person in willing)
        ]


def retry_failed(lake: Lake, *, destination: str) -> int:
    """Let the next sync send again what the destination refused; return how many rows.

    For when the fault was there, such as a property that had not been created.
    """
    return lake.update(
        TABLE,
        {"status": "'pending'", "reason": "CAST(NULL AS STRING)"},
        f"destination = '{destination}' AND status = 'failed' AND reason <> '{SUPERSEDED}'",
    )


def _after_the_last(lake: Lake) -> list[datetime]:
    latest = lake.scan(TABLE).select(pl.col("synced_at").max()).collect().item()
    return [latest + timedelta(microseconds=1)] if isinstance(latest, datetime) else []


def _write_ahead(lake: Lake, destination: str, plan: pl.DataFrame, moment: datetime) -> None:
    """Commit what is about to be sent, and what is not, before anything leaves."""
    old = overtaken(lake, destination, planned=plan)["idempotency_key"].to_list()
    withheld = pl.col("operation") == "withheld"
    fresh = plan.filter(~pl.col("is_resend"))
    rows = fresh.select(
        pl.lit(destination).alias("destination"),
        "person_key",
        "person_id",
        pl.when(withheld).then(pl.lit("upsert")).otherwise("operation").alias("operation"),
        "content_hash",
        "idempotency_key",
        pl.when(withheld).then(pl.lit("withheld")).otherwise(pl.lit("pending")).alias("status"),
        "reason",
        pl.lit(moment, dtype=pl.Datetime("us", "UTC")).alias("synced_at"),
        pl.lit(moment.date()).alias("sync_date"),
    )
    if not rows.is_empty():
        lake.append(TABLE, rows.cast(dict(polars_schema(TABLE).items())).sort("person_key"))
    _note(lake, destination, dict.fromkeys(old, Answer("failed", SUPERSEDED)))


def _batches(to_send: pl.DataFrame, size: int) -> Iterator[pl.DataFrame]:
    """Batches of one operation each; what may have been sent before comes first."""
    for group in to_send.partition_by("is_resend", "operation", maintain_order=True):
        yield from group.iter_slices(size)


def _still_allowed(
    batch: pl.DataFrame, willing: pl.Series
) -> tuple[dict[str, Answer], pl.DataFrame]:
    """Take out of a batch who has withdrawn consent since the sync began.

    What may have been sent before stays without an answer: the next sync clears it.
    """
    is_withdrawn = (pl.col("operation") == "upsert") & ~pl.col("person_key").is_in(
        willing.implode()
    )
    unsent = batch.filter(is_withdrawn & ~pl.col("is_resend"))["idempotency_key"]
    return dict.fromkeys(unsent, Answer("withheld", NO_CONSENT)), batch.filter(~is_withdrawn)


def _door(
    batch: pl.DataFrame, vault: Revealer, suppression: Suppressor, moment: datetime
) -> tuple[dict[str, Answer], list[Record]]:
    """Reveal a batch, and hold back who is suppressed by now or unknown."""
    ids = vault.reveal(batch["person_id"], purpose="crm", now=moment)
    suppressed = suppression.mask_tokens(batch["person_id"]) | suppression.mask("user", ids)
    answers: dict[str, Answer] = {}
    records = []
    for row, crm_id, is_suppressed in zip(
        batch.iter_rows(named=True), ids, suppressed, strict=True
    ):
        key = row["idempotency_key"]
        if is_suppressed or crm_id is None:
            answers[key] = Answer("withheld", SUPPRESSED if is_suppressed else UNKNOWN)
            continue
        records.append(
            Record(
                idempotency_key=key,
                operation=row["operation"],
                crm_id=crm_id,
                properties=json.loads(row["properties"]),
                synced_at=moment,
                is_resend=row["is_resend"],
            )
        )
    return answers, records


def _answer(outcome: Outcome) -> Answer:
    if outcome.fate == "delivered":
        return Answer("delivered", None)
    return Answer("failed", code(outcome.reason))


@contextmanager
def _noted(
    lake: Lake, destination: str, seconds: Callable[[], float]
) -> Iterator[Callable[[Mapping[str, Answer]], None]]:
    """Give what takes note of answers; they are committed every `NOTE_EVERY_S` and at the end.

    A commit rewrites a file of the ledger: one for each batch would cost the square of an
    audience. Whatever a killed process had not committed is sent again under the same keys.
    """
    held: dict[str, Answer] = {}
    last = seconds()

    def note(answers: Mapping[str, Answer]) -> None:
        nonlocal last
        held.update(answers)
        if held and seconds() - last >= NOTE_EVERY_S:
            _note(lake, destination, held)
            held.clear()
            last = seconds()

    try:
        yield note
    finally:
        _note(lake, destination, held)


def _note(lake: Lake, destination: str, answers: Mapping[str, Answer]) -> None:
    """Commit what became of records."""
    if not answers:
        return
    rows = [(destination, key, *answer) for key, answer in answers.items()]
    columns = ("destination", "idempotency_key", "status", "reason")
    noted = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
    lake.merge(TABLE, noted, on=columns[:2])


def _summary(lake: Lake, destination: str, plan: pl.DataFrame, courier: Courier) -> Refreshed:
    rows = lake.scan(TABLE).filter(pl.col("destination") == destination)
    planned = rows.join(plan.lazy(), on="idempotency_key", how="semi")
    by_status = dict(planned.group_by("status").agg(pl.len()).collect().iter_rows())
    waiting = rows.filter(pl.col("status") == "pending").select(pl.len()).collect().item()
    details: dict[str, int | float | str] = {
        status: by_status.get(status, 0) for status in ("delivered", "failed", "withheld")
    }
    details |= {
        "pending": waiting,
        "removals": plan.filter(operation="remove").height,
        "calls": courier.calls,
        "waited_s": round(courier.waited_s, 1),
    }
    if courier.gave_up_for is not None:
        details["gave_up_for"] = courier.gave_up_for
    return Refreshed(
        table=TABLE, version=lake.version(TABLE), rows_written=plan.height, details=details
    )
