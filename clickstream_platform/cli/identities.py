"""Commands about who is who: identity show, split, unmerge, restore, decisions, as-of."""

import getpass
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clickstream_platform.cli.app import Data, Json, app, clock, settings_of
from clickstream_platform.cli.output import counted, say, write_json, write_records
from clickstream_platform.errors import ClickstreamError

if TYPE_CHECKING:  # `clickstream --help` does not wait for the engines
    from clickstream_platform.settings import Settings

identity = typer.Typer(no_args_is_help=True, help="Look at who is who, and mend wrong merges.")
app.add_typer(identity, name="identity")

User = Annotated[str | None, typer.Option("--user", help="Identifier or pseudonym of an account.")]
Visitor = Annotated[
    str | None, typer.Option("--visitor", help="Identifier or pseudonym of a browser or app.")
]
FURTHER = "Further identifier, as TYPE=VALUE or as its pseudonym"
Further = Annotated[str | None, typer.Option("--identifier", help=f"{FURTHER}.")]
Reason = Annotated[
    str, typer.Option("--reason", help="Why, without personal data; kept with the decision.")
]
Actor = Annotated[
    str | None, typer.Option("--actor", help="Who decides.", show_default="who is signed in")
]
ENDS = 2
"""Identifiers that one link joins."""

SHOWN = ("identifier_type", "identifier_id", "other_type", "other_id", "cause", "valid_from_at",
         "recorded_at", "person_id", "undone_at", "undone_by", "decision_id")  # fmt: skip
"""What is told of a link."""


def moment(text: str) -> datetime:
    """An instant as tables and JSON show it; UTC where no offset is written."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is no moment. Write 2026-03-01 or 2026-03-01T12:05:30."
        raise typer.BadParameter(message) from None


Recorded = Annotated[
    datetime | None,
    typer.Option(
        "--recorded", parser=moment, metavar="MOMENT", help="Only what had arrived by then, UTC."
    ),
]
Valid = Annotated[
    datetime | None,
    typer.Option(
        "--valid", parser=moment, metavar="MOMENT", help="Only what had happened by then, UTC."
    ),
]


class UnknownIdentifierError(ClickstreamError, LookupError):
    """Nobody is named, or nobody is known by that name."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}. Name a visitor (--visitor ID), a user (--user ID) or another identifier "
            "(--identifier TYPE=VALUE), as it was sent or as the pseudonym that tables show."
        )


