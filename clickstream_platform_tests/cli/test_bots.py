"""Commands about bots."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.collection.bots import RANGES_FOLDER, load_ranges
from clickstream_platform.errors import ParameterError
from clickstream_platform.settings import Settings

load_commands()


def bots(*words: str, settings: Settings) -> str:
    result = CliRunner().invoke(app, ["bots", *words, "--data", str(settings.data)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def update(file: Path, kind: str, settings: Settings) -> str:
    origin = ("--source", "https://crawler.example", "--licence", "CC0-1.0", "--date", "2026-11-01")
    return bots("ranges", "update", str(file), "--class", kind, *origin, settings=settings)


def test_imported_list_is_listed_and_matched(settings: Settings, tmp_path: Path) -> None:
    (file := tmp_path / "ours.txt").write_text("192.0.2.0/25\n192.0.2.128/25\n")
    assert "ours: 1 networks of class crawler" in update(file, "crawler", settings).replace(
        "\n", ""
    )
    rows = json.loads(bots("ranges", "list", "--json", settings=settings))
    (ours,) = [row for row in rows if row["name"] == "ours"]
    assert ours | {"networks": 1, "published_on": "2026-11-01", "licence": "CC0-1.0"} == ours
    ranges = load_ranges(settings.state / RANGES_FOLDER)
    assert ranges.signals("192.0.2.7") == ("crawler_range",)


def test_class_must_be_one_of_three(settings: Settings, tmp_path: Path) -> None:
    (file := tmp_path / "ours.txt").write_text("192.0.2.0/24")
    with pytest.raises(ParameterError, match="class is one of crawler, ai_crawler, datacenter"):
        update(file, "friends", settings)
