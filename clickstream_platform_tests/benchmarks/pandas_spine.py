"""The peer of `bench_spine` and `bench_attribution`: the spine as one would write it in pandas.

Events are read once, with the columns that matter; tables are Parquet files; there is no
increment, no transaction, no partition, no contract. It is straightforward, not careless: no loop
over rows but the one that cuts at 24 hours, vectors and groups everywhere else. Channels are named
by three rules that suffice for the links of the history, not by the platform's sixty.

It joins and sorts by ids as they come, as one would who has events and nothing else; or, where it
is asked to, by the integer keys that the platform made of them at ingestion.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # noqa: TID251 - the peer

from clickstream_platform_tests.benchmarks.measuring import Figures

TIMEOUT_US = 1_800_000_000
DAY_US = 86_400_000_000
PINGS = ("page_ping", "screen_ping", "video_ping", "user_engagement")
CAMPAIGN = ["campaign_source", "campaign_medium", "campaign_name", "click_id_type"]
FROM_FIRST = ["person_id", "visitor_id", "source", "referrer_host", "device_type", "browser_name",
              "os_name", "country", *CAMPAIGN]  # fmt: skip
FROM_LAST = ["consent_analytics", "consent_marketing", "consent_personalization"]
KEYS = {"event_key": "event_id", "visitor_key": "visitor_id", "user_key": "user_id"}
"""What stands for what, where integer keys are not given."""
READ = ["event_id", "event_name", "occurred_us", "received_at", "visitor_id", "user_id",
        "page_host", "page_path", "engaged_time_ms", "order_id", "revenue", "is_bot",
        "is_synthetic", "source", "referrer_host", "device_type", "browser_name", "os_name",
        "country", *CAMPAIGN, *FROM_LAST]  # fmt: skip

Frame = Any
"""A frame of pandas, which ships no types."""


def make_spine(
    files: Iterable[str], folder: Path, weights: Mapping[str, float], *, with_keys: bool = False
) -> Figures:
    """Make every table from the files of `events`, as Parquet files below a folder."""
    columns = [*READ, *KEYS] if with_keys else READ
    events = pd.concat(
        [pd.read_parquet(file, columns=columns) for file in files], ignore_index=True
    )
    events = events[~events["is_synthetic"]]
    if not with_keys:
        events = events.assign(**{key: events[name] for key, name in KEYS.items()})
    people = identity_map(events)
    write(people, folder, "identity_map")
    events = in_time(events, people)
    events["session"] = session_numbers(events)
    sessions = sessions_of(events, weights)
    placed = events[["event_key", "person_key", "event_name", "occurred_us", "session"]]
    write(placed, folder, "session_events")
    write(sessions, folder, "sessions")
    touches = touchpoints_of(sessions)
    write(touches, folder, "touchpoints")
    converted = conversions_of(events, sessions)
    write(converted, folder, "conversions")
    earned = credits_of(touches, converted)
    write(earned, folder, "credits")
    return {
        "sessions": len(sessions),
        "conversions": len(converted),
        "credits": len(earned),
        "credit": float(earned["credit"].sum()),
    }


def identity_map(events: Frame) -> Frame:
    """Visitors seen signed in, and as whom; a visitor of several users is shared."""
    together = events[events["visitor_key"].notna() & events["user_key"].notna()]
    links = together.sort_values(["occurred_us", "event_id"]).groupby(
        ["visitor_key", "user_key"], as_index=False
    )
    people = links.agg(
        visitor_id=("visitor_id", "first"),
        user_id=("user_id", "first"),
        evidence_event_id=("event_id", "first"),
        valid_from_us=("occurred_us", "first"),
        recorded_at=("received_at", "min"),
    )
    people["is_shared"] = people.groupby("visitor_key")["user_key"].transform("size") > 1
    return people


def in_time(events: Frame, people: Frame) -> Frame:
    """Events with their person, each person's in order of time."""
    alone = people[~people["is_shared"]].set_index("visitor_key")
    linked = events["visitor_key"].map(alone["user_key"])
    person = events["user_key"].fillna(linked).fillna(events["visitor_key"])
    events["person_key"] = person.astype(events["event_key"].dtype)
    linked = events["visitor_key"].map(alone["user_id"])
    events["person_id"] = events["user_id"].fillna(linked).fillna(events["visitor_id"])
    order = ["person_key", "occurred_us", "event_key"]
    return events.sort_values(order, ignore_index=True)


def session_numbers(events: Frame) -> Frame:
    """The number of each event's session: cut by idleness, campaign and length."""
    us, person = events["occurred_us"], events["person_key"]
    opens_run = (person != person.shift()) | (us.diff() > TIMEOUT_US)
    is_ping = events["event_name"].isin(PINGS)
    named = events[CAMPAIGN].notna().any(axis=1) & ~is_ping
    text = events.loc[named, CAMPAIGN].fillna("").agg("\x1f".join, axis=1)
    campaign = text.reindex(events.index)
    run = opens_run.cumsum()
    before = campaign.groupby(run).ffill().groupby(run).shift()
    is_cut = ~opens_run & campaign.notna() & (before.isna() | (before != campaign))
    starts = (opens_run | is_cut).to_numpy()
    stretch = starts.cumsum()
    spans = us.groupby(stretch).agg(["min", "max"])
    long = spans.index[(spans["max"] - spans["min"]) > DAY_US]
    times = us.to_numpy()
    for number in long:
        first, last = np.searchsorted(stretch, [number, number + 1])
        while times[last - 1] - times[first] > DAY_US:
            first += np.searchsorted(times[first:last], times[first] + DAY_US, side="right")
            starts[first] = True
    return pd.Series(starts.cumsum(), index=events.index)