@identity.command("show", epilog="Example: `clickstream identity show --user 4711`")
def show(
    user: User = None,
    visitor: Visitor = None,
    identifier: Further = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the person into this PNG file.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show every link of a person: what joined it, since when, and what undid it."""
    from clickstream_platform.identity import merges_around
    from clickstream_platform.lake import Lake

    settings = settings_of(data)
    _, key = _one(settings, user, visitor, identifier)
    rows = merges_around(Lake(settings.lake_folder), key)
    if picture is not None:
        from clickstream_platform.reports import person_png

        if image := person_png(rows):
            picture.write_bytes(image)
            if not as_json:
                say(f"Drawn: [bold]{picture}[/]")
    shown = rows.select(SHOWN)
    if not shown.height and not as_json:
        say("Never seen with another identifier: it is a person of its own.")
        return
    write_records(list(shown.iter_rows(named=True)), as_json=as_json)


@identity.command(
    "unmerge",
    epilog="Example: `clickstream identity unmerge --visitor ab-12 --user 4711 --reason …`",
)
def unmerge(
    visitor: Visitor = None,
    user: User = None,
    identifier: Annotated[
        list[str] | None,
        typer.Option("--identifier", help=f"{FURTHER}; two where both ends are."),
    ] = None,
    reason: Reason = "",
    actor: Actor = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Undo one link: from now on its two identifiers are not merged by it."""
    settings = settings_of(data)
    further = ((None, None, text) for text in identifier or ())
    named = ((None, visitor, None), *further, (user, None, None))
    ends = [_one(settings, *each) for each in named if any(each)]
    if len(ends) != ENDS:
        reason = "A link has two ends, and both must be named"
        raise UnknownIdentifierError(reason)
    _decided(settings, "unmerge", ends, reason, actor, as_json=as_json)


@identity.command(
    "split", epilog="Example: `clickstream identity split --visitor ab-12 --reason 'sold'`"
)
def split(
    visitor: Visitor = None,
    user: User = None,
    identifier: Further = None,
    reason: Reason = "",
    actor: Actor = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take an identifier out of its person: from now on it is merged with nobody."""
    settings = settings_of(data)
    ends = [_one(settings, user, visitor, identifier)]
    _decided(settings, "split", ends, reason, actor, as_json=as_json)


@identity.command("restore", epilog="Example: `clickstream identity restore dec_01ab --reason …`")
def restore(
    decision: Annotated[str, typer.Argument(help="Identifier of the decision to take back.")],
    reason: Reason = "",
    actor: Actor = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take back a decision: what it undid holds again."""
    settings = settings_of(data)
    _decided(settings, "restore", [], reason, actor, restores=decision, as_json=as_json)


@identity.command("decisions", epilog="Example: `clickstream identity decisions --json`")
def decisions(data: Data = None, as_json: Json = False) -> None:
    """List decisions, who made them and why, and whether they stand."""
    from clickstream_platform.identity import decisions_of, standing
    from clickstream_platform.lake import Lake

    rows = decisions_of(Lake(settings_of(data).lake_folder))
    held = set(standing(rows)["decision_id"])
    if rows.is_empty() and not as_json:
        say("Nothing has been decided.")
        return
    told = rows.select(
        "decision_id", "kind", "identifier_id", "other_id", "restores", "reason", "actor",
        "decided_at",
    )  # fmt: skip
    write_records(
        [{**row, "stands": row["decision_id"] in held} for row in told.iter_rows(named=True)],
        as_json=as_json,
    )


@identity.command(
    "as-of", epilog="Example: `clickstream identity as-of --recorded 2026-03-01 --user 4711`"
)
def as_of(
    recorded: Recorded = None,
    valid: Valid = None,
    user: User = None,
    visitor: Visitor = None,
    identifier: Further = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say who somebody was believed to be at a moment."""
    from clickstream_platform.identity import merges_as_of
    from clickstream_platform.lake import Lake

    settings = settings_of(data)
    _, key = _one(settings, user, visitor, identifier)
    rows = merges_as_of(
        Lake(settings.lake_folder),
        settings,
        key,
        recorded_at=recorded,
        valid_at=valid,
    )
    shown = rows.select(SHOWN)
    if not shown.height and not as_json:
        say("Not linked with anybody then.")
        return
    write_records(list(shown.iter_rows(named=True)), as_json=as_json)


@identity.command("match", epilog="Example: `clickstream identity match --picture match.png`")
def match(
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw why the surest pair matches into a PNG.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.99,
            help="Probability from which a pair matches.",
            show_default="that of identity/matches.toml",
        ),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Match visitors without a login by coarse, consented features; nothing is stored.

    A match is a guess: it changes no table, and must not be used to reach anybody.
    """
    from clickstream_platform.identity import match_visitors
    from clickstream_platform.lake import Lake

    settings = settings_of(data)
    found = match_visitors(Lake(settings.lake_folder), settings, threshold=threshold)
    pairs = found.matches.pairs
    if picture is not None and pairs.height:
        from clickstream_platform.reports import match_png

        picture.write_bytes(match_png(pairs.row(0, named=True)))
    if as_json:
        score = found.score
        write_json(
            {
                "visitors": found.visitors,
                "compared": found.matches.compared,
                "is_settled": found.matches.is_settled,
                "precision": score.precision,
                "recall": score.recall,
                "true_pairs": score.true_pairs,
                "clusters": [vars(cluster) for cluster in found.clusters],
                "matches": pairs.to_dicts(),
            }
        )
        return
    say(
        f"{counted(found.visitors, 'visitor')} agreed; pairs compared: {found.matches.compared:,}, "
        f"matched: {pairs.height:,}, in {counted(len(found.clusters), 'cluster')}."
    )
    say(
        f"On {counted(found.score.true_pairs, 'pair')} known from logins: precision "
        f"{found.score.precision:.3f}, recall {found.score.recall:.3f}."
    )
    if not found.matches.is_settled:
        say("The estimation did not come to rest: chances are rough.")
    say("Matches are guesses: they change no table, and reach nobody.")


def _one(
    settings: "Settings", user: str | None, visitor: str | None, identifier: str | None
) -> tuple[str, int]:
    """Pseudonym and surrogate of the one who is named."""
    from clickstream_platform.cli.people import written
    from clickstream_platform.privacy import Namespace, Vault
    from clickstream_platform.privacy.identifiers import TOKEN, surrogate

    given: dict[Namespace, str | None] = {"user": user, "visitor": visitor, "other": identifier}
    named = [(space, text) for space, text in given.items() if text]
    if len(named) != 1:
        reason = "One identifier must be named, and only one"
        raise UnknownIdentifierError(reason)
    ((space, text),) = named
    if re.match(TOKEN, text):
        token: str | None = text
    else:
        sent = written(settings, text) if space == "other" else text
        token = Vault(settings.state / "vault").find(space, sent)
    key = surrogate(token) if token else None
    if token is None or key is None:
        reason = "That identifier was never seen"
        raise UnknownIdentifierError(reason)
    return token, key


def _decided(
    settings: "Settings",
    kind: str,
    ends: list[tuple[str, int]],
    reason: str,
    actor: str | None,
    *,
    as_json: bool,
    restores: str | None = None,
) -> None:
    import polars as pl

    from clickstream_platform.identity import decide
    from clickstream_platform.lake import Lake
    from clickstream_platform.privacy.minimisation import scrub_texts

    clean = scrub_texts(pl.Series([reason], dtype=pl.String))[0]
    decision_id = decide(
        Lake(settings.lake_folder),
        kind,
        reason=clean,
        actor=actor or getpass.getuser(),
        now=clock(),
        identifier=ends[0] if ends else None,
        other=ends[1] if len(ends) > 1 else None,
        restores=restores,
    )
    if as_json:
        write_json({"decision_id": decision_id})
        return
    say(f"Decided: [bold]{decision_id}[/]. It holds from the next refresh on.")
    say("Next: [bold]clickstream materialize[/] makes sessions, credits and segments follow.")
