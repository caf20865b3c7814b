"""Checks and their sensors: runaways warn for a week, a wrong adapter alarms until mended."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.sensors import adapter_alarm
from clickstream_platform.orchestration.watches import runaways
from clickstream_platform.settings import Settings

RUNAWAY = {
    "session_key": 1,
    "session_id": "s_1_1",
    "person_id": "pv_1",
    "person_key": 1,
    "source": "web",
    "sessions": 2,
    "events": 10_001,
    "event_cuts": 1,
    "duration_cuts": 0,
}


@pytest.mark.parametrize(
    ("age_days", "is_bot", "warns"),
    [
        pytest.param(6, False, True, id="of this week"),
        pytest.param(8, False, False, id="of last week"),
        pytest.param(6, True, False, id="known as a bot's"),
    ],
)
def test_runaways_of_a_week_warn(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    age_days: int,
    *,
    is_bot: bool,
    warns: bool,
) -> None:
    ended = datetime.now(UTC) - timedelta(days=age_days)
    times = {"started_at": ended, "ended_at": ended, "session_date": ended.date()}
    row = RUNAWAY | times | {"is_bot": is_bot}
    schema = polars_schema("runaway_sessions")
    lake = Lake(settings.lake_folder)
    lake.append("runaway_sessions", pl.DataFrame([row], schema=schema).select(*schema))
    monkeypatch.setenv("CLICKSTREAM_DATA", str(settings.data))
    found = runaways(platform=Platform())
    assert isinstance(found, dg.AssetCheckResult)
    assert found.passed is not warns
    assert found.severity == dg.AssetCheckSeverity.WARN
    told = found.metadata["by_source"].value
    assert told == ([{"source": "web", "runaways": 1, "events": 10_001}] if warns else [])


def test_wrong_adapter_alarms_once_and_until_it_is_mended(tmp_path: Path) -> None:
    sources = tmp_path / "definitions" / "sources"
    sources.mkdir(parents=True)
    (tmp_path / "clickstream.toml").write_text('definitions = "definitions"\n')
    check = dg.AssetCheckKey(dg.AssetKey("raw_events"), "adapters")
    told: list[tuple[str | None, int]] = []
    with dg.DagsterInstance.ephemeral() as instance:
        for text in ("format = [", "format = [", None):
            file = sources / "till.toml"
            file.unlink(missing_ok=True) if text is None else file.write_text(text)
            context = dg.build_sensor_context(
                instance,
                cursor=told[-1][0] if told else None,
                resources={"platform": Platform(data=str(tmp_path))},
            )
            found = adapter_alarm(context)
            assert isinstance(found, dg.SensorResult)
            events = instance.event_log_storage.get_asset_check_execution_history(check, limit=9)
            told.append((found.cursor, len(events)))
    assert told == [("till", 1), ("till", 1), ("none", 2)]
