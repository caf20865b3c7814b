"""Commands that look: sql, status, report and the quarantine."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clickstream_platform.cli.app import Data, Json, app, clock, quarantine, settings_of
from clickstream_platform.cli.output import (
    Format,
    ago,
    counted,
    err,
    ledger_records,
    progress_bar,
    say,
    say_plain,
    write_json,
    write_records,
    write_rows,
)
from clickstream_platform.errors import ClickstreamError

if TYPE_CHECKING:  # `clickstream --help` does not wait for the engines
    from clickstream_platform.lake import Lake
    from clickstream_platform.settings import Settings

Source = Annotated[str | None, typer.Option(help="Of this source alone.")]
Code = Annotated[str | None, typer.Option(help="That break this rule.")]


@app.command(
    epilog="Examples: `clickstream sql 'SELECT channel, count(*) FROM sessions GROUP BY 1'`, "
    "`clickstream sql 'DESCRIBE events'`, `clickstream sql --format csv - < query.sql`"
)
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT of DuckDB; `-` reads it from input.")],
    form: Annotated[
        Format, typer.Option("--format", "-f", help="How rows are written.")
    ] = Format.TABLE,
    limit: Annotated[int, typer.Option(min=1, help="Most rows that are written.")] = 1_000,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Ask the lake's tables by name. Nothing can be changed, and no other file read."""
    from clickstream_platform.lake import Lake, open_tables, select

    settings = settings_of(data)
    text = typer.get_text_stream("stdin").read() if query == "-" else query
    lake = Lake(settings.lake_folder)
    answer = select(open_tables(lake, settings), text, limit=limit, lake=lake)
    write_rows(answer.columns, answer.rows, form=Format.JSON if as_json else form)
    if answer.is_cut:
        err().print(f"The first {counted(limit, 'row')}; --limit shows more.")


@app.command(epilog="Example: `clickstream status --json`")
def status(data: Data = None, as_json: Json = False) -> None:
    """Show how fresh tables and sources are, what is stale, and what became of every record."""
    from clickstream_platform.events import Ledger, foreign_files, pending_files, read_adapters
    from clickstream_platform.lake import Lake

    settings, now = settings_of(data), clock()
    ledger = Ledger(settings.state)
    tables = table_states(Lake(settings.lake_folder))
    totals = ledger_records(ledger)
    waiting, foreign = len(pending_files(settings)), foreign_files(settings)
    unbalanced = ledger.unbalanced()
    faults = read_adapters(settings.definitions).faults
    if as_json:
        write_json(
            {
                "tables": tables,
                "ledger": totals,
                "files_waiting": waiting,
                "files_not_taken": foreign,
                "unbalanced_batches": unbalanced,
                "sources_stopped": {name: str(fault) for name, fault in faults.items()},
            }
        )
        return
    shown = [row | {"written": ago(row["written"], now)} for row in tables]
    write_records(shown, as_json=False, title="Tables")
    aged = [row | {"arrived": ago(row["arrived"], now)} for row in totals]
    write_records(aged, as_json=False, title="Ledger")
    say(_balance(totals, unbalanced))
    if waiting:
        files = counted(waiting, "landed file")
        say(f"{files} waiting: [bold]clickstream materialize[/] takes what waits.")
    if runaways := Lake(settings.lake_folder).row_count("runaway_sessions"):
        sessions = counted(runaways, "session")
        say(f"{sessions} ran away: [bold]clickstream quarantine sessions[/] tells more.")
    for name in foreign:
        err().print(f"Not taken because of its name: {name}", markup=False)
    for name, fault in faults.items():
        err().print(f"Source {name} is stopped: {fault}", markup=False)


def table_states(lake: "Lake") -> list[dict[str, object]]:
    """One record per table: rows, newest date, age, and what of its upstreams it lacks."""
    from clickstream_platform.tables.catalog import TABLES

    return [
        {
            "table": name,
            "rows": lake.row_count(name),
            "newest": max(lake.dates(name), default=None),
            "written": _written(lake, name),
            "stale": "; ".join(_behind(lake, name)) or None,
        }
        for name in TABLES
    ]


def _behind(lake: "Lake", table: str) -> list[str]:
    """What changed upstream since the table was made, in words."""
    from clickstream_platform.sessions import DECIDED_BY

    found = []
    for upstream, version in sorted(lake.upstreams(DECIDED_BY.get(table, table)).items()):
        if lake.version(upstream) <= version:
            continue
        changes = lake.changes(upstream, since=version)
        if changes is None:
            found.append(f"all of {upstream}")
        elif changes.dates:
            days = f"{changes.dates[0]} to {changes.dates[-1]}"
            found.append(f"{counted(len(changes.dates), 'date')} of {upstream}, {days}")
        elif changes.added or changes.removed:
            found.append(upstream)
    return found


def _written(lake: "Lake", table: str) -> datetime | None:
    logs = sorted((lake.path(table) / "_delta_log").glob("*.json"))
    return datetime.fromtimestamp(logs[-1].stat().st_mtime, tz=clock().tzinfo) if logs else None


def _balance(totals: list[dict[str, object]], unbalanced: list[str]) -> str:
    if unbalanced:
        return (
            f"[bold red]{len(unbalanced):,} batches do not add up[/]: "
            "clickstream materialize --full counts anew."
        )
    if not totals:
        return "Nothing was received yet. Start with [bold]clickstream simulate[/]."
    return "received = loaded + quarantined + duplicate + suppressed + too_late in every batch."


