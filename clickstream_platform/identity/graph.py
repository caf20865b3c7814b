"""The identity graph: typed identifiers, the links between them, and the people they make.

Every function is a relation on links, so any engine runs it and the order of arrival cannot
matter. A person is a connected component of the links that hold:

1. links that a person has decided against do not hold;
2. an identifier seen with more values of a type than its limit, or linked in a storm, is shared
   and merges nobody;
3. a component with more values of a type than its limit, or with too many identifiers, is a
   conflict: in it only direct links to a login hold.

Two users are therefore never merged: the type `user` has limit 1.
"""

from typing import NamedTuple

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.identity.rules import LOGIN, VISITOR, IdentifierRules, by_type

LINK = ("identifier_type", "identifier_id", "identifier_key", "other_type", "other_id",
        "other_key", "evidence_event_id", "valid_from_at", "recorded_at")  # fmt: skip
"""Columns of a typed link, in order. The other identifier is the stronger one."""

PAIR = ("identifier_key", "other_key")
"""Two identifiers; surrogates are unique, so they stand for the pseudonyms."""


def typed_links(links: ir.Table) -> ir.Table:
    """Write links of visitors and users as links of typed identifiers.

    Args:
        links: Columns of `identity_links`.

    Returns:
        Columns `LINK`. Grain: identifier_id, other_id.
    """
    return links.select(
        identifier_type=ibis.literal(VISITOR),
        identifier_id="visitor_id",
        identifier_key="visitor_key",
        other_type=ibis.literal(LOGIN),
        other_id="user_id",
        other_key="user_key",
        evidence_event_id="evidence_event_id",
        valid_from_at="valid_from_at",
        recorded_at="recorded_at",
    )


def shared_identifiers(links: ir.Table, rules: IdentifierRules) -> ir.Table:
    """Find identifiers that stand for several people.

    Args:
        links: Columns `LINK`.
        rules: Limits.

    Returns:
        ``key``, ``identifier_type``, ``identifier_id``, ``reason`` (``shared``: more values of a
        type than its limit; ``storm``: too many new links within an hour), ``found_type``,
        ``found``, ``allowed``, ``since_at`` (arrival of the link that was one too many; of a storm,
        of the last of so many links in a row). Grain: key, reason, found_type.
    """
    ends = _ends(links)
    of_type = {"group_by": ["key", "other_type"]}
    counted = ends.mutate(
        rank=ibis.row_number().over(**of_type, order_by=["recorded_at", "other_key"]),
        found=_.count().over(ibis.window(**of_type)),
        allowed=_limit(ends.other_type, rules),
    )
    over = counted.filter(_["rank"] == _.allowed).select(
        "key",
        "identifier_type",
        "identifier_id",
        reason=ibis.literal("shared"),
        found_type="other_type",
        found="found",
        allowed="allowed",
        since_at="recorded_at",
    )
    by_key = {"group_by": "key", "order_by": ["valid_from_at", "other_key"]}
    most = rules.max_links_per_hour
    # Evidence may arrive late: a storm is known once the last of its links has arrived.
    together = ibis.trailing_window(most, **by_key)
    stormy = ends.mutate(
        before=_.valid_from_at.lag(most).over(ibis.window(**by_key)),
        known_at=_.recorded_at.max().over(together),
    ).filter(_.before.notnull(), _.before + ibis.interval(hours=1) >= _.valid_from_at)
    storms = stormy.group_by("key").aggregate(
        identifier_type=_.identifier_type.min(),
        identifier_id=_.identifier_id.min(),
        reason=ibis.literal("storm"),
        found_type=ibis.literal("any"),
        found=_.count() + most,
        allowed=ibis.literal(most, "int64"),
        since_at=_.known_at.min(),
    )
    return over.union(storms.select(over.columns), distinct=False)


def _ends(links: ir.Table) -> ir.Table:
    """Each link seen from both of its ends."""
    there = links.select(
        "identifier_type", "identifier_id", "other_type", "other_key", "valid_from_at",
        "recorded_at", "evidence_event_id", key="identifier_key",
    )  # fmt: skip
    back = links.select(
        identifier_type="other_type", identifier_id="other_id", other_type="identifier_type",
        other_key="identifier_key", valid_from_at="valid_from_at", recorded_at="recorded_at",
        evidence_event_id="evidence_event_id", key="other_key",
    )  # fmt: skip
    return there.union(back.select(there.columns), distinct=False)


def _limit(kind: ir.Column, rules: IdentifierRules) -> ir.Value:
    return by_type(kind, rules.limits)


def links_that_hold(links: ir.Table, shared: ir.Table) -> ir.Table:
    """Keep the links between identifiers that are not shared."""
    keys = shared.select("key").distinct()
    return links.anti_join(keys, [("identifier_key", "key")]).anti_join(
        keys.view(), [("other_key", "key")]
    )


