"""The shop's parameter file: read, checked, with its origin beside every number."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clickstream_platform.definitions import fault_of
from clickstream_platform.errors import DefinitionError

SHIPPED = Path(__file__).with_name("shop.toml")
"""The parameter file that comes with the package."""


class Part(BaseModel):
    """A table of the parameter file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SessionsPerPerson(Part):
    """How often people come: a Zipf law with an exponential cut-off."""

    exponent: float
    cutoff: float = Field(gt=0)
    days: float = Field(gt=0, description="Days over which it was fitted.")


class EventsPerSession(Part):
    """How long sessions are, in events."""

    exponent: float
    cutoff: float = Field(gt=0)
    person_sd: float = Field(ge=0)
    slope_on_log_sessions: float


class Gap(Part):
    """Time between the events of a session: a lognormal of seconds, cut at the longest."""

    mu: float
    sigma: float = Field(gt=0)
    longest: float = Field(gt=0, lt=1800, description="Below the 30 minutes of a session.")


class Ping(Part):
    """When a tag reports engaged time."""

    share: float = Field(ge=0, le=1)
    shortest_s: float = Field(gt=0)
    longest_s: float = Field(gt=0, le=60)


class Timing(Part):
    """When sessions start."""

    preferred_hour_share: float = Field(ge=0, le=1)
    preferred_hour_sd_h: float = Field(ge=0)
    clumped_share: float = Field(ge=0, le=1)
    clump_days: float = Field(gt=0)
    hour_of_day: tuple[float, ...] = Field(min_length=24, max_length=24)
    weekday: tuple[float, ...] = Field(min_length=7, max_length=7)


class Funnel(Part):
    """What people do: shares of sessions, then shares of the events between."""

    purchase_share: float = Field(ge=0, le=1)
    cart_share: float = Field(ge=0, le=1)
    checkout_share: float = Field(ge=0, le=1)
    lead_share: float = Field(ge=0, le=1)
    view_item_share: float = Field(ge=0, le=1)
    search_share: float = Field(ge=0, le=1)


class Items(Part):
    """What is sold."""

    exponent: float = Field(gt=0)
    catalogue: int = Field(ge=1, le=65_536)
    price_mu: float
    price_sigma: float = Field(ge=0)
    categories: tuple[str, ...] = Field(min_length=1)
    adjectives: tuple[str, ...] = Field(min_length=1)
    search_terms: tuple[str, ...] = Field(min_length=1)


class Identity(Part):
    """Who has an account, several browsers, or a browser together with somebody."""

    account_share: float = Field(ge=0, le=1)
    first_login_after_sessions: tuple[float, ...] = Field(min_length=1)
    remembered_share: float = Field(ge=0, le=1)
    login_share: float = Field(ge=0, le=1)
    second_device_share: float = Field(ge=0, le=1)
    heavy_sessions: int = Field(ge=1)
    heavy_second_device_share: float = Field(ge=0, le=1)
    second_device_use: float = Field(ge=0, le=1)
    home_network_share: float = Field(ge=0, le=1)
    other_language_share: float = Field(ge=0, le=1)
    shared_device_share: float = Field(ge=0, le=1)
    cleared_share: float = Field(ge=0, le=1)


class CampaignChange(Part):
    """Visits that another campaign cuts in two."""

    share: float = Field(ge=0, le=1)


class BotKind(Part):
    """A kind of bot and how it names itself."""

    name: Literal["crawler", "headless", "stealth"]
    share: float = Field(ge=0)
    user_agents: tuple[str, ...] = Field(min_length=1)


class Bots(Part):
    """Visitors that are not persons."""

    mean_events: float = Field(gt=1)
    longest_events: int = Field(ge=1, le=1000)
    gap_mu: float
    gap_sigma: float = Field(gt=0)
    kind: tuple[BotKind, ...] = Field(min_length=1)


class Faults(Part):
    """How wrong the wrong things are; how often is up to the simulation."""

    clock_off_s: tuple[tuple[float, float], ...] = Field(min_length=2)
    clock_behind_share: float = Field(ge=0, le=1)
    late_h_mu: float
    late_h_sigma: float = Field(gt=0)
    personal_queries: tuple[str, ...] = Field(min_length=1)


class Choice(Part):
    """An answer to the consent banner."""

    name: str
    share: float = Field(ge=0)
    analytics: bool
    marketing: bool
    personalization: bool


class Consent(Part):
    """What people allow."""

    change_share: float = Field(ge=0, le=1)
    choice: tuple[Choice, ...] = Field(min_length=2)


class Country(Part):
    """Where people live."""

    code: str = Field(pattern="^[A-Z]{2}$")
    share: float = Field(ge=0)
    utc_offset_h: float = Field(ge=-12, le=14)
    language: str
    currency: str = Field(pattern="^[A-Z]{3}$")


class Device(Part):
    """A browser and how it names itself."""

    share: float = Field(ge=0)
    user_agent: str


class Traffic(Part):
    """A way into the shop: a channel, and what its links carry."""

    channel: str
    first_share: float = Field(ge=0, description="Share of a person's first session.")
    later_share: float = Field(ge=0, description="Share of later sessions.")
    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    term: str | None = None
    content: str | None = None
    click_id: str | None = None
    referrer: str | None = None
    landing: Literal["home", "category", "item"] = "home"

    @property
    def query(self) -> str:
        """Query of the landing page, up to the value of the click id; empty if there is none."""
        names = ("source", "medium", "campaign", "term", "content")
        parts = [f"utm_{name}={getattr(self, name)}" for name in names if getattr(self, name)]
        parts += [f"{self.click_id}="] * (self.click_id is not None)
        return "?" + "&".join(parts) if parts else ""

    @property
    def campaign_label(self) -> tuple[str | None, ...]:
        """What tells one campaign from another."""
        return self.source, self.medium, self.campaign, self.click_id


class Shop(Part):
    """Everything the simulator draws from."""

    app_id: str
    host: str
    other_language: str
    sessions_per_person: SessionsPerPerson
    events_per_session: EventsPerSession
    gap_s: Gap
    ping: Ping
    timing: Timing
    funnel: Funnel
    items: Items
    identity: Identity
    campaign_change: CampaignChange
    bots: Bots
    faults: Faults
    consent: Consent
    country: tuple[Country, ...] = Field(min_length=1)
    device: tuple[Device, ...] = Field(min_length=1)
    traffic: tuple[Traffic, ...] = Field(min_length=1)


@cache
def load_shop(file: Path = SHIPPED) -> Shop:
    """Read a parameter file.

    Raises:
        DefinitionError: The file is missing, is not TOML, or holds something that cannot be used.
    """
    remedy = f"Compare it with {SHIPPED.name} of the package."
    try:
        return Shop.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        place, reason = fault_of(error, Shop)
        raise DefinitionError(file, ".".join(map(str, place)), reason, remedy=remedy) from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DefinitionError(file, "file", str(error), remedy=remedy) from None
