"""Commands of the HTTP collector: run it, and give out its keys."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, Json, app, clock, keys, settings_of
from clickstream_platform.cli.output import say, say_plain, text_of, write_json, write_records
from clickstream_platform.errors import ParameterError

micro = typer.Typer()
app.add_typer(micro, name="micro")


@app.command(epilog="Example: `clickstream collect --port 8080`")
def collect(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="collector.host")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0 for any.", show_default="collector.port"),
    ] = None,
    data: Data = None,
) -> None:
    """Take events over HTTP, and acknowledge them when they are on the disk.

    Speaks the protocols of Snowplow, Segment, PostHog, GA4 and OpenTelemetry, and its own. What it
    takes lands in the folder of the key's source, from where the sensor or
    `clickstream materialize` loads it. SIGTERM drains and ends it.
    """
    from clickstream_platform.services.collector import collector, serve

    settings = settings_of(data)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    where = host or settings.collector.host
    serve(
        collector(settings),
        host=where,
        port=settings.collector.port if port is None else port,
        ready=lambda bound: say(f"Collecting on [bold]http://{where}:{bound}[/]; Ctrl-C ends it"),
    )


@micro.callback(invoke_without_command=True, epilog="Example: `clickstream micro --port 9090`")
def serve_micro(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any.")] = 9090,
    data: Data = None,
) -> None:
    """Take events in memory, to test tracking: every key, every origin, nothing stored.

    `/micro/all` counts what came, `/micro/good` and `/micro/bad` show it as ingestion would judge
    it, `/micro/reset` forgets it. It listens on this machine alone.
    """
    if context.invoked_subcommand is not None:
        return
    from signal import SIGINT, SIGTERM, sigwait

    from clickstream_platform.services.collector import running_micro

    with running_micro(settings_of(data), port=port) as running:
        say(f"Micro on [bold]{running.url}[/]; Ctrl-C ends it")
        sigwait({SIGINT, SIGTERM})


@micro.command("run", epilog="Example: `clickstream micro run checkout.yaml`")
def run(
    scenarios: Annotated[list[Path], typer.Argument(help="Scenarios, as YAML.", dir_okay=False)],
    url: Annotated[
        str | None, typer.Option(help="A micro server that runs; one is started unless given.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run scenarios: do what their steps say, and compare what was tracked with what should be.

    A step sends requests or runs a command, which finds the server in MICRO_URL. The exit code is 1
    where something was not as expected.
    """
    from contextlib import nullcontext

    from clickstream_platform.collection.probes import read_scenario
    from clickstream_platform.connectors import MicroClient
    from clickstream_platform.services.collector import running_micro
    from clickstream_platform.services.scenarios import run_scenario

    read = [(file, read_scenario(text_of(file), file)) for file in scenarios]
    told: list[dict[str, object]] = []
    with nullcontext() if url else running_micro(settings_of(data)) as own:
        client = MicroClient(url or (own.url if own else ""))
        for file, scenario in read:
            for result in run_scenario(scenario, client, folder=file.resolve().parent):
                told.append(dict(scenario=scenario.name, **result._asdict()))
                if not as_json:
                    verdict = "failed" if result.failures else "passed"
                    say_plain(f"{verdict}: {scenario.name}: {result.step} ({result.took_s:.1f} s)")
                    for failure in result.failures:
                        say_plain(f"  {failure}")
    if as_json:
        write_json(told)
    if any(it["failures"] for it in told):
        raise typer.Exit(1)


@keys.command("add", epilog="Example: `clickstream keys add web --kind browser`")
def keys_add(
    source: Annotated[str, typer.Argument(help="Source that its events belong to.")],
    kind: Annotated[str, typer.Option(help="browser or server.")] = "browser",
    signed: Annotated[
        bool, typer.Option("--signed", help="Demand that each request is signed.")
    ] = False,
    app_id: Annotated[
        list[str] | None,
        typer.Option(help="Application id of a Snowplow tracker that stands for the key."),
    ] = None,
    adopt: Annotated[
        str | None, typer.Option(help="Key of another product that clients carry already.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a write key. It is shown once: only its digest is kept."""
    from clickstream_platform.services.collector import write_keys

    if kind not in {"browser", "server"}:
        name = "kind"
        raise ParameterError(name, kind, "is browser or server", instead="browser")
    settings = settings_of(data)
    made = write_keys(settings).add(
        source,
        "browser" if kind == "browser" else "server",
        now=clock(),
        is_signed=signed,
        app_ids=tuple(app_id or ()),
        adopted=adopt,
    )
    if as_json:
        write_json(
            {
                "key_id": made.stored.key_id,
                "key": made.key,
                "signing_secret": made.signing_secret,
                "source": source,
                "kind": kind,
            }
        )
        return
    say(f"Key of {source} ({kind}): [bold]{made.key}[/]  ({made.stored.key_id})")
    if made.signing_secret:
        say(f"Signing secret: [bold]{made.signing_secret}[/]")
    say("It is not shown again.")


@keys.command("list", epilog="Example: `clickstream keys list --json`")
def keys_list(data: Data = None, as_json: Json = False) -> None:
    """List the write keys by their ids; what they are is not kept."""
    from clickstream_platform.services.collector import write_keys

    rows = [
        {
            "key_id": key.key_id,
            "source": key.source,
            "kind": key.kind,
            "is_signed": key.is_signed,
            "app_ids": ", ".join(key.app_ids),
            "created_at": key.created_at,
            "revoked_at": key.revoked_at,
        }
        for key in write_keys(settings_of(data)).all()
    ]
    if not rows and not as_json:
        say("No write keys yet. Make one: [bold]clickstream keys add web --kind browser[/]")
        return
    write_records(rows, as_json=as_json, title="Write keys")


@keys.command("revoke", epilog="Example: `clickstream keys revoke wk_1a2b3c4d`")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="Its id, as `clickstream keys list` shows it.")],
    data: Data = None,
) -> None:
    """Refuse a key from now on. Make its successor first, and let both live for a while."""
    from clickstream_platform.services.collector import write_keys

    key = write_keys(settings_of(data)).revoke(key_id, now=clock())
    say(f"Revoked {key.key_id} of {key.source}. Collectors that run refuse it within a second.")