def component_members(held: ir.Table, components: ir.Table, rules: IdentifierRules) -> ir.Table:
    """Say which component each identifier is in, and since when it is known.

    Args:
        held: Columns `LINK`, of links that hold.
        components: ``key``, ``component_key`` of their ends.
        rules: Priorities.

    Returns:
        ``key``, ``identifier_type``, ``identifier_id``, ``priority``, ``first_at``,
        ``component_key``. Grain: key.
    """
    known = (
        _ends(held)
        .group_by("key")
        .aggregate(
            identifier_type=_.identifier_type.min(),
            identifier_id=_.identifier_id.min(),
            first_at=_.valid_from_at.min(),
        )
    )
    known = known.mutate(priority=by_type(known.identifier_type, rules.priorities))
    return known.inner_join(components, "key").select(
        "key", "identifier_type", "identifier_id", "priority", "first_at", "component_key"
    )


def conflicts(members: ir.Table, rules: IdentifierRules) -> ir.Table:
    """Find components that cannot be one person.

    Args:
        members: Columns of `component_members`.
        rules: Limits.

    Returns:
        ``component_key``, ``reason`` (``conflict``: more values of a type than its limit;
        ``oversize``: too many identifiers), ``found_type``, ``found``, ``allowed``. Grain:
        component_key, reason, found_type.
    """
    by_type = members.group_by("component_key", "identifier_type").aggregate(found=_.count())
    by_type = by_type.mutate(allowed=_limit(by_type.identifier_type, rules))
    over = by_type.filter(_.found > _.allowed).select(
        "component_key",
        reason=ibis.literal("conflict"),
        found_type="identifier_type",
        found="found",
        allowed="allowed",
    )
    sizes = members.group_by("component_key").aggregate(found=_.count())
    large = sizes.filter(_.found > rules.max_identifiers).select(
        "component_key",
        reason=ibis.literal("oversize"),
        found_type=ibis.literal("any"),
        found="found",
        allowed=ibis.literal(rules.max_identifiers, "int64"),
    )
    return over.union(large, distinct=False)


def people(members: ir.Table, held: ir.Table, conflicting: ir.Table) -> ir.Table:
    """Say which person each identifier belongs to.

    The person is named by its strongest identifier; of several, the one known longest.

    Args:
        members: Columns of `component_members`.
        held: Columns `LINK`, of links that hold.
        conflicting: ``component_key`` of conflicts.

    Returns:
        ``key``, ``identifier_type``, ``identifier_id``, ``person_key``, ``person_id``. Grain: key.
    """
    keys = conflicting.select("component_key").distinct()
    sound = members.anti_join(keys, "component_key")
    first = ibis.window(group_by="component_key", order_by=["priority", "first_at", "key"])
    named = sound.mutate(rank=ibis.row_number().over(first)).filter(_["rank"] == 0)
    named = named.select("component_key", person_key="key", person_id="identifier_id")
    settled = sound.inner_join(named, "component_key").select(
        "key", "identifier_type", "identifier_id", "person_key", "person_id"
    )
    # Neither end of a link that holds is shared, so an identifier has one login at most.
    split = members.semi_join(keys, "component_key")
    logins = held.filter(_.other_type == LOGIN).select(
        linked_key="identifier_key", login_key="other_key", login_id="other_id"
    )
    fallen = split.left_join(logins, [("key", "linked_key")]).select(
        "key",
        "identifier_type",
        "identifier_id",
        person_key=ibis.coalesce(_.login_key, _.key),
        person_id=ibis.coalesce(_.login_id, _.identifier_id),
    )
    return settled.union(fallen.select(settled.columns), distinct=False)


def map_people(links: ir.Table, found: ir.Table) -> ir.Table:
    """Write who each visitor is, as the identity map.

    A visitor keeps a row for every user it was seen with, whether or not they are merged; one
    that is merged by another identifier has a row for its person as well.

    Args:
        links: Columns `LINK`, without those that were decided against.
        found: Columns of `people`.

    Returns:
        Contract: `clickstream_platform.tables.identity.IdentityMap`.
    """
    person = found.filter(_.identifier_type == VISITOR).select("key", "person_key", "person_id")
    direct = links.filter(_.identifier_type == VISITOR, _.other_type == LOGIN)
    logins = direct.left_join(person, [("identifier_key", "key")]).select(
        visitor_id="identifier_id",
        visitor_key="identifier_key",
        user_id="other_id",
        user_key="other_key",
        person_id=ibis.coalesce(_.person_id, _.identifier_id),
        person_key=ibis.coalesce(_.person_key, _.identifier_key),
        evidence_event_id="evidence_event_id",
        valid_from_at="valid_from_at",
        recorded_at="recorded_at",
    )
    merged = person.filter(_.person_key != _.key).anti_join(
        direct, [("key", "identifier_key"), ("person_key", "other_key")]
    )
    ends = _ends(links)
    earliest = ibis.window(
        group_by="key", order_by=["valid_from_at", "evidence_event_id", "other_key"]
    )
    first = (
        ends.filter(_.identifier_type == VISITOR)
        .mutate(rank=ibis.row_number().over(earliest))
        .filter(_["rank"] == 0)
    )
    others = first.inner_join(merged, "key").select(
        visitor_id="identifier_id",
        visitor_key="key",
        user_id="person_id",
        user_key="person_key",
        person_id="person_id",
        person_key="person_key",
        evidence_event_id="evidence_event_id",
        valid_from_at="valid_from_at",
        recorded_at="recorded_at",
    )
    both = logins.union(others.select(logins.columns), distinct=False)
    return both.select(
        "visitor_id",
        "visitor_key",
        "user_id",
        "user_key",
        "person_id",
        "person_key",
        is_shared=_.person_key != _.user_key,
        evidence_event_id="evidence_event_id",
        valid_from_at="valid_from_at",
        recorded_at="recorded_at",
    )


