"""The command itself: its options, its errors, its groups of commands."""

import os
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

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
app.add_typer(subject, name="subject")
app.add_typer(quarantine, name="quarantine")
app.add_typer(sources, name="sources")


@app.callback()
def options(
    data: Data = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Take the options that stand before a command."""
    State.data, State.debug = data, debug


class State:
    """What stands before a command on the command line."""

    data: Path | None = None
    debug: bool = False


def settings_of(data: Path | None) -> "Settings":
    """The settings of the folder that the command, or what stands before it, names."""
    from clickstream_platform.settings import load_settings

    # A command's own option takes the variable where it is not given: what stands before the
    # command was said, the variable only stands around.
    said = State.data is not None and str(data) == os.environ.get("CLICKSTREAM_DATA")
    return load_settings(State.data if said else data or State.data)


def clock() -> datetime:
    """The time at which a command runs; nothing further in reads the clock."""
    return datetime.now(UTC)


def load_commands() -> None:
    """Register every command; each imports what it needs when it runs."""
    for name in ("data", "look", "people", "consent", "care", "serve"):
        import_module(f"clickstream_platform.cli.{name}")


def main() -> None:
    """Run the command line, and turn errors raised on purpose into one message and exit code 2."""
    load_commands()
    try:
        app()
    except ClickstreamError as error:
        if State.debug:
            raise
        err().print(Text.assemble(("Error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(FAILED)
