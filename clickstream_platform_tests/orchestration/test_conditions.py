"""Automation: a table that is behind is asked for once; after a tick nothing is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.orchestration.conditions import (
    ALL_STAGES,
    behind_tables,
    is_busy,
    parents,
)
from clickstream_platform.orchestration.definitions import definitions
from clickstream_platform.orchestration.jobs import TICK
from clickstream_platform.orchestration.partitions import day_key, hour_key
from clickstream_platform.orchestration.stages import STAGES
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import events_frame, sessions_frame

NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
DERIVED = (
    "identity_map",
    "consents",
    "person_consents",
    "bot_behaviour",
    "cookieless_counts",
    "sessions",
    "touchpoints",
    "conversions",
    "attribution_credits",
)
TOGETHER = {
    "identity_map": ("identity_map", "identity_merges", "identity_conflicts"),
    "consents": ("consents", "consent_log"),
    "sessions": ("sessions", "session_events", "sessionless_events", "runaway_sessions"),
}
FIRST: dict[str, set[str | None]] = {
    name: {None} for table in DERIVED[:4] for name in TOGETHER.get(table, (table,))
}
"""What is asked for when events have news: one run writes all tables of a stage."""


class World:
    """A lake, a history of what Dagster was told, and automation that looks at both."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance = Lake(settings.lake_folder), instance
        self.cursor: dg.AssetDaemonCursor | None = None

    def arrive(self, *, at: datetime = NOW) -> None:
        """One event arrives, is loaded, and Dagster is told."""
        number = self.lake.version("events") + 1
        self.lake.append("events", events_frame([{"event_id": f"e{number}"}]))
        self.tell("events", hour_key(at))

    def seen(self, table: str) -> dict[str, int]:
        """Versions of the tables before a table, as a run that begins now sees them."""
        return {name: self.lake.version(name) for name in parents()[table]}

    def refresh(
        self, table: str, *, at: datetime = NOW, taken: dict[str, int] | None = None
    ) -> None:
        """A table takes in what is before it, now unless given, and Dagster is told."""
        taken = self.seen(table) if taken is None else taken
        for name in TOGETHER.get(table, (table,)):
            rows = pl.DataFrame(schema=polars_schema(name))
            if name == "sessions":
                rows = sessions_frame([{"session_key": self.lake.version(name) + 1}])
            self.lake.append(name, rows, consumed={k: v for k, v in taken.items() if v >= 0})
            self.tell(name, day_key(at.date()) if self._is_dated(name) else None)

    def tick(self, *, at: datetime = NOW) -> None:
        """Everything in one run."""
        self.arrive(at=at)
        for table in DERIVED:
            self.refresh(table, at=at)
        for table in ("engagement_scores", "segment_members", "segments", "crm_syncs"):
            self.refresh(table)

    def tell(self, table: str, partition: str | None) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(table, partition=partition)
        )

    def asked(self) -> dict[str, set[str | None]]:
        """What automation asks for now: partitions by table."""
        result = dg.evaluate_automation_conditions(
            defs=definitions, instance=self.instance, cursor=self.cursor
        )
        self.cursor = result.cursor
        found: dict[str, set[str | None]] = {}
        for each in result.results:
            table = each.key.to_user_string()
            if not each.true_subset.is_empty and table != "report":
                of = each.true_subset
                is_dated = self._is_dated(table)
                found[table] = set(of.expensively_compute_partition_keys()) if is_dated else {None}
        return found

    @staticmethod
    def _is_dated(table: str) -> bool:
        return any(stage.partitions for stage in STAGES if table in stage.tables)


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world in which a first tick has been, and automation has looked once."""
    monkeypatch.setenv("CLICKSTREAM_DATA", str(settings.data))
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(settings, instance)
        world.tick()
        world.asked()
        yield world


def test_after_a_tick_nothing_is_asked_for(world: World) -> None:
    for _ in range(3):
        world.tick()
        assert world.asked() == {}


def test_what_another_run_must_write_first_is_waited_for(world: World) -> None:
    world.arrive()
    assert world.asked() == FIRST
    for table in DERIVED[:4]:
        world.refresh(table)
    today: set[str | None] = {day_key(NOW.date())}
    dated = (*TOGETHER["sessions"], *DERIVED[4:])
    assert world.asked() == dict.fromkeys(dated, today)
    for table in DERIVED[4:]:
        world.refresh(table)
    # The rest has no dates: one run asks for all of it, in order.
    last = ("engagement_scores", "segment_members", "segments", "crm_syncs")
    assert world.asked() == {table: {None} for table in last}
    for table in last:
        world.refresh(table)
    assert world.asked() == {}


def test_tick_that_ends_while_automation_looks_is_not_taken_for_being_behind(
    world: World,
) -> None:
    # The evaluation sees what was told when it began, and the run as it is when it is asked for.
    run = world.instance.create_run_for_job(
        definitions.resolve_job_def(TICK), tags=ALL_STAGES, status=dg.DagsterRunStatus.STARTED
    )
    began = datetime.now(UTC)
    assert is_busy(world.instance, since=began)
    world.instance.report_run_failed(run)
    assert is_busy(world.instance, since=began)
    assert not is_busy(world.instance, since=datetime.now(UTC))


def test_what_was_asked_for_is_not_asked_for_again(world: World) -> None:
    world.arrive()
    world.asked()
    assert world.asked() == {}


def test_update_in_the_moment_of_a_completion_is_not_lost(world: World) -> None:
    # The identity map was being made while the second event arrived: its completion is the last
    # thing that Dagster is told, yet the lake says that it has not taken that event in.
    world.arrive()
    world.asked()
    before = world.lake.version("events")
    world.arrive()
    rows = pl.DataFrame(schema=polars_schema("identity_map"))
    world.lake.append("identity_map", rows, consumed={"events": before})
    world.tell("identity_map", None)
    assert world.asked() == FIRST


@pytest.mark.parametrize("table", ["segment_members", "segments"])
def test_update_in_the_moment_of_an_evaluation_is_not_lost(world: World, table: str) -> None:
    # Sessions came while the segments were evaluated: the evaluation is the last thing that
    # Dagster is told, and has not seen them.
    seen = world.seen(table)
    for before in (*DERIVED[2:], "engagement_scores"):
        world.refresh(before)
    for last in ("segment_members", "segments", "crm_syncs"):
        world.refresh(last, taken=seen if last == table else None)
    assert world.asked().keys() >= {table}
    for last in ("segment_members", "segments", "crm_syncs"):
        world.refresh(last)
    assert world.asked() == {}


def test_members_that_change_while_the_crm_is_told_are_not_lost(world: World) -> None:
    seen = world.seen("crm_syncs")
    rows = pl.DataFrame([{**dict.fromkeys(polars_schema("segment_members")), "segment": "buyers"}])
    rows = rows.cast(dict(polars_schema("segment_members")))  # type: ignore[arg-type]  # types by column
    world.lake.append("segment_members", rows)
    world.tell("segment_members", None)
    world.refresh("crm_syncs", taken=seen)
    assert "crm_syncs" in world.asked()
    world.refresh("crm_syncs")
    assert world.asked() == {}


def test_nothing_is_asked_for_while_a_tick_is_at_work(world: World) -> None:
    world.arrive()
    run = world.instance.create_run_for_job(
        definitions.resolve_job_def(TICK), tags=ALL_STAGES, status=dg.DagsterRunStatus.STARTED
    )
    assert world.asked() == {}
    world.instance.report_run_failed(run)
    assert world.asked() == FIRST


@pytest.mark.parametrize(
    ("age", "is_asked"),
    [
        pytest.param(timedelta(days=8), True, id="a week late"),
        pytest.param(timedelta(days=34), True, id="inside the look-back window"),
        pytest.param(timedelta(days=37), False, id="left to the daily close"),
    ],
)
def test_old_partitions_are_asked_for_within_the_window(
    world: World, age: timedelta, *, is_asked: bool
) -> None:
    world.arrive(at=NOW - age)
    world.refresh("identity_map")
    world.refresh("bot_behaviour")
    asked = world.asked().get("sessions", set())
    assert asked == ({day_key((NOW - age).date())} if is_asked else set())


def test_compaction_leaves_nothing_behind(world: World, settings: Settings) -> None:
    for _ in range(3):
        world.tick()
    assert world.lake.compact("sessions") > 0
    assert behind_tables(settings) == set()


def test_report_follows_the_clock(world: World) -> None:
    world.tick()
    asked = []
    for minutes in range(70):
        result = dg.evaluate_automation_conditions(
            defs=definitions,
            instance=world.instance,
            asset_selection=dg.AssetSelection.assets("report"),
            cursor=world.cursor,
            evaluation_time=datetime.now(UTC) + timedelta(minutes=minutes),
        )
        world.cursor = result.cursor
        asked.append(result.total_requested)
    assert sum(asked) == 1
