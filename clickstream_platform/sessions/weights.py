"""Engagement weights: how many points an event earns, by its name."""

from pathlib import Path

from pydantic import Field, NonNegativeFloat

from clickstream_platform.definitions import Definition, own_or_shipped, read_definition

SHIPPED = Path(__file__).with_name("engagement_weights.toml")


class EngagementWeights(Definition):
    """Points of one event, by event name."""

    otherwise: float = Field(ge=0)
    weights: dict[str, NonNegativeFloat]

    def weight(self, event_name: str) -> float:
        """Points of one event of this name."""
        return self.weights.get(event_name, self.otherwise)


def load_engagement_weights(definitions: Path | None = None) -> EngagementWeights:
    """Read the weights: the user's `engagement_weights.toml`, else the shipped one.

    Args:
        definitions: The user's folder of definitions, or None for the shipped file.

    A file that cannot be used as written is a `DefinitionError`.
    """
    file = own_or_shipped(SHIPPED, definitions)
    remedy = "Keys are `otherwise` and the table `weights`."
    return read_definition(EngagementWeights, file, remedy=remedy)
