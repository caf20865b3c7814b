"""Commands of canaries: send one through the real path, and see whether they arrive."""

import typer

from clickstream_platform.cli.app import Data, Json, app, clock, settings_of
from clickstream_platform.cli.output import say, write_json, write_records

canary = typer.Typer(no_args_is_help=True, help="Test the real path, without a trace in marts.")
app.add_typer(canary, name="canary")


@canary.command(epilog="Example: `CLICKSTREAM_CANARY_KEY=cs_… clickstream canary send`")
def send(data: Data = None, as_json: Json = False) -> None:
    """Send a small journey of nobody to the collector, marked synthetic.

    The write key is read from CLICKSTREAM_CANARY_KEY. The exit code is 1 where the collector did
    not take it.
    """
    from clickstream_platform.connectors import send_canary

    sent = send_canary(settings_of(data), now=clock())
    if as_json:
        write_json(sent._asdict())
    elif sent.refusal:
        say(f"{sent.canary_id} was not taken: {sent.refusal}.")
    else:
        say(f"Sent {sent.canary_id}. Later: [bold]clickstream canary check[/]")
    if sent.refusal:
        raise typer.Exit(1)


@canary.command(epilog="Example: `clickstream canary check --json`")
def check(data: Data = None, as_json: Json = False) -> None:
    """Say what became of the canaries of the last day.

    The exit code is 1 where one was refused, is missing, or arrived later than
    `canary.within_minutes` of the settings.
    """
    from clickstream_platform.collection.probes import FAULTY
    from clickstream_platform.connectors import CanaryLog
    from clickstream_platform.lake import Lake
    from clickstream_platform.quality import CANARY_WINDOW, canary_arrivals

    settings, now = settings_of(data), clock()
    canaries = CanaryLog(settings.state).sent(since=now - CANARY_WINDOW)
    found = canary_arrivals(Lake(settings.lake_folder), settings, canaries, now=now)
    records = [
        it._asdict() | {"took_s": it.took.total_seconds() if it.took else None} for it in found
    ]
    if records or as_json:
        write_records(records, as_json=as_json, title="Canaries of the last day")
    else:
        say("None was sent: [bold]clickstream canary send[/]")
    if any(it.state in FAULTY for it in found):
        raise typer.Exit(1)
