"""Settings of the platform: one `clickstream.toml`, every value overridable by the environment.

`CLICKSTREAM_DATA` moves everything; `CLICKSTREAM_SESSIONS__TIMEOUT_MINUTES=20` overrides one
value of one table. Secrets are not settings: they come from the environment where they are used.
"""

import os
import re
import tomllib
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from clickstream_platform.definitions import fault_of
from clickstream_platform.errors import DefinitionError

SETTINGS_FILE = "clickstream.toml"
"""Name of the settings file, looked for in the data folder."""


class Section(BaseModel):
    """A table of the settings file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LakeSettings(Section):
    """How tables are stored."""

    buckets: int = Field(4, ge=1, le=256, description="Buckets of people in each day of a table.")
    memory_limit: str = Field("2GB", description="Memory of DuckDB, such as 2GB.")
    threads: int = Field(0, ge=0, description="Threads of DuckDB; 0 for one per core.")


PRESETS_FILE = Path(__file__).with_name("sessions") / "presets.toml"
"""Session policies of other products, by name; see there."""


class SessionSettings(Section):
    """The session policy."""

    preset: str = Field("", description="Start from a product's policy: ga4, matomo, posthog, ….")
    timeout_minutes: float = Field(30, gt=0, description="Longest gap inside a session.")
    max_duration_hours: float = Field(24, gt=0, description="Longest session.")
    max_events: int = Field(10_000, ge=0, description="Most events of a session; 0 for any number.")
    storm_cuts: int = Field(
        2, ge=1, description="Cuts by max_duration_hours in a row that make a session a runaway."
    )
    cut_on_campaign: bool = Field(True, description="A new campaign starts a session.")
    cut_on_logout: bool = Field(False, description="What follows a logout is another session.")
    cut_on_identity: bool = Field(False, description="Signing in starts a session.")
    cut_at_midnight: bool = Field(False, description="Another date in time_zone starts a session.")
    engaged_after_s: float = Field(10, ge=0, description="Engaged time that makes it engaged.")
    heartbeat_s: float = Field(
        0, ge=0, description="Interval of pings to estimate engaged time from; 0 for unknown."
    )
    min_visit_s: float = Field(0, ge=0, description="Engaged time of a session of one ping.")
    bots_by: Literal["events", "behaviour"] = Field(
        "events", description="What makes a session a bot's: its events alone, or also the day."
    )

    @model_validator(mode="before")
    @classmethod
    def _on_top_of_the_preset(cls, values: object) -> object:
        if not isinstance(values, dict) or not (name := values.get("preset")):
            return values
        presets = load_presets()
        if name not in presets:
            message = f"preset {name!r} is unknown; there are {', '.join(presets)}"
            raise ValueError(message)
        return presets[name] | values


def is_time_zone(name: str) -> bool:
    """Whether there is a time zone of this name; one file is looked at, not all of the list."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=1)
def load_presets() -> dict[str, dict[str, object]]:
    """The session settings of other products, by name; what they do not say is our default."""
    return dict(tomllib.loads(PRESETS_FILE.read_text(encoding="utf-8")))


class AttributionSettings(Section):
    """The attribution models."""

    lookback_days: float = Field(30, gt=0, description="Oldest age that earns credit.")
    half_life_days: float = Field(7, gt=0, description="Age at which time-decay credit halves.")


class EngagementSettings(Section):
    """The engagement score."""

    half_life_days: float = Field(7, gt=0, description="Age at which a point halves.")


class PrivacySettings(Section):
    """Minimisation and erasure."""

    query_keys: Literal["detect", "allow"] = Field(
        "detect",
        description="'allow' keeps only listed query keys; 'detect' masks what looks personal.",
    )
    allowed_query_keys: tuple[str, ...] = Field(
        (), description="Query keys kept by 'allow' beside campaign parameters."
    )
    max_erased_share: float = Field(
        0.05, gt=0, le=1, description="Share of events above which an erasure stops for approval."
    )


class CrmSettings(Section):
    """Where audiences go."""

    destination: str = Field(
        "outbox", pattern="^(outbox|hubspot)$", description="'outbox' writes files; or 'hubspot'."
    )
    base_url: str = Field("https://api.hubapi.com", description="Root of the CRM's API.")
    id_property: str = Field("external_user_id", description="CRM property that holds the user.")


