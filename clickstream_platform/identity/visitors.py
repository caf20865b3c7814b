"""Visitors who may be one person, though nobody signed in: found for a look, stored nowhere."""

from typing import NamedTuple

import polars as pl

from clickstream_platform.identity.clusters import (
    Cluster,
    Score,
    cluster_matches,
    known_apart,
    pairs_of,
    score_matches,
)
from clickstream_platform.identity.features import consented_events, visitor_features
from clickstream_platform.identity.links import PSEUDONYM
from clickstream_platform.identity.matching import (
    Matches,
    TooFewRecordsError,
    match_records,
    match_rules,
)
from clickstream_platform.identity.people import with_person
from clickstream_platform.identity.rules import VISITOR
from clickstream_platform.lake import Lake, connect, view
from clickstream_platform.settings import Settings


class VisitorMatches(NamedTuple):
    """Visitors who may be one person, and how far that can be trusted."""

    matches: Matches
    """Pairs of pseudonyms, without those of two known users."""
    clusters: list[Cluster]
    score: Score
    """On held-out logins: visitors whose users are known, matched as if they were not."""
    visitors: int
    """Visitors who agreed, without devices that several users share, and without those whom a
    decision took from somebody."""


def known_users(identity_map: pl.DataFrame) -> dict[str, frozenset[str]]:
    """Say with which users each visitor was seen, whether or not it is merged with them.

    A visitor of an account that merges nobody is of a known user all the same. Where no user is
    known, the person that a further identifier tells stands for one.

    Args:
        identity_map: Contract: `clickstream_platform.tables.identity.IdentityMap`.
    """
    users: dict[str, set[str]] = {}
    persons: dict[str, set[str]] = {}
    for visitor, user in identity_map.select("visitor_id", "user_id").iter_rows():
        known = persons if user.startswith(PSEUDONYM) else users
        known.setdefault(visitor, set()).add(user)
    return {visitor: frozenset(found) for visitor, found in (persons | users).items()}


def decided_apart(merges: pl.DataFrame) -> set[str]:
    """Visitors whom somebody took from a person: a guess must not put them back.

    Args:
        merges: Contract: `clickstream_platform.tables.identity.IdentityMerges`.
    """
    denied = merges.filter(pl.col("decision_id").is_not_null())
    ends = [
        denied.filter(pl.col(f"{end}_type") == VISITOR)[f"{end}_id"]
        for end in ("identifier", "other")
    ]
    return set(pl.concat(ends))


def match_visitors(
    lake: Lake, settings: Settings, *, threshold: float | None = None
) -> VisitorMatches:
    """Match visitors who agreed to being recognised; writes nothing.

    Args:
        lake: The lake.
        settings: Rules and memory.
        threshold: Probability from which a pair matches; that of the rules unless given.

    Raises:
        TooFewRecordsError: Too few visitors agreed.
    """
    rules = match_rules(settings.definitions)
    backend = connect(settings.lake)
    try:
        events = with_person(view(backend, lake, "events"), view(backend, lake, "identity_map"))
        held = view(backend, lake, "person_consents")
        records = visitor_features(consented_events(events, held, purpose=rules.purpose))
    finally:
        backend.disconnect()
    known = known_users(lake.scan("identity_map").collect())
    # What several users share is nobody's: it would be a bridge between them.
    shared = {visitor for visitor, found in known.items() if len(found) > 1}
    apart = shared | decided_apart(lake.scan("identity_merges").collect())
    records = records.filter(~pl.col("record_id").is_in(sorted(apart)))
    users = {it: next(iter(known[it])) for it in records["record_id"] if it in known}
    if records.height < 2:  # noqa: PLR2004 - a pair
        raise TooFewRecordsError(records.height)
    matches = match_records(records, rules, least=threshold)
    blind = cluster_matches(matches.pairs, {})
    kept = matches._replace(pairs=known_apart(matches.pairs, users))
    return VisitorMatches(
        matches=kept,
        clusters=cluster_matches(kept.pairs, users),
        score=score_matches(pairs_of(blind), users),
        visitors=records.height,
    )
