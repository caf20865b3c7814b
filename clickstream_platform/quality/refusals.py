"""Refusals: the share of records that wait in quarantine, by source."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

WINDOW = timedelta(days=1)
"""Arrivals that are looked at."""

ALLOWED_SHARE = 0.05
"""Share of refused records above which somebody should look."""

FEWEST = 20
"""Refused records below which a share says little."""


class Refusals(NamedTuple):
    """Records of one source that arrived lately, and those of them that wait."""

    source: str
    received: int
    refused: int

    @property
    def share(self) -> float:
        """Refused records by received ones, 0 to 1."""
        return self.refused / self.received if self.received else 0.0

    @property
    def is_alarming(self) -> bool:
        """Whether somebody should look."""
        return self.refused >= FEWEST and self.share > ALLOWED_SHARE


def refusals(batches: Iterable[Mapping[str, object]], *, now: datetime) -> list[Refusals]:
    """Add up the batches that arrived within the window, by source.

    Args:
        batches: Rows of the ledger.
        now: End of the window.
    """
    sums: dict[str, list[int]] = {}
    for batch in batches:
        if now - datetime.fromisoformat(str(batch["arrived_at"])) > WINDOW:
            continue
        counts = sums.setdefault(str(batch["source"]), [0, 0])
        counts[0] += int(str(batch["received"]))
        counts[1] += int(str(batch["quarantined"])) + int(str(batch["too_late"]))
    return [Refusals(source, *counts) for source, counts in sorted(sums.items())]
