"""Counts in place of sessions: events that may not be measured by person, without identifiers."""

from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import sha256
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.collection.consent import Policy, load_policy
from clickstream_platform.collection.consent_log import Silence, permitted, silence_of
from clickstream_platform.collection.tags import CSP_SOURCE
from clickstream_platform.identity import with_person
from clickstream_platform.lake import (
    Changes,
    Engine,
    Lake,
    Refreshed,
    changed_rows,
    net_changes,
    opened_engine,
    stream,
    view,
)
from clickstream_platform.settings import Settings

TABLE = "cookieless_counts"
UPSTREAMS = ("events", "identity_map", "person_consents")
CELL = ("event_date", "page_host", "page_path", "country", "event_name")

FEW = "(few)"
"""Page, country or event name of a count whose own would be of too few people."""

FOLDS: tuple[dict[str, str], ...] = (
    {},
    {"page_path": FEW, "country": FEW},
    {"page_path": FEW, "country": FEW, "page_host": FEW, "event_name": FEW},
)
"""What is given up, step by step, of cells that are too small."""

MAPPED = ("visitor_key", "person_key", "is_shared")
"""Columns of the identity map that say whose an event is."""


class Counting(NamedTuple):
    """Which events are counted, and how coarsely."""

    silence: Mapping[str, Silence]
    countries: tuple[str, ...]
    """Countries whose events are counted."""
    elsewhere: bool
    """Whether events of no regime's country are."""
    known: tuple[str, ...]
    """Countries of all regimes."""
    least: int


def counting_of(policy: Policy) -> Counting:
    """What the policy says about counting without identifiers."""
    chosen = {name: regime.countries for name, regime in policy.regimes.items()}
    return Counting(
        silence=silence_of(policy),
        countries=tuple(
            sorted(
                code
                for code in {code for codes in chosen.values() for code in codes}
                if policy.regime_of(code) in policy.cookieless.regimes
            )
        ),
        elsewhere=set(chosen) == set(policy.cookieless.regimes),
        known=tuple(sorted({code for codes in chosen.values() for code in codes})),
        least=policy.cookieless.least,
    )


def cookieless_counts(events: ir.Table, person_consents: ir.Table, counting: Counting) -> ir.Table:
    """Count events that may not be measured by person, in cells of enough people.

    Every cell that is kept is of ``least`` different people or more, where an event without
    identifiers counts as somebody else's. Bots, synthetic events and what browsers report of pages
    do not count.

    Args:
        events: Contract: `clickstream_platform.tables.events.Events`, with ``person_key``.
        person_consents: Contract: `clickstream_platform.tables.consent.PersonConsents`.
        counting: The rules.

    Returns:
        Contract: `clickstream_platform.tables.cookieless.CookielessCounts`.
    """
    asked = permitted(
        events.filter(~_.is_bot, ~_.is_synthetic, _.source != CSP_SOURCE),
        person_consents,
        {"may_measure": "consent_analytics"},
        counting.silence,
    )
    code = asked.country.upper().fill_null("")
    is_there = code.isin(counting.countries)
    if counting.elsewhere:
        is_there |= ~code.isin(counting.known)
    rest = (
        asked.filter(is_there, (~asked.may_measure) | asked.person_key.isnull())
        .mutate(
            page_host=_.page_host.fill_null("(none)"),
            page_path=_.page_path.fill_null("(none)"),
            country=_.country.fill_null("(unknown)"),
        )
        .group_by(*CELL, "person_key")
        .aggregate(events=_.count())
    )
    kept = []
    for fold in FOLDS:
        rest = (
            rest.mutate(**{name: ibis.literal(value) for name, value in fold.items()})
            .group_by(*CELL, "person_key")
            .aggregate(events=_.events.sum())
        )
        people = ibis.ifelse(rest.person_key.isnull(), rest.events, 1)
        cells = (
            rest.mutate(people=people)
            .group_by(CELL)
            .aggregate(events=_.events.sum(), people=_.people.sum())
        )
        large = cells.filter(_.people >= counting.least)
        kept.append(large.drop("people"))
        rest = rest.anti_join(large, CELL)
    return ibis.union(*kept)


def refresh_cookieless(
    lake: Lake, settings: Settings, *, dates: Sequence[date] | None = None, full: bool = False
) -> Refreshed:
    """Bring `cookieless_counts` up to date: the dates whose events, or whose people, changed.

    Args:
        lake: The lake; reads ``events``, ``identity_map`` and ``person_consents``.
        settings: Definitions, memory, and where to spill.
        dates: Recompute these dates, and no others.
        full: Recompute everything.
    """
    counting = counting_of(load_policy(settings.definitions))
    versions = {name: lake.version(name) for name in UPSTREAMS}
    newest = {name: version for name, version in versions.items() if version >= 0}
    newest["definition"] = int(sha256(repr(counting).encode()).hexdigest()[:15], 16)
    consumed = {name: lake.consumed(TABLE, name) for name in newest}
    is_backfill = dates is not None and not full
    if min(versions["events"], versions["person_consents"]) < 0 or (
        consumed == newest and not full and not is_backfill
    ):
        return Refreshed(table=TABLE, version=lake.version(TABLE))
    with opened_engine(settings) as backend:
        if full or (not is_backfill and consumed["definition"] != newest["definition"]):
            touched = None
        elif is_backfill:
            touched = sorted(set(dates or ()))
        else:
            touched = _touched(backend, lake, consumed)
        files = lake.files("events", dates=touched)
        events = with_person(
            view(backend, lake, "events", files=files), view(backend, lake, "identity_map")
        )
        counts = cookieless_counts(events, view(backend, lake, "person_consents"), counting)
        made = backend.make_table("made", counts)
        noted = {} if is_backfill else newest
        rows = stream(made.order_by(CELL), TABLE)
        if touched is None:
            version = lake.overwrite(TABLE, rows, consumed=noted)
        else:
            version = lake.overwrite_dates(TABLE, rows, dates=touched, consumed=noted)
        return Refreshed(
            table=TABLE,
            version=version,
            rows_written=int(made.count().to_pyarrow().as_py()),
            dates=tuple(touched or ()),
            is_full=touched is None,
        )


def _touched(backend: Engine, lake: Lake, consumed: Mapping[str, int]) -> list[date] | None:
    """Dates of events that changed, or of people who are others or allow something else."""
    changes: dict[str, Changes] = {}
    for name in UPSTREAMS:
        found = net_changes(lake, name, since=consumed.get(name, -1))
        if found is None and lake.exists(name):
            return None
        changes[name] = found or Changes(-1, [], [], [])
    moved = changed_rows(backend, lake, "identity_map", changes["identity_map"], MAPPED)
    chose = changed_rows(
        backend,
        lake,
        "person_consents",
        changes["person_consents"],
        ("person_key", "consent_analytics"),
    )
    if moved is None or chose is None:
        return None
    known = view(backend, lake, "identity_map").select("visitor_key", "person_key")
    visitors = moved.select("visitor_key").union(
        known.semi_join(chose, "person_key").select("visitor_key"),
        chose.select(visitor_key="person_key"),
    )
    events = view(backend, lake, "events").select("event_date", "visitor_key", "user_key")
    theirs = events.filter(
        _.visitor_key.isin(visitors.visitor_key) | _.user_key.isin(chose.person_key)
    )
    dates = set(theirs.select("event_date").distinct().to_polars()["event_date"])
    return sorted(dates | set(changes["events"].dates))
