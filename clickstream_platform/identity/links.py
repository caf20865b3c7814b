"""Identity links: which visitor was seen signed in as which user, and since when."""

from collections.abc import Collection

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.identity.blocked import BLOCKED_IDS

PAIR = ("visitor_key", "user_key")
"""A visitor and a user; surrogates are unique, so they stand for the pseudonyms."""


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
    earliest = together.group_by(*PAIR).aggregate(
        first_us=_.occurred_us.min(), recorded_at=_.received_at.min()
    )
    at_first = together.join(
        earliest,
        [
            together.visitor_key == earliest.visitor_key,
            together.user_key == earliest.user_key,
            together.occurred_us == earliest.first_us,
        ],
    ).select(
        together.visitor_id,
        together.visitor_key,
        together.user_id,
        together.user_key,
        together.event_id,
        together.occurred_at,
        earliest.recorded_at,
    )
    links = at_first.group_by(*PAIR).aggregate(
        visitor_id=_.visitor_id.min(),
        user_id=_.user_id.min(),
        evidence_event_id=_.event_id.min(),
        valid_from_at=_.occurred_at.min(),
        recorded_at=_.recorded_at.min(),
    )
    if blocked:
        links = links.filter(~_.visitor_id.isin(list(blocked)), ~_.user_id.isin(list(blocked)))
    return links.select(LINK)


LINK = ("visitor_id", "visitor_key", "user_id", "user_key",
        "evidence_event_id", "valid_from_at", "recorded_at")  # fmt: skip
"""Columns of a link, in order."""


def merge_links(links: ir.Table, more: ir.Table) -> ir.Table:
    """Merge the links of two sets of events into the links of both.

    Args:
        links: Columns of `identity_links`.
        more: The same.

    Returns:
        The same columns. Grain: visitor_id, user_id.
    """
    both = links.select(LINK).union(more.select(LINK), distinct=False)
    in_time = ibis.window(group_by=list(PAIR), order_by=["valid_from_at", "evidence_event_id"])
    return (
        both.mutate(
            rank=ibis.row_number().over(in_time),
            recorded_at=_.recorded_at.min().over(ibis.window(group_by=list(PAIR))),
        )
        .filter(_["rank"] == 0)
        .select(LINK)
    )
