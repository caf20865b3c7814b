"""What is true of a simulation: who is who, sessions, conversions, consent, and every fault."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import polars as pl

from clickstream_platform.simulator.behaviour import Name, order_hashes, revenues
from clickstream_platform.simulator.draws import Hashes, Integers
from clickstream_platform.simulator.files import lines_by_file
from clickstream_platform.simulator.lines import CHUNK, Flaw, Slot, slots_of
from clickstream_platform.simulator.ndjson import amounts, hexadecimal, numbers, texts
from clickstream_platform.simulator.parameters import Simulation
from clickstream_platform.simulator.visitors import NEVER
from clickstream_platform.simulator.visits import Records
from clickstream_platform.simulator.world import World, world_of

CONVERSIONS = (Name.PURCHASE, Name.SIGN_UP, Name.GENERATE_LEAD)
"""Events that count as conversions."""

INSTANT = pl.Datetime("us", "UTC")
MONEY = pl.Decimal(18, 2)


@dataclass(frozen=True)
class Truth:
    """Tables of what is true; identifiers are the raw ones that the lines carry."""

    persons: pl.DataFrame
    """One row per person and visitor: ``person``, ``visitor_id``, ``user_id`` (null without an
    account), ``has_signed_in`` (on this visitor: what stitching can see), ``bot_kind`` (null for
    people), ``clock_off_ms``."""
    sessions: pl.DataFrame
    """One row per true session: ``person``, ``visitor_id``, ``tracker_session_id``, ``part`` (1
    after a campaign cut it, else 0), ``started_at``, ``ended_at``, ``events``, ``channel``,
    ``campaign_source``, ``campaign_medium``, ``campaign_name``, ``click_id_type``, ``is_bot``."""
    conversions: pl.DataFrame
    """One row per conversion: ``event_id``, ``event_name``, ``person``, ``visitor_id``,
    ``tracker_session_id``, ``converted_at``, ``order_id``, ``revenue``, ``currency``; the last
    three are null unless it is a purchase."""
    consents: pl.DataFrame
    """One row per choice of a person: ``person``, ``visitor_id``, ``since``, ``analytics``,
    ``marketing``, ``personalization``."""
    faults: pl.DataFrame
    """One row per line and fault: ``file``, ``line`` (from 0), ``event_id``, ``fault``."""


def truth(simulation: Simulation, *, chunk: int = CHUNK) -> Truth:
    """Find what is true of a simulation, without writing it.

    All of it is held in memory: about 100 bytes per event.

    Args:
        simulation: What to simulate.
        chunk: About how many events are worked on at once; the result does not depend on it.
    """
    world = world_of(simulation)
    seen: dict[str, list[pl.DataFrame]] = {field.name: [] for field in fields(Truth)}
    lines_before: Counter[str] = Counter()
    for slot in slots_of(world, chunk=chunk):
        seen["persons"].append(persons_of(world, slot.visitors))
        seen["sessions"].append(sessions_of(world, slot))
        seen["conversions"].append(conversions_of(world, slot))
        seen["consents"].append(consents_of(world, slot.visitors))
        for name, lines in lines_by_file(simulation, slot.lines):
            seen["faults"] += faults_of(name, lines_before[name], slot.senders, lines)
            lines_before[name] += len(lines)
    seen["faults"].append(NO_FAULTS)
    tables = {name: pl.concat(parts) for name, parts in seen.items()}
    return Truth(
        persons=tables["persons"]
        .group_by("person", "visitor_id", "user_id", "bot_kind", "clock_off_ms")
        .agg(pl.col("has_signed_in").any())
        .sort("person", "visitor_id"),
        sessions=tables["sessions"].sort("person", "started_at"),
        conversions=tables["conversions"].sort("converted_at", "event_id"),
        consents=tables["consents"].sort("person", "since"),
        faults=tables["faults"].sort("file", "line", "fault"),
    )


def write_truth(simulation: Simulation, folder: Path) -> list[Path]:
    """Write what is true as one Parquet file per table.

    Args:
        simulation: What was simulated.
        folder: Where to; made if absent. Choose none below a landing folder: there, the files
            would be taken for events.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = truth(simulation)
    files = [folder / f"{field.name}.parquet" for field in fields(Truth)]
    for file in files:
        getattr(found, file.stem).write_parquet(file)
    return files


def persons_of(world: World, visitors: Records) -> pl.DataFrame:
    """Who made visits, with which browser."""
    kinds = pl.Series(world.bot_kinds, dtype=pl.String)
    return pl.DataFrame(
        {
            "person": person_names(visitors),
            "visitor_id": identifiers("v-", visitors["visitor"]),
            "user_id": user_names(visitors),
            "has_signed_in": visitors["signed_in_from"] < NEVER,
            "bot_kind": kinds.gather(visitors["agent"]),
            "clock_off_ms": visitors["clock_off_ms"],
        }
    ).unique()


