"""Canaries through the real path: a collector process, ingestion, and no trace in any mart."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.collection.probes import AGENT, Canary, canary_batch, canary_id_of
from clickstream_platform.connectors import KEY_VARIABLE, CanaryLog, send_canary
from clickstream_platform.errors import DefinitionError
from clickstream_platform.events import Ledger
from clickstream_platform.lake import Lake
from clickstream_platform.orchestration import materialize_all
from clickstream_platform.orchestration.definitions import definitions
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.watches import canary_evaluation
from clickstream_platform.quality import canary_arrivals
from clickstream_platform.services.collector import write_keys
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.simulator import Simulation, simulate
from clickstream_platform.tables.catalog import TABLES
from clickstream_platform_tests.privacy.household import settle
from clickstream_platform_tests.services.process import Zygote

INGESTED = {"raw_events", "events", "quarantined_events", "duplicate_events"}
"""Tables of what arrived, which hold canaries; every other one is a mart, and new ones are, too."""

SOURCE = "probe"
"""Source of the canaries; the ledger names it, and so does the report, which shows the ledger."""

TRACES = ("event_id", "event_key", "visitor_id", "visitor_key", "user_id", "user_key")

load_commands()


@dataclass
class World:
    """A small shop, and a collector that takes canaries beside it."""

    settings: Settings
    url: str
    key: str

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_folder)

    def materialize(self) -> None:
        """Wait until the collector has handed over what it took, then bring all up to date."""
        landing = self.settings.landing
        folder = landing / SOURCE
        until = time.monotonic() + 120
        while list(landing.glob("*/.collector-*")) or not list(folder.glob("*.ndjson")):
            assert time.monotonic() < until, "the collector seals"
            time.sleep(0.05)
        for file in self.settings.landing.rglob("*"):
            if file.is_file():
                settle(file)
        materialize_all(self.settings)

    def holders(self) -> set[str]:
        """Marts that hold a trace of a canary: its ids, its keys, or its name."""
        seen = self.lake.scan("events").select("source", *TRACES).collect()
        own = seen.filter(seen["source"] == SOURCE).drop("source")
        traces = {str(value) for row in own.iter_rows() for value in row if value is not None}
        assert len(traces) >= 5
        return self.marts_with({*traces, "canary"})

    def marts_with(self, traces: set[str]) -> set[str]:
        """Marts in which one of some texts stands."""
        return {
            table
            for table in TABLES.keys() - INGESTED
            for row in self.lake.scan(table).collect().iter_rows()
            if any(trace in repr(row) for trace in traces)
        }


@pytest.fixture
def world(tmp_path: Path, zygote: Zygote, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    settings = load_settings(tmp_path / "data")
    key = write_keys(settings).add(SOURCE, "browser", now=datetime.now(UTC)).key
    monkeypatch.setenv(KEY_VARIABLE, key)
    running = zygote.start(settings.data, seal_after_s=0.2)
    url = f"http://127.0.0.1:{running.port}"
    monkeypatch.setenv("CLICKSTREAM_CANARY__URL", url)
    yield World(load_settings(settings.data), url, key)
    running.kill()


@pytest.mark.slow
def test_canary_arrives_is_counted_and_is_in_no_mart(world: World) -> None:
    settings = world.settings
    start = (datetime.now(UTC) - timedelta(days=4)).date()
    simulate(Simulation(start=start, days=3, events=1_000, seed=1), settings.landing / "demo")
    now = datetime.now(UTC)
    sent = send_canary(settings, now=now)
    assert sent.refusal is None
    violation = {"blockedURL": "https://x.example/", "effectiveDirective": "img-src"}
    reports = [{"type": "csp-violation", "body": violation}] * 60
    agent = {"user-agent": AGENT}
    answer = httpx.post(f"{world.url}/v1/csp?key={world.key}", json=reports, headers=agent)
    assert answer.status_code == 204
    world.materialize()

    (arrival,) = canary_arrivals(world.lake, settings, [sent], now=now)
    assert (arrival.state, arrival.events) == ("arrived", 3)
    assert canary_evaluation(world.lake, settings, now=now).passed
    ledger = Ledger(settings.state)
    (counted,) = [row for row in ledger.totals() if row["source"] == SOURCE]
    assert (counted["received"], counted["loaded"], ledger.unbalanced()) == (3, 3, [])
    assert all(
        not world.lake.scan(table).collect().is_empty() for table in ("sessions", "segments")
    )
    arrived = world.lake.scan("events").collect()
    assert arrived["event_name"].eq("csp_violation").sum() == 60
    assert world.holders() == set()
    assert world.marts_with({"csp_"}) <= {"sessionless_events"}, "which is of events of nobody"
    report = CliRunner().invoke(app, ["report", "--data", str(settings.data)])
    assert report.exit_code == 0, report.output
    shown = [*settings.reports.rglob("*.html"), *settings.outbox.rglob("*.*")]
    assert shown
    texts = [file.read_text().replace(str(settings.data), "") for file in shown]
    assert not any("canary" in text for text in texts)

    # The same journey without its mark is a visitor like any other: the search above can find.
    batch = canary_batch(canary_id_of(now + timedelta(milliseconds=1)), now=now)
    text = json.dumps(batch | {"key": world.key}).replace('"is_synthetic": true', '"app_id": "x"')
    httpx.post(f"{world.url}/v1/events", content=text, headers=agent).raise_for_status()
    world.materialize()
    assert world.holders() >= {
        "identity_map",
        "consents",
        "sessions",
        "session_events",
        "touchpoints",
        "conversions",
        "attribution_credits",
        "engagement_scores",
    }


def test_canary_that_nobody_took_fails_the_check(world: World) -> None:
    nowhere = world.settings.model_copy(
        update={"canary": world.settings.canary.model_copy(update={"url": "http://127.0.0.1:9"})}
    )
    now = datetime.now(UTC)
    sent = send_canary(nowhere, now=now)
    assert sent.refusal == "the collector at http://127.0.0.1:9 cannot be reached"
    found = canary_evaluation(world.lake, nowhere, now=now)
    assert (found.passed, found.metadata["refused"].value) == (False, 1)
    assert canary_evaluation(world.lake, nowhere, now=now + timedelta(days=1, seconds=1)).passed


def test_job_fails_where_nobody_takes_the_canary_and_says_so_of_those_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKSTREAM_CANARY__URL", "http://127.0.0.1:9")
    platform = Platform(data=str(world.settings.data))
    job = definitions.resolve_job_def("canary")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance, resources={"platform": platform}, raise_on_error=False
        )
        assert not result.success
        (told,) = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("events"), "canary_arrival"), limit=9
        )
    assert told.status.value == "FAILED"
    (failed,) = [it for it in result.all_events if it.is_step_failure]
    assert "was not taken: the collector at http://127.0.0.1:9 cannot" in str(
        failed.step_failure_data
    )


def test_commands_send_and_check(world: World) -> None:
    folder = ["--data", str(world.settings.data)]
    none = CliRunner().invoke(app, ["canary", "check", *folder])
    assert (none.exit_code, none.stdout) == (0, "None was sent: clickstream canary send\n")
    sent = CliRunner().invoke(app, ["canary", "send", "--json", *folder])
    assert sent.exit_code == 0, sent.output
    checked = CliRunner().invoke(app, ["canary", "check", "--json", *folder])
    (found,) = json.loads(checked.stdout)
    assert (found["state"], checked.exit_code) == ("waiting", 0)
    assert found["canary_id"] == json.loads(sent.stdout)["canary_id"]


def test_wrong_key_is_a_refusal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "cs_browser_unknown")
    sent = CliRunner().invoke(app, ["canary", "send", "--data", str(world.settings.data)])
    assert sent.exit_code == 1
    assert sent.stdout.endswith("was not taken: the collector answered 401.\n")
    assert "unknown" not in (world.settings.state / "canaries.jsonl").read_text()


def test_key_comes_from_the_environment_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(DefinitionError, match=r"^environment: CLICKSTREAM_CANARY_KEY: is not set"):
        send_canary(settings, now=datetime.now(UTC))


def test_canaries_are_forgotten_after_a_month(settings: Settings) -> None:
    log, now = CanaryLog(settings.state), datetime.now(UTC)
    (settings.state).mkdir(parents=True)
    (settings.state / "canaries.jsonl").write_text('["torn", \n')
    for days in (31, 30, 0):
        sent_at = now - timedelta(days=days)
        log.add(Canary(canary_id_of(sent_at), sent_at))
    assert [it.sent_at for it in log.sent(since=datetime.min.replace(tzinfo=UTC))] == [
        now - timedelta(days=30),
        now,
    ]


def test_schedule_is_off_until_somebody_turns_it_on() -> None:
    schedule = definitions.resolve_schedule_def("canary")
    assert schedule.cron_schedule == "*/15 * * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
