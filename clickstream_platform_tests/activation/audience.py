"""A lake with people in segments, a vault that knows them, and a destination that can be told."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from clickstream_platform.activation import Outcome, Record, sync_crm
from clickstream_platform.lake import Lake, Refreshed, polars_schema
from clickstream_platform.privacy import Suppression, Vault
from clickstream_platform.settings import Settings
from clickstream_platform.tables.activation import CrmSyncs
from clickstream_platform.tables.contracts import require
from clickstream_platform_tests.frames import NOON, sessions_frame, surrogate

HOUR = timedelta(hours=1)


class Script:
    """A destination that answers as it is told to, and remembers what it was asked."""

    name = "script"

    def __init__(self, *answers: Callable[[Sequence[Record]], list[Outcome]]) -> None:
        self.answers = list(answers)
        self.batch_size = 100
        self.calls: list[list[Record]] = []
        self.contacts: dict[str, dict[str, str]] = {}
        self.effects: list[str] = []

    def upsert(self, records: Sequence[Record]) -> list[Outcome]:
        self.calls.append(list(records))
        answer = self.answers.pop(0) if self.answers else self.take
        return answer(records)

    def take(self, records: Sequence[Record]) -> list[Outcome]:
        for record in records:
            self.contacts.setdefault(record.crm_id, {}).update(record.properties)
            if record.idempotency_key not in self.effects:
                self.effects.append(record.idempotency_key)
        return [Outcome(record.idempotency_key, "delivered") for record in records]

    def erase(self, ids: Sequence[str]) -> int:
        return sum(self.contacts.pop(crm_id, None) is not None for crm_id in ids)


class Audience:
    """People in segments, and the sync that tells a destination of them."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self.lake, self.settings = lake, settings
        folder = settings.state / "vault"
        self.vault, self.suppression = Vault(folder), Suppression(folder)
        self.destination = Script()
        self.naps: list[float] = []
        self.segments("readers", "buyers")
        self.sessions = 0

    def token(self, user: str) -> str:
        return str(self.vault.tokens("user", pl.Series([user]))[0])

    def segments(self, *names: str, purpose: str = "marketing", is_expired: bool = False) -> None:
        rows = [
            {
                "segment": name,
                "description": "A test.",
                "owner": "us",
                "purpose": purpose,
                "expires_on": date(2030, 1, 1),
                "is_expired": is_expired,
                "rule": "Persons with a session.",
                "members": 0,
                "joined": 0,
                "departed": 0,
                "evaluated_at": NOON,
            }
            for name in names
        ]
        self.lake.append("segments", frame("segments", rows))

    def put(
        self,
        user: str,
        *segments: str,
        score: float = 7,
        at: datetime = NOON,
        consent: bool | None = True,
        is_visitor: bool = False,
    ) -> None:
        """Be in exactly these segments, with this score, and a session at this time."""
        person = (
            "pv_" + f"{surrogate(user):015x}".ljust(32, "0") if is_visitor else self.token(user)
        )
        key = surrogate(person)
        for table in ("segment_members", "engagement_scores"):
            self.lake.delete(table, f"person_id = '{person}'")
        members = [
            {"segment": s, "person_key": key, "person_id": person, "since_at": NOON}
            for s in segments
        ]
        self.lake.append("segment_members", frame("segment_members", members))
        known = {"person_key": key, "person_id": person, "bucket": 0, "anchored_at": at}
        counts = {"score": float(score), "sessions": 1, "first_seen_at": NOON, "conversions": 0}
        self.lake.append("engagement_scores", frame("engagement_scores", [known | counts]))
        self.visit(person, at=at, consent=consent)

    def visit(self, person: str, *, at: datetime = NOON, consent: bool | None = True) -> None:
        self.sessions += 1
        session = {
            "person_id": person,
            "session_key": self.sessions,
            "started_at": at,
            "consent_marketing": consent,
        }
        self.lake.append("sessions", sessions_frame([session]))

    def sync(self, at: datetime = NOON, **others: object) -> Refreshed:
        done = sync_crm(
            self.lake,
            self.settings,
            **{
                "vault": self.vault,
                "suppression": self.suppression,
                "destination": self.destination,
                "now": at,
                "sleep": self.naps.append,
                "jitter": lambda: 0.0,
            }
            | others,  # type: ignore[arg-type]  # tests replace what they are about
        )
        require(CrmSyncs, self.lake.scan("crm_syncs").collect())
        return done

    def ledger(self) -> list[tuple[str, str, str, str | None]]:
        """User, operation, status and reason of each row, oldest first."""
        rows = self.lake.scan("crm_syncs").collect().sort("synced_at", "person_id")
        users = self.vault.reveal(rows["person_id"], purpose="test", now=NOON)
        return [
            (user, *row)
            for user, row in zip(
                users, rows.select("operation", "status", "reason").iter_rows(), strict=True
            )
        ]


def frame(table: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    """Rows with every column of their table; null unless given."""
    schema = polars_schema(table)
    full = [{name: row.get(name) for name in schema} for row in rows]
    return pl.DataFrame(full, schema=schema)


def everything_below(folder: Path) -> bytes:
    """Bytes of all files, to look for what must not be there."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