def sessions_of(world: World, slot: Slot) -> pl.DataFrame:
    """Sessions that begin in a slot: each visit, or its parts if a campaign cuts it."""
    events, visitors = slot.events, slot.visitors
    spans = (
        pl.DataFrame(
            {
                "visit": events["visit"],
                "part": (events["index"] >= visitors["cut_at"][events["visit"]]).astype(np.int8),
                "ms": events["time_ms"],
            }
        )
        .group_by("visit", "part")
        .agg(first=pl.col("ms").min(), last=pl.col("ms").max(), events=pl.len())
        .sort("visit", "part")
    )
    by = visitors.take(spans["visit"].to_numpy())
    way = np.where(spans["part"].to_numpy() == 1, by["second_traffic"], by["traffic"])
    ways = pl.DataFrame(
        [
            (way.channel, way.source, way.medium, way.campaign, way.click_id)
            for way in world.shop.traffic
        ],
        schema=dict.fromkeys(
            ("channel", "campaign_source", "campaign_medium", "campaign_name", "click_id_type"),
            pl.String(),
        ),
        orient="row",
    )
    sessions = pl.DataFrame(
        {
            "person": person_names(by),
            "visitor_id": identifiers("v-", by["visitor"]),
            "tracker_session_id": identifiers("s-", by["hash"]),
            "part": spans["part"],
            "started_at": instants(world, spans["first"].to_numpy()),
            "ended_at": instants(world, spans["last"].to_numpy()),
            "events": spans["events"].cast(pl.Int64),
        }
    )
    is_bot = pl.Series("is_bot", by["is_bot"])
    return sessions.hstack(ways.select(pl.all().gather(pl.Series(way)))).hstack([is_bot])


def conversions_of(world: World, slot: Slot) -> pl.DataFrame:
    """Conversions of the visits that begin in a slot."""
    found = slot.events.compress(np.isin(slot.events["name"], CONVERSIONS))
    by = slot.visitors.take(found["visit"])
    revenue, _ = revenues(world, slot.visitors, found)
    currencies = pl.Series([country.currency for country in world.shop.country], dtype=pl.String)
    sold = pl.when(pl.col("event_name") == "purchase")
    return pl.DataFrame(
        {
            "event_id": texts(hexadecimal(found["hash"])),
            "event_name": pl.Series([name.name.lower() for name in Name]).gather(found["name"]),
            "person": person_names(by),
            "visitor_id": identifiers("v-", by["visitor"]),
            "tracker_session_id": identifiers("s-", by["hash"]),
            "converted_at": instants(world, found["time_ms"]),
            "order_id": identifiers("o-", order_hashes(found)),
            "revenue": amounts(revenue).cast(MONEY),
            "currency": currencies.gather(by["country"]),
        }
    ).with_columns(sold.then(name).alias(name) for name in ("order_id", "revenue", "currency"))


def consents_of(world: World, visitors: Records) -> pl.DataFrame:
    """Choices of consent made in visits: in the first, and where people change their mind."""
    choices = pl.DataFrame(
        [
            (choice.analytics, choice.marketing, choice.personalization)
            for choice in world.shop.consent.choice
        ],
        schema=["analytics", "marketing", "personalization"],
        orient="row",
    )
    by = visitors.compress(visitors["has_chosen"])
    chosen = pl.DataFrame(
        {
            "person": person_names(by),
            "visitor_id": identifiers("v-", by["visitor"]),
            "since": instants(world, by["start_ms"]),
        }
    )
    return chosen.hstack(choices.select(pl.all().gather(pl.Series(by["consent"]))))


NO_FAULTS = pl.DataFrame(
    schema={"file": pl.String(), "line": pl.Int64(), "event_id": pl.String(), "fault": pl.String()}
)
"""The table of faults without a row."""


def faults_of(name: str, before: int, senders: Records, lines: Records) -> Iterator[pl.DataFrame]:
    """Faults of lines of one file, of which some lines came before."""
    is_sound = lines["flaw"] < Flaw.TRUNCATED
    hits = {flaw.name.lower(): lines["flaw"] == flaw for flaw in Flaw if flaw}
    hits["late"] = is_sound & lines["is_late"]
    hits["skewed"] = is_sound & (senders["clock_off_ms"][lines["visit"]] != 0)
    hits["personal_data"] = is_sound & (lines["personal"] > 0)
    for fault, is_hit in hits.items():
        places = np.flatnonzero(is_hit)
        yield pl.DataFrame(
            {
                "file": [name] * len(places),
                "line": before + places,
                "event_id": texts(hexadecimal(lines["hash"][places])),
                "fault": [fault] * len(places),
            },
            schema=NO_FAULTS.schema,
        )


def person_names(visitors: Records) -> pl.Series:
    """Name of who makes each visit: ``p-`` (a person) or ``b-`` (a bot), and a number from 1."""
    fronts = pl.Series(["p-", "b-"]).gather(visitors["is_bot"].astype(np.int64))
    return fronts + numbers(visitors["number"] + 1).str.zfill(5)


def user_names(visitors: Records) -> pl.Series:
    """Account of who makes each visit, or null."""
    users = "u-" + numbers(visitors["user"] + 1).str.zfill(5)
    return users.zip_with(pl.Series(visitors["user"] >= 0), pl.Series([None], dtype=pl.String))


def identifiers(prefix: str, hashes: Hashes) -> pl.Series:
    """Identifiers as the lines carry them."""
    return prefix + texts(hexadecimal(hashes))


def instants(world: World, milliseconds: Integers) -> pl.Series:
    """Milliseconds in the window as instants."""
    start_us = int(world.simulation.starts_at.timestamp()) * 1_000_000
    return pl.Series(start_us + milliseconds.astype(np.int64) * 1_000).cast(INSTANT)
