"""Identity links: which identifiers were seen together, and since when."""

from collections.abc import Collection, Sequence

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.identity.blocked import BLOCKED_IDS
from clickstream_platform.identity.rules import LOGIN, VISITOR, IdentifierRules, by_type

PAIR = ("visitor_key", "user_key")
"""A visitor and a user; surrogates are unique, so they stand for the pseudonyms."""


NO_KEY = ibis.null("int64")

PSEUDONYM = "pi_"
"""What pseudonyms of further identifiers begin with."""

_HEX = "0123456789abcdef"
_DIGITS = range(3, 18)
"""Places in a pseudonym of the digits that make its surrogate."""


def identity_links(events: ir.Table, *, blocked: Collection[str] = BLOCKED_IDS) -> ir.Table:
    """Find every visitor and user that one event shows together.

    A minimum over events: the links of two sets of events, merged by `merge_links`, are the links
    of all of them. Synthetic events prove nothing.

    Args:
        events: One row per event: ``event_id``, ``occurred_us``, ``occurred_at``, ``received_at``,
            ``visitor_id``, ``visitor_key``, ``user_id``, ``user_key``, ``is_synthetic``.
        blocked: Identifiers that stand for nobody. Raw ones are taken out when events are loaded;
            here a pseudonym known to be shared by many can be added.

    Returns:
        ``visitor_id``, ``visitor_key``, ``user_id``, ``user_key``, ``evidence_event_id`` (the
        earliest event that shows both; of several at one instant the least id), ``valid_from_at``
        (its event time), ``recorded_at`` (earliest arrival of any evidence). Grain: visitor_id,
        user_id.
    """
    together = events.filter(~_.is_synthetic, _.visitor_key.notnull(), _.user_key.notnull())
    links = _earliest(together, PAIR, ("visitor_id", "user_id"))
    if blocked:
        links = links.filter(~_.visitor_id.isin(list(blocked)), ~_.user_id.isin(list(blocked)))
    return links.select(LINK)


LINK = ("visitor_id", "visitor_key", "user_id", "user_key",
        "evidence_event_id", "valid_from_at", "recorded_at")  # fmt: skip
"""Columns of a link, in order."""


def merge_links(links: ir.Table, more: ir.Table, *, pair: Sequence[str] = PAIR) -> ir.Table:
    """Merge the links of two sets of events into the links of both.

    Args:
        links: Columns of `identity_links`, or of links between identifiers of any type.
        more: The same.
        pair: Columns that say what is linked.

    Returns:
        The same columns. Grain: ``pair``.
    """
    both = links.union(more.select(links.columns), distinct=False)
    in_time = ibis.window(group_by=list(pair), order_by=["valid_from_at", "evidence_event_id"])
    return (
        both.mutate(
            rank=ibis.row_number().over(in_time),
            recorded_at=_.recorded_at.min().over(ibis.window(group_by=list(pair))),
        )
        .filter(_["rank"] == 0)
        .select(links.columns)
    )


def further_pairs(events: ir.Table, rules: IdentifierRules) -> ir.Table:
    """Find every pair of identifiers that one event shows, other than a visitor and a user.

    Args:
        events: As for `identity_links`, and ``identifiers``: ``type:pseudonym``, by comma.
        rules: Priorities, which tell the weaker of two from the stronger.

    Returns:
        ``identifier_type``, ``identifier_id``, ``other_type``, ``other_id``, ``visitor_key`` and
        ``user_key`` (of the end that is one), ``event_id``, ``occurred_us``, ``occurred_at``,
        ``received_at``. The other identifier is the stronger one. Grain: event_id,
        identifier_id, other_id.
    """
    held = events.filter(~_.is_synthetic, _.identifiers.notnull())
    when = ("event_id", "occurred_us", "occurred_at", "received_at")
    known = (*when, "visitor_id", "visitor_key", "user_id", "user_key", "identifiers")
    one = _each(held.select(*known), "identifier", rules)
    both = _each(one, "other", rules)
    seen = one.filter(_.visitor_key.notnull()).mutate(user_key=NO_KEY)
    ranks = rules.ranks
    is_other = seen.identifier_type.isin([n for n, rank in ranks.items() if rank < ranks[VISITOR]])
    visitor = ibis.literal(VISITOR)
    legs = [
        seen.mutate(
            identifier_type=ibis.ifelse(is_other, visitor, seen.identifier_type),
            identifier_id=ibis.ifelse(is_other, seen.visitor_id, seen.identifier_id),
            other_type=ibis.ifelse(is_other, seen.identifier_type, visitor),
            other_id=ibis.ifelse(is_other, seen.identifier_id, seen.visitor_id),
        ),
        one.filter(_.user_key.notnull()).mutate(
            other_type=ibis.literal(LOGIN), other_id=_.user_id, visitor_key=NO_KEY
        ),
        # Each pair is there twice, once from either end.
        both.filter(by_type(_.other_type, ranks) < by_type(_.identifier_type, ranks)).mutate(
            visitor_key=NO_KEY, user_key=NO_KEY
        ),
    ]
    ends = ("identifier_type", "identifier_id", "other_type", "other_id")
    return ibis.union(*(leg.select(*ends, "visitor_key", "user_key", *when) for leg in legs))


