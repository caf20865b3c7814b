"""Who comes: what is true of each visit before anything happens in it."""

from enum import IntEnum

import numpy as np

from clickstream_platform.simulator import draws
from clickstream_platform.simulator.draws import Hashes
from clickstream_platform.simulator.visits import (
    Records,
    countries_of,
    hashes_of_persons,
    hashes_of_visits,
    homes_of,
    stacked,
)
from clickstream_platform.simulator.world import OUTCOMES, World

UNKNOWN = -1
"""Consent of who has not been asked, and user of who has no account."""

NEVER = 65_535
"""Event of a visit at which nothing happens; visits are shorter."""

SHORTEST_CUT = 6
"""Least number of events of a visit that a campaign can cut."""

VISITOR = np.dtype(
    [
        ("hash", np.uint64),
        ("visitor", np.uint64),
        ("number", np.int64),
        ("start_ms", np.int64),
        ("clock_off_ms", np.int64),
        ("user", np.int64),
        ("favourite", np.int32),
        ("address", np.uint32),
        ("ordinal", np.uint16),
        ("size", np.uint16),
        ("cut_at", np.uint16),
        ("signed_in_from", np.uint16),
        ("signs", np.uint8),
        ("outcome", np.uint8),
        ("country", np.uint8),
        ("agent", np.uint8),
        ("traffic", np.uint8),
        ("second_traffic", np.uint8),
        ("consent", np.int8),
        ("has_chosen", np.bool_),
        ("is_bot", np.bool_),
        ("speaks_other", np.bool_),
    ],
    align=True,
)
"""A visit with everything known about it. Names that are positions point into the shop's lists."""


class Signs(IntEnum):
    """How a visitor comes to be signed in, in this visit."""

    NOT = 0
    LOGIN = 1
    SIGN_UP = 2


def visitors_of(world: World, visits: Records) -> Records:
    """Describe who makes each visit: those of people, then those of bots."""
    bots = visits["is_bot"]
    people = describe_people(world, visits.compress(~bots))
    return stacked(people, describe_bots(world, visits.compress(bots)))


def describe_people(world: World, visits: Records) -> Records:
    """Describe the visits of persons."""
    tables, shop = world.tables, world.shop
    numbers = visits["number"].astype(np.int64)
    persons = hashes_of_persons(world, numbers, is_bot=False)
    homes = homes_of(world, numbers, persons)
    about = begin(visits, hashes_of_visits(persons, visits["ordinal"]))
    chance = draws.draws(about["hash"], "visit")

    machines, visitors = browsers(world, persons, homes, about)
    clock = draws.draws(machines, "clock")
    off = tables.clock_off_ms[draws.level(clock, 2)]
    off = np.where(draws.level(clock, 3) < shop.faults.clock_behind_share * draws.LEVELS, -off, off)
    about["clock_off_ms"] = off * draws.happens(clock, world.simulation.skewed_share)
    about["visitor"] = visitors
    about["address"] = draws.draws(networks_of(world, persons, homes, machines), "address") >> (
        np.uint64(32)
    )
    about["agent"] = tables.devices[draws.level(draws.draws(machines, "agent"), 0)]
    about["country"] = countries_of(world, homes)
    about["speaks_other"] = draws.happens(
        draws.draws(homes, "language"), shop.identity.other_language_share
    )

    is_first = about["ordinal"] == 0
    way = draws.level(chance, 0)
    about["traffic"] = np.where(is_first, tables.first_traffic[way], tables.later_traffic[way])
    about["favourite"] = tables.items[draws.level(chance, 1)]
    about["outcome"] = np.where(about["size"] > 1, tables.outcomes[draws.level(chance, 2)], 0)
    consents(world, persons, about)
    sign_in(world, persons, about)
    cut_by_campaign(world, about)
    return about


def describe_bots(world: World, visits: Records) -> Records:
    """Describe the visits of bots: no memory, no consent, no account."""
    persons = hashes_of_persons(world, visits["number"], is_bot=True)
    about = begin(visits, hashes_of_visits(persons, visits["ordinal"]))
    about["visitor"] = draws.draws(about["hash"], "visitor")
    about["address"] = draws.draws(persons, "address") >> np.uint64(32)
    about["agent"] = world.tables.bots[draws.level(draws.draws(persons, "agent"), 0)]
    about["country"] = countries_of(world, persons)
    about["consent"] = UNKNOWN
    about["outcome"] = OUTCOMES.index("none")
    return about


