"""People: whom the events of a visitor are of."""

from datetime import datetime

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.identity.links import LINK


def map_identities(links: ir.Table) -> ir.Table:
    """Decide whom each linked visitor's own events are of.

    A visitor with one user is that user's. A visitor with two or more is a shared device: it is
    merged with none of them and stays its own person, so two known users are never merged.

    Args:
        links: Columns of `identity_links`.

    Returns:
        Contract: `clickstream_platform.tables.identity.IdentityMap`.
    """
    of_visitor = ibis.window(group_by="visitor_key")
    counted = links.mutate(is_shared=(_.count().over(of_visitor) > 1))
    return counted.mutate(
        person_id=ibis.ifelse(_.is_shared, _.visitor_id, _.user_id),
        person_key=ibis.ifelse(_.is_shared, _.visitor_key, _.user_key),
    ).select(
        "visitor_id",
        "visitor_key",
        "user_id",
        "user_key",
        "person_id",
        "person_key",
        "is_shared",
        "evidence_event_id",
        "valid_from_at",
        "recorded_at",
    )


def people_as_of(links: ir.Table, *, recorded_at: datetime) -> ir.Table:
    """Say whom each linked visitor was believed to be, given what had arrived by then.

    Args:
        links: The identity map, or columns of `identity_links`.
        recorded_at: Moment of knowledge; evidence that arrived at it counts.

    Returns:
        ``visitor_id``, ``visitor_key``, ``person_id``, ``person_key``, ``is_shared``. Grain:
        visitor_id.
    """
    known = links.filter(_.recorded_at <= ibis.literal(recorded_at)).select(LINK)
    return (
        map_identities(known)
        .select("visitor_id", "visitor_key", "person_id", "person_key", "is_shared")
        .distinct()
    )


def with_person(events: ir.Table, identity_map: ir.Table) -> ir.Table:
    """Say whom each event is of.

    The event's own user; else the only user its visitor was ever linked with, before or after;
    else the visitor. An event without any has no person.

    Args:
        events: Events with ``visitor_key`` and ``user_key``; with ``visitor_id`` and ``user_id``
            too, the pseudonym of the person is added beside its surrogate.
        identity_map: Contract: `clickstream_platform.tables.identity.IdentityMap`.

    Returns:
        ``events`` with ``person_key`` and, where pseudonyms were given, ``person_id``; null where
        nobody is known. As many rows as before.
    """
    # A visitor that is not shared has one row, so the join multiplies nothing.
    linked = identity_map.filter(~_.is_shared).select(
        linked_visitor_key="visitor_key", linked_key="person_key", linked_id="person_id"
    )
    joined = events.left_join(linked, events.visitor_key == linked.linked_visitor_key)
    person_key = ibis.coalesce(joined.user_key, joined.linked_key, joined.visitor_key)
    if "user_id" not in events.columns or "visitor_id" not in events.columns:
        return joined.select(*events.columns, person_key=person_key)
    person_id = ibis.coalesce(joined.user_id, joined.linked_id, joined.visitor_id)
    return joined.select(*events.columns, person_key=person_key, person_id=person_id)
