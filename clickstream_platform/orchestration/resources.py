"""What assets and jobs are given: where the platform's data lies."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from clickstream_platform.settings import Settings, load_settings

if TYPE_CHECKING:  # loading the code location must not load an engine
    from clickstream_platform.lake import Lake


class Platform(dg.ConfigurableResource):  # type: ignore[type-arg]  # its parameter is the resource itself
    """One data folder: its settings and its lake."""

    data: str | None = Field(
        default=None, description="Data folder; else CLICKSTREAM_DATA, else ./data."
    )

    def settings(self) -> Settings:
        """Read the settings anew: a run sees them as they are when it starts."""
        return load_settings(self.data)

    def lake(self) -> "Lake":
        """Open the lake."""
        from clickstream_platform.lake import Lake

        return Lake(self.settings().lake_folder)
