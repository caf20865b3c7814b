"""The sensor of the landing folder: it asks once, and as soon as something has landed."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from clickstream_platform.orchestration import sensors
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.settings import load_settings

LINE = (
    b'{"event_id":"e1","event_name":"page_view","occurred_at":"2026-03-01T12:00:00Z",'
    b'"visitor_id":"v1","page_url":"https://shop.example/"}\n'
)


def drop(data: Path) -> None:
    """A file in landing that has been still for long enough."""
    folder = load_settings(data).landing / "web"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / ".e.tmp"
    draft.write_bytes(LINE)
    draft.rename(folder / "e.ndjson")


def look(data: Path) -> dg.RunRequest | dg.SkipReason:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance, resources={"platform": Platform(data=str(data))}
        )
        found = sensors.landing(context)
    assert isinstance(found, (dg.RunRequest, dg.SkipReason))
    return found


def test_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "PATIENCE_S", 0.0)
    found = look(tmp_path)
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message == "Nothing waits."


def test_same_files_are_asked_for_under_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickstream_platform.events.landed.SETTLE_S", 0.0)
    drop(tmp_path)
    first, again = look(tmp_path), look(tmp_path)
    assert isinstance(first, dg.RunRequest)
    assert first == again


def test_file_that_lands_during_a_look_is_asked_for_at_once(tmp_path: Path) -> None:
    landing = threading.Timer(0.3, drop, [tmp_path])
    landing.start()
    began = datetime.now(UTC)
    found = look(tmp_path)
    landing.join()
    assert isinstance(found, dg.RunRequest)
    assert datetime.now(UTC) - began < timedelta(seconds=sensors.PATIENCE_S)
