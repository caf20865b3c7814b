"""The shop's parameter file: read, checked, with its origin beside every number."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from clickstream_platform.definitions import fault_of
from clickstream_platform.errors import DefinitionError

SHIPPED = Path(__file__).with_name("shop.toml")
"""The parameter file that comes with the package."""


MOST_CHOICES = 127
"""Longest list of which the position is stored with a visit or an event: a byte with a sign."""


def some_weight(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse weights by which nothing could be chosen."""
    if not any(weights):
        message = "must not all be 0"
        raise ValueError(message)
    return weights


Weight: TypeAlias = Annotated[float, Field(ge=0)]
"""How often something is chosen, beside the other weights of its list."""

Weights: TypeAlias = Annotated[tuple[Weight, ...], AfterValidator(some_weight)]
"""Weights of a list of which one thing is chosen."""

Label: TypeAlias = Annotated[str, Field(pattern=r"^[\w.~+-]+$")]
"""Word that stands in a query as it is."""


class Part(BaseModel):
    """A table of the parameter file; unknown keys and numbers that are none are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Chosen = TypeVar("Chosen", bound=tuple[Part, ...])
"""Things of which one is chosen by its shares."""


def some_share(found: Chosen) -> Chosen:
    """Refuse things of which none could be chosen."""
    for name in type(found[0]).model_fields:
        if name == "share" or name.endswith("_share"):
            some_weight(tuple(getattr(part, name) for part in found))
    return found


class SessionsPerPerson(Part):
    """How often people come: a Zipf law with an exponential cut-off."""

    exponent: float = Field(ge=-10, le=10)
    cutoff: float = Field(gt=0, le=1)
    days: float = Field(ge=1, le=400, description="Days over which it was fitted.")


class EventsPerSession(Part):
    """How long sessions are, in events."""

    exponent: float = Field(ge=-10, le=10)
    cutoff: float = Field(gt=0, le=100)
    person_sd: float = Field(ge=0, le=10)
    slope_on_log_sessions: float = Field(ge=-10, le=10)


class Gap(Part):
    """Time between the events of a session: a lognormal of seconds, cut at the longest."""

    mu: float = Field(ge=-10, le=10)
    sigma: float = Field(gt=0, le=10)
    longest: float = Field(gt=0, lt=1800, description="Below the 30 minutes of a session.")


class Ping(Part):
    """When a tag reports engaged time."""

    share: float = Field(ge=0, le=1)
    shortest_s: float = Field(gt=0)
    longest_s: float = Field(gt=0, le=60)


class Timing(Part):
    """When sessions start."""

    preferred_hour_share: float = Field(ge=0, le=1)
    preferred_hour_sd_h: float = Field(ge=0, le=24)
    clumped_share: float = Field(ge=0, le=1)
    clump_days: float = Field(gt=0, le=400)
    hour_of_day: Weights = Field(min_length=24, max_length=24)
    weekday: Weights = Field(min_length=7, max_length=7)


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

    exponent: float = Field(gt=0, le=10)
    catalogue: int = Field(ge=1, le=65_536)
    price_mu: float = Field(ge=-5, le=10, description="Prices are cut at a million.")
    price_sigma: float = Field(ge=0, le=5)
    categories: tuple[str, ...] = Field(min_length=1)
    adjectives: tuple[str, ...] = Field(min_length=1)
    search_terms: tuple[str, ...] = Field(min_length=1)


class Identity(Part):
    """Who has an account, several browsers, or a browser together with somebody."""

    account_share: float = Field(ge=0, le=1)
    first_login_after_sessions: Weights = Field(min_length=1)
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
    share: Weight
    user_agents: tuple[str, ...] = Field(min_length=1)


class Bots(Part):
    """Visitors that are not persons."""

    mean_events: float = Field(gt=1)
    longest_events: int = Field(ge=1, le=1000)
    gap_mu: float = Field(ge=-10, le=10)
    gap_sigma: float = Field(gt=0, le=10)
    kind: tuple[BotKind, ...] = Field(min_length=1)

    @field_validator("kind")
    @classmethod
    def _can_choose(cls, found: tuple[BotKind, ...]) -> tuple[BotKind, ...]:
        if sum(len(kind.user_agents) for kind in found) > MOST_CHOICES:
            message = f"must not have more than {MOST_CHOICES} user agents"
            raise ValueError(message)
        return some_share(found)


Seconds: TypeAlias = Annotated[float, Field(gt=0, le=4 * 86_400)]
"""How far a clock is off; lines know the dates of five days around the window."""

Above: TypeAlias = Annotated[float, Field(gt=0, le=1)]
"""Share of devices whose clock is off by more."""

ClockErrors: TypeAlias = tuple[tuple[Seconds, Above], ...]


class Faults(Part):
    """How wrong the wrong things are; how often is up to the simulation."""

    clock_off_s: ClockErrors = Field(min_length=2)
    clock_behind_share: float = Field(ge=0, le=1)
    late_h_mu: float = Field(ge=-10, le=10)
    late_h_sigma: float = Field(gt=0, le=3)
    personal_queries: tuple[str, ...] = Field(min_length=1, max_length=MOST_CHOICES)

    @field_validator("clock_off_s")
    @classmethod
    def _less_often_further(cls, found: ClockErrors) -> ClockErrors:
        seconds, above = zip(*found, strict=True)
        if list(seconds) != sorted(seconds) or list(above) != sorted(above, reverse=True):
            message = "seconds must not fall, and shares must not rise"
            raise ValueError(message)
        return found


class Choice(Part):
    """An answer to the consent banner."""

    name: str
    share: Weight
    analytics: bool
    marketing: bool
    personalization: bool


class Consent(Part):
    """What people allow."""

    change_share: float = Field(ge=0, le=1)
    choice: tuple[Choice, ...] = Field(min_length=2, max_length=MOST_CHOICES)

    @field_validator("choice")
    @classmethod
    def _can_choose(cls, found: tuple[Choice, ...]) -> tuple[Choice, ...]:
        return some_share(found)


class Country(Part):
    """Where people live."""

    code: str = Field(pattern="^[A-Z]{2}$")
    share: Weight
    utc_offset_h: float = Field(ge=-12, le=14)
    language: str
    currency: str = Field(pattern="^[A-Z]{3}$")


class Device(Part):
    """A browser and how it names itself."""

    share: Weight
    user_agent: str


class Traffic(Part):
    """A way into the shop: a channel, and what its links carry."""

    channel: str
    first_share: Weight = Field(description="Share of a person's first session.")
    later_share: Weight = Field(description="Share of later sessions.")
    source: Label | None = None
    medium: Label | None = None
    campaign: Label | None = None
    term: Label | None = None
    content: Label | None = None
    click_id: Label | None = None
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
    country: tuple[Country, ...] = Field(min_length=1, max_length=MOST_CHOICES)
    device: tuple[Device, ...] = Field(min_length=1, max_length=MOST_CHOICES)
    traffic: tuple[Traffic, ...] = Field(min_length=1, max_length=MOST_CHOICES)

    @field_validator("country", "device", "traffic")
    @classmethod
    def _can_choose(cls, found: Chosen) -> Chosen:
        return some_share(found)


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
