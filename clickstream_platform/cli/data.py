"""Commands that bring data in: ingest, simulate, materialize, and looking at adapters."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from clickstream_platform.cli.app import Data, Json, app, clock, settings_of, sources
from clickstream_platform.cli.output import (
    counted,
    err,
    ledger_records,
    progress_bar,
    say,
    write_json,
    write_records,
    write_rows,
)
from clickstream_platform.errors import ClickstreamError, ParameterError

if TYPE_CHECKING:  # `clickstream --help` does not wait for the engines
    from clickstream_platform.events import Adapter, Ledger
    from clickstream_platform.lake import Lake
    from clickstream_platform.settings import Settings

SHOWN_RECORDS = 2
"""Records that `sources check` shows."""

LOOKED_THROUGH = 1_000
"""Records in which `sources check` looks for fields that no event has."""

OWN = ("event_key", "occurred_us", "event_date", "visitor_key", "user_key", "bucket", "batch_id")
"""Columns of an event that no adapter gives."""


@app.command(epilog="Example: `clickstream ingest visits.ndjson.gz --source app`")
def ingest(
    files: Annotated[
        list[Path], typer.Argument(help="Files to take.", exists=True, dir_okay=False)
    ],
    source: Annotated[str, typer.Option(help="Source: its adapter reads the files.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Copy files into a source's landing folder, and load their events.

    A file is taken once: the same content under the same name changes nothing. Sources are
    adapters (`clickstream sources list`); a name without one is read as canonical NDJSON, CSV or
    Parquet.
    """
    from clickstream_platform.events import Ledger, ingest_files, refresh_events

    settings = settings_of(data)
    check_source(source)
    with progress_bar() as progress:
        taken = ingest_files(settings, files, source, now=clock(), progress=progress)
        refresh_events(settings, progress=progress)
    ledger, details = Ledger(settings.state), taken.details
    totals = [row for row in ledger_records(ledger) if row["source"] == source]
    refused = _refusals(ledger, source, files) if details["refused"] else {}
    if as_json:
        write_json({"taken": details, "refused": refused, "ledger": totals})
    else:
        say(
            f"Took {counted(int(details['files']), 'file')} "
            f"with {counted(int(details['records']), 'record')}; "
            f"known already: {details['known']:,}, refused: {details['refused']:,}."
        )
        write_records(totals, as_json=False, title=f"Ledger of {source}")
        for hint in _hints(settings, totals, source):
            say(hint)
        say("Next: [bold]clickstream materialize[/]")
    if refused:
        raise RefusedFilesError(refused)


class RefusedFilesError(ClickstreamError, ValueError):
    """Files cannot be read at all."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        each = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        super().__init__(
            f"{counted(len(reasons), 'file')} refused: {each}. Nothing of them was taken; "
            "ingest sound files under the same names, or mend the adapter: they are taken then. "
            "`clickstream sources check` tries a file."
        )


def _refusals(ledger: "Ledger", source: str, files: Sequence[Path]) -> dict[str, str]:
    """Why files were refused, by name."""
    names = tuple(file.name for file in files)
    return {
        Path(str(row["path"])).name: str(row["reason"])
        for row in ledger.in_state("refused")
        if row["source"] == source and str(row["path"]).endswith(names)
    }


def _hints(
    settings: "Settings", totals: Sequence[Mapping[str, object]], source: str
) -> Iterator[str]:
    """What to do about records that were not loaded."""
    for row in totals:
        if row["quarantined"]:
            yield f"Quarantined, and why: [bold]clickstream quarantine show --source {source}[/]"
        if row["too_late"]:
            yield (
                "Too late: older than the horizon, of a source that delivers young events, too. "
                "History is imported through an adapter with [bold]live = false[/], or one with a "
                "wider `lateness_horizon_days`; then [bold]clickstream quarantine replay[/]."
            )
        if row["duplicate"] and (conflicts := _conflicts(settings, source)):
            yield (
                f"Duplicates: {counted(conflicts, 'event')} with the id of another one that says "
                "something else. Ids count across sources: where they are numbers, map [bold]"
                f"event_id = {{ sql = \"'{source}-' || id\" }}[/], or leave event_id out."
            )


def _conflicts(settings: "Settings", source: str) -> int:
    """How many events of a source repeat the id of one that says something else."""
    import polars as pl

    from clickstream_platform.lake import Lake

    rows = Lake(settings.lake_folder).scan("duplicate_events")
    is_meant = (pl.col("source") == source) & pl.col("is_conflict")
    return int(rows.filter(is_meant).select(pl.len()).collect().item())


@app.command(epilog="Example: `clickstream simulate --events 1_000_000 --days 90 --seed 7`")
def simulate(
    events: Annotated[int, typer.Option(min=1, help="About how many events.")] = 200_000,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Length of the window.")] = 30,
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Last day.", show_default="yesterday"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds write equal files.")] = 1,
    source: Annotated[str, typer.Option(help="Landing folder to write into.")] = "demo",
    once: Annotated[
        bool, typer.Option("--once", help="Do nothing where the source has files already.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write the events of a made-up shop into landing.

    Visitors, campaigns, bots, consent and faults are drawn from measured distributions; nobody
    in them is real.
    """
    from clickstream_platform.simulator import Simulation
    from clickstream_platform.simulator import simulate as write_simulation

    settings = settings_of(data)
    check_source(source)
    folder = settings.landing / source
    if once and any(folder.glob("*.ndjson*")):
        if as_json:
            write_json({"folder": str(folder), "files": 0})
        else:
            say(f"{folder} has files already: nothing was simulated. --data DIR starts elsewhere.")
        return
    last = clock().date() - timedelta(days=1) if until is None else until.date()
    simulation = Simulation(
        start=date.fromordinal(max(1, last.toordinal() - days + 1)),
        days=days,
        events=events,
        seed=seed,
        prefix=source,
    )
    with progress_bar() as progress:
        summary = write_simulation(
            simulation,
            folder,
            progress=lambda done: progress("simulating", int(done * 100), 100),
        )
    if as_json:
        write_json(
            {
                "folder": str(folder),
                "files": len(summary.files),
                "lines": summary.lines,
                "events": summary.events,
                "persons": summary.persons,
                "sessions": summary.sessions,
                "bot_events": summary.bot_events,
            }
        )
        return
    say(
        f"Wrote {counted(summary.events, 'event')} "
        f"of {counted(summary.persons, 'person', 'people')} "
        f"and {counted(summary.bots, 'bot')} in {counted(len(summary.files), 'file')} to {folder}."
    )


