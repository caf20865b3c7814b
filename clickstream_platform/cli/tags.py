"""Commands about tags: what a Tag Manager container does wrong, and what changed in it."""

from pathlib import Path
from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, Json, app, clock, settings_of
from clickstream_platform.cli.output import say, write_json, write_records

tags = typer.Typer(no_args_is_help=True, help="Look at what tags do, before they are published.")
app.add_typer(tags, name="tags")

Export = Annotated[
    Path, typer.Argument(help="Export of a Google Tag Manager container.", dir_okay=False)
]


@tags.command(epilog="Example: `clickstream tags lint GTM-ABC123_v42.json`")
def lint(container: Export, data: Data = None, as_json: Json = False) -> None:
    """List what is wrong with a Google Tag Manager container: consent, secrets, duplicates, waste.

    The exit code is 1 where a finding is an error. Rules and approved vendors are yours to change:
    `tag_rules.toml` and `tag_vendors.toml` among your definitions.
    """
    from clickstream_platform.collection.tags import lint as findings_of
    from clickstream_platform.collection.tags import load_rules, load_vendors, read_container

    definitions = settings_of(data).definitions
    findings = findings_of(
        read_container(container.read_text(encoding="utf-8", errors="replace"), container),
        rules=load_rules(definitions),
        vendors=load_vendors(definitions),
        now=clock(),
    )
    if as_json:
        write_json([it._asdict() for it in findings])
    elif not findings:
        say("Nothing to find fault with.")
    for it in [] if as_json else findings:
        where = f" ({it.where})" if it.where else ""
        say_plain(f"{it.severity}: {it.kind} '{it.name}' {it.says}{where}. {it.remedy} [{it.rule}]")
    if any(it.severity == "error" for it in findings):
        raise typer.Exit(1)


@tags.command(epilog="Example: `clickstream tags diff before.json after.json --signed owners.toml`")
def diff(
    old: Export,
    new: Export,
    signed: Annotated[
        Path | None,
        typer.Option(help="TOML file of [signed] digest = owner; others end in exit code 1."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what changed between two exports of a container, item by item and field by field."""
    from clickstream_platform.collection.tags import diff as changes_of
    from clickstream_platform.collection.tags import load_signatures, read_container

    before, after = (
        read_container(file.read_text(encoding="utf-8", errors="replace"), file)
        for file in (old, new)
    )
    owners = load_signatures(signed) if signed else {}
    changes = [
        it._asdict() | {"signed_by": owners.get(it.digest)} for it in changes_of(before, after)
    ]
    if changes or as_json:
        write_records(changes, as_json=as_json, title="Changes")
    else:
        say("Nothing changed.")
    if signed and any(it["signed_by"] is None for it in changes):
        raise typer.Exit(1)


def say_plain(text: str) -> None:
    """Write one line whose words are data, not markup."""
    from rich.text import Text

    from clickstream_platform.cli.output import out

    out().print(Text(text), soft_wrap=True)