def begin(visits: Records, hashes: Hashes) -> Records:
    """Start the description of visits: what is known of each already, and no account."""
    about = np.zeros(len(visits), VISITOR)
    for name in ("number", "start_ms", "ordinal", "size", "is_bot"):
        about[name] = visits[name]
    about["hash"] = hashes
    about["user"] = UNKNOWN
    about["cut_at"] = about["signed_in_from"] = NEVER
    return about


def browsers(world: World, persons: Hashes, homes: Hashes, about: Records) -> tuple[Hashes, Hashes]:
    """Find the machine of each visit, and the browser's identifier on it.

    Some people have a second device, which they use now and then. Some clear their cookies
    after a few visits, and come back under another identifier.
    """
    identity = world.shop.identity
    sessions = world.tables.sessions[draws.level(draws.draws(persons, "sessions"), 0)]
    share = np.where(
        sessions >= identity.heavy_sessions,
        identity.heavy_second_device_share,
        identity.second_device_share,
    )
    chance = draws.draws(persons, "devices")
    uses = draws.happens(draws.draws(about["hash"], "device"), identity.second_device_use)
    is_second = draws.happens(chance, share) & uses
    machines = draws.children(np.where(is_second, persons, homes), is_second)

    clears = draws.happens(chance, identity.cleared_share, 1) & (homes == persons)
    cleared_at = 1 + draws.draws(persons, "cleared") % np.uint64(3)
    is_later = clears & (about["ordinal"] >= cleared_at)
    return machines, draws.children(draws.draws(machines, "visitor"), is_later)


def networks_of(world: World, persons: Hashes, homes: Hashes, machines: Hashes) -> Hashes:
    """Find the network of each machine: that of the first, for most second devices of a person."""
    share = world.shop.identity.home_network_share
    is_shared = draws.happens(draws.draws(persons, "network"), share)
    first = draws.children(homes, np.zeros(len(homes), np.bool_))
    return np.where(is_shared, first, machines)


def consents(world: World, persons: Hashes, about: Records) -> None:
    """Give each visit its consent; some people change their mind between two visits."""
    chance = draws.draws(persons, "consent")
    choices = len(world.shop.consent.choice)
    first = world.tables.consents[draws.level(chance, 0)]
    other = (first + 1 + draws.level(chance, 1) % np.uint16(choices - 1)) % choices
    changes = draws.level(chance, 2) < world.shop.consent.change_share * draws.LEVELS
    changed_at = 1 + draws.level(chance, 3) % np.uint16(3)
    about["consent"] = np.where(changes & (about["ordinal"] >= changed_at), other, first)
    about["has_chosen"] = (about["ordinal"] == 0) | (changes & (about["ordinal"] == changed_at))


def sign_in(world: World, persons: Hashes, about: Records) -> None:
    """Decide who is signed in, from which event on, and how.

    An account is opened in one of the first visits. Later visits are remembered by the
    browser, signed in by hand, or stay anonymous.
    """
    identity = world.shop.identity
    chance = draws.draws(persons, "account")
    has_account = draws.happens(chance, identity.account_share)
    opens_at = world.tables.first_login[draws.level(chance, 2)]
    how = draws.level(draws.draws(about["hash"], "sign in"), 0) / draws.LEVELS
    is_opening = has_account & (about["ordinal"] == opens_at)
    is_after = has_account & (about["ordinal"] > opens_at)
    is_remembered = is_after & (how < identity.remembered_share)
    signs_in = is_opening | (
        is_after & ~is_remembered & (how < identity.remembered_share + identity.login_share)
    )
    signs_in &= about["size"] > 1
    about["signs"] = np.where(signs_in, np.where(is_opening, Signs.SIGN_UP, Signs.LOGIN), Signs.NOT)
    about["signed_in_from"] = np.where(is_remembered, 0, np.where(signs_in, 1, NEVER))
    about["user"] = np.where(has_account, about["number"], UNKNOWN)


def cut_by_campaign(world: World, about: Records) -> None:
    """Let some people follow the link of another campaign in the middle of a visit."""
    ways = world.shop.traffic
    labels = {way.campaign_label: i for i, way in enumerate(ways)}
    label = np.array([labels[way.campaign_label] for way in ways])
    chance = draws.draws(about["hash"], "campaign change")
    second = world.tables.campaigns[draws.level(chance, 2)]
    is_cut = draws.happens(chance, world.shop.campaign_change.share)
    is_cut &= np.array([way.source is not None for way in ways])[second]
    is_cut &= (about["size"] >= SHORTEST_CUT) & (label[second] != label[about["traffic"]])
    about["second_traffic"] = second
    about["cut_at"] = np.where(is_cut, about["size"] // 2, NEVER)
