"""What can be chosen about a simulation."""

import re
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from numbers import Integral, Real
from pathlib import Path
from typing import Literal, Self

from clickstream_platform.errors import ParameterError

DEFAULT_EVENTS = 200_000
"""About as many events as the demonstration has."""

LONGEST_DAYS = 400
"""Longest simulated window, days; a bit over a year."""

MOST = 1_000_000_000
"""Far above what a machine can write; catches slips of the hand."""

PLAIN = r"[A-Za-z0-9][\w.-]{0,99}"
"""Front of a file name: visible, without a folder, and short enough for file systems."""

EARLIEST, LATEST = date(1970, 1, 1), date(2199, 12, 31)
"""First days that are possible: lines write years in four digits, also around the window."""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A shop, a window of time, how many people come, and what goes wrong.

    Equal simulations write equal bytes. Give `events` or `persons`, not both; with neither,
    about 200,000 events are made.

    Raises:
        ParameterError: A parameter is out of its range, or two of them exclude each other.
    """

    start: date
    """First day, UTC. The window begins at its midnight."""
    days: int = 30
    """Length of the window."""
    events: int | None = None
    """About how many events; the number of people follows from it."""
    persons: int | None = None
    """How many people may come; a few of them never do."""
    seed: int = 1
    bot_share: float = 0.05
    """Share of the events that bots make."""
    duplicate_rate: float = 0.005
    """Events whose line is there twice, byte by byte."""
    conflict_rate: float = 0.0005
    """Events that are sent again later under the same id with another body."""
    malformed_rate: float = 0.001
    """Broken lines, per event. They come on top of the events: no event is lost to them."""
    late_rate: float = 0.0093
    """Events that arrive hours or days late, as far as the window reaches."""
    skewed_share: float = 0.0397
    """Browsers whose clock is wrong by 5 seconds to some days."""
    personal_data_rate: float = 0.005
    """Events whose address carries an e-mail address."""
    files: Literal["day", "hour"] = "day"
    """One file per day, or one per hour, of arrival."""
    is_compressed: bool = True
    prefix: str = "shop"
    """Front of the file names."""
    shop: Path | None = None
    """Parameter file of another shop; the shipped one by default."""

    def __post_init__(self) -> None:
        if not _is_possible(self.start):
            name, rule = "start", f"must be a date between {EARLIEST} and {LATEST}"
            raise ParameterError(name, self.start, rule, instead="date(2026, 3, 2)")
        self._check_size()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("_rate", "_share")) and not (
                isinstance(value, Real) and 0 <= float(value) <= 1
            ):
                raise ParameterError(field.name, value, "must lie between 0 and 1", instead="0.01")
        extra = self.duplicate_rate + self.conflict_rate + self.malformed_rate
        for name, is_sound, rule, instead in (
            ("bot_share", self.bot_share < 1, "must leave room for people", "0.05"),
            ("malformed_rate", extra <= 1, "must not exceed 1 with the other extra lines", "0.001"),
            ("files", self.files in {"day", "hour"}, "must be 'day' or 'hour'", "'day'"),
            ("prefix", re.fullmatch(PLAIN, self.prefix), "must be a plain file name", "'shop'"),
        ):
            if not is_sound:
                raise ParameterError(name, getattr(self, name), rule, instead=instead)

    def _check_size(self) -> None:
        """Check how long, how many and which."""
        for name, least, most in (
            ("days", 1, LONGEST_DAYS),
            ("events", 1, MOST),
            ("persons", 1, MOST),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            may_lack = name in {"events", "persons"} and value is None
            if not may_lack and not (isinstance(value, Integral) and least <= int(value) <= most):
                rule = f"must lie between {least:,} and {most:,}"
                raise ParameterError(name, value, rule, instead=str(least))
            if name == "persons" and value is not None and self.events is not None:
                rule = "cannot be given together with events"
                raise ParameterError(name, value, rule, instead="None")

    @property
    def starts_at(self) -> datetime:
        """First instant of the window."""
        return datetime.combine(self.start, time(), UTC)

    @property
    def ends_at(self) -> datetime:
        """First instant after the window."""
        return self.starts_at + timedelta(days=self.days)

    def without_faults(self) -> Self:
        """Return the same people and events, with nothing going wrong on the way."""
        return replace(
            self,
            duplicate_rate=0,
            conflict_rate=0,
            malformed_rate=0,
            late_rate=0,
            skewed_share=0,
            personal_data_rate=0,
        )


def _is_possible(start: object) -> bool:
    """Tell whether a simulation can begin on a day; an instant stands for its day."""
    day = start.date() if isinstance(start, datetime) else start
    return isinstance(day, date) and EARLIEST <= day <= LATEST
