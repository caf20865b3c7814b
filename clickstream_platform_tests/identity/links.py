"""Links between visitors and users, found naively and written apart from the package."""

import random
from collections import defaultdict
from typing import Any

import polars as pl

from clickstream_platform.lake import polars_schema
from clickstream_platform_tests.frames import NOON, instant, microseconds, surrogate

Event = dict[str, Any]


def seen(event_id: str, visitor: str | None, user: str | None, at: float, **more: object) -> Event:
    """An event so many seconds after noon that shows a visitor and a user."""
    us = microseconds(NOON) + round(at * 1_000_000)
    ids = {"event_id": event_id, "visitor_id": visitor, "user_id": user}
    return ids | {"occurred_us": us, "received_at": instant(us)} | more


def naive_map(events: pl.DataFrame) -> pl.DataFrame:
    """The identity map of events, in order of all columns."""
    together: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for it in events.to_dicts():
        if it["visitor_id"] is not None and it["user_id"] is not None and not it["is_synthetic"]:
            together[it["visitor_id"], it["user_id"]].append(it)
    users: dict[str, set[str]] = defaultdict(set)
    for visitor, user in together:
        users[visitor].add(user)
    rows = []
    for (visitor, user), evidence in together.items():
        first = min(evidence, key=lambda it: (it["occurred_us"], it["event_id"]))
        is_shared = len(users[visitor]) > 1
        person = visitor if is_shared else user
        rows.append(
            {
                "visitor_id": visitor,
                "visitor_key": surrogate(visitor),
                "user_id": user,
                "user_key": surrogate(user),
                "person_id": person,
                "person_key": surrogate(person),
                "is_shared": is_shared,
                "evidence_event_id": first["event_id"],
                "valid_from_at": first["occurred_at"],
                "recorded_at": min(it["received_at"] for it in evidence),
            }
        )
    frame = pl.DataFrame(rows, schema=polars_schema("identity_map"))
    return frame.sort(frame.columns)


def logins(rng: random.Random, number: int, first: int = 0) -> list[Event]:
    """Events of a few visitors and users, many at one instant and some that arrive late."""
    events = []
    for event_id in range(first, first + number):
        at = rng.randrange(20) + rng.choice([0, 0, 0.000_001])
        it = seen(
            f"e{event_id}",
            rng.choice(["v1", "v2", "v3", "v4", None]),
            rng.choice(["ann", "ann", "bob", None, None]),
            at,
            is_synthetic=rng.random() < 0.1,
        )
        arrived = it["occurred_us"] + rng.choice([0, 1, 999_999, 3_600_000_000])
        events.append(it | {"received_at": instant(arrived)})
    return events
