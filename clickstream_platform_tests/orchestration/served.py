"""`clickstream serve` over a data folder of its own, asked over GraphQL as the UI asks."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from clickstream_platform.events import FATES, Ledger
from clickstream_platform.orchestration import dagster_home
from clickstream_platform.settings import load_settings

ROOT = Path(__file__).parents[2]
FORK_SERVER = ROOT / "dagster.forkserver.yaml"
COMMAND = "from clickstream_platform.cli import main; main()"
"""The command line, by this very interpreter."""

PATIENCE_S = 240.0
"""Upper bound of every wait; far above what a loaded machine needs."""

LAUNCH = """
mutation ($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on PythonError { message }
} }
"""

BACKFILL = """
mutation ($parameters: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $parameters)
{ __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""

BACKFILL_STATUS = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status error { message } }
} }
"""

RUNS = """
query ($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
  runId status jobName tags { key value } startTime endTime updateTime creationTime
} } } }
"""

LOG = """
query ($id: ID!) { logsForRun(runId: $id, limit: 1000) { ... on EventConnection { events {
  __typename ... on MessageEvent { message stepKey }
  ... on ErrorEvent { error { message cause { message } } }
} } } }
"""

CHECKS = """
query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name blocking
    executionForLatestMaterialization { status evaluation { success severity metadataEntries {
      label ... on TextMetadataEntry { text } ... on JsonMetadataEntry { jsonString }
      ... on IntMetadataEntry { intValue } } } } } } }
} } }
"""

ASSETS = """
{ assetNodes {
  assetKey { path } groupName kinds partitionStats { numMaterialized numFailed }
  freshnessStatusInfo { freshnessStatus }
  assetMaterializations(limit: 1) { runId partition metadataEntries {
    label ... on IntMetadataEntry { intValue } ... on MarkdownMetadataEntry { mdStr } } }
} }
"""

TICKS = """
query ($sensor: InstigationSelector!) { instigationStateOrError(instigationSelector: $sensor) {
  ... on InstigationState { status ticks(limit: 50) { status runIds skipReason error { message } } }
} }
"""

FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}
Found = TypeVar("Found")


def until(look: Callable[[], Found | None], what: str, *, patience_s: float = PATIENCE_S) -> Found:
    """Look again and again until there is something to see."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    pytest.fail(f"waited {patience_s:.0f} s in vain: {what}")


