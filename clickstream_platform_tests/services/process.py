"""Real collector processes, clients that hammer them, and what each client was told."""

import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from clickstream_platform_tests.services.wire import batch, event

Told = Literal["ok", "fail", "unknown"]
"""What a client knows of its request: taken, refused, or no answer."""

EVENTS_A_BATCH = 3


@dataclass
class Running:
    """A collector that runs."""

    pid: int
    port: int
    dialled: list[http.client.HTTPConnection] = field(default_factory=list)

    def dial(self) -> http.client.HTTPConnection:
        """A connection to it, closed when it is killed."""
        self.dialled.append(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20))
        return self.dialled[-1]

    def signal(self, number: int) -> None:
        """Send it a signal, unless it is gone."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def wait_gone(self, timeout_s: float = 30) -> float:
        """Wait until the process is gone; seconds that it took."""
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return time.monotonic() - began
            time.sleep(0.005)
        message = f"collector {self.pid} is still there after {timeout_s} s"
        raise AssertionError(message)

    def kill(self) -> None:
        """Kill -9, and wait."""
        for connection in self.dialled:
            connection.close()
        self.signal(signal.SIGKILL)
        self.wait_gone()


class Zygote:
    """Makes collectors in no time; close it after use."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clickstream_platform_tests.services.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._running: list[Running] = []

    def start(
        self, data: Path, *, hook: str | None = None, scores_bots: bool = False, **options: object
    ) -> Running:
        """A collector over a data folder."""
        order: dict[str, object] = {"data": str(data), "hook": hook, "scores_bots": scores_bots}
        order["options"] = {"seal_after_s": 3600} | options
        pipe_in, pipe_out = self._pipes()
        pipe_in.write(json.dumps(order) + "\n")
        pipe_in.flush()
        found = json.loads(pipe_out.readline())
        self._running.append(Running(found["pid"], found["port"]))
        return self._running[-1]

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def close(self) -> None:
        """End whatever still runs."""
        for running in self._running:
            running.signal(signal.SIGKILL)
        for pipe in self._pipes():
            pipe.close()
        self._process.wait(timeout=30)


@dataclass
class History:
    """What clients sent and were told, by event id; the last answer to an id counts."""

    told: dict[str, Told] = field(default_factory=dict)
    batches: dict[str, list[dict[str, object]]] = field(default_factory=dict)

    def ids(self, *kinds: Told) -> set[str]:
        """Ids of events about which clients were told so."""
        return {event_id for event_id, told in self.told.items() if told in kinds}

    def note(self, events: list[dict[str, object]], told: Told) -> None:
        """Note an answer. What was acknowledged once stays acknowledged."""
        for each in events:
            event_id = str(each["id"])
            if self.told.get(event_id) != "ok":
                self.told[event_id] = told

    def faults(self, found: dict[str, int]) -> list[str]:
        """What contradicts the history, given how often each id was found.

        Acknowledged events are there exactly once; refused and unanswered ones at most once; and
        nothing is there that nobody sent.
        """
        faults = [f"lost: {i}" for i in sorted(self.ids("ok")) if found.get(i, 0) == 0]
        faults += [f"doubled: {i}" for i, times in sorted(found.items()) if times > 1]
        faults += [f"invented: {i}" for i in sorted(found.keys() - self.told.keys())]
        return faults


class Clients:
    """Threads that send batches as fast as they are answered, and note what they are told.

    Args:
        port: Of the collector.
        key: Write key.
        history: Where answers are noted.
        name: What the ids of their events start with.
        threads: How many send at once.
    """

    def __init__(
        self, port: int, key: str, history: History, *, name: str, threads: int = 3
    ) -> None:
        self._port, self._key, self._history, self._name = port, key, history, name
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._hammer, args=(number,)) for number in range(threads)
        ]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _hammer(self, thread: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        for number in itertools.count():
            if self._stop.is_set():
                break
            events = list(self._events(thread, number))
            told = send(connection, self._key, events)
            self._history.note(events, told)
            if told == "unknown":
                break
        connection.close()

    def _events(self, thread: int, number: int) -> Iterator[dict[str, object]]:
        for place in range(EVENTS_A_BATCH):
            event_id = f"{self._name}-{thread}-{number}-{place}"
            yield event(id=event_id, visitor_id=f"v{thread}", page_title="x" * (number % 50 * 20))


def send(connection: http.client.HTTPConnection, key: str, events: list[dict[str, object]]) -> Told:
    """Send a batch, and return what its sender knows then."""
    try:
        connection.request("POST", "/v1/events", json.dumps(batch(key, *events)))
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return "unknown"
    return "ok" if response.status == 200 else "fail"


def resend(port: int, key: str, history: History, events: list[dict[str, object]]) -> None:
    """Send events again, as clients do that were not told that they arrived."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for start in range(0, len(events), 100):
        some = events[start : start + 100]
        history.note(some, send(connection, key, some))
    connection.close()


def moments(seed: int, rounds: int, longest_s: float) -> list[float]:
    """Random moments at which to strike, in seconds."""
    rng = random.Random(seed)
    return [rng.uniform(0.02, longest_s) for _ in range(rounds)]
