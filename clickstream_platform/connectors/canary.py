"""Sending canaries to a collector, and remembering what was sent."""

import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from clickstream_platform.collection.probes import AGENT, Canary, canary_batch, canary_id_of
from clickstream_platform.errors import DefinitionError
from clickstream_platform.settings import Settings

KEY_VARIABLE = "CLICKSTREAM_CANARY_KEY"
"""Write key of canaries; it is a secret where it is a server's."""

REMEMBERED = timedelta(days=30)
"""How long a canary is remembered."""

TIMEOUT_S = 10.0
"""How long the collector may take to answer."""


class CanaryLog:
    """The canaries that were sent from a data folder.

    Args:
        state: State folder.
    """

    def __init__(self, state: Path) -> None:
        self._file = state / "canaries.jsonl"

    def sent(self, *, since: datetime) -> list[Canary]:
        """Canaries that were sent since, oldest first; a line that a crash has torn is none."""
        if not self._file.exists():
            return []
        found = []
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                canary_id, sent_at, refusal = json.loads(line)
            except ValueError:
                continue
            canary = Canary(canary_id, datetime.fromisoformat(sent_at), refusal)
            if canary.sent_at >= since:
                found.append(canary)
        return found

    def add(self, canary: Canary) -> None:
        """Remember one, and forget those that are too old."""
        kept = [*self.sent(since=canary.sent_at - REMEMBERED), canary]
        lines = [json.dumps([it.canary_id, it.sent_at.isoformat(), it.refusal]) for it in kept]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(".new")
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        beside.replace(self._file)


def send_canary(settings: Settings, *, now: datetime) -> Canary:
    """Send a canary to the collector, and remember it, whether it was taken or not.

    Raises:
        DefinitionError: There is no key to send it with.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        remedy = "Make one by `clickstream keys add canary`, and put it there."
        place = "environment"
        raise DefinitionError(place, KEY_VARIABLE, "is not set", remedy=remedy)
    collector = settings.collector
    url = settings.canary.url or f"http://{collector.host}:{collector.port}"
    canary_id = canary_id_of(now)
    refusal = None
    try:
        answer = httpx.post(
            f"{url.rstrip('/')}/v1/events",
            json=canary_batch(canary_id, now=now) | {"key": key},
            headers={"user-agent": AGENT},
            timeout=TIMEOUT_S,
        )
        if not answer.is_success or answer.json()["rejected"]:
            refusal = f"the collector answered {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL):
        refusal = f"the collector at {url} cannot be reached"
    except (ValueError, KeyError):
        refusal = "the answer is no collector's"
    canary = Canary(canary_id, now, refusal)
    CanaryLog(settings.state).add(canary)
    return canary
