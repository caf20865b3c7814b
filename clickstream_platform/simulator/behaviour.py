"""What happens: the events of visits, with the times that their clocks and the collector see."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickstream_platform.simulator import draws
from clickstream_platform.simulator.draws import Hashes, Integers
from clickstream_platform.simulator.visitors import Signs
from clickstream_platform.simulator.visits import Records, Steps, steps
from clickstream_platform.simulator.world import (
    OUTCOMES,
    SECOND_MS,
    World,
)


class Name(IntEnum):
    """Event names, as stored; in lower case, as sent."""

    PAGE_VIEW = 0
    VIEW_ITEM = 1
    SEARCH = 2
    ADD_TO_CART = 3
    BEGIN_CHECKOUT = 4
    PURCHASE = 5
    SIGN_UP = 6
    LOGIN = 7
    PAGE_PING = 8
    GENERATE_LEAD = 9


class Page(IntEnum):
    """Pages every shop has; categories follow, then items."""

    HOME = 0
    SEARCH = 1
    CART = 2
    CHECKOUT = 3
    THANKS = 4
    SIGN_UP = 5
    LOGIN = 6
    CONTACT = 7


CATEGORY = len(Page)
"""First category among the pages."""

EVENT = np.dtype(
    [
        ("received_ms", np.int64),
        ("time_ms", np.int64),
        ("sent_ms", np.int64),
        ("hash", np.uint64),
        ("visit", np.int32),
        ("page", np.int32),
        ("referrer", np.int32),
        ("engaged_ms", np.int32),
        ("index", np.uint16),
        ("name", np.uint8),
        ("personal", np.uint8),
        ("is_late", np.bool_),
        ("flaw", np.uint8),
    ],
    align=True,
)
"""An event: three instants (milliseconds in the window), its visit and its page.