class CollectorSettings(Section):
    """The HTTP collector."""

    host: str = Field("127.0.0.1", description="Address it listens on; a proxy with TLS before it.")
    port: int = Field(8080, ge=0, le=65535, description="Port it listens on; 0 for any free one.")
    origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may send, such as https://*.shop.example."
    )
    trusted_proxies: int = Field(
        0, ge=0, le=9, description="Proxies before it, whose X-Forwarded-For names the client."
    )
    server_only_events: tuple[str, ...] = Field(
        (), description="Events that browser keys may not send, such as purchase."
    )
    strip_refused: bool = Field(
        True,
        description="Take identifiers from browsers' events that say no to measurement.",
    )
    rate_per_key: str = Field("3000000/minute", description="Events that one key may send.")
    rate_per_address: str = Field(
        "6000/minute", description="Events that one address may send with a browser key."
    )
    seal_after_s: float = Field(
        10, gt=0, description="Age at which the log's file is handed to ingestion, in seconds."
    )
    seal_mb: int = Field(64, ge=1, description="Size at which it is, in megabytes.")
    pending_mb: int = Field(64, ge=1, description="Records that may wait for the disk, megabytes.")

    @field_validator("rate_per_key", "rate_per_address")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9][0-9]*/(second|minute|hour)", value):
            message = f"is no rate such as 6000/minute: {value!r}"
            raise ValueError(message)
        return value


class CanarySettings(Section):
    """Canary events."""

    url: str = Field("", description="Where they are sent; to collector.port unless given.")
    within_minutes: float = Field(15, gt=0, description="How long one may take to arrive.")


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="CLICKSTREAM_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data: Path = Field(Path("data"), description="Folder of landing, lake and state.")
    definitions: Path | None = Field(
        None,
        description="Folder of your own definitions, from the data folder; overrides the shipped "
        "ones by name.",
    )
    time_zone: str = Field("UTC", description="Reporting time zone: decides dates people see.")
    currency: str = Field("EUR", pattern="^[A-Z]{3}$", description="Reporting currency.")
    exchange_rates: dict[str, Decimal] = Field(
        default_factory=lambda: {"USD": Decimal("0.92"), "GBP": Decimal("1.17")},
        description="Value of one unit of each currency in the reporting currency.",
    )
    lateness_horizon_days: float = Field(
        30, gt=0, description="Oldest event a live source may still deliver, unless it says so."
    )
    lake: LakeSettings = LakeSettings()
    sessions: SessionSettings = SessionSettings()
    attribution: AttributionSettings = AttributionSettings()
    engagement: EngagementSettings = EngagementSettings()
    privacy: PrivacySettings = PrivacySettings()
    crm: CrmSettings = CrmSettings()
    collector: CollectorSettings = CollectorSettings()
    canary: CanarySettings = CanarySettings()

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if not is_time_zone(value):
            message = f"is not a time zone: {value!r}"
            raise ValueError(message)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - signature of pydantic
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - signature of pydantic
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def landing(self) -> Path:
        """Folder into which files are dropped, one folder per source."""
        return self.data / "landing"

    @property
    def lake_folder(self) -> Path:
        """Folder of the Delta tables."""
        return self.data / "lake"

    @property
    def state(self) -> Path:
        """Folder of the ledger, the vault, the suppression list and Dagster's own storage."""
        return self.data / "state"

    @property
    def outbox(self) -> Path:
        """Folder into which the default CRM destination writes."""
        return self.data / "outbox"

    @property
    def exports(self) -> Path:
        """Folder of the answers to subject requests."""
        return self.data / "exports"

    @property
    def reports(self) -> Path:
        """Folder of rendered reports."""
        return self.data / "reports"

    @property
    def zone(self) -> ZoneInfo:
        """The reporting time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def lateness_horizon(self) -> timedelta:
        """Oldest event that a live source may still deliver."""
        return timedelta(days=self.lateness_horizon_days)


def load_settings(data: Path | str | None = None) -> Settings:
    """Read the settings of one data folder.

    Args:
        data: The folder; else `CLICKSTREAM_DATA`, else `data` below the working directory.

    Raises:
        DefinitionError: The file or a variable holds something that cannot be used.
    """
    folder = Path(data or os.environ.get("CLICKSTREAM_DATA") or "data").resolve()
    file = folder / SETTINGS_FILE
    if file.exists() and not file.is_file():
        raise DefinitionError(file, "file", "is no file", remedy="Move it away, or write the file.")

    class Located(Settings):
        """Settings read from this folder's file."""

        model_config = SettingsConfigDict(toml_file=file)

    try:
        settings = Located(data=folder)
    except ValidationError as error:
        where, reason = fault_of(error, Settings)
        parts = [str(part) for part in where]
        variable = f"CLICKSTREAM_{'__'.join(parts).upper()}"
        # The environment wins over the file: where it holds the value, it holds the mistake.
        place: Path | str = "environment" if variable in os.environ else file
        remedy = f"Unset or mend {variable}." if variable in os.environ else "Mend it there."
        raise DefinitionError(place, ".".join(parts), reason, remedy=remedy) from None
    except ValueError as error:
        raise DefinitionError(file, "syntax", str(error), remedy="It must be TOML.") from None
    if settings.definitions is None:
        return settings
    own = folder / settings.definitions
    if not own.is_dir():
        raise DefinitionError(
            file, "definitions", f"{own} is no folder", remedy="Make it, or name another."
        )
    return settings.model_copy(update={"definitions": own})