@app.command(epilog="Example: `clickstream report --days 30 --open`")
def report(
    path: Annotated[Path | None, typer.Option(help="File to write.", dir_okay=False)] = None,
    days: Annotated[int, typer.Option(min=1, help="Days to show at most.")] = 90,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write one page with traffic, sessions, funnel, channels, segments and data quality."""
    from clickstream_platform.lake import Lake
    from clickstream_platform.reports import write_report

    settings = settings_of(data)
    with progress_bar() as progress:
        progress("drawing", 0, 0)
        lake = Lake(settings.lake_folder)
        written = write_report(lake, settings, now=clock(), path=path, days=days)
    if as_json:
        write_json({"path": str(written), "bytes": written.stat().st_size})
    else:
        say(f"Report: [bold]{written}[/]")
    if show:
        typer.launch(written.resolve().as_uri())


class UnknownChoiceError(ClickstreamError, LookupError):
    """Records are asked for by a source or a rule that nothing is known of."""

    def __init__(self, name: str, known: Iterable[str], *, what: str) -> None:
        names = ", ".join(sorted(known)) or "none yet"
        super().__init__(
            f"no {what} is named {name!r}. Known: {names}. `clickstream quarantine list` shows "
            "what waits."
        )


def _check_choice(settings: "Settings", source: str | None, code: str | None) -> None:
    """Refuse a source that never delivered and has no adapter, and a rule that is none."""
    from clickstream_platform.events import Ledger, read_adapters, violation_codes

    sources = {str(row["source"]) for row in Ledger(settings.state).totals()}
    if source is not None and source not in sources | {*read_adapters(settings.definitions)}:
        raise UnknownChoiceError(source, sources, what="source")
    if code is not None and code not in violation_codes():
        raise UnknownChoiceError(code, violation_codes(), what="rule")


@quarantine.command("list", epilog="Example: `clickstream quarantine list --json`")
def list_quarantine(data: Data = None, as_json: Json = False) -> None:
    """Count waiting records by source, rule and field."""
    from clickstream_platform.events import quarantine_summary
    from clickstream_platform.lake import Lake

    summary = quarantine_summary(Lake(settings_of(data).lake_folder))
    if summary.is_empty() and not as_json:
        say("Nothing waits in quarantine.")
        return
    write_records(summary.to_dicts(), as_json=as_json)


@quarantine.command(
    "show", epilog="Example: `clickstream quarantine show --source demo --code record_unreadable`"
)
def show_quarantine(
    source: Source = None,
    code: Code = None,
    limit: Annotated[int, typer.Option(min=1, help="How many records.")] = 10,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show waiting records with everything that is wrong with each; personal values are masked."""
    from clickstream_platform.events import quarantine_rows
    from clickstream_platform.lake import Lake

    settings = settings_of(data)
    _check_choice(settings, source, code)
    lake = Lake(settings.lake_folder)
    rows = quarantine_rows(lake, source=source, code=code, limit=limit)
    if as_json:
        write_records(rows.to_dicts(), as_json=True)
        return
    for row in rows.iter_rows(named=True):
        place = f"{row['source']} {row['batch_id']}:{row['ordinal']}"
        say(f"[bold]{place}[/]  {row['fate']}, arrived {row['arrived_at']:%Y-%m-%d %H:%M} UTC")
        for broken in row["violations"]:
            got = "nothing" if broken["got"] is None else broken["got"]
            words = f"expected {broken['expected']}, got {got}"
            say_plain(f"  {broken['code']} {broken['field'] or ''}: {words}")
        say_plain(f"  {row['payload']}\n")
    if rows.is_empty():
        say("Nothing waits in quarantine.")


@quarantine.command("sessions", epilog="Example: `clickstream quarantine sessions --limit 20`")
def show_runaways(
    limit: Annotated[int, typer.Option(min=1, help="How many sessions.")] = 10,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show sessions that ran away: cut for their length until no person would have them."""
    from clickstream_platform.lake import Lake

    rows = Lake(settings_of(data).lake_folder).scan("runaway_sessions")
    largest = rows.sort(["events", "session_key"], descending=[True, False]).head(limit).collect()
    if largest.is_empty() and not as_json:
        say("No session ran away.")
        return
    shown = largest.drop("session_key", "person_key", "session_date")
    write_records(shown.to_dicts(), as_json=as_json)


@quarantine.command("replay", epilog="Example: `clickstream quarantine replay --source app`")
def replay(
    source: Source = None, code: Code = None, data: Data = None, as_json: Json = False
) -> None:
    """Try waiting records again under today's adapters and rules. Twice is as good as once."""
    from clickstream_platform.events import replay_quarantine

    settings = settings_of(data)
    _check_choice(settings, source, code)
    with progress_bar() as progress:
        done = replay_quarantine(settings, source=source, code=code, progress=progress)
    if as_json:
        write_json(done.details)
        return
    before, after = done.details["waiting_before"], done.details["waiting_after"]
    batches = counted(int(done.details["batches"]), "batch", "batches")
    say(f"{counted(int(before), 'record')} waited in {batches}; still waiting: {after:,}.")
    say("Next: [bold]clickstream materialize[/]")