@app.command(epilog="Example: `clickstream materialize --json`")
def materialize(
    data: Data = None,
    as_json: Json = False,
    full: Annotated[
        bool, typer.Option("--full", help="First make anew all that follows from raw events.")
    ] = False,
) -> None:
    """Take what has landed and bring every table up to date, in order, in this process.

    Needs no daemon; the run is in the Dagster UI's history all the same. What is up to date
    already costs nothing.
    """
    from clickstream_platform.events import read_adapters
    from clickstream_platform.orchestration import materialize_all, rebuild

    settings = settings_of(data)
    with progress_bar() as progress:
        if full:
            rebuild(settings, progress=progress)
        stages = materialize_all(settings, progress=progress)
    write_records(
        [
            {
                "table": stage.table,
                "rows_written": stage.rows_written,
                "rows_read": stage.rows_read,
                "dates": len(stage.dates),
                "version": stage.version,
            }
            for stage in stages
        ],
        as_json=as_json,
    )
    if faults := read_adapters(settings.definitions).faults:
        raise StoppedSourcesError(faults)


class StoppedSourcesError(ClickstreamError, ValueError):
    """Adapters cannot be used as written."""

    def __init__(self, faults: Mapping[str, Exception]) -> None:
        each = " ".join(f"{name}: {fault}" for name, fault in faults.items())
        super().__init__(
            f"{counted(len(faults), 'source')} stopped: what lands there waits until the adapter "
            f"is mended; the others are up to date. {each}"
        )


@sources.command("list", epilog="Example: `clickstream sources list --json`")
def list_sources(data: Data = None, as_json: Json = False) -> None:
    """List adapters: the shipped ones and those of your definitions folder."""
    from clickstream_platform.events import read_adapters

    adapters = read_adapters(settings_of(data).definitions)
    write_records(
        [
            {
                "source": adapter.name,
                "format": adapter.format,
                "live": adapter.live,
                "description": adapter.description,
                "file": adapter.file,
            }
            for adapter in adapters.sound.values()
        ],
        as_json=as_json,
    )
    if adapters.faults:
        raise StoppedSourcesError(adapters.faults)


@sources.command("show", epilog="Example: `clickstream sources show snowplow > my_source.toml`")
def show_source(
    name: Annotated[str, typer.Argument(help="Name of the source.")], data: Data = None
) -> None:
    """Print the adapter of a source, as a start for one of your own."""
    from clickstream_platform.events import UnknownSourceError, read_adapters

    adapters = read_adapters(settings_of(data).definitions)
    if name not in adapters:
        raise UnknownSourceError(name, list(adapters))
    typer.echo(Path(adapters[name].file).read_text(encoding="utf-8"), nl=False)


