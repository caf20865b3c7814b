"""Comparing session policies on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.sessions.history import History, visit

load_commands()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ann comes directly and, ten minutes later, by a newsletter."""
    history = History(load_settings(tmp_path))
    history.add(visit("a1", "ann", 0), visit("a2", "ann", 10, campaign_medium="email"))
    history.refresh()
    return tmp_path


def test_every_preset_is_compared_unless_some_are_named(data: Path) -> None:
    result = CliRunner().invoke(app, ["sessions", "compare", "--data", str(data)])
    assert result.exit_code == 0, result.output
    for word in ("yours", "ga4", "matomo", "snowplow", "posthog", "Email", "campaign"):
        assert word in result.stdout


def test_json_holds_the_three_tables(data: Path) -> None:
    words = ["sessions", "compare", "--preset", "ga4", "--json", "--data", str(data)]
    result = CliRunner().invoke(app, words)
    found = json.loads(result.stdout)
    assert {row["policy"]: row["sessions"] for row in found["totals"]} == {"yours": 2, "ga4": 1}
    assert {row["channel"] for row in found["channels"]} == {"Direct", "Email"}
    assert {row["cut_reason"] for row in found["cuts"]} == {"timeout", "campaign"}


def test_unknown_preset_is_refused_with_those_there_are(data: Path) -> None:
    words = ["sessions", "compare", "--preset", "adobe", "--data", str(data)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "posthog" in result.output


def test_runaways_are_in_quarantine_and_in_the_status(tmp_path: Path) -> None:
    history = History(load_settings(tmp_path))
    history.add(*(visit(f"a{i:03}", "ann", 29 * i) for i in range(110)))
    history.refresh()
    words = ["quarantine", "sessions", "--data", str(tmp_path)]
    (row,) = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (row["sessions"], row["events"], row["duration_cuts"]) == (3, 110, 2)
    assert row["session_id"] in CliRunner().invoke(app, words).stdout
    status = CliRunner().invoke(app, ["status", "--data", str(tmp_path)]).stdout
    assert "1 session ran away" in status


def test_nobody_ran_away(data: Path) -> None:
    words = ["quarantine", "sessions", "--data", str(data)]
    assert "No session ran away." in CliRunner().invoke(app, words).stdout