def further_links(events: ir.Table, rules: IdentifierRules) -> ir.Table:
    """Find the links that further identifiers make, to visitors, users and each other.

    Like `identity_links` a minimum over events.

    Args:
        events: As for `further_pairs`.
        rules: Priorities.

    Returns:
        ``identifier_type``, ``identifier_id``, ``identifier_key``, ``other_type``, ``other_id``,
        ``other_key``, ``evidence_event_id``, ``valid_from_at``, ``recorded_at``. Grain:
        identifier_id, other_id.
    """
    also = ("identifier_type", "other_type", "visitor_key", "user_key")
    links = _earliest(further_pairs(events, rules), ("identifier_id", "other_id"), also)

    def key(end: str) -> ir.Value:
        kind = links[f"{end}_type"]
        return ibis.cases(
            (kind == VISITOR, links.visitor_key),
            (kind == LOGIN, links.user_key),
            else_=_surrogate(links[f"{end}_id"]),
        )

    return links.select(
        "identifier_type",
        "identifier_id",
        identifier_key=key("identifier"),
        other_type="other_type",
        other_id="other_id",
        other_key=key("other"),
        evidence_event_id="evidence_event_id",
        valid_from_at="valid_from_at",
        recorded_at="recorded_at",
    )


def _each(held: ir.Table, end: str, rules: IdentifierRules) -> ir.Table:
    """A row for each further identifier of a row that the rules know the type of.

    What an erasure left of one (`[erased]`) is none.
    """
    parts = held.mutate(part=held.identifiers.split(",").unnest())
    # With a mark more, so that each part has two halves: Spark knows no element beyond the last.
    halves = parts.part.concat(":").split(":")
    typed = parts.mutate(**{f"{end}_type": halves[0], f"{end}_id": halves[1]})
    known = typed[f"{end}_type"].isin(rules.further)
    return typed.filter(known, typed[f"{end}_id"].startswith(PSEUDONYM)).drop("part")


def _surrogate(pseudonym: ir.Column) -> ir.Value:
    """Surrogate of a pseudonym, by arithmetic: engines differ in how they read hexadecimal."""
    digits = (ibis.literal(_HEX).find(pseudonym.substr(place, 1)) for place in _DIGITS)
    weights = (16**power for power in reversed(range(len(_DIGITS))))
    # Spark finds places as int32, and Ibis leaves out a cast to what it takes them to be.
    terms = [
        digit.cast("int32").cast("int64") * ibis.literal(weight, "int64")
        for digit, weight in zip(digits, weights, strict=True)
    ]
    return sum(terms[1:], terms[0])


def _earliest(together: ir.Table, pair: Sequence[str], also: Sequence[str]) -> ir.Table:
    """The earliest event of each pair of identifiers, of several at one instant the least id."""
    earliest = together.group_by(*pair).aggregate(
        first_us=_.occurred_us.min(), recorded_at=_.received_at.min()
    )
    at_first = together.join(
        earliest,
        [
            *(together[name] == earliest[name] for name in pair),
            together.occurred_us == earliest.first_us,
        ],
    ).select(
        *(together[name] for name in (*pair, *also)),
        together.event_id,
        together.occurred_at,
        earliest.recorded_at,
    )
    return at_first.group_by(*pair).aggregate(
        **{name: at_first[name].min() for name in also},
        evidence_event_id=_.event_id.min(),
        valid_from_at=_.occurred_at.min(),
        recorded_at=_.recorded_at.min(),
    )
