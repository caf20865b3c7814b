"""When people come: one row per visit, before it is known what happens in it.

A visit is a run of one person's events without a gap over 30 minutes. It is one session, or two
where another campaign cuts it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clickstream_platform.simulator import draws
from clickstream_platform.simulator.draws import Floats, Hashes, Integers
from clickstream_platform.simulator.parameters import DEFAULT_EVENTS
from clickstream_platform.simulator.world import DAY_MS, HOUR_MS, SCALES, SECOND_MS, World

Records: TypeAlias = NDArray[np.void]
"""Array of records, one field per column."""

VISIT = np.dtype(
    [
        ("start_ms", np.int64),
        ("number", np.uint32),
        ("ordinal", np.uint16),
        ("size", np.uint16),
        ("is_bot", np.bool_),
    ],
    align=True,
)
"""A visit: begin (milliseconds in the window), who, which of theirs, how many events."""

REST_MS = 32 * 60 * SECOND_MS
"""Least time from the last event of a visit to the next visit: 30 minutes beyond the last ping,
which comes a minute after the last event at most, and a minute for network latency."""

TAIL_MS = 70 * SECOND_MS
"""Least time from the last event of a visit to the end of the window; everything has arrived."""

PERSON_SPAN = 2**41
"""Milliseconds set apart per person where visits of many are laid on one line; over 60 years."""

MOST_AT_ONCE = 2**20
"""Persons of whom visits are laid on one line; a quarter of what 64 bits hold."""

PILOT = 16_384
"""People looked at to learn how many events one makes."""


class Crowd(NamedTuple):
    """How many people may come, and how many bots."""

    persons: int
    bots: int
    events: int
    """About how many events they make together."""


class Places(NamedTuple):
    """Visits by whose they are, and which of theirs."""

    who: Integers
    """Position of the person."""
    ordinal: Integers


class Steps(NamedTuple):
    """Events of visits in order, before pings."""

    visit: NDArray[np.int64]
    """Position of the visit."""
    place: NDArray[np.int64]
    """Position in the visit, from 0."""
    hash: Hashes
    gap_ms: NDArray[np.int64]
    """Time until the next event; after the last event, time on the page."""


def hashes_of_persons(world: World, numbers: Integers, *, is_bot: bool) -> Hashes:
    """Hash of each person, or of each bot."""
    population = "bot" if is_bot else "person"
    return draws.children(draws.root(world.simulation.seed, population), numbers)


def hashes_of_visits(persons: Hashes, ordinals: Integers) -> Hashes:
    """Hash of each visit, by its person and its place in order of time."""
    return draws.children(draws.draws(persons, "visits"), ordinals)


def steps(world: World, hashes: Hashes, sizes: Integers, is_bot: NDArray[np.bool_]) -> Steps:
    """Unfold visits into their events."""
    sizes = sizes.astype(np.int64)
    visit = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(visit)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    events = draws.children(hashes[visit], place)
    row = draws.level(events, 0).astype(np.int64)
    if is_bot.any():
        row += is_bot[visit] * draws.LEVELS
    return Steps(visit, place, events, world.tables.gaps_ms.reshape(-1)[row].astype(np.int64))


def crowd(world: World) -> Crowd:
    """Find how many people and bots make about the events that are asked for.

    A pilot of people is simulated and counted, because visits that do not fit into the window
    are lost.
    """
    chosen = world.simulation
    a_person = events_of_one(world, is_bot=False)
    a_bot = events_of_one(world, is_bot=True)
    of_persons = (chosen.events or DEFAULT_EVENTS) * (1 - chosen.bot_share)
    persons = round(of_persons / a_person) if chosen.persons is None else chosen.persons
    if persons:  # else one comes, and bots are as many as if less than one did
        of_persons = persons * a_person
    of_bots = of_persons * chosen.bot_share / (1 - chosen.bot_share)
    return Crowd(max(1, persons), round(of_bots / a_bot), round(of_persons + of_bots))


def events_of_one(world: World, *, is_bot: bool) -> float:
    """Mean number of events that a person, or a bot, makes in the window."""
    sizes = visits_of(world, 0, PILOT, is_bot=is_bot)["size"].sum() / PILOT
    if is_bot:
        return float(sizes)
    ping = world.shop.ping
    is_long = world.tables.gaps_ms[0] > ping.shortest_s * SECOND_MS
    return float(sizes) * (1 + ping.share * float(is_long.mean()))


def chunks_of_visits(world: World, people: Crowd, persons_at_once: int) -> Iterator[Records]:
    """Visits of everybody, some persons at a time, not in order of time."""
    for is_bot, count in enumerate((people.persons, people.bots)):
        step = min(persons_at_once, MOST_AT_ONCE)
        for first in range(0, count, step):
            last = min(count, first + step)
            yield visits_of(world, first, last, is_bot=bool(is_bot))


def visits_of(world: World, first: int, last: int, *, is_bot: bool) -> Records:
    """Visits of persons numbered from first up to last, by person and in order of time."""
    numbers = np.arange(first, last)
    persons = hashes_of_persons(world, numbers, is_bot=is_bot)
    counts = world.tables.sessions[draws.level(draws.draws(persons, "sessions"), 0)]
    who = np.repeat(np.arange(len(persons)), counts)
    ordinal = np.arange(len(who)) - np.repeat(np.cumsum(counts) - counts, counts)

    homes = persons if is_bot else homes_of(world, numbers, persons)
    wished = start_times(world, persons, homes, Places(who, ordinal))
    line = who * PERSON_SPAN + wished
    line.sort()
    wished = line - who * PERSON_SPAN

    hashes = hashes_of_visits(persons[who], ordinal)
    scale = bot_scale(persons) if is_bot else person_scale(world, persons, counts)
    rows = scale[who] * draws.LEVELS + draws.level(draws.draws(hashes, "size"), 0)
    sizes = world.tables.sizes.reshape(-1)[rows]

    bots = np.full(len(who), is_bot)
    unfolded = steps(world, hashes, sizes, bots)
    ends = np.cumsum(sizes)
    total = np.concatenate([[0], np.cumsum(unfolded.gap_ms)])
    duration = total[ends - 1] - total[ends - sizes]
    start = kept_apart(wished, duration + REST_MS, who)

    visits = np.empty(len(who), VISIT)
    visits["start_ms"], visits["number"] = start, numbers[who]
    visits["ordinal"], visits["size"], visits["is_bot"] = ordinal, sizes, bots
    return visits.compress(start + duration + TAIL_MS < world.window_ms)


def stacked(first: Records, second: Records) -> Records:
    """Put records below others, as bytes: numpy would copy them field by field."""
    kind = first.dtype
    rows: Records = np.concatenate([first.view("u8"), second.view("u8")]).view(kind)
    return rows


def kept_apart(wished: Integers, occupied: Integers, who: Integers) -> NDArray[np.int64]:
    """Begin of each visit: as wished, or as soon as the person's visit before it leaves room.

    That is ``start[i] = max(wished[i], start[i - 1] + occupied[i - 1])`` for each person, as
    one running maximum.
    """
    before = np.cumsum(occupied) - occupied
    base = who * PERSON_SPAN
    latest: NDArray[np.int64] = np.maximum.accumulate(wished - before + base) + before - base
    return latest


def person_scale(world: World, persons: Hashes, counts: Integers) -> Integers:
    """Position in `SCALES` of each person: busy persons also have longer sessions."""
    size = world.shop.events_per_session
    normal = draws.quantiles_of_normal()[draws.level(draws.draws(persons, "scale"), 0)]
    log_scale = size.person_sd * normal
    log_scale += size.slope_on_log_sessions * (np.log(counts) - world.tables.mean_log_sessions)
    return np.searchsorted((np.log(SCALES[1:]) + np.log(SCALES[:-1])) / 2, log_scale)


def bot_scale(bots: Hashes) -> Integers:
    """Row of the bots in the table of sizes, for each of them."""
    return np.full(len(bots), len(SCALES))


def homes_of(world: World, numbers: Integers, persons: Hashes) -> Hashes:
    """Hash of the person whose device a person uses: their own, or that of the one before.

    Of two persons numbered 2k and 2k + 1, the second may share the device of the first.
    """
    partners = hashes_of_persons(world, numbers - 1, is_bot=False)
    shares = draws.happens(
        draws.draws(persons, "household"), 2 * world.shop.identity.shared_device_share
    )
    return np.where(shares & (numbers % 2 == 1), partners, persons)


def countries_of(world: World, homes: Hashes) -> NDArray[np.int32]:
    """Country of each home, as a position in the shop's list."""
    return world.tables.countries[draws.level(draws.draws(homes, "country"), 0)]


