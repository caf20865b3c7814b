"""Getting records through to a destination that is slow, busy, down, or picky about one of them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clickstream_platform.activation.destination import (
    BusyError,
    Destination,
    Outcome,
    Record,
    RefusedError,
    UnavailableError,
)

_CODE = re.compile(r"[A-Za-z0-9_.:]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to try before what is left waits for the next sync."""

    tries: int = 6
    """Calls about the same records that bring nothing; then they wait for the next sync."""
    first_wait_s: float = 1.0
    """Wait after the first failure; doubled after each further one."""
    longest_wait_s: float = 60.0
    """No single wait is longer, whatever the destination asks for."""
    total_wait_s: float = 600.0
    """All waits of one sync together."""
    failures_to_open: int = 3
    """Failures in a row after which only single records are sent, as probes; also batches in a
    row without one answer, after which none is sent any more."""
    probes: int = 3
    """Probes that may fail before the destination counts as down."""
    refusals: int = 100
    """Refusals in a row after which the fault is thought to be ours, not the records'."""


class Courier:
    """Delivers batches one after another, and remembers how the destination is.

    The circuit is closed while calls succeed. Failures in a row open it: after a wait, a single
    record is sent as a probe (half-open), and only its success closes the circuit again. When
    probes keep failing the courier gives up: nothing is called any more, and every further
    record is left for the next sync.

    Args:
        destination: Where to.
        patience: Limits of waiting.
        sleep: Waits so many seconds.
        jitter: A random number of [0, 1), so that many senders do not return together.
        still_allowed: Those of records that may be sent now. Asked before each call: between two
            about the same records lie minutes of waiting.
        is_doubtful: Start with a probe, since the last sync had to give up.
    """

    def __init__(  # noqa: PLR0913 - where to, whom to ask, and what tests replace
        self,
        destination: Destination,
        *,
        patience: Patience,
        sleep: Callable[[float], None],
        jitter: Callable[[], float],
        still_allowed: Callable[[Sequence[Record]], Sequence[Record]],
        is_doubtful: bool = False,
    ) -> None:
        self._destination = destination
        self._patience = patience
        self._sleep = sleep
        self._jitter = jitter
        self._still_allowed = still_allowed
        self._is_half_open = is_doubtful
        self._failures = self._probes = self._refusals = self._stuck = 0
        self.waited_s = 0.0
        """Seconds waited so far."""
        self.calls = 0
        """Calls made so far."""
        self.gave_up_for: str | None = None
        """Why it stopped calling, or None while it has not."""

    def deliver(self, records: Sequence[Record]) -> dict[str, Outcome]:
        """Deliver records of one operation; by key what became of those for which it is known.

        Of those that may not be sent any more nothing is known: an earlier call may have arrived.
        """
        known: dict[str, Outcome] = {}
        waiting = self._still_allowed(records)
        fruitless = 0
        while waiting and self.gave_up_for is None and fruitless < self._patience.tries:
            part = waiting[:1] if self._is_half_open else waiting
            learnt = self._call(part, fruitless)
            fruitless = 0 if learnt else fruitless + 1
            known |= learnt
            waiting = self._still_allowed([r for r in waiting if r.idempotency_key not in known])
        self._stuck = self._stuck + 1 if waiting and not known else 0
        if self._stuck >= self._patience.failures_to_open and self.gave_up_for is None:
            self.gave_up_for = "no_progress"
        return known

    def _call(self, part: Sequence[Record], fruitless: int) -> dict[str, Outcome]:
        self.calls += 1
        try:
            outcomes = self._destination.upsert(part)
        except BusyError as error:
            if fruitless + 1 >= self._patience.tries:
                self.gave_up_for = "busy"
            else:
                self._pause(fruitless, at_least_s=error.retry_after_s)
            return {}
        except UnavailableError:
            self._note_failure()
            return {}
        except RefusedError as error:
            self._note_answer()
            return self._bisect(part, error.reason)
        self._note_answer()
        asked = {record.idempotency_key for record in part}
        learnt = {
            each.idempotency_key: each
            for each in outcomes
            if each.fate != "unclear" and each.idempotency_key in asked
        }
        self._note_refusals([*learnt.values()])
        if len(learnt) < len(part) and fruitless + 1 < self._patience.tries:
            self._pause(0 if learnt else fruitless)
        return learnt

    def _bisect(self, part: Sequence[Record], reason: str) -> dict[str, Outcome]:
        """Find the records at fault by halving: one in a hundred costs about fourteen calls."""
        if len(part) == 1:
            refused = Outcome(part[0].idempotency_key, "refused", reason)
            self._note_refusals([refused])
            return {refused.idempotency_key: refused}
        middle = len(part) // 2
        return self.deliver(part[:middle]) | self.deliver(part[middle:])

    def _note_answer(self) -> None:
        self._failures = self._probes = 0
        self._is_half_open = False

    def _note_refusals(self, outcomes: Sequence[Outcome]) -> None:
        if any(each.fate == "delivered" for each in outcomes):
            self._refusals = 0
        else:
            self._refusals += len(outcomes)
        if self._refusals >= self._patience.refusals:
            self.gave_up_for = "everything_refused"

    def _note_failure(self) -> None:
        self._failures += 1
        if self._is_half_open:
            self._probes += 1
        self._is_half_open = self._is_half_open or self._failures >= self._patience.failures_to_open
        if self._probes >= self._patience.probes:
            self.gave_up_for = "unavailable"
            return
        self._pause(self._failures - 1)

    def _pause(self, earlier: int, *, at_least_s: float | None = None) -> None:
        """Wait longer each time, or as long as asked for, never longer than one wait may be."""
        limits = self._patience
        if at_least_s is None:
            doubled = limits.first_wait_s * 2.0 ** min(earlier, 30)
            seconds = min(doubled, limits.longest_wait_s) * (1 + self._jitter()) / 2
        else:
            asked = min(max(at_least_s, limits.first_wait_s), limits.longest_wait_s)
            seconds = asked + limits.first_wait_s * self._jitter()
        if self.waited_s + seconds > limits.total_wait_s:
            self.gave_up_for = "waited_too_long"
            return
        self.waited_s += seconds
        self._sleep(seconds)


def code(reason: str | None) -> str:
    """A reason fit for the ledger: a destination's code, or that there was none."""
    return reason.lower() if reason and _CODE.fullmatch(reason) else "refused"
