"""The command itself: its options, its errors, its groups of commands."""

import os
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.text import Text
from typer.models import CommandInfo

from clickstream_platform.cli.output import err
from clickstream_platform.errors import ClickstreamError

if TYPE_CHECKING:  # `clickstream --help` does not wait for pydantic
    from clickstream_platform.settings import Settings

FAILED = 2
"""Exit code of a command that could not do what was asked."""

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="CLICKSTREAM_DATA",
        help="Folder of landing, lake and state.",
        show_default="data",
        file_okay=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]

app = typer.Typer(
    name="clickstream",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Self-hosted clickstream platform: events, sessions, people, segments, attribution, "
    "privacy requests and CRM sync.",
    epilog="Start with `clickstream simulate`, `clickstream materialize`, `clickstream report`.",
)
subject = typer.Typer(no_args_is_help=True, help="Answer people who ask about their data.")
quarantine = typer.Typer(no_args_is_help=True, help="Look at refused records, and take them in.")
sources = typer.Typer(no_args_is_help=True, help="Look at adapters, and try them on a file.")
privacy = typer.Typer(no_args_is_help=True, help="Look for personal values that are stored.")
app.add_typer(subject, name="subject")
app.add_typer(privacy, name="privacy")
app.add_typer(quarantine, name="quarantine")
app.add_typer(sources, name="sources")
keys = typer.Typer(no_args_is_help=True, help="Make and revoke the keys that clients send with.")
app.add_typer(keys, name="keys")


@app.callback()
def options(
    data: Data = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Take the options that stand before a command."""
    State.data, State.debug, State.settings = data, debug, None


class State:
    """What stands before a command on the command line."""

    data: Path | None = None
    debug: bool = False
    settings: "Settings | None" = None


def settings_of(data: Path | None) -> "Settings":
    """The settings of the folder that the command, or what stands before it, names."""
    from clickstream_platform.settings import load_settings

    # A command's own option takes the variable where it is not given: what stands before the
    # command was said, the variable only stands around.
    said = State.data is not None and str(data) == os.environ.get("CLICKSTREAM_DATA")
    State.settings = load_settings(State.data if said else data or State.data)
    return State.settings


def clock() -> datetime:
    """The time at which a command runs; nothing further in reads the clock."""
    return datetime.now(UTC)


COMMANDS = (
    "data",
    "look",
    "people",
    "leaks",
    "consent",
    "identities",
    "care",
    "serve",
    "sessions",
    "collect",
    "bots",
    "tags",
    "canary",
    "crm",
)
"""Modules of this folder that register commands, in the order in which help lists them."""


def load_commands() -> None:
    """Register every command; each imports what it needs when it runs."""
    for name in COMMANDS:
        import_module(f"clickstream_platform.cli.{name}")
    # In this order whoever imported one of them before.
    app.registered_commands.sort(key=_module_number)


def _module_number(command: CommandInfo) -> int:
    module = command.callback.__module__ if command.callback else ""
    return COMMANDS.index(module.rpartition(".")[2])


def main() -> None:
    """Run the command line; errors raised on purpose or by the system are one message, code 2."""
    load_commands()
    try:
        app()
    except ClickstreamError as error:
        if State.debug:
            raise
        _fail(str(error))
    except OSError as error:
        if State.debug:
            raise
        where = error.filename or "a file or connection"
        _fail(
            f"{where}: {error.strerror or type(error).__name__}. Check that it exists, that you "
            "may use it and that the disk has room; `clickstream doctor` looks at the rest."
        )
    except Exception:
        if State.debug or not (damage := _damage()):
            raise
        _fail(damage)


def _damage() -> str | None:
    """What a disk has done to the lake, which engines tell in words of their own."""
    from clickstream_platform.lake import BrokenSealError, Lake

    if State.settings is None:
        return None
    try:
        broken = Lake(State.settings.lake_folder).broken_tables()
    except ClickstreamError as error:
        return str(error)
    return next((str(BrokenSealError(table, files)) for table, files in broken.items()), None)


def _fail(message: str) -> NoReturn:
    err().print(Text.assemble(("Error: ", "bold red"), message), soft_wrap=True)
    sys.exit(FAILED)
