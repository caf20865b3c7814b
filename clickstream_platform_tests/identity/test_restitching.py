"""A late login repairs history: everything downstream follows, and equals a full refresh."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import polars as pl

from clickstream_platform.attribution import (
    refresh_conversions,
    refresh_credits,
    refresh_touchpoints,
)
from clickstream_platform.collection.consent_log import refresh_consents, refresh_person_consents
from clickstream_platform.identity import decide, refresh_identity
from clickstream_platform.lake import Lake, Refreshed
from clickstream_platform.segments import refresh_scores, refresh_segments
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import NOON, events_frame, surrogate

DAY = timedelta(days=1)
STAGES: dict[str, Callable[..., Refreshed]] = {
    "identity_map": refresh_identity,
    "consents": lambda lake, settings, **_: refresh_consents(lake, settings)[0],
    "person_consents": lambda lake, _, *, full: refresh_person_consents(lake, now=NOON, full=full),
    "sessions": refresh_sessions,
    "touchpoints": refresh_touchpoints,
    "conversions": refresh_conversions,
    "attribution_credits": refresh_credits,
    "engagement_scores": refresh_scores,
}
TABLES = (*STAGES, "identity_merges", "identity_conflicts", "session_events", "sessionless_events")


def refresh(lake: Lake, settings: Settings, *, full: bool = False) -> dict[str, Refreshed]:
    return {name: stage(lake, settings, full=full) for name, stage in STAGES.items()}


def rows(lake: Lake) -> dict[str, list[tuple[object, ...]]]:
    """Rows of every table, in one order."""
    return {
        name: frame.select(sorted(set(frame.columns) - {"computed_at"})).sort(pl.all()).rows()
        for name in TABLES
        for frame in [lake.scan(name).collect()]
    }


def page(number: int, visitor: str, day: float, **more: object) -> dict[str, object]:
    return {
        "event_id": f"{visitor}-{number}", "visitor_id": visitor, "occurred_at": NOON + day * DAY,
        "country": "US", "campaign_source": "news" if number % 5 == 0 else None, **more,
    }  # fmt: skip


def a_month(people: int) -> list[dict[str, object]]:
    """Everybody's phone every day; on the last day a purchase on the laptop."""
    events = []
    for who in range(people):
        events += [page(day, f"phone{who}", day + who / 1_000) for day in range(30)]
        buys = {"event_name": "purchase", "order_id": f"o{who}", "revenue": Decimal(10)}
        events.append(page(0, f"laptop{who}", 29.5 + who / 1_000, user_id=f"user{who}", **buys))
    return events


def credited(lake: Lake, order_of: str) -> set[str | None]:
    """Sessions that earned credit for a person's conversion."""
    rows_of = lake.scan("attribution_credits").filter(pl.col("model") == "linear").collect()
    of = rows_of.filter(pl.col("person_key") == surrogate(order_of))
    return set(of["touchpoint_id"])


def test_late_login_repairs_a_month_and_only_its_person(lake: Lake, settings: Settings) -> None:
    lake.append("events", events_frame(a_month(20)))
    refresh(lake, settings)
    before = credited(lake, "user7")
    sessions = lake.scan("sessions").collect()
    others = sessions.filter(~pl.col("person_id").is_in(["user7", "phone7"]))
    # On the 31st day user 7 signs in on the phone: thirty days of visits were theirs.
    lake.append("events", events_frame([page(31, "phone7", 31, user_id="user7")]))
    done = refresh(lake, settings)
    assert [name for name, it in done.items() if it.is_full] == ["person_consents"]
    assert done["identity_map"].details["identifiers_affected"] == 3
    assert done["sessions"].rows_read <= 32, "their own events, and nobody else's"
    now = lake.scan("sessions").collect()
    assert now.filter(pl.col("person_id") == "phone7").is_empty()
    assert now.filter(pl.col("person_id") == "user7").height == 32
    kept = now.filter(~pl.col("person_id").is_in(["user7", "phone7"]))
    assert kept.sort("session_id").rows() == others.sort("session_id").rows()
    assert len(credited(lake, "user7")) > len(before), "the campaigns of the month earn credit"
    equals_full(lake, settings)


OFTEN = """
description = "People who came at least thirty-two times."
owner = "us"
purpose = "analytics"
expires = 2027-01-01
table = "sessions"
count = { min = 32 }
within_days = 60
"""


def test_segments_follow_a_late_login(lake: Lake, settings: Settings) -> None:
    own = settings.data / "own"
    (own / "segments").mkdir(parents=True)
    (own / "segments" / "often.toml").write_text(OFTEN)
    settings = settings.model_copy(update={"definitions": own})

    def members(day: int) -> list[str]:
        refresh(lake, settings)
        refresh_consents(lake, settings)
        refresh_segments(lake, settings, now=NOON + day * DAY)
        found = lake.scan("segment_members").filter(pl.col("segment") == "often").collect()
        return found.filter(pl.col("until_at").is_null())["person_id"].to_list()

    agreed = [it | {"consent_analytics": True} for it in a_month(3)]
    lake.append("events", events_frame(agreed))
    # Thirty days on the phone and one on the laptop, apart: nobody came so often.
    assert members(31) == []
    login = page(31, "phone1", 31, user_id="user1", consent_analytics=True)
    lake.append("events", events_frame([login]))
    assert members(32) == ["user1"]
    phone, user = ((name, surrogate(name)) for name in ("phone1", "user1"))
    decide(
        lake, "unmerge", reason="lent", actor="ann", now=NOON + 40 * DAY,
        identifier=phone, other=user,
    )  # fmt: skip
    assert members(33) == []


def test_decision_is_followed_downstream(lake: Lake, settings: Settings) -> None:
    lake.append("events", events_frame(a_month(10)))
    refresh(lake, settings)
    before = rows(lake)
    lake.append("events", events_frame([page(0, "phone3", 29.4, event_id="m", user_id="user3")]))
    refresh(lake, settings)
    assert rows(lake)["sessions"] != before["sessions"]
    phone, user = ((name, surrogate(name)) for name in ("phone3", "user3"))
    decide(
        lake, "unmerge", reason="lent", actor="ann", now=NOON + 40 * DAY,
        identifier=phone, other=user,
    )  # fmt: skip
    refresh(lake, settings)
    equals_full(lake, settings)
    # The one event that user 3 signed in for stays theirs; all else is as it was.
    lake.delete("events", "event_id = 'm'")
    refresh(lake, settings)
    after = rows(lake)
    assert {name: after[name] for name in STAGES} == {name: before[name] for name in STAGES}


def equals_full(lake: Lake, settings: Settings) -> None:
    incremental = rows(lake)
    refresh(lake, settings, full=True)
    full = rows(lake)
    for name in TABLES:
        assert incremental[name] == full[name], name
