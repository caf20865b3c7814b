"""Definitions: an error names the key, and what it may have been meant to be."""

import os
from pathlib import Path

import pytest

from clickstream_platform.definitions import Definition, checked, read_once, read_toml
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
        pytest.param({"steps": [3]}, r"steps\.0: must be a table, such as", id="no table"),
        pytest.param({"steps": [{"wait": "x"}]}, r"steps\.0\.wait: Input should be", id="a value"),
    ],
)
def test_fault_of_a_definition(content: object, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        checked(Recipe, content, Path("r.toml"), remedy="Mend it.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"a = ", r"r\.toml: syntax: .* It must be TOML", id="no TOML"),
        pytest.param("a = 'ü'".encode("latin-1"), r"syntax: .*can't decode", id="no UTF-8"),
        pytest.param(b"a = " + b"[" * 5_000, r"syntax: brackets within each other", id="endless"),
        pytest.param(b"a = 1" + b"0" * 5_000, r"syntax: .*digits", id="thousands of digits"),
    ],
)
def test_file_that_cannot_be_read_as_toml(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "r.toml"
    file.write_bytes(content)
    with pytest.raises(DefinitionError, match=message):
        read_toml(file)


def test_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text("a = 1", encoding="utf-8-sig")
    assert read_toml(file) == {"a": 1}


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
