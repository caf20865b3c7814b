"""Orchestration: the only code that knows Dagster."""

import warnings

# Both are weighed and wanted (docs/guide/orchestration.md); said once there, not at every start.
warnings.filterwarnings("ignore", message=".* is currently in (beta|preview)")

from clickstream_platform.orchestration.rebuilding import (  # noqa: E402 - after the filter
    Mended,
    mend,
    rebuild,
)
from clickstream_platform.orchestration.running import (  # noqa: E402 - after the filter
    BusyError,
    RunFailedError,
    dagster_home,
    materialize_all,
    start_ui,
)

__all__ = [
    "BusyError",
    "Mended",
    "RunFailedError",
    "dagster_home",
    "materialize_all",
    "mend",
    "rebuild",
    "start_ui",
]
