"""The reference page of the command line, printed from the commands themselves."""

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import typer.main
from typer.core import TyperCommand, TyperGroup

from clickstream_platform.cli.app import app, load_commands

HEADING = "<!-- Printed from clickstream_platform/cli by `make docs`; edit the command. -->"

EVERYWHERE = {"data", "as_json"}
"""Options that are said once, above the commands."""


def page() -> str:
    """Print every command with its options, in the order of the help."""
    load_commands()
    root = typer.main.get_command(app)
    lines = [HEADING, "# Commands", ""]
    lines += ["`clickstream COMMAND --help` says the same. `--data DIR` (or `CLICKSTREAM_DATA`)"]
    lines += ["puts everything elsewhere than `data/`; `--json` writes JSON.", ""]
    for name, command in _commands(root, "clickstream"):
        lines += [f"## {name}", "", command.help or "", ""]
        if rows := _rows(command):
            lines += ["| option | meaning | default |", "| --- | --- | --- |", *rows, ""]
        lines += [command.epilog or "", ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(command: object, name: str) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    if isinstance(command, TyperGroup):
        if command.invoke_without_command:
            yield name, command
        for part, inner in command.commands.items():
            yield from _commands(inner, f"{name} {part}")
    elif isinstance(command, TyperCommand):
        yield name, command


def _rows(command: TyperCommand | TyperGroup) -> list[str]:
    rows = []
    for parameter in command.params:
        if parameter.name in EVERYWHERE:
            continue
        is_argument = parameter.param_type_name == "argument"
        names = parameter.name.upper() if is_argument else ", ".join(parameter.opts)
        shown = getattr(parameter, "show_default", None)
        default = shown if isinstance(shown, str) else parameter.default
        value = default.value if isinstance(default, Enum) else default
        text = "" if value is None or value is False else f"{value}"
        rows.append(f"| `{names}` | {getattr(parameter, 'help', '')} | {text} |")
    return rows


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
