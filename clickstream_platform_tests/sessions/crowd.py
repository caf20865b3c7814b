"""People drawn at random whose events lie on every edge of a policy."""

import random
from decimal import Decimal

import polars as pl

from clickstream_platform.identity import identity_links, map_identities
from clickstream_platform.lake import connect
from clickstream_platform.sessions import SessionPolicy
from clickstream_platform.settings import LakeSettings
from clickstream_platform_tests.frames import NOON, events_frame, microseconds

NAMES = ("page_view", "page_view", "screen_view", "page_ping", "page_ping", "user_engagement",
         "search", "purchase", "purchase", "sign_up", "logout")  # fmt: skip
CAMPAIGNS = (
    {"campaign_source": "google", "campaign_medium": "cpc", "click_id_type": "gclid"},
    {"campaign_source": "google", "campaign_medium": "cpc"},
    {"campaign_source": "news", "campaign_medium": "email", "campaign_name": "spring"},
    {"campaign_name": "spring"},
    {"campaign_source": "", "campaign_name": "spring"},
    {"click_id_type": "fbclid"},
)
HOSTS = ("shop.example", "www.shop.example", None)
PATHS = ("/", "/a", "/b", None)
REFERRERS = (None, None, "www.google.com", "shop.example", "chatgpt.com")


def nasty_gaps(policy: SessionPolicy) -> tuple[int, ...]:
    """Gaps in microseconds that sit on the edges of a policy, and on those of a second."""
    timeout, longest = policy.timeout_us, policy.max_duration_us
    return (0, 0, 1, 499_999, 500_001, 999_999, 1_000_001, timeout - 1, timeout, timeout,
            timeout + 1, timeout - 500_001, timeout // 2, timeout // 7, longest // 2,
            longest % timeout, longest % timeout + 1)  # fmt: skip


def crowd(seed: int, policy: SessionPolicy, *, events: int = 120) -> pl.DataFrame:
    """Events of a few visitors and users, some of them at one instant, some of nobody."""
    rng = random.Random(seed)
    gaps = nasty_gaps(policy)
    rows: list[dict[str, object]] = []
    clocks = {visitor: microseconds(NOON) + rng.randrange(10**9) for visitor in range(5)}
    for number in range(events):
        visitor = rng.choice([0, 0, 0, 1, 1, 2, 3, 4])
        clocks[visitor] += rng.choice(gaps) + (rng.random() < 0.15) * policy.timeout_us
        rows.append(event(rng, number, visitor, clocks[visitor]))
    rng.shuffle(rows)
    return events_frame(rows)


def event(rng: random.Random, number: int, visitor: int, us: int) -> dict[str, object]:
    """One event of a visitor; visitors 0 and 1 sign in as Ann, 1 and 2 as Bob, 4 is nobody."""
    name = rng.choice(NAMES)
    user = {0: "ann", 1: rng.choice(["ann", "bob"]), 2: "bob"}.get(visitor)
    campaign = rng.choice(CAMPAIGNS) if rng.random() < 0.3 else {}
    return {
        "event_id": f"e{number}",
        "event_name": name,
        "occurred_us": us,
        "visitor_id": None if visitor == 4 else f"v{visitor}",
        "user_id": user if rng.random() < 0.15 else None,
        "is_synthetic": rng.random() < 0.05,
        "is_bot": rng.random() < 0.02,
        "source": rng.choice(["web", "app"]),
        "platform": rng.choice(["web", None, "app", "server"]),
        "page_host": rng.choice(HOSTS),
        "page_path": rng.choice(PATHS),
        "referrer_host": rng.choice(REFERRERS),
        "device_type": rng.choice(["mobile", "desktop", None]),
        "browser_name": rng.choice(["Firefox", None]),
        "os_name": rng.choice(["Linux", None]),
        "country": rng.choice(["DE", None]),
        "engaged_time_ms": rng.choice([None, None, 0, 4_000, 6_001]),
        "order_id": rng.choice([None, "", "o1", "o2"]) if name in {"purchase", "sign_up"} else None,
        "revenue": rng.choice([None, Decimal("12.5"), Decimal("0.0001")]),
        "consent_analytics": rng.choice([True, False, None]),
        "consent_marketing": rng.choice([True, False, None]),
        **campaign,
    }


def identities(events: pl.DataFrame) -> pl.DataFrame:
    """The identity map of these events."""
    backend = connect(LakeSettings())
    try:
        table = backend.create_table("events", events.to_arrow(), temp=True)
        found: pl.DataFrame = map_identities(identity_links(table)).to_polars()
        return found
    finally:
        backend.disconnect()
