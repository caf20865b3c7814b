"""Keeping `consents` and `consent_log` up to date with events: new choices are added, none edited.

Choices are written to `consents` first, in the commit that notes which events were taken in, and
chained into `consent_log` second. A crash between the two is mended by the next refresh, which
chains whatever is not chained yet.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from clickstream_platform.collection.consent import CHOICES, Policy, load_policy
from clickstream_platform.collection.consent_log.chain import (
    CHAINED,
    ConsentLogError,
    Head,
    chain_entries,
    new_commitment,
    read_anchor,
    write_anchor,
)
from clickstream_platform.collection.consent_log.evidence import (
    SUBJECT,
    changed_choices,
    judged,
    rules_version,
)
from clickstream_platform.lake import (
    Changes,
    Engine,
    Lake,
    Refreshed,
    opened_engine,
    polars_schema,
    view,
)
from clickstream_platform.settings import Settings


def refresh_consents(lake: Lake, settings: Settings) -> list[Refreshed]:
    """Record the choices in events that are new, and chain them.

    All events of a visitor and user with something new are looked at, so that an event that comes
    late finds its place: what is recorded of a person does not depend on the order of arrival.

    Args:
        lake: The lake; reads ``events``, adds to ``consents`` and ``consent_log``.
        settings: Definitions, memory, threads, and where to spill.

    Returns:
        What was done to each table.

    Where the end of the log is not the one that was signed, `ConsentLogError` is raised: nothing
    is added to a log that was changed.
    """
    written = read = 0
    version, consumed = lake.version("events"), lake.consumed("consents", "events")
    if 0 <= version != consumed:
        changes = lake.changes("events", since=consumed)
        with opened_engine(settings) as backend:
            choices, read = _new_choices(backend, lake, changes)
        rows = judged_rows(choices, load_policy(settings.definitions))
        written = rows.height
        lake.append("consents", rows, consumed={"events": version})
    chained = chain_new(lake, settings)
    return [
        Refreshed(
            table="consents",
            version=lake.version("consents"),
            rows_written=written,
            rows_read=read,
        ),
        Refreshed(table="consent_log", version=lake.version("consent_log"), rows_written=chained),
    ]


def _new_choices(backend: Engine, lake: Lake, changes: Changes | None) -> tuple[pl.DataFrame, int]:
    """Choices that are not recorded yet, and how many events were looked at."""
    view(backend, lake, "events")
    view(backend, lake, "consents")
    subjects = None
    if changes is not None:
        added = _existing(changes.added)
        view(backend, lake, "events", files=added, name="added_events")
        backend.fill("touched", "SELECT DISTINCT visitor_key, user_key FROM added_events")
        subjects = "touched"
    found = changed_choices(backend, "events", subjects)
    known = pl.DataFrame(backend.raw_sql("SELECT event_id FROM consents").to_arrow_table())
    looked_at = lake.row_count("events")
    return found.join(known, on="event_id", how="anti"), looked_at


def _existing(files: Sequence[str]) -> list[str]:
    return [file for file in files if Path(file).exists()]


def judged_rows(choices: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Rows of `consents` for choices that are new, in order of arrival."""
    version = rules_version(policy)
    rows: list[dict[str, object]] = []
    for row in choices.sort("received_at", "event_id").iter_rows(named=True):
        choice = judged(row, policy)
        source = choice.signals.source
        if source is None:  # names how a person was asked, but not what they said
            continue
        commitment, nonce = new_commitment(row["visitor_id"], row["user_id"], row["event_id"])
        rows.append(
            {name: row[name] for name in (*SUBJECT, "event_id", "received_at")}
            | {name: choice.consents[name] for name in CHOICES}
            | {
                "commitment": commitment,
                "nonce": nonce,
                "valid_from_at": row["occurred_at"],
                "valid_from_us": row["occurred_us"],
                "valid_until_at": choice.valid_until_at,
                "is_opted_out": choice.is_opted_out,
                "source": source,
                "string_hash": choice.signals.string_hash,
                "jurisdiction": choice.regime,
                "tcf_policy_version": choice.signals.policy_version,
                "notice_version": choice.signals.notice_version,
                "cmp_version": choice.signals.cmp_version,
                "rules_version": version,
            }
        )
    schema = polars_schema("consents")
    return pl.DataFrame(
        [{name: row[name] for name in schema} for row in rows], schema=schema, orient="row"
    )


def chain_new(lake: Lake, settings: Settings) -> int:
    """Chain the choices that are not in the log yet, sign its new head, and return how many."""
    head = log_head(lake)
    anchor = read_anchor(settings)
    if head.entries < anchor.entries:
        raise ConsentLogError(head.entries + 1, f"and what follows up to {anchor.entries} is gone")
    if head.entries == anchor.entries and head.hash != anchor.hash:
        raise ConsentLogError(head.entries, "is not the one that was signed")
    missing = (
        lake.scan("consents")
        .join(lake.scan("consent_log").select("commitment"), on="commitment", how="anti")
        .select(CHAINED)
        .sort("received_at", "valid_from_at", "commitment")
        .collect()
    )
    if not missing.is_empty() or (lake.exists("consents") and not lake.exists("consent_log")):
        entries = chain_entries(missing, head)
        lake.append("consent_log", entries)
        if not entries.is_empty():
            head = Head(head.entries + entries.height, str(entries["entry_hash"][-1]))
    if head.entries > anchor.entries:
        write_anchor(settings, head)
    return missing.height


def log_head(lake: Lake) -> Head:
    """Where the stored chain ends, taken at its word."""
    last = lake.scan("consent_log").select("number", "entry_hash").sort("number").tail(1).collect()
    return Head(*last.row(0)) if last.height else Head()
