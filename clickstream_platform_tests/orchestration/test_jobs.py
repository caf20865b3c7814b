"""Jobs as a schedule or a person launches them, run in this process over a real data folder."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from clickstream_platform.events import Ledger
from clickstream_platform.lake import Lake
from clickstream_platform.orchestration.conditions import behind_tables
from clickstream_platform.orchestration.definitions import definitions
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.running import opened
from clickstream_platform.orchestration.schedules import schedules
from clickstream_platform.orchestration.stages import STAGES, Work, bring_up_to_date
from clickstream_platform.orchestration.tables import TRANSIENT, refusals
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.events.door import drop, event
from clickstream_platform_tests.faults.disk import flip
from clickstream_platform_tests.orchestration.served import prepare

pytestmark = pytest.mark.slow

AT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)


def visit(settings: Settings, number: int) -> None:
    """A page view of two people, landed and settled, that nothing has taken yet."""
    at = (AT + timedelta(minutes=number)).isoformat()
    times = dict.fromkeys(("created_at", "sent_at", "received_at"), at)
    records = [
        event(2 * number + who, visitor_id=f"v{who}", user_id=f"user{who}", **times)
        for who in range(2)
    ]
    file = drop(settings, f"{number}.ndjson", records)
    os.utime(file, (file.stat().st_mtime - 60,) * 2)


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two visits in every table, of which Dagster was told nothing."""
    settings = load_settings(prepare(tmp_path_factory.mktemp("taken")))
    for number in range(2):
        visit(settings, number)
        for stage in STAGES:
            bring_up_to_date(stage, Work(settings=settings, now=datetime.now(UTC)))
    return settings.data


