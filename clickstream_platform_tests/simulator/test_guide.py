"""The example of the guide runs."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "simulator.md"


def test_example_of_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    exec(compile(example, "guide", "exec"), {})  # noqa: S102 - our own page
    assert re.match(r"\d+ events in \d+ lines of 7 files\n", capsys.readouterr().out)
    assert len(list(Path("data/landing/web").glob("*.ndjson.gz"))) == 7
