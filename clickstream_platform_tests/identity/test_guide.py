"""The example of the guide runs."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from clickstream_platform.lake import Lake
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.frames import NOON, events_frame

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "identity.md"


def test_example_of_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lake = Lake(load_settings("data").lake_folder)
    visits = [
        {"event_id": f"e{day}", "visitor_id": f"phone{day}", "user_id": "ann",
         "occurred_at": NOON + (day - 1) * timedelta(days=1)} for day in range(2)
    ]  # fmt: skip
    lake.append("events", events_frame(visits))
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    exec(compile(example, "guide", "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out.splitlines() == [
        "login 2026-02-28 12:00:00+00:00 merged",
        "login 2026-03-01 12:00:00+00:00 merged",
        "1 links were known by then",
    ]
    assert lake.scan("identity_map").collect().height == 1
