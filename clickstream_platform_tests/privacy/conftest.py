"""Fixtures of the privacy tests: a household, ingested once and copied for each test."""

import shutil
from pathlib import Path

import pytest

from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.privacy.household import household, land, materialize, zipped


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data folder of the household, brought up to date once."""
    settings = load_settings(tmp_path_factory.mktemp("household") / "data")
    land(settings, "household.ndjson.gz", zipped(household()))
    materialize(settings)
    return settings.data


@pytest.fixture
def home(ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of the household for one test; anybody may be erased from so few events."""
    monkeypatch.setenv("CLICKSTREAM_PRIVACY__MAX_ERASED_SHARE", "1")
    shutil.copytree(ingested, tmp_path / "home")
    return load_settings(tmp_path / "home")
