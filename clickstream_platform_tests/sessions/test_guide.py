"""The example of the guide runs, and the settings it lists are those there are."""

import re
from pathlib import Path

import pytest

from clickstream_platform.settings import SessionSettings, load_settings
from clickstream_platform_tests.sessions.history import History, visit

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "sessions.md").read_text(encoding="utf-8")


def test_example_of_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    history = History(load_settings("data"))
    history.add(visit("a1", "ann", 0), visit("a2", "ann", 10, campaign_medium="email"))
    history.refresh()
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(example, "guide", "exec"), {})  # noqa: S102 - our own page
    assert re.search(r"yours\s+┆ 2\s+┆ 1.0", capsys.readouterr().out)


def test_settings_of_the_guide_can_be_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "clickstream.toml").write_text(example)
    settings = load_settings(tmp_path)
    assert settings.sessions.cut_at_midnight
    assert not settings.sessions.cut_on_campaign


def test_guide_lists_every_setting() -> None:
    listed = re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
    names = [name for line in listed for name in re.findall(r"`(\w+)`", line)]
    assert names == [*SessionSettings.model_fields]
