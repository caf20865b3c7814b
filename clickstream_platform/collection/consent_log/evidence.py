"""Choices read out of events: where what a visitor or user says differs from what they said."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl

from clickstream_platform.collection.consent import (
    COLUMNS,
    ConsentSignals,
    Policy,
    consents_of,
    signals_of,
)
from clickstream_platform.lake import Engine

SIGNAL_FIELDS = (
    "tcf_string",
    "gdpr_consent",
    "gpp_string",
    "gpp",
    "us_privacy",
    "gpc",
    "consent_mode",
    "gcs",
    "gcd",
)
"""Properties of an event that are signals."""

ABOUT_FIELDS = ("notice_version", "cmp_version")
"""Properties that say how a person was asked; no signal on their own."""

SUBJECT = ("visitor_id", "visitor_key", "user_id", "user_key")


def said_sql(properties: str = "properties") -> str:
    """SQL for the signals among the properties of an event as JSON; null where there are none."""
    mentioned = " OR ".join(f"contains({properties}, '\"{name}\"')" for name in SIGNAL_FIELDS)
    fields = ", ".join(
        f"'{name}', TRY({properties}::JSON -> '$.{name}')"
        for name in (*SIGNAL_FIELDS, *ABOUT_FIELDS)
    )
    about = " OR ".join(f"contains({properties}, '\"{name}\"')" for name in ABOUT_FIELDS)
    return f"CASE WHEN {mentioned} OR {about} THEN CAST(json_object({fields}) AS VARCHAR) END"


def changed_choices(backend: Engine, events: str, subjects: str | None) -> pl.DataFrame:
    """Events in which a visitor and user say something else than in the one before.

    Events that say nothing are passed over; synthetic ones do not count. Order is that of event
    time, then of identifiers, so the result does not depend on the order of arrival.

    Args:
        backend: Connection that holds the relations.
        events: Relation of events.
        subjects: Relation of ``visitor_key`` and ``user_key`` to look at; everybody unless given.

    Returns:
        ``visitor_id``, ``visitor_key``, ``user_id``, ``user_key``, ``event_id``, ``occurred_at``,
        ``occurred_us``, ``received_at``, ``country``, ``said`` (JSON of signals, or null), and
        the consents of the event. Grain: event_id.
    """
    own = ", ".join(COLUMNS)
    some = (
        f"SEMI JOIN {subjects} s ON e.visitor_key IS NOT DISTINCT FROM s.visitor_key "
        "AND e.user_key IS NOT DISTINCT FROM s.user_key"
        if subjects
        else ""
    )
    texts = ", ".join(f"coalesce(CAST({name} AS VARCHAR), '-')" for name in COLUMNS)
    query = f"""
WITH spoken AS (
  SELECT {", ".join(SUBJECT)}, event_id, occurred_at, occurred_us, received_at, country, {own},
    {said_sql()} AS said
  FROM {events} e {some}
  WHERE NOT is_synthetic AND (visitor_key IS NOT NULL OR user_key IS NOT NULL)
), choices AS (
  SELECT *, concat_ws('|', {texts}, coalesce(said, '-'), coalesce(country, '-')) AS choice
  FROM spoken
  WHERE said IS NOT NULL OR {" OR ".join(f"{name} IS NOT NULL" for name in COLUMNS)}
)
SELECT * EXCLUDE (choice) FROM choices
QUALIFY choice IS DISTINCT FROM lag(choice) OVER (
  PARTITION BY visitor_key, user_key ORDER BY occurred_us, event_id)
"""  # noqa: S608 - columns of contracts
    found: pl.DataFrame = pl.DataFrame(backend.raw_sql(query).to_arrow_table())
    return found


class Choice(NamedTuple):
    """What a choice comes to under the rules."""

    consents: Mapping[str, bool | None]
    is_opted_out: bool | None
    signals: ConsentSignals
    regime: str
    valid_until_at: datetime | None


def judged(row: Mapping[str, object], policy: Policy) -> Choice:
    """Judge what one event says, as of its own time.

    Args:
        row: A row of `changed_choices`.
        policy: The rules.
    """
    said = row["said"]
    properties = json.loads(said) if isinstance(said, str) else {}
    record: dict[str, object] = {"properties": properties}
    record |= {name: row[name] for name in COLUMNS}
    signals = signals_of(record)
    country, at = row["country"], row["occurred_at"]
    if not isinstance(at, datetime):
        message = "occurred_at is an instant"
        raise TypeError(message)
    regime = policy.regime_of(country if isinstance(country, str) else None)
    strings = [tc for tc in (signals.tcf, signals.gpp.tcf_eu if signals.gpp else None) if tc]
    ends = [tc.updated_at + timedelta(days=policy.tcf.max_age_days) for tc in strings]
    return Choice(
        consents_of(signals, regime, policy=policy, now=at),
        _opted_out(signals, properties),
        signals,
        regime,
        min(ends, default=None),
    )


def judged_consents(distinct: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Judge distinct combinations of signals, for events that carry them.

    Args:
        distinct: ``said``, ``country``, ``occurred_at`` (a naive day, UTC), and the consents that
            the event states itself.
        policy: The rules.

    Returns:
        The rows with ``judged_analytics``, ``judged_marketing`` and ``judged_personalization``;
        null where nothing speaks. What an event states itself is one of the voices.
    """
    found: dict[str, list[bool | None]] = {name: [] for name in COLUMNS}
    for row in distinct.iter_rows(named=True):
        at = row["occurred_at"].replace(tzinfo=UTC)
        consents = judged(row | {"occurred_at": at}, policy).consents
        for name in COLUMNS:
            found[name].append(consents[name])
    return distinct.with_columns(
        pl.Series(name.replace("consent_", "judged_"), values, dtype=pl.Boolean)
        for name, values in found.items()
    )


def _opted_out(signals: ConsentSignals, properties: Mapping[str, object]) -> bool | None:
    """Whether the person opted out; null where no signal could have said so."""
    if signals.is_opted_out:
        return True
    can_say = signals.gpp is not None or signals.us_privacy is not None
    return False if can_say or properties.get("gpc") is not None else None


def rules_version(policy: Policy) -> str:
    """What a table of rules is known by."""
    # Sets come in another order in every process.
    text = json.dumps(policy.model_dump(), default=_in_order, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _in_order(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else str(value)
