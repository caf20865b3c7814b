"""Engagement weights: how many points an event earns, by its name."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, ValidationError

from clickstream_platform.errors import DefinitionError

SHIPPED = Path(__file__).with_name("engagement_weights.toml")


class EngagementWeights(BaseModel):
    """Points of one event, by event name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    otherwise: float = Field(ge=0)
    weights: dict[str, NonNegativeFloat]

    def weight(self, event_name: str) -> float:
        """Points of one event of this name."""
        return self.weights.get(event_name, self.otherwise)


def load_engagement_weights(definitions: Path | None = None) -> EngagementWeights:
    """Read the weights: the user's `engagement_weights.toml`, else the shipped one.

    Args:
        definitions: The user's folder of definitions, or None for the shipped file.

    Raises:
        DefinitionError: The file cannot be used as written.
    """
    own = definitions / SHIPPED.name if definitions else SHIPPED
    file = own if own.exists() else SHIPPED
    try:
        return EngagementWeights.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(file, "syntax", str(error), remedy="It must be TOML.") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DefinitionError(
            file, key, first["msg"], remedy="Keys are `otherwise` and the table `weights`."
        ) from None
