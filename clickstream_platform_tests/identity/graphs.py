"""Graphs of identifiers for tests, and a naive way to tell the people in them."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from clickstream_platform.identity import IdentifierRules, IdentifierType
from clickstream_platform_tests.frames import NOON, surrogate

INSTANT = pl.Datetime("us", "UTC")

RULES = IdentifierRules(
    types={
        "user": IdentifierType(priority=1, limit=1),
        "email": IdentifierType(priority=2, limit=2),
        "visitor": IdentifierType(priority=9, limit=4),
    },
    max_identifiers=8,
    max_links_per_hour=5,
)
"""Small limits, so that small graphs break them."""

RULES_TOML = """
max_identifiers = 8
max_links_per_hour = 5
[types]
user = { priority = 1, limit = 1 }
email = { priority = 2, limit = 2 }
visitor = { priority = 9, limit = 4 }
"""
"""The same as a file."""

KINDS = {"v": "visitor", "e": "email", "u": "user"}
"""Type of an identifier by its first letter."""


@dataclass(frozen=True)
class Link:
    """Two identifiers that an event shows together, the stronger one second."""

    one: str
    other: str
    at: datetime = NOON
    """Event time."""
    recorded: datetime | None = None
    """Arrival; the event time unless given."""
    event: str = "e0"


def links_frame(links: Iterable[Link]) -> pl.DataFrame:
    """Typed links as `graph.LINK` has them."""
    text, key = pl.String(), pl.Int64()
    schema = {
        "identifier_type": text,
        "identifier_id": text,
        "identifier_key": key,
        "other_type": text,
        "other_id": text,
        "other_key": key,
        "evidence_event_id": text,
        "valid_from_at": INSTANT,
        "recorded_at": INSTANT,
    }
    rows = [
        (
            KINDS[it.one[0]],
            it.one,
            surrogate(it.one),
            KINDS[it.other[0]],
            it.other,
            surrogate(it.other),
            it.event,
            it.at,
            it.recorded or it.at,
        )
        for it in links
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def random_links(rng: random.Random, number: int) -> list[Link]:
    """A graph of a few visitors, e-mail addresses and users; some hours are stormy."""
    pairs = set()
    for _ in range(number):
        one = rng.choice([f"v{rng.randrange(9)}", f"v{rng.randrange(9)}", f"e{rng.randrange(4)}"])
        other = rng.choice([f"u{rng.randrange(4)}", f"e{rng.randrange(4)}"])
        if one[0] != other[0]:
            pairs.add((one, other))
    return [
        Link(
            one,
            other,
            at=NOON + timedelta(minutes=rng.choice([0, 1, 2]) + 61 * rng.randrange(12)),
            recorded=NOON + timedelta(days=1, minutes=rng.randrange(600)),
            event=f"x{number}",
        )
        for number, (one, other) in enumerate(sorted(pairs))
    ]


def naive_people(links: Iterable[Link], rules: IdentifierRules = RULES) -> dict[str, str]:
    """Person of each identifier, by loops: rules as the guide states them."""
    links = list(links)
    seen: dict[str, list[Link]] = defaultdict(list)
    for it in links:
        seen[it.one].append(it)
        seen[it.other].append(it)
    shared = {who for who, found in seen.items() if _is_shared(who, found, rules)}
    held = [it for it in links if not {it.one, it.other} & shared]
    people: dict[str, str] = {}
    for group in groups((it.one, it.other) for it in held):
        counts: dict[str, int] = defaultdict(int)
        for who in group:
            counts[KINDS[who[0]]] += 1
        sound = len(group) <= rules.max_identifiers and all(
            number <= rules.limits[kind] for kind, number in counts.items()
        )
        if sound:
            first = {who: min(it.at for it in held if who in {it.one, it.other}) for who in group}
            name = min(
                group,
                key=lambda who: (rules.priorities[KINDS[who[0]]], first[who], surrogate(who)),
            )
            people |= dict.fromkeys(group, name)
        else:
            people |= {who: who for who in group}
            people |= {it.one: it.other for it in held if it.one in group and it.other[0] == "u"}
    return people


def _is_shared(who: str, found: list[Link], rules: IdentifierRules) -> bool:
    others = {it.other if it.one == who else it.one for it in found}
    for kind, limit in rules.limits.items():
        if sum(KINDS[other[0]] == kind for other in others) > limit:
            return True
    times = sorted(it.at for it in found)
    most = rules.max_links_per_hour
    return any(
        later - earlier <= timedelta(hours=1)
        for earlier, later in zip(times, times[most:], strict=False)
    )


def groups(pairs: Iterable[tuple[str, str]]) -> list[set[str]]:
    """Connected components, by merging sets."""
    found: list[set[str]] = []
    for pair in pairs:
        together = {*pair}.union(*(group for group in found if group & {*pair}))
        found = [group for group in found if not group & together] + [together]
    return found
