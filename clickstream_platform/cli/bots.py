"""Commands about bots: what rules match, and the lists of networks that they look at."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, Json, app, clock, settings_of
from clickstream_platform.cli.output import counted, say, text_of, write_records
from clickstream_platform.errors import ParameterError

bots = typer.Typer(no_args_is_help=True, help="Look at what tells programs from people.")
ranges = typer.Typer(no_args_is_help=True, help="Look at lists of networks, and import them.")
app.add_typer(bots, name="bots")
bots.add_typer(ranges, name="ranges")


@bots.command(epilog="Example: `clickstream bots report --days 7 --json`")
def report(
    days: Annotated[int, typer.Option(min=1, help="Days to look at, up to the newest.")] = 30,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what every bot rule matches, and how often who it matches clicks, engages, converts.

    Rates are of visitors' days. A rule in shadow whose matches do as `(no rule)` does matches
    people; one whose matches do nothing may be enforced.
    """
    from clickstream_platform.lake import Lake
    from clickstream_platform.reports import bot_matches

    settings = settings_of(data)
    rows = bot_matches(Lake(settings.lake_folder), settings, days=days).rows(named=True)
    if rows or as_json:
        write_records(rows, as_json=as_json, title="Bot rules and what they match")
    else:
        say("No events yet: [bold]clickstream materialize[/] loads them.")


@ranges.command(
    "update",
    epilog="Example: `clickstream bots ranges update googlebot.json --class crawler "
    "--source https://developers.google.com/static/search/apis/ipranges/googlebot.json "
    "--licence 'published for this use'`",
)
def ranges_update(
    file: Annotated[Path, typer.Argument(help="As its publisher offers it: JSON or text.")],
    kind: Annotated[str, typer.Option("--class", help="crawler, ai_crawler or datacenter.")],
    source: Annotated[str, typer.Option(help="Where it is from.")],
    licence: Annotated[str, typer.Option(help="Terms under which it may be used.")],
    name: Annotated[str | None, typer.Option(help="Name of the list; the file's if left out.")] = (
        None
    ),
    published: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="Day of the list; today if left out."),
    ] = None,
    data: Data = None,
) -> None:
    """Import a list of networks, in place of the last one of the same name.

    Collectors take it at their next start, ingestion at its next run. What is stored already keeps
    its score until its hours are derived anew.
    """
    from typing import get_args

    from clickstream_platform.collection.bots import (
        RANGES_FOLDER,
        RangeKind,
        RangeList,
        read_networks,
        store_ranges,
    )

    kinds: dict[str, RangeKind] = {each: each for each in get_args(RangeKind)}
    if kind not in kinds:
        parameter = "class"
        raise ParameterError(parameter, kind, f"is one of {', '.join(kinds)}", instead="crawler")
    made = RangeList(
        name=name or file.stem,
        kind=kinds[kind],
        source=source,
        licence=licence,
        published_on=(published or clock()).date(),
        networks=read_networks(text_of(file), file),
    )
    stored = store_ranges(settings_of(data).state / RANGES_FOLDER, made)
    say(f"{made.name}: {counted(len(made.networks), 'network')} of class {made.kind} in {stored}.")


@ranges.command("list", epilog="Example: `clickstream bots ranges list --json`")
def ranges_list(data: Data = None, as_json: Json = False) -> None:
    """List the imported lists of networks, where they are from and how old they are."""
    from clickstream_platform.collection.bots import RANGES_FOLDER, load_ranges

    lists = load_ranges(settings_of(data).state / RANGES_FOLDER).lists
    rows: list[dict[str, object]] = [
        {
            "name": each.name,
            "class": each.kind,
            "networks": len(each.networks),
            "published_on": each.published_on.isoformat(),
            "licence": each.licence,
            "source": each.source,
        }
        for each in lists
    ]
    if rows or as_json:
        write_records(rows, as_json=as_json, title="Lists of networks")
    else:
        say("No list is imported. Next: [bold]clickstream bots ranges update FILE[/]")
