"""Sensors: a decision about identities is applied without waiting for events."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from clickstream_platform.identity import decide, refresh_identity
from clickstream_platform.lake import Lake
from clickstream_platform.orchestration.conditions import ALL_STAGES
from clickstream_platform.orchestration.definitions import definitions
from clickstream_platform.orchestration.jobs import TICK
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.sensors import decisions
from clickstream_platform.sessions import refresh_sessions
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import NOON, events_frame, surrogate


@pytest.fixture
def instance(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("CLICKSTREAM_DATA", str(settings.data))
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def lent(lake: Lake, settings: Settings) -> Lake:
    """Ann signed in on a phone that somebody else used the day before."""
    lake.append(
        "events",
        events_frame(
            [
                {"event_id": "a", "visitor_id": "phone"},
                {"event_id": "b", "visitor_id": "phone", "user_id": "ann"}
                | {"occurred_at": NOON + timedelta(days=1)},
            ]
        ),
    )
    refresh_identity(lake, settings)
    refresh_sessions(lake, settings)
    return lake


def asked(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance)
    found = decisions(context, platform=Platform())
    assert isinstance(found, dg.RunRequest | dg.SkipReason)
    return found


def split(lake: Lake) -> None:
    phone = ("phone", surrogate("phone"))
    decide(lake, "split", reason="lent", actor="care", now=NOON, identifier=phone)


def people(lake: Lake) -> set[str]:
    return set(lake.scan("sessions").select(pl.col("person_id")).collect()["person_id"])


def test_decision_alone_is_asked_for_once_and_followed_downstream(
    lent: Lake, instance: dg.DagsterInstance
) -> None:
    assert people(lent) == {"ann"}
    assert isinstance(asked(instance), dg.SkipReason)
    split(lent)
    request = asked(instance)
    assert isinstance(request, dg.RunRequest)
    assert asked(instance) == request, "the same key: Dagster starts it once"
    job = definitions.resolve_job_def(TICK)
    assert job.execute_in_process(instance=instance, run_id=None).success
    assert people(lent) == {"ann", "phone"}
    assert isinstance(asked(instance), dg.SkipReason)


def test_run_at_work_is_waited_for(lent: Lake, instance: dg.DagsterInstance) -> None:
    split(lent)
    instance.create_run_for_job(
        definitions.resolve_job_def(TICK), tags=ALL_STAGES, status=dg.DagsterRunStatus.STARTED
    )
    found = asked(instance)
    assert isinstance(found, dg.SkipReason)
    assert "is at work" in str(found.skip_message)


def test_nothing_was_stitched_yet(instance: dg.DagsterInstance) -> None:
    assert isinstance(asked(instance), dg.SkipReason)