``referrer`` is the page before plus 1, or minus the way in less 1, or 0. ``personal`` is 0 or the
position of a personal query plus 1. ``flaw`` is for lines (`clickstream_platform.simulator.lines`).
"""

TAILS = np.full((len(OUTCOMES), 4), 255, np.uint8)
"""Name of an event by the outcome of its visit and the events that follow it; 255 for any."""
TAILS[OUTCOMES.index("purchase"), :3] = Name.PURCHASE, Name.BEGIN_CHECKOUT, Name.ADD_TO_CART
TAILS[OUTCOMES.index("checkout"), :2] = Name.BEGIN_CHECKOUT, Name.ADD_TO_CART
TAILS[OUTCOMES.index("cart"), 0] = Name.ADD_TO_CART
TAILS[OUTCOMES.index("lead"), 0] = Name.GENERATE_LEAD

PAGES = {
    Name.SEARCH: Page.SEARCH,
    Name.BEGIN_CHECKOUT: Page.CHECKOUT,
    Name.PURCHASE: Page.THANKS,
    Name.SIGN_UP: Page.SIGN_UP,
    Name.LOGIN: Page.LOGIN,
    Name.GENERATE_LEAD: Page.CONTACT,
}
"""Page on which an event of each name happens, where it is always the same."""

LANDINGS = ("home", "category", "item")
"""Kinds of page on which visitors land."""

LATENCY_MS = (20, 300)
"""Least network latency and its spread."""

BATCHING_MS = 3 * SECOND_MS
"""Longest time that a tag holds an event back before sending it."""


class Deeds(NamedTuple):
    """What visitors do, event by event, before pings."""

    name: NDArray[np.uint8]
    page: NDArray[np.int32]
    referrer: NDArray[np.int32]


def events_of(world: World, visitors: Records) -> Records:
    """Let every visit happen.

    Returns:
        One record (`EVENT`) per event, pings included, in no particular order.
    """
    taken = steps(world, visitors["hash"], visitors["size"], visitors["is_bot"])
    done = deeds(world, visitors, taken)
    before = np.cumsum(taken.gap_ms) - taken.gap_ms
    first = np.cumsum(visitors["size"], dtype=np.int64) - visitors["size"]
    start = visitors["start_ms"] - before[first]
    time = start[taken.visit] + before

    pinged, after_ms, engaged_ms = pings(world, visitors, taken)
    steps_made = len(taken.visit)
    source = np.concatenate([np.arange(steps_made), pinged])
    events = np.empty(len(source), EVENT)
    events["hash"][:steps_made] = taken.hash
    events["hash"][steps_made:] = draws.draws(taken.hash[pinged], "ping event")
    events["time_ms"] = time[source]
    events["time_ms"][steps_made:] += after_ms
    events["engaged_ms"][:steps_made] = 0
    events["engaged_ms"][steps_made:] = engaged_ms
    events["visit"], events["index"] = taken.visit[source], taken.place[source]
    events["page"], events["referrer"] = done.page[source], done.referrer[source]
    events["name"][:steps_made] = done.name
    events["name"][steps_made:] = Name.PAGE_PING
    events["flaw"] = 0
    mark_personal(world, events)
    deliver(world, events)
    return events


def deeds(world: World, visitors: Records, taken: Steps) -> Deeds:
    """Decide the name, page and referrer of each step."""
    visit, index = taken.visit, taken.place
    name = np.array([Name.PAGE_VIEW, Name.VIEW_ITEM, Name.SEARCH], np.uint8)[
        world.tables.middle[draws.level(taken.hash, 1)]
    ]
    categories = len(world.shop.items.categories)
    item_page = CATEGORY + categories + world.tables.items[draws.level(taken.hash, 2)]
    category_page = (CATEGORY + draws.level(taken.hash, 3) % np.uint16(categories)).astype(np.int32)

    # Landings: the first step, and the one at which another campaign cuts the visit.
    landing = np.array([LANDINGS.index(way.landing) for way in world.shop.traffic])
    cut = np.flatnonzero(visitors["cut_at"][visit] == index)
    landed = np.concatenate([np.flatnonzero(index == 0), cut])
    way = visitors["traffic"][visit[landed]]
    way[len(landed) - len(cut) :] = visitors["second_traffic"][visit[cut]]

    finish(visitors, taken, name)
    name[landed] = np.where(landing[way] == LANDINGS.index("item"), Name.VIEW_ITEM, Name.PAGE_VIEW)
    fixed = np.full(len(Name), -1, np.int32)
    fixed[list(PAGES)] = list(PAGES.values())
    page = fixed[name]
    page = np.where(page >= 0, page, np.where(name == Name.PAGE_VIEW, category_page, item_page))
    page[landed[landing[way] == LANDINGS.index("home")]] = Page.HOME
    carted = np.flatnonzero(name == Name.ADD_TO_CART)
    page[carted] = CATEGORY + categories + visitors["favourite"][visit[carted]]

    referrer = np.empty(len(page), np.int32)
    referrer[1:] = page[:-1] + 1
    from_outside = np.array([way.referrer is not None for way in world.shop.traffic])
    referrer[landed] = np.where(from_outside[way], -1 - way.astype(np.int32), 0)
    return Deeds(name, page.astype(np.int32), referrer)


def finish(visitors: Records, taken: Steps, name: NDArray[np.uint8]) -> None:
    """Name the steps of signing in, and the last steps of visits that end in an outcome."""
    signs = visitors["signs"][taken.visit]
    signing = np.flatnonzero((signs > 0) & (taken.place == 1))
    name[signing] = np.where(signs[signing] == Signs.SIGN_UP, Name.SIGN_UP, Name.LOGIN)

    ending = np.flatnonzero((visitors["outcome"][taken.visit] > 0) & (taken.place > 0))
    visit = taken.visit[ending]
    following = visitors["size"][visit] - 1 - taken.place[ending]
    ends = TAILS[visitors["outcome"][visit], np.minimum(following, TAILS.shape[1] - 1)]
    name[ending] = np.where(ends < len(Name), ends, name[ending])


def pings(world: World, visitors: Records, taken: Steps) -> tuple[Integers, Integers, Integers]:
    """Choose the steps whose page reports engaged time; when after the step, and how much."""
    ping = world.shop.ping
    chance = draws.draws(taken.hash, "ping")
    is_long = taken.gap_ms > ping.shortest_s * SECOND_MS
    pinged = np.flatnonzero(
        is_long & draws.happens(chance, ping.share) & ~visitors["is_bot"][taken.visit]
    )
    part = draws.level(chance[pinged], 2) / draws.LEVELS
    longest = np.minimum(taken.gap_ms[pinged], ping.longest_s * SECOND_MS)
    after_ms = (longest * (0.5 + part / 2)).astype(np.int64)
    attention = draws.level(chance[pinged], 3) / draws.LEVELS
    return pinged, after_ms, (after_ms * (0.3 + 0.7 * attention)).astype(np.int64)


def mark_personal(world: World, events: Records) -> None:
    """Let some addresses carry an e-mail address."""
    chance = draws.draws(events["hash"], "personal")
    queries = np.uint16(len(world.shop.faults.personal_queries))
    which = 1 + draws.level(chance, 2) % queries
    events["personal"] = which * draws.happens(chance, world.simulation.personal_data_rate)


def deliver(world: World, events: Records) -> None:
    """Send events and receive them: soon, or late where that still falls into the window."""
    chance = draws.draws(events["hash"], "delivery")
    held = draws.level(chance, 0).astype(np.int64) * BATCHING_MS // draws.LEVELS
    latency = (
        LATENCY_MS[0] + draws.level(chance, 1).astype(np.int64) * LATENCY_MS[1] // draws.LEVELS
    )
    sent = events["time_ms"] + held
    late = np.flatnonzero(draws.happens(chance, world.simulation.late_rate, 1))
    delay = draws.level(draws.draws(events["hash"][late], "delay"), 0)
    delayed = sent[late] + world.tables.late_ms[delay]
    fits = delayed + latency[late] < world.window_ms
    sent[late[fits]] = delayed[fits]
    events["is_late"] = False
    events["is_late"][late[fits]] = True
    events["sent_ms"], events["received_ms"] = sent, sent + latency


def items_of(world: World, pages: Integers) -> Integers:
    """Item of each page; negative where the page shows none."""
    return pages - CATEGORY - len(world.shop.items.categories)


def order_hashes(events: Records) -> Hashes:
    """Hash from which the order of a purchase gets its id."""
    return draws.draws(events["hash"], "order")


def revenues(world: World, visitors: Records, purchases: Records) -> tuple[Integers, Integers]:
    """Hundredths that purchases bring, and how many pieces of the favourite item they hold."""
    chance = draws.draws(purchases["hash"], "quantity")
    pieces = 1 + np.minimum(draws.level(chance, 0), draws.level(chance, 1)) // np.uint16(
        draws.LEVELS // 4
    )
    prices = world.tables.prices[visitors["favourite"][purchases["visit"]]]
    return prices * pieces, pieces
