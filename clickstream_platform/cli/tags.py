"""Commands about tags: what a Tag Manager container does, what changed, what it loads and costs."""

from pathlib import Path
from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, Json, app, clock, settings_of
from clickstream_platform.cli.output import say, say_plain, text_of, write_json, write_records

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


@tags.command(
    epilog="Example: `clickstream tags csp GTM-ABC123_v42.json --collector https://c.shop.example`"
)
def csp(
    container: Annotated[
        Path | None, typer.Argument(help="Export of a Tag Manager container.", dir_okay=False)
    ] = None,
    from_events: Annotated[
        bool, typer.Option("--from-events", help="Allow what browsers have reported, too.")
    ] = False,
    min_reports: Annotated[
        int, typer.Option(min=1, help="Reports from which on a source counts.")
    ] = 10,
    collector: Annotated[
        str | None, typer.Option(help="Address of the collector, which serves the tracker.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Browser key with which browsers report violations.")
    ] = None,
    inline: Annotated[
        list[Path] | None,
        typer.Option(help="Page or script whose inline code is allowed by hash.", dir_okay=False),
    ] = None,
    allow_eval: Annotated[bool, typer.Option("--allow-eval", help="Allow 'unsafe-eval'.")] = False,
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Block; otherwise browsers only report.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print the Content-Security-Policy under which the tags of a container work.

    Begin with the policy that only reports, look at what is reported, then enforce it. With
    --from-events, read each source before you allow it: anybody can send a report.
    """
    from clickstream_platform.collection.tags import Collector as Served
    from clickstream_platform.collection.tags import (
        blocked_sources,
        content_security_policy,
        load_vendors,
        read_container,
    )
    from clickstream_platform.errors import ParameterError
    from clickstream_platform.lake import Lake

    if container is None and not from_events:
        name = "container"
        raise ParameterError(name, None, "is missing", instead="GTM-ABC123_v42.json")
    if key is not None and collector is None:
        name = "collector"
        raise ParameterError(
            name, None, "is missing, to which --key reports", instead="https://c.shop.example"
        )
    settings = settings_of(data)
    seen = None
    if from_events:
        found = blocked_sources(Lake(settings.lake_folder).scan("events"))
        seen = found.filter(found["reports"] >= min_reports)
    policy = content_security_policy(
        read_container(container.read_text(encoding="utf-8", errors="replace"), container)
        if container
        else None,
        vendors=load_vendors(settings.definitions),
        seen=seen,
        collector=Served(collector, key) if collector else None,
        inline=[text_of(file) for file in inline or []],
        allow_eval=allow_eval,
    )
    headers = policy.headers(enforce=enforce)
    if as_json:
        write_json({"headers": headers, "directives": policy.directives, "notes": policy.notes})
        return
    for name, value in headers.items():
        say_plain(f"{name}: {value}")
    for note in policy.notes:
        say_plain(f"# {note}")


@tags.command(epilog="Example: `clickstream tags budget shop.har --budget budget.toml`")
def budget(
    measured: Annotated[
        Path, typer.Argument(help="HAR file, or JSON of Lighthouse.", dir_okay=False)
    ],
    budget: Annotated[
        Path | None, typer.Option(help="TOML of limits; the shipped one unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare what tags cost a page with what they may cost.

    The exit code is 1 where a limit is exceeded. What the file does not measure is said so, and
    passes: a HAR file knows nothing of the main thread.
    """
    from clickstream_platform.collection.tags import load_budget, read_pages, spent

    allowed = load_budget(budget)
    pages = read_pages(measured.read_text(encoding="utf-8", errors="replace"), measured)
    verdicts = [it for page in pages for it in spent(page, allowed)]
    write_records(
        [it._asdict() | {"is_kept": it.is_kept} for it in verdicts], as_json=as_json, title="Budget"
    )
    if not all(it.is_kept for it in verdicts):
        raise typer.Exit(1)
