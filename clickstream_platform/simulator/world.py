"""A simulation made ready: its tables of chances, and how many people it takes."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clickstream_platform.errors import ParameterError
from clickstream_platform.simulator import draws
from clickstream_platform.simulator.draws import Floats, Integers
from clickstream_platform.simulator.parameters import Simulation
from clickstream_platform.simulator.shop import SHIPPED, Shop, load_shop

SECOND_MS = 1_000
HOUR_MS = 3_600 * SECOND_MS
DAY_MS = 24 * HOUR_MS

MOST_SESSIONS = 2_000
"""Longest history of a person; the cut-off of the Zipf law makes it unreachable in practice."""

MOST_EVENTS = 250
"""Longest session of a person, events before pings."""

MOST_PRICE = 1_000_000
"""Highest price; far above what is drawn from the shipped parameters."""

SCALES = np.geomspace(0.5, 2.0, 16)
"""Scales of a person's sessions that are told apart."""

OUTCOMES = ("none", "purchase", "checkout", "cart", "lead")
"""How a session may end; positions are stored."""


class Tables(NamedTuple):
    """Distributions of one shop in one window, as tables of equally likely values."""

    sessions: NDArray[np.int32]
    sizes: NDArray[np.int32]
    """Events per session, by scale (`SCALES`); the last row is that of bots."""
    gaps_ms: NDArray[np.int32]
    """Gaps inside sessions: of people, then of bots."""
    days: NDArray[np.int32]
    hours: Floats
    clump_days: Floats
    middle: NDArray[np.int32]
    """What happens between landing and outcome: 0 for a category, 1 an item, 2 a search."""
    outcomes: NDArray[np.int32]
    items: NDArray[np.int32]
    prices: NDArray[np.int64]
    """Price of each item, hundredths."""
    countries: NDArray[np.int32]
    devices: NDArray[np.int32]
    bots: NDArray[np.int32]
    """User agents of bots, as positions in `user_agents`."""
    first_traffic: NDArray[np.int32]
    later_traffic: NDArray[np.int32]
    campaigns: NDArray[np.int32]
    """Traffic that names a campaign."""
    consents: NDArray[np.int32]
    first_login: NDArray[np.int32]
    clock_off_ms: NDArray[np.int64]
    late_ms: NDArray[np.int64]
    mean_log_sessions: float
    """Mean over sessions of the logarithm of their person's number of sessions."""


@dataclass(frozen=True)
class World:
    """Everything that the steps of one simulation share."""

    simulation: Simulation
    shop: Shop
    tables: Tables

    @property
    def window_ms(self) -> int:
        """Length of the window."""
        return self.simulation.days * DAY_MS

    @property
    def user_agents(self) -> list[str]:
        """User agents of devices, then those of bots."""
        of_bots = [agent for kind in self.shop.bots.kind for agent in kind.user_agents]
        return [device.user_agent for device in self.shop.device] + of_bots

    @property
    def bot_kinds(self) -> list[str | None]:
        """Kind of bot of each user agent; None for devices."""
        kinds = [kind.name for kind in self.shop.bots.kind for _ in kind.user_agents]
        return [None] * len(self.shop.device) + [*kinds]


def world_of(simulation: Simulation) -> World:
    """Read the shop of a simulation and prepare its tables.

    Raises:
        ParameterError: Nobody comes to this shop on any day of the window.
    """
    shop = load_shop(simulation.shop or SHIPPED)
    first = simulation.start.weekday()
    if not any(shop.timing.weekday[(first + i) % 7] for i in range(simulation.days)):
        name, rule = "days", "must reach a weekday on which people come (timing.weekday)"
        raise ParameterError(name, simulation.days, rule, instead="7")
    return World(simulation, shop, tables_of(shop, simulation.days, first))


