"""Folders that others write to while an erasure reads them: what vanishes is no error."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clickstream_platform.privacy import folders
from clickstream_platform.privacy.folders import delete_databases, redact_dagster
from clickstream_platform.privacy.needles import Needles
from clickstream_platform.settings import Settings

ANN = "ann@example.com"
VANISHING = ("runs.db-shm", "runs.db-wal", "old.log", "old.db")


@pytest.fixture
def home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Dagster's storage, in which files vanish in the moment after they were listed."""
    folder = settings.state / "dagster"
    folder.mkdir(parents=True)
    for name in ("runs.db", "old.db"):
        with closing(sqlite3.connect(folder / name)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, body TEXT)")
            connection.execute("INSERT INTO runs (body) VALUES (?)", (f"asked by {ANN}",))
            connection.commit()
    for name in ("step.err", *VANISHING[:3]):
        (folder / name).write_text(f"about {ANN}")
    listed: Callable[[Path], list[Path]] = folders._files  # noqa: SLF001 - the moment in between

    def vanishing(folder: Path) -> list[Path]:
        found = listed(folder)
        for file in found:
            if file.name in VANISHING:
                file.unlink()
        return found

    monkeypatch.setattr(folders, "_files", vanishing)
    return settings


def test_files_that_vanish_while_the_orchestrator_is_redacted_are_passed_over(
    home: Settings,
) -> None:
    folder = home.state / "dagster"
    redacted = redact_dagster(home, Needles([ANN]))
    assert sorted(file.records for file in redacted) == [1, 1]
    assert (folder / "step.err").read_text() == "about [erased]"
    with closing(sqlite3.connect(folder / "runs.db")) as connection:
        assert connection.execute("SELECT body FROM runs").fetchall() == [("asked by [erased]",)]
    assert not (folder / "old.db").exists()  # looking for it must not make it


def test_files_that_vanish_while_databases_are_looked_for_are_passed_over(home: Settings) -> None:
    assert delete_databases(home, Needles([ANN])) == []
