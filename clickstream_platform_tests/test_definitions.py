"""Definitions: an error names the key, and what it may have been meant to be."""

import os
from pathlib import Path

import pytest

from clickstream_platform.definitions import Definition, checked, read_once
from clickstream_platform.errors import DefinitionError
from clickstream_platform.settings import load_settings


class Step(Definition):
    wait: int = 0
    then: dict[str, int] | None = None


class Recipe(Definition):
    steps: list[Step]
    named: dict[str, Step] | None = None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({}, r"r\.toml: steps: is missing\. Mend it\.", id="missing"),
        pytest.param(
            {"step": []}, r"r\.toml: step: is no key here \(did you mean steps\?\)\. Mend", id="top"
        ),
        pytest.param(
            {"steps": [{}, {"wat": 1}]}, r"steps\.1\.wat: .*did you mean wait\?", id="in a list"
        ),
        pytest.param(
            {"steps": [], "named": {"x": {"thn": {}}}},
            r"named\.x\.thn: .*did you mean then\?",
            id="under a name of one's own",
        ),
        pytest.param({"steps": [], "colour": 1}, r"colour: is no key here\. ", id="like nothing"),
        pytest.param({"steps": [{"wait": "x"}]}, r"steps\.0\.wait: Input should be", id="a value"),
    ],
)
def test_fault_of_a_definition(content: object, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        checked(Recipe, content, Path("r.toml"), remedy="Mend it.")


def test_misspelt_setting_is_told_with_what_was_meant(tmp_path: Path) -> None:
    (tmp_path / "clickstream.toml").write_text("[sessions]\ntimeout_minuts = 20\n")
    with pytest.raises(DefinitionError, match=r"sessions\.timeout_minuts: .*timeout_minutes\?"):
        load_settings(tmp_path)


def test_file_is_read_once_until_it_is_another_one(tmp_path: Path) -> None:
    file, reads = tmp_path / "r.toml", []

    @read_once
    def text_of(file: Path) -> str:
        reads.append(file)
        return file.read_text()

    file.write_text("old")
    assert [text_of(file), text_of(file), len(reads)] == ["old", "old", 1]
    look = file.stat()
    file.write_text("later")  # in the same instant, as far as the clock of the disk can tell
    os.utime(file, ns=(look.st_atime_ns, look.st_mtime_ns))
    assert [text_of(file), text_of(file), len(reads)] == ["later", "later", 2]
