"""What a refresh of a derived table did, for people and for the orchestrator."""

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """Outcome of bringing one table up to date."""

    table: str
    version: int
    """Version of the table afterwards; unchanged if there was nothing to do."""
    rows_written: int = 0
    """Rows that are new or recomputed."""
    rows_read: int = 0
    """Rows of the upstream tables that entered the computation."""
    dates: tuple[date, ...] = ()
    """Date partitions that were rewritten, for tables that have them."""
    is_full: bool = False
    """Whether everything was recomputed."""
    details: dict[str, int | float | str] = field(default_factory=dict)
    """Further figures, by name. Never a value of a person."""