class Undoing(NamedTuple):
    """What keeps links from merging anybody."""

    shared: ir.Table
    """``key``, ``reason``, ``since_at``."""
    conflicting: ir.Table
    """``key`` of every identifier of a conflict, ``reason``, ``since_at``."""
    denied: ir.Table
    """``identifier_key``, ``other_key``, ``decision_id``, ``decided_at`` of links decided
    against."""


def merges(links: ir.Table, found: ir.Table, undoing: Undoing) -> ir.Table:
    """Write what became of each link: whom it merges, or why and since when it merges nobody.

    Args:
        links: Columns `LINK`, all of them.
        found: Columns of `people`.
        undoing: Why links do not hold.

    Returns:
        Contract: `clickstream_platform.tables.identity.IdentityMerges`.
    """
    shared = undoing.shared.group_by("key").aggregate(
        shared_at=_.since_at.min(), shared_by=_.reason.min()
    )
    split = undoing.conflicting.group_by("key").aggregate(
        split_at=_.since_at.min(), split_by=_.reason.min()
    )
    denied = undoing.denied.rename(denied_key="identifier_key", denied_other_key="other_key")
    left = shared.rename(left_key="key", left_at="shared_at", left_by="shared_by")
    right = shared.rename(right_key="key", right_at="shared_at", right_by="shared_by")
    split = split.rename(split_key="key")
    mine = found.select(mine="key", mine_key="person_key", mine_id="person_id")
    theirs = found.select(theirs="key", theirs_key="person_key")
    joined = (
        links.left_join(
            denied, [("identifier_key", "denied_key"), ("other_key", "denied_other_key")]
        )
        .left_join(left, [("identifier_key", "left_key")])
        .left_join(right, [("other_key", "right_key")])
        .left_join(split, [("identifier_key", "split_key")])
        .left_join(mine, [("identifier_key", "mine")])
        .left_join(theirs, [("other_key", "theirs")])
    )
    joined = joined.select(
        *LINK, "decided_at", "decision_id", "left_at", "left_by", "right_at", "right_by",
        "split_at", "split_by", "mine_key", "mine_id", "theirs_key",
    )  # fmt: skip
    is_shared = _.left_at.notnull() | _.right_at.notnull()
    holds = (_.decided_at.isnull() & ~is_shared & (_.mine_key == _.theirs_key)).fill_null(False)  # noqa: FBT003 - what ibis takes
    joined = joined.mutate(holds=holds)
    by_sharing = ibis.ifelse(
        _.right_at.isnull() | (_.left_at <= _.right_at).fill_null(False),  # noqa: FBT003 - what ibis takes
        _.left_by,
        _.right_by,
    )
    undone_by = ibis.cases(
        (_.holds, ibis.null("string")),
        (_.decided_at.notnull(), ibis.literal("decision")),
        (is_shared, by_sharing),
        else_=_.split_by,
    )
    undone_at = ibis.cases(
        (_.holds, ibis.null("timestamp('UTC')")),
        (_.decided_at.notnull(), ibis.greatest(_.recorded_at, _.decided_at)),
        (
            is_shared,
            ibis.greatest(
                _.recorded_at,
                ibis.least(
                    ibis.coalesce(_.left_at, _.right_at), ibis.coalesce(_.right_at, _.left_at)
                ),
            ),
        ),
        else_=ibis.greatest(_.recorded_at, _.split_at),
    )
    return joined.select(
        *LINK[:6],
        cause=ibis.ifelse(_.other_type == LOGIN, "login", _.other_type),
        evidence_event_id="evidence_event_id",
        valid_from_at="valid_from_at",
        recorded_at="recorded_at",
        person_id=ibis.ifelse(_.holds, _.mine_id, ibis.null("string")),
        person_key=ibis.ifelse(_.holds, _.mine_key, ibis.null("int64")),
        undone_at=undone_at,
        undone_by=undone_by,
        decision_id=ibis.ifelse(_.holds, ibis.null("string"), _.decision_id),
    )