@pytest.fixture
def settings(taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of it, of its own."""
    data = shutil.copytree(taken, tmp_path / "data")
    monkeypatch.setenv("CLICKSTREAM_DATA", str(data))
    return load_settings(data)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The storage of that folder."""
    with opened(settings) as instance:
        yield instance


def run(
    settings: Settings,
    instance: dg.DagsterInstance,
    job: str,
    ops: Mapping[str, object] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a job of the code location, as its launchpad would."""
    quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
    return definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        resources={"platform": Platform(data=str(settings.data))},
        run_config={"loggers": quiet, "ops": ops or {}},
        raise_on_error=False,
    )


def said(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    """Everything that the log of a run holds, as one text."""
    entries = instance.all_logs(result.run_id)
    return "\n".join(f"{entry.user_message} {entry.dagster_event}" for entry in entries)


def test_daily_close_takes_tidies_tells_and_draws(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    lake = Lake(settings.lake_folder)
    visit(settings, 2)
    files = len(lake.files("raw_events"))
    told = instance.get_materialized_partitions(dg.AssetKey("sessions"))
    assert (files, told) == (2, set())
    result = run(settings, instance, "daily_close")
    assert result.success, said(instance, result)
    assert "Every file is what was written." in said(instance, result)
    assert lake.row_count("events") == 6
    assert behind_tables(settings) == set()
    assert len(lake.files("raw_events")) == 1
    assert lake.broken_tables() == {}
    days = {day.isoformat() for day in lake.dates("sessions")}
    assert instance.get_materialized_partitions(dg.AssetKey("sessions")) == days
    assert [file.suffix for file in settings.reports.glob("*.html")] == [".html"]
    Ledger(settings.state).require_balance()


def test_sync_takes_its_turn_after_segments_and_reads_no_broken_ones(
    settings: Settings,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.definitions is not None
    own = shutil.copytree(settings.definitions, tmp_path / "own")  # others share those
    monkeypatch.setenv("CLICKSTREAM_DEFINITIONS", str(own))
    visit(settings, 2)
    result = run(settings, instance, "ingest_tick")
    done = [event.step_key for event in result.all_events if event.is_step_success]
    assert done == [stage.name for stage in STAGES], said(instance, result)

    lake = Lake(settings.lake_folder)
    told = lake.version("crm_syncs")
    lake.append("segments", lake.scan("segments").collect())  # each twice: not its grain
    (own / "segments" / "broken.toml").write_text("owner = 1")
    result = run(settings, instance, "daily_close")
    failed = [event.step_key for event in result.all_events if event.is_step_failure]
    assert failed == ["segments", "syncs"]
    assert "segments: what was written breaks its contract" in said(instance, result)
    assert lake.version("crm_syncs") == told


def test_daily_close_stops_before_a_broken_file_is_written_anew(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    lake = Lake(settings.lake_folder)
    flip(lake.files("sessions")[0])
    versions = {table: lake.version(table) for stage in STAGES for table in stage.tables}
    result = run(settings, instance, "daily_close")
    assert not result.success
    log = said(instance, result)
    assert "sessions: 1 files are not what was written" in log
    assert "`clickstream doctor --mend`" in log
    assert {table: lake.version(table) for table in versions} == versions


def test_leak_scan_counts_then_masks_and_tells_no_value(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    lake = Lake(settings.lake_folder)
    rows = lake.scan("events").collect()
    is_one = pl.col("event_id") == "e0"
    title = pl.when(is_one).then(pl.lit("Hello ann@example.com")).otherwise("page_title")
    lake.overwrite("events", rows.with_columns(page_title=title))
    result = run(settings, instance, "leak_scan")
    assert not result.success
    assert "events.page_title: 1 rows hold: email" in said(instance, result)
    assert "ann@example.com" not in said(instance, result)

    mending = {"scan_stored_texts": {"config": {"mend": True}}}
    result = run(settings, instance, "leak_scan", mending)
    assert result.success, said(instance, result)
    titles = lake.scan("events").collect()["page_title"].to_list()
    assert [title for title in titles if title] == ["Hello [email]"]
    assert behind_tables(settings) == set()
    assert run(settings, instance, "leak_scan").success
    for file in settings.lake_folder.rglob("*"):
        assert not file.is_file() or b"ann@example.com" not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [("source", "web_ship", "canonical"), ("code", "event_nam_missing", "record_unreadable")],
)
def test_replay_knows_no_such_source_or_rule(
    settings: Settings, instance: dg.DagsterInstance, name: str, value: str, known: str
) -> None:
    config = {"replay_waiting_records": {"config": {name: value}}}
    result = run(settings, instance, "replay_quarantine", config)
    assert not result.success
    assert f"{name}: there is none of that name." in said(instance, result)
    assert known in said(instance, result)


@pytest.mark.parametrize("job", ["watch", "retention_check"])
def test_what_only_looks_runs_and_writes_no_table(
    settings: Settings, instance: dg.DagsterInstance, job: str
) -> None:
    lake = Lake(settings.lake_folder)
    before = {table: lake.version(table) for stage in STAGES for table in stage.tables}
    result = run(settings, instance, job)
    assert result.success, said(instance, result)
    assert result.get_asset_check_evaluations()
    assert {table: lake.version(table) for table in before} == before


@pytest.mark.parametrize("schedule", schedules, ids=lambda schedule: schedule.name)
def test_schedule_asks_for_one_run_of_a_job_that_there_is(
    schedule: dg.ScheduleDefinition, instance: dg.DagsterInstance
) -> None:
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=AT)
    (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert request.run_config == {}
    assert definitions.resolve_job_def(schedule.job_name).name == schedule.job_name


def test_schedules_that_keep_the_platform_well_run_unasked() -> None:
    running = {s.name for s in schedules if s.default_status is dg.DefaultScheduleStatus.RUNNING}
    assert running == {"hourly_watch", "daily_close", "daily_retention_check"}


@pytest.mark.parametrize(
    ("work", "told"),
    [
        pytest.param(
            lambda: duckdb.connect().execute("SELECT CAST('ann@example.com' AS INT)").fetchall(),
            "ConversionException: .* string 'aaa@aaaaaaa.aaa' to INT99",
            id="a value in quotes, and the query on the next line",
        ),
        pytest.param(
            lambda: duckdb.sql("SELECT 9223372036854775807 * 491711234").fetchall(),
            r"OutOfRangeException: .* \(9+ \* 999999999\)",
            id="numbers",
        ),
        pytest.param(
            lambda: pl.Series(["Ann"]).cast(pl.Int64), r'values: \["aaa"\]$', id="in a list"
        ),
    ],
)
def test_an_engines_error_is_stored_without_the_values_that_it_quotes(
    work: Callable[[], object], told: str
) -> None:
    with pytest.raises(dg.Failure) as failure, refusals():
        work()
    said = str(failure.value.description)
    assert re.search(told, said), said
    assert failure.value.__suppress_context__
    assert failure.value.allow_retries
    assert "test_jobs.py" in str(failure.value.metadata["where"].value)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_run_that_is_ended_tries_no_stage_again_and_begins_none(
    interrupt: type[BaseException],
) -> None:
    begun = []

    @dg.op(out=dg.Out(dg.Nothing), retry_policy=TRANSIENT)
    def stage() -> None:
        begun.append("stage")
        with refusals():
            raise interrupt

    @dg.op(ins={"after": dg.In(dg.Nothing)})
    def later() -> None:
        begun.append("later")

    @dg.job(executor_def=dg.in_process_executor)
    def work() -> None:
        later(stage())

    result = work.execute_in_process(raise_on_error=False)
    assert (result.success, begun) == (False, ["stage"])