def sessions_of(events: Frame, weights: Mapping[str, float]) -> Frame:
    """One row per session that is not of pings alone."""
    groups = events.groupby("session", sort=False)
    at = events.set_index("session")
    firsts = events[events["session"] != events["session"].shift()].set_index("session")
    lasts = events[events["session"] != events["session"].shift(-1)].set_index("session")
    sessions = firsts[["event_key", "person_key", *FROM_FIRST]].rename(
        columns={"event_key": "session_key"}
    )
    sessions[FROM_LAST] = lasts[FROM_LAST]
    sessions["start_us"], sessions["end_us"] = firsts["occurred_us"], lasts["occurred_us"]
    sessions["events"] = groups.size()
    is_view = events["event_name"].isin(["page_view", "screen_view"])
    is_real = ~events["event_name"].isin(PINGS)
    sessions["page_views"] = is_view.groupby(events["session"]).sum()
    sessions["engaged_ms"] = groups["engaged_time_ms"].sum(min_count=1)
    sessions["landing_host"] = groups["page_host"].first()
    sessions["landing_path"] = groups["page_path"].first()
    sessions["exit_path"] = groups["page_path"].last()
    sessions["is_bot"] = groups["is_bot"].any()
    age = sessions["end_us"].reindex(at.index).to_numpy() - events["occurred_us"].to_numpy()
    weight = events["event_name"].map(weights).fillna(1.0).to_numpy()
    points = np.exp2(-age / (7 * DAY_US)) * weight
    sessions["points"] = pd.Series(points, index=at.index).groupby(level=0).sum()
    is_purchase = events["event_name"] == "purchase"
    orders = events[is_purchase].drop_duplicates(["session", "order_id"]).groupby("session")
    sessions["conversions"] = orders.size().reindex(sessions.index, fill_value=0)
    revenue = orders["revenue"].sum()
    sessions["revenue"] = revenue.astype(float).reindex(sessions.index, fill_value=0.0)
    sessions["is_engaged"] = (
        (sessions["engaged_ms"] > 10_000)
        | (sessions["conversions"] > 0)
        | (sessions["page_views"] >= 2)
    )
    sessions["channel"] = np.select(
        [sessions["campaign_medium"] == "email", sessions["referrer_host"].notna()],
        ["Email", "Organic Search"],
        "Direct",
    )
    sessions["session_id"] = (
        "s_" + sessions["person_key"].astype(str) + "_" + sessions["session_key"].astype(str)
    )
    return sessions[is_real.groupby(events["session"]).any()]


def touchpoints_of(sessions: Frame) -> Frame:
    """Sessions that can earn credit."""
    columns = ["session_id", "person_id", "person_key", "start_us", "channel", "campaign_name"]
    touches = sessions.loc[~sessions["is_bot"], columns].rename(
        columns={"session_id": "touchpoint_id", "start_us": "touched_us"}
    )
    touches["is_direct"] = touches["channel"] == "Direct"
    return touches


def conversions_of(events: Frame, sessions: Frame) -> Frame:
    """Purchases in sessions of people, once per order of a person."""
    bought = events[events["event_name"] == "purchase"].drop_duplicates(["person_key", "order_id"])
    of_session = sessions.loc[~sessions["is_bot"], ["session_id"]]
    found = bought.merge(of_session, left_on="session", right_index=True)
    columns = ["event_id", "person_id", "person_key", "session_id", "occurred_us", "order_id"]
    return found[[*columns, "revenue"]].rename(
        columns={"event_id": "conversion_id", "occurred_us": "converted_us"}
    )


def credits_of(touches: Frame, converted: Frame) -> Frame:
    """The six models as one would write them in pandas."""
    paths = converted.merge(touches, on="person_key", suffixes=("_of_conversion", ""))
    age_us = paths["converted_us"] - paths["touched_us"]
    paths = paths[(age_us >= 0) & (age_us <= 30 * DAY_US)]
    paths = paths.sort_values(["conversion_id", "touched_us", "touchpoint_id"])
    by_path = paths.groupby("conversion_id", sort=False)
    count = by_path["touched_us"].transform("size")
    position = by_path.cumcount() + 1
    age_us = by_path["touched_us"].transform("max") - paths["touched_us"]
    decay = np.power(2.0, -(age_us / (7 * DAY_US)))
    named = position.where(~paths["is_direct"], 0)
    last_named = named.groupby(paths["conversion_id"], sort=False).transform("max")
    ends = (position == 1) | (position == count)
    weights = {
        "first": (position == 1) * 1.0,
        "last": (position == count) * 1.0,
        "last_non_direct": (position == last_named.where(last_named > 0, count)) * 1.0,
        "linear": 1.0 / count,
        "position": np.where(
            count <= 2, 1.0 / count, np.where(ends, 0.4, 0.2 / (count - 2).clip(lower=1))
        ),
        "time_decay": decay / decay.groupby(paths["conversion_id"], sort=False).transform("sum"),
    }
    columns = ["conversion_id", "touchpoint_id", "person_key", "channel", "campaign_name"]
    parts = []
    for model, weight in weights.items():
        part = paths[columns].assign(model=model, credit=weight)
        part["revenue"] = part["credit"] * paths["revenue"].astype(float)
        parts.append(part[part["credit"] > 0])
    return pd.concat(parts)


def read(files: Sequence[str]) -> Frame:
    """Read files as one frame."""
    return pd.concat(map(pd.read_parquet, files))


def write(rows: Frame, folder: Path, name: str) -> None:
    """Write a frame, packed as the platform's tables are."""
    rows.to_parquet(folder / f"{name}.parquet", compression="zstd")
