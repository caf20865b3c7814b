"""Commands about consent: verify, show, report and decode."""

from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, Json, app, clock, settings_of
from clickstream_platform.cli.output import counted, say, write_json, write_records

consent = typer.Typer(no_args_is_help=True, help="What people chose, and proof of it.")
app.add_typer(consent, name="consent")


@consent.command(epilog="Example: `clickstream consent verify`")
def verify(data: Data = None, as_json: Json = False) -> None:
    """Check that nobody edited, deleted, moved or cut off an entry of the consent log."""
    from clickstream_platform.collection.consent_log import verify_consent_log
    from clickstream_platform.lake import Lake

    settings = settings_of(data)
    found = verify_consent_log(Lake(settings.lake_folder), settings)
    if as_json:
        write_json(found._asdict())
        return
    say(
        f"{counted(found.entries, 'entry', 'entries')}, as they were written. "
        f"Head: {found.head}. Since erasures, "
        f"{found.erased:,} lead to nobody and {found.relinked:,} to a new pseudonym."
    )
    if found.unsigned:
        say(f"{found.unsigned:,} at the end are not signed yet: `clickstream materialize` signs.")


@consent.command(epilog="Example: `clickstream consent show --limit 20`")
def show(
    limit: Annotated[int, typer.Option(min=1, help="Newest entries to show.")] = 10,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the newest entries of the consent log; no entry says whose it is."""
    from clickstream_platform.lake import Lake

    settings = settings_of(data)
    rows = (
        Lake(settings.lake_folder)
        .scan("consent_log")
        .sort("number", descending=True)
        .head(limit)
        .select(
            "number",
            "valid_from_at",
            "source",
            "jurisdiction",
            "consent_analytics",
            "consent_marketing",
            "consent_personalization",
            "is_opted_out",
            "cmp_version",
            "entry_hash",
        )
        .collect()
    )
    records: list[dict[str, object]] = rows.rows(named=True)
    for record in records:
        record["entry_hash"] = str(record["entry_hash"])[:12]
    _write(records, as_json=as_json, empty="Nobody has chosen anything yet.")


@consent.command(epilog="Example: `clickstream consent report --days 7`")
def report(
    days: Annotated[int, typer.Option(min=1, help="Days to look at, up to the newest.")] = 30,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show how many agree to measurement, by page, country and consent platform.

    Lost is what would be missing if only who agreed were measured.
    """
    from clickstream_platform.lake import Lake
    from clickstream_platform.reports import consent_rates

    settings = settings_of(data)
    rates = consent_rates(Lake(settings.lake_folder), settings, days=days)
    _write(
        rates.rows(named=True),
        as_json=as_json,
        empty="No visitors yet: `clickstream materialize` loads them.",
    )


@consent.command(epilog="Example: `clickstream consent decode CQ… --country DE`")
def decode(
    text: Annotated[str, typer.Argument(help="A TCF, GPP or US Privacy string, gcs or gcd.")],
    country: Annotated[
        str | None, typer.Option(help="Country of the person; unknown gets the strictest law.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say what a consent string allows, and why."""
    from clickstream_platform.collection.consent import load_policy, signals_of, what_is_allowed

    policy = load_policy(settings_of(data).definitions)
    verdicts = what_is_allowed(
        signals_of({_kind(text): text}),
        policy.regime_of(country),
        policy=policy,
        now=clock(),
    )
    write_records(
        [
            {
                "processing": name,
                "is_allowed": verdict.is_allowed,
                "reasons": ", ".join(verdict.reasons),
            }
            for name, verdict in verdicts.items()
        ],
        as_json=as_json,
    )


def _write(records: list[dict[str, object]], *, as_json: bool, empty: str) -> None:
    """Write records, or say why there are none."""
    if records or as_json:
        write_records(records, as_json=as_json)
    else:
        say(empty)


def _kind(text: str) -> str:
    """The signal that a string looks like."""
    if text.startswith("D"):
        return "gpp_string"
    if text.startswith("G1") or text[:2].isdigit():
        return "consent_mode"
    return "us_privacy" if len(text) == len("1YNN") else "tcf_string"
