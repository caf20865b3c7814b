"""The example of the guide runs against a collector, and answers what the page says."""

import json
import re
from pathlib import Path

import pytest

from clickstream_platform_tests.services.process import Zygote
from clickstream_platform_tests.services.wire import Door

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "collector.md"


def test_example_of_the_guide_runs(
    door: Door, zygote: Zygote, capsys: pytest.CaptureFixture[str]
) -> None:
    page = GUIDE.read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    running = zygote.start(door.settings.data)
    known = {"key": door.key().key, "url": f"http://127.0.0.1:{running.port}"}
    exec(compile(example, "guide", "exec"), known)  # noqa: S102 - our own page
    answered = capsys.readouterr().out.strip()
    assert f"`{answered}`" in page
    running.kill()
    (segment,) = door.settings.landing.glob("web/.collector-*")
    first = json.loads(segment.read_bytes().splitlines()[0])
    assert first["page_url"].endswith("&email=%5Bemail%5D")