def start_times(world: World, persons: Hashes, homes: Hashes, places: Places) -> Integers:
    """Times at which people would like to come, milliseconds in the window, in no order.

    Each comes on a day of their own or near their anchor day, at an hour of their own or at
    the preferred one.
    """
    timing, tables, (who, ordinal) = world.shop.timing, world.tables, places
    hashes = draws.children(draws.draws(persons, "times")[who], ordinal)
    more = draws.draws(hashes, "hours")
    habits = draws.draws(persons, "habits")

    anchor = tables.days[draws.level(habits, 0)][who]
    near = anchor + np.round(tables.clump_days[draws.level(hashes, 2)]).astype(np.int64)
    is_near = draws.level(hashes, 1) < timing.clumped_share * draws.LEVELS
    is_near &= (near >= 0) & (near < world.simulation.days)
    day = np.where(is_near, near, tables.days[draws.level(hashes, 0)])

    preferred = tables.hours[draws.level(habits, 1)][who]
    preferred += timing.preferred_hour_sd_h * draws.quantiles_of_normal()[draws.level(more, 1)]
    is_preferred = draws.level(more, 0) < timing.preferred_hour_share * draws.LEVELS
    hour: Floats = np.where(is_preferred, preferred, tables.hours[draws.level(hashes, 3)])
    within_level = draws.level(more, 2) / draws.LEVELS * 24 / draws.LEVELS

    offsets = np.array([country.utc_offset_h for country in world.shop.country])
    offset = offsets[countries_of(world, homes)][who]
    local: Floats = ((hour + within_level) % 24) * HOUR_MS
    begin: Any = day * DAY_MS + local.astype(np.int64) - (offset * HOUR_MS).astype(np.int64)
    wished: Integers = begin % world.window_ms
    return wished
