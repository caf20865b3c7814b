"""The examples of the guide run as written, over a small simulated shop."""

import re
import shlex
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.settings import load_settings
from clickstream_platform.simulator import Simulation, simulate
from clickstream_platform_tests.privacy.household import materialize

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
LAST = date(2026, 3, 10)
APART = {"README", "collector", "identity", "sessions", "simulator"}
"""No examples; one that needs a server of its own; those whose folder tests their examples."""

PAGES = sorted(path.stem for path in GUIDE.glob("*.md") if path.stem not in APART)

load_commands()


def examples(page: str) -> Iterator[tuple[str, str]]:
    """Language and code of every example that is meant to run."""
    text = (GUIDE / f"{page}.md").read_text()
    yield from re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL)


def commands(code: str) -> Iterator[list[str]]:
    """The `clickstream` commands of a shell example, as words."""
    for words in re.split(r"^clickstream ", code, flags=re.MULTILINE)[1:]:
        yield shlex.split(words, comments=True)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `data`: ten days of a shop, brought up to date once."""
    folder = tmp_path_factory.mktemp("guide")
    settings = load_settings(folder / "data")
    week = Simulation(start=LAST.replace(day=1), days=10, events=3_000, seed=1)
    simulate(week, settings.landing / "demo")
    materialize(settings, now=datetime(2026, 3, 11, tzinfo=UTC))
    return folder


def test_every_page_says_what_it_cannot_tell() -> None:
    for page in PAGES:
        text = (GUIDE / f"{page}.md").read_text()
        assert "cannot tell you" in text, page


@pytest.mark.parametrize("page", [page for page in PAGES if list(examples(page))])
def test_examples_run(
    page: str, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shop / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLICKSTREAM_PRIVACY__MAX_ERASED_SHARE", "1")
    for language, code in examples(page):
        if language == "python":
            exec(compile(code, page, "exec"), {})  # noqa: S102 - our own page
            continue
        for words in commands(code):
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, f"{words}\n{result.output}\n{result.exception}"


def test_every_decision_is_in_the_index() -> None:
    folder = GUIDE.parent / "decisions"
    index = (folder / "README.md").read_text()
    assert [page.name for page in folder.glob("0*.md") if f"({page.name})" not in index] == []


@pytest.mark.parametrize("path", sorted(GUIDE.parent.rglob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
