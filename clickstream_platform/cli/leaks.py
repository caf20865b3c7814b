"""The command that looks for personal values in what is stored: privacy scan."""

from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, Json, privacy, settings_of
from clickstream_platform.cli.output import counted, progress_bar, say, write_json, write_records


@privacy.callback()
def group() -> None:
    """Look for personal values that are stored."""


@privacy.command("scan", epilog="Example: `clickstream privacy scan --mend`")
def scan(
    mend: Annotated[
        bool, typer.Option("--mend", help="Mask what is found, in the tables' past too.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Look through every stored text for e-mail addresses, phone and card numbers, tokens.

    What is found is counted by table, column and kind, and never shown. The exit code is 1 where
    something was found and not mended. Landed files stay as they were sent.
    """
    from clickstream_platform.privacy import mend_leaks, scan_leaks

    settings = settings_of(data)
    with progress_bar() as progress:
        if mend:
            found, rows = mend_leaks(settings, progress=progress)
        else:
            found, rows = scan_leaks(settings, progress=progress), {}
    leaks = found.to_dicts()
    if as_json:
        write_json({"leaks": leaks, "rows_mended": rows})
    elif not leaks:
        say("No stored text looks personal.")
    else:
        write_records(leaks, as_json=False, title="Stored texts that look personal")
        if mend:
            masked = counted(sum(rows.values()), "row")
            say(f"Masked in {masked}. Next: [bold]clickstream materialize[/]")
        else:
            say("Mask them: [bold]clickstream privacy scan --mend[/]")
    if leaks and not mend:
        raise typer.Exit(1)
