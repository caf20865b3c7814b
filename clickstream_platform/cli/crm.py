"""Commands about what the CRM is told: send again what it refused."""

import typer

from clickstream_platform.cli.app import Data, Json, app, settings_of
from clickstream_platform.cli.output import counted, say, write_json

crm = typer.Typer(no_args_is_help=True, help="Look after what the CRM is told.")
app.add_typer(crm, name="crm")


@crm.command(epilog="Example: `clickstream crm retry`")
def retry(data: Data = None, as_json: Json = False) -> None:
    """Let the next sync send again what the CRM refused, once the fault there is mended.

    Why it refused stands in `crm_syncs`. What has since been said otherwise stays unsaid.
    """
    from clickstream_platform.activation import retry_failed
    from clickstream_platform.lake import Lake

    settings = settings_of(data)
    destination = settings.crm.destination
    waiting = retry_failed(Lake(settings.lake_folder), destination=destination)
    if as_json:
        write_json({"destination": destination, "pending": waiting})
        return
    say(f"{counted(waiting, 'record')} that {destination} refused will be looked at again.")
    if waiting:
        say("Next: [bold]clickstream materialize[/]")