class Served:
    """The Dagster UI, its daemon and its code server over one data folder."""

    def __init__(self, data: Path, *, is_forking: bool = False) -> None:
        self.data = data
        self.settings = load_settings(data)
        self.log = data.parent / "serve.log"
        home = dagster_home(self.settings)
        if is_forking:
            shutil.copyfile(FORK_SERVER, home / "dagster.yaml")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.selector: dict[str, str] = {}

    # -- Its processes -------------------------------------------------------------------------

    def start(self) -> None:
        """Start it as a person does, and wait until it answers and its daemon is alive."""
        words = ["-c", COMMAND, "serve"]
        words += ["--port", str(self.port), "--data", str(self.data)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, *words],
                stdout=log,
                stderr=log,
                env=os.environ | {"CLICKSTREAM_DATA": str(self.data)},
                start_new_session=True,
            )
        self.selector = until(self._location, f"the UI; see {self.log}")
        until(self._is_looking, "the daemon looks into landing")

    def stop(self) -> None:
        """End it as Ctrl-C would; what does not heed that in time is killed."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.kill()

    def kill(self) -> None:
        """Kill -9 everything that was started here."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def worker(self) -> tuple[str, int] | None:
        """A run that is at work, and the process that its log names, if it is one of ours."""
        for run in self.runs(statuses=["STARTED"]):
            named = re.search(r"in process \(pid: (\d+)\)", self.said(run["runId"]))
            if named is None:
                continue
            with suppress(OSError):
                environment = Path(f"/proc/{named[1]}/environ").read_bytes()
                if f"CLICKSTREAM_DATA={self.data}".encode() in environment.split(b"\0"):
                    return str(run["runId"]), int(named[1])
        return None

    def _location(self) -> dict[str, str] | None:
        if self.process is None or self.process.poll() is not None:
            pytest.fail(f"`clickstream serve` ended: {self.log.read_text()[-2000:]}")
        try:
            found = self.ask(
                "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { "
                "name } } } } daemonHealth: instance { daemonHealth { allDaemonStatuses { healthy "
                "daemonType required } } } }"
            )
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None
        nodes = found["repositoriesOrError"].get("nodes") or []
        if not nodes:
            return None
        return {
            "repositoryName": nodes[0]["name"],
            "repositoryLocationName": nodes[0]["location"]["name"],
        }

    def _is_looking(self) -> bool:
        return bool(self.ticks("landing"))

    # -- What the UI asks ----------------------------------------------------------------------

    def ask(self, query: str, **variables: object) -> Any:  # noqa: ANN401 - whatever the JSON holds
        """Answer of one query."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            body,
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - this machine
                content = json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"GraphQL: {error.read().decode()[:2000]}")
        assert "errors" not in content, content["errors"]
        return content["data"]

    def launch(
        self,
        job: str,
        *,
        assets: Sequence[str] = (),
        config: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the JSON holds
        """Launch a run; the answer, whatever it is."""
        selector: dict[str, object] = {**self.selector, "jobName": job}
        if assets:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
            selector["assetCheckSelection"] = None
        parameters = {
            "selector": selector,
            "runConfigData": dict(config or {}),
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]
            },
        }
        return self.ask(LAUNCH, parameters=parameters)["launchRun"]

    def run(self, job: str, **others: Any) -> dict[str, Any]:  # noqa: ANN401 - as for `launch`
        """Launch a run, and wait until it is over."""
        answer = self.launch(job, **others)
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return self.finished(answer["run"]["runId"])

    def finished(self, run_id: str) -> dict[str, Any]:
        """A run, once it is over."""

        def look() -> dict[str, Any] | None:
            (found,) = self.runs(runIds=[run_id])
            return found if found["status"] in FINISHED else None

        return until(look, f"run {run_id} is over")

    def runs(self, **chosen: object) -> list[dict[str, Any]]:
        """Runs, newest first."""
        found: list[dict[str, Any]] = self.ask(RUNS, filter=chosen)["runsOrError"]["results"]
        return found

    def said(self, run_id: str) -> str:
        """Everything that the log of a run shows, as one text."""
        return json.dumps(self.ask(LOG, id=run_id))

    def backfill(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Launch a backfill and wait until it is over; its status."""
        answer = self.ask(
            BACKFILL,
            parameters={
                "assetSelection": [{"path": [name]} for name in assets],
                "partitionNames": [*partitions],
                "title": "asked for by a test",
            },
        )["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer

        def look() -> str | None:
            found = self.ask(BACKFILL_STATUS, id=answer["backfillId"])["partitionBackfillOrError"]
            is_over = found["status"] not in {"REQUESTED", "CANCELING"}
            return str(found["status"]) if is_over else None

        return until(look, "the backfill is over")

    def ticks(self, sensor: str) -> list[dict[str, Any]]:
        """Ticks of a sensor that the daemon has made, newest first."""
        chosen = {**self.selector, "name": sensor}
        state = self.ask(TICKS, sensor=chosen)["instigationStateOrError"]
        return [tick for tick in state.get("ticks", ()) if tick["status"] != "STARTED"]

    def checks(self, table: str) -> dict[str, dict[str, Any]]:
        """What is known of each check of an asset that was evaluated."""
        node = self.ask(CHECKS, key={"path": [table]})["assetNodeOrError"]
        return {
            check["name"]: check["executionForLatestMaterialization"]
            for check in node["assetChecksOrError"]["checks"]
            if check["executionForLatestMaterialization"]
        }

    def assets(self) -> dict[str, dict[str, Any]]:
        """What is known of each asset."""
        return {node["assetKey"]["path"][0]: node for node in self.ask(ASSETS)["assetNodes"]}

    # -- Beside it -----------------------------------------------------------------------------

    def clickstream(self, *words: str, typed: str | None = None) -> Any:  # noqa: ANN401 - whatever the JSON holds
        """Run a command beside it, and return what it wrote as JSON."""
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", COMMAND, *words, "--json", "--data", str(self.data)],
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def drop(self, name: str, records: Sequence[object], *, source: str = "web") -> Path:
        """Put a file into landing as careful writers do: whole, by a rename."""
        path = self.settings.landing / source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{name}.tmp")
        draft.write_text("".join(json.dumps(record) + "\n" for record in records))
        draft.replace(path)
        return path

    def outbox(self) -> list[dict[str, Any]]:
        """Records that the CRM was told."""
        files = sorted(self.settings.outbox.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@contextmanager
def serving(data: Path, *, is_forking: bool = False) -> Iterator[Served]:
    """Serve a data folder for as long as the block lasts."""
    served = Served(data, is_forking=is_forking)
    try:
        served.start()
        yield served
    finally:
        served.stop()


def free_port() -> int:
    """A port that is free now, and the next one too: the report has that."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                return port


READERS = """
description = "Everybody who read a page."
owner = "tests"
purpose = "marketing"
expires = 2099-12-31
table = "sessions"
count = { min = 1 }
"""


def prepare(folder: Path) -> Path:
    """A data folder whose settings put every consenting user into one segment."""
    data, definitions = folder / "data", folder / "definitions"
    (definitions / "segments").mkdir(parents=True)
    (definitions / "segments" / "readers.toml").write_text(READERS)
    data.mkdir()
    settings = f'definitions = "{definitions}"\n[privacy]\nmax_erased_share = 1\n'
    (data / "clickstream.toml").write_text(settings)
    return data


ANN, BOB = "ann@example.com", "bob@example.com"


def event(number: int, *, user: str = ANN, **others: object) -> dict[str, object]:
    """A page view of somebody who is signed in and consents, some minutes ago."""
    at = datetime.now(UTC) - timedelta(minutes=30 - number % 20)
    return {
        "event_id": f"{user.partition('@')[0]}-{number}",
        "event_name": "page_view",
        "occurred_at": at.isoformat(),
        "visitor_id": f"visitor of {user.partition('@')[0]}",
        "user_id": user,
        "page_url": f"https://shop.example.com/{number}",
        "consent": {"analytics": True, "marketing": True, "personalization": True},
    } | others


def ledger(served: Served) -> dict[str, int]:
    """Fates of the records of source `web`."""
    rows = [row for row in Ledger(served.settings.state).totals() if row["source"] == "web"]
    (found,) = rows or [dict.fromkeys(("received", *FATES), 0)]
    return {name: int(str(found[name])) for name in ("received", *FATES)}


def settled(served: Served) -> None:
    """Wait until no run is queued or at work."""
    busy = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED"]
    until(lambda: not served.runs(statuses=busy), "no run is at work")


def loaded(served: Served, events: int) -> None:
    """Wait until so many events of source `web` are loaded, and nothing is at work."""
    until(lambda: ledger(served)["loaded"] >= events, f"{events} events are loaded")
    settled(served)


def holders(folder: Path, text: str) -> list[str]:
    """Files below a folder that hold a text."""
    return [
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and text.encode() in file.read_bytes()
    ]
