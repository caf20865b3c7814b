"""Commands about sessions: what other policies would make of the same events."""

from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, Json, app, settings_of
from clickstream_platform.cli.output import err, say, write_json, write_records

sessions = typer.Typer(no_args_is_help=True, help="Look at how sessions are made.")
app.add_typer(sessions, name="sessions")


@sessions.command(
    epilog="Examples: `clickstream sessions compare`, "
    "`clickstream sessions compare --preset ga4 --preset matomo --json`"
)
def compare(
    preset: Annotated[
        list[str] | None,
        typer.Option(help="Compare with this preset; all of them unless given."),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make all sessions under your policy and under those of other products, and compare.

    Nothing is stored. Bots are left out. Shares of channels are compared with those of the first
    policy, yours.
    """
    from clickstream_platform.lake import Lake
    from clickstream_platform.sessions import compare_policies, preset_policies

    settings = settings_of(data)
    policies = preset_policies(settings)
    if preset:
        if unknown := sorted(set(preset) - set(policies)):
            known = ", ".join(policies)
            message = f"There is no preset {unknown[0]!r}; there are: {known}."
            raise typer.BadParameter(message)
        policies = {name: it for name, it in policies.items() if name == "yours" or name in preset}
    err().print(f"Making all sessions under {len(policies)} policies …")
    found = compare_policies(Lake(settings.lake_folder), settings, policies)
    if as_json:
        write_json(
            {
                "totals": found.totals.to_dicts(),
                "channels": found.channels.to_dicts(),
                "cuts": found.cuts.to_dicts(),
            }
        )
        return
    write_records(found.totals.to_dicts(), as_json=False, title="Sessions")
    if found.channels.is_empty():
        say("No sessions yet: [bold]clickstream materialize[/] makes them.")
        return
    shares = found.channels.pivot(on="policy", index="channel", values="sessions_share")
    write_records(
        shares.select("channel", *policies).to_dicts(), as_json=False, title="Share of channels"
    )
    reasons = found.cuts.pivot(on="policy", index="cut_reason", values="sessions")
    shown = reasons.select("cut_reason", *(it for it in policies if it in reasons.columns))
    write_records(shown.to_dicts(), as_json=False, title="Why sessions start")
    say("Set [bold]\\[sessions] preset[/] in clickstream.toml to take one over.")