@sources.command("check", epilog="Example: `clickstream sources check receipts.csv --source till`")
def check_file(
    file: Annotated[Path, typer.Argument(help="File to try.", exists=True, dir_okay=False)],
    source: Annotated[str, typer.Option(help="Source whose adapter reads it.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Try an adapter on a file: what would be loaded, what refused and why. Nothing is kept."""
    from clickstream_platform.events import (
        Ledger,
        ingest_files,
        quarantine_summary,
        read_adapters,
        refresh_events,
    )
    from clickstream_platform.lake import Lake

    check_source(source)
    if source not in (adapters := read_adapters(settings_of(data).definitions)):
        close = get_close_matches(source, adapters, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        err().print(f"No adapter is named {source}: the file is read as canonical records.{meant}")
    with TemporaryDirectory(prefix="clickstream-") as folder:
        settings = settings_of(data).model_copy(update={"data": Path(folder)})
        with progress_bar() as progress:
            ingest_files(settings, [file], source, now=clock(), progress=progress)
            refresh_events(settings, progress=progress)
        lake, ledger = Lake(settings.lake_folder), Ledger(settings.state)
        totals = ledger_records(ledger)
        refused = [row["reason"] for row in ledger.in_state("refused")]
        reasons = quarantine_summary(lake).drop("source", "last_arrived_at").to_dicts()
        events = lake.scan("events").head(SHOWN_RECORDS).collect().to_dicts()
        unfed = _unfed(adapters[source], lake) if source in adapters else {}
        nearest = _nearest(unfed, _paths_held(lake)) if unfed else {}
    # Keys and partitions are the platform's own; what is shown is what the adapter gave.
    shown = [
        {name: value for name, value in event.items() if value is not None and name not in OWN}
        for event in events
    ]
    if as_json:
        write_json(
            {
                "ledger": totals,
                "refused": refused,
                "reasons": reasons,
                "events": shown,
                "empty": unfed,
                "meant": nearest,
            }
        )
        return
    write_records(totals, as_json=False, title="What would become of its records")
    for reason in refused:
        say(f"[bold red]The file was refused[/]: {escape(str(reason))}")
    if reasons:
        write_records(reasons, as_json=False, title="Why records would wait in quarantine")
    if unfed:
        columns = "; ".join(f"{name} (from {', '.join(paths)})" for name, paths in unfed.items())
        where = "event" if events else "record"
        say(f"Mapped, and empty in every {where}: {escape(columns)}. Are those fields in the file?")
        if nearest:
            pairs = ", ".join(f"{name} instead of {path}" for path, name in nearest.items())
            say(f"Did you mean {escape(pairs)}?")
    for event in shown:
        rows = list(event.items())
        write_rows(["column", "value"], rows, title=f"Event {event['event_id']}")


def _unfed(adapter: "Adapter", lake: "Lake") -> dict[str, list[str]]:
    """Fields that an adapter maps and no event has, and where it looks for them.

    A misspelt name of a column comes to nothing without an error: records may lack any field.
    Where there is no event at all, the fields that no record has. The shipped adapters map
    whatever their formats can hold.
    """
    import polars as pl

    from clickstream_platform.events.adapters import SHIPPED
    from clickstream_platform.events.columns import NOTED

    if Path(adapter.file).parent == SHIPPED:
        return {}
    events = lake.scan("events")
    columns = {*events.collect_schema().names(), "created_at", "sent_at", "received_at"}
    mapped = {
        name: list(rule.paths)
        for name, rule in adapter.fields.items()
        if name in columns and rule.paths and name not in {*OWN, *NOTED}
    }
    counts = events.select(pl.len(), pl.col(list(mapped)).count().name.suffix(" ")).collect()
    found = counts.row(0, named=True)
    if found["len"]:
        return {n: paths for n, paths in mapped.items() if not found[f"{n} "]}
    held = _paths_held(lake)
    return {n: paths for n, paths in mapped.items() if held and held.isdisjoint(paths)}


def _paths_held(lake: "Lake") -> set[str]:
    """Paths at which the first records hold something."""
    import polars as pl

    rows = lake.scan("raw_events").filter(pl.col("read_error").is_null()).select("payload")
    found: set[str] = set()
    for payload in rows.head(LOOKED_THROUGH).collect()["payload"]:
        try:
            found |= set(_paths_of(json.loads(payload)))
        except RecursionError:
            continue
    return found


def _paths_of(record: object, above: str = "") -> Iterator[str]:
    if not isinstance(record, dict):
        return
    for name, value in record.items():
        if value is not None and value != "":
            yield f"{above}{name}"
            yield from _paths_of(value, f"{above}{name}.")


def _nearest(unfed: Mapping[str, Sequence[str]], held: Iterable[str]) -> dict[str, str]:
    """What is nearly a path that no record has, by that path."""
    alike = {name.lower(): name for name in held}
    wanted = sorted({path for paths in unfed.values() for path in paths} - set(alike.values()))
    close = {path: get_close_matches(path.lower(), alike, n=1) for path in wanted}
    return {path: alike[found[0]] for path, found in close.items() if found}


class SourceNameError(ParameterError):
    """A source has a name that no landing folder can have."""

    def __init__(self, name: str) -> None:
        rule = "must be lower case letters, digits and underscores, a letter first"
        super().__init__("source", name, rule, instead="web_shop")


def check_source(name: str) -> None:
    """Refuse a source that could not be a landing folder.

    Raises:
        SourceNameError: The name is not lower case letters, digits and underscores.
    """
    if not (name.isascii() and name.isidentifier() and name == name.lower()):
        raise SourceNameError(name)