@cache
def tables_of(shop: Shop, days: int, first_weekday: int) -> Tables:
    """Turn the numbers of a shop into tables."""
    often, timing, items = shop.sessions_per_person, shop.timing, shop.items
    sessions = draws.zipf_with_cutoff(
        often.exponent, often.cutoff * often.days / days, longest=MOST_SESSIONS
    )
    people, bots = shop.gap_s, shop.bots
    gaps = np.stack(
        [
            draws.lognormal(people.mu, people.sigma, longest=people.longest),
            draws.lognormal(bots.gap_mu, bots.gap_sigma, longest=people.longest),
        ]
    )
    sizes = session_sizes(shop)
    agents_of_bots = [
        kind.share / len(kind.user_agents) for kind in bots.kind for _ in kind.user_agents
    ]
    funnel = shop.funnel
    browse_share = max(0.0, 1 - funnel.view_item_share - funnel.search_share)
    chances = draws.draws(
        draws.children(draws.root(0, "items"), np.arange(items.catalogue)), "price"
    )
    prices = np.exp(
        items.price_mu + items.price_sigma * draws.quantiles_of_normal()[draws.level(chances, 0)]
    )
    return Tables(
        sessions=sessions,
        sizes=sizes,
        gaps_ms=(gaps * SECOND_MS).astype(np.int32),
        days=draws.categories([timing.weekday[(first_weekday + i) % 7] for i in range(days)]),
        hours=draws.histogram(timing.hour_of_day),
        clump_days=draws.laplace(timing.clump_days),
        middle=draws.categories([browse_share, funnel.view_item_share, funnel.search_share]),
        outcomes=outcomes(shop, sizes),
        items=draws.categories(np.arange(1.0, items.catalogue + 1) ** -items.exponent),
        prices=np.clip(np.round(prices * 10), 1, 10 * MOST_PRICE).astype(np.int64) * 10 - 1,
        countries=draws.categories([country.share for country in shop.country]),
        devices=draws.categories([device.share for device in shop.device]),
        bots=draws.categories(agents_of_bots) + np.int32(len(shop.device)),
        first_traffic=draws.categories([way.first_share for way in shop.traffic]),
        later_traffic=draws.categories([way.later_share for way in shop.traffic]),
        campaigns=campaigns(shop),
        consents=draws.categories([choice.share for choice in shop.consent.choice]),
        first_login=draws.categories(shop.identity.first_login_after_sessions),
        clock_off_ms=clock_errors(shop),
        late_ms=(draws.lognormal(shop.faults.late_h_mu, shop.faults.late_h_sigma) * HOUR_MS).astype(
            np.int64
        ),
        mean_log_sessions=float((sessions * np.log(sessions)).sum() / sessions.sum()),
    )


def session_sizes(shop: Shop) -> NDArray[np.int32]:
    """Events per session at each scale, then those of bots."""
    size, bots = shop.events_per_session, shop.bots
    rows = [
        draws.zipf_with_cutoff(size.exponent, size.cutoff / scale, longest=MOST_EVENTS)
        for scale in SCALES
    ]
    counts = np.arange(1, bots.longest_events + 1)
    geometric = (1 - 1 / bots.mean_events) ** counts
    return np.stack([*rows, draws.categories(geometric) + np.int32(1)])


def campaigns(shop: Shop) -> NDArray[np.int32]:
    """Ways that name a campaign; any way, which cuts no visit, where none does."""
    named = [way.later_share if way.source else 0.0 for way in shop.traffic]
    return draws.categories(named if any(named) else [1.0])


def outcomes(shop: Shop, sizes: Integers) -> NDArray[np.int32]:
    """Outcomes of sessions that are long enough to have one, as positions in `OUTCOMES`."""
    funnel = shop.funnel
    long_enough = float((sizes[len(SCALES) // 2] > 1).mean())
    shares = [
        share / long_enough
        for share in (
            funnel.purchase_share,
            funnel.checkout_share,
            funnel.cart_share,
            funnel.lead_share,
        )
    ]
    return draws.categories([max(0.0, 1 - sum(shares)), *shares])


def clock_errors(shop: Shop) -> NDArray[np.int64]:
    """How far wrong clocks are off, milliseconds: between the known points, by their logarithm."""
    seconds, above = np.array(shop.faults.clock_off_s).T
    below = 1 - above / above[0]
    values: Floats = np.exp(np.interp(draws.middles(), below, np.log(seconds)))
    return (values * SECOND_MS).astype(np.int64)
