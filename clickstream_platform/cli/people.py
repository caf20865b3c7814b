"""Commands that answer people who ask about their data: subject export, erase, verify and so on."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clickstream_platform.cli.app import Data, Json, clock, settings_of, subject
from clickstream_platform.cli.output import (
    Report,
    counted,
    progress_bar,
    say,
    write_json,
    write_records,
)
from clickstream_platform.errors import ClickstreamError, ParameterError

if TYPE_CHECKING:  # `clickstream --help` does not wait for the engines
    from clickstream_platform.settings import Settings

User = Annotated[
    list[str] | None,
    typer.Option("--user", help="Identifier of the person's account; `-` reads it from input."),
]
Visitor = Annotated[
    list[str] | None,
    typer.Option("--visitor", help="Identifier of a browser or app; `-` reads it from input."),
]
Further = Annotated[
    list[str] | None,
    typer.Option(
        "--identifier",
        help="Further identifier, as TYPE=VALUE (email=ann@example.org); reads a value of `-`.",
    ),
]
Request = Annotated[
    str | None, typer.Option("--request", help="Go on with a request that is registered already.")
]


class NoTypeError(ClickstreamError, ValueError):
    """A further identifier is named without its type."""

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__(
            "--identifier takes TYPE=VALUE, such as email=ann@example.org. "
            f"Types of identity/identifiers.toml: {', '.join(known)}."
        )


class WhoError(ClickstreamError, ValueError):
    """Neither a person nor a request is named, or both are."""

    def __init__(self) -> None:
        super().__init__(
            "A subject request needs a person (--user ID, --visitor ID, --identifier TYPE=VALUE, "
            "all repeatable) or a registered request (--request ID), and not both. "
            "`clickstream subject list` names requests."
        )


class NotErasedError(ClickstreamError, RuntimeError):
    """Somebody was asked whether to erase, and said no."""

    def __init__(self) -> None:
        super().__init__("Nothing was erased, and no request registered. --yes does not ask.")


class TooManyError(ClickstreamError, ValueError):
    """A request is named and a copy is given."""

    def __init__(self) -> None:
        super().__init__("Name a request, or give --copy: a copy says itself whose it is.")


class NoCertificateError(ClickstreamError, ValueError):
    """A file is no certificate."""

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} holds no certificate. Give the JSON file, as it lies in state/certificates."
        )


@subject.command(
    "export", epilog="Examples: `clickstream subject export --user -`, then type the identifier"
)
def export(
    user: User = None,
    visitor: Visitor = None,
    identifier: Further = None,
    request: Request = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write all that is held about a person: a zip of JSON, CSV and a summary to read.

    The request is registered first; the register holds the identifiers sealed, and logs and file
    names only the request's own.
    """
    from clickstream_platform.privacy import Register, export_subject

    settings = settings_of(data)
    request_id = _registered(settings, "export", (user, visitor, identifier), request)
    with progress_bar() as progress:
        _take_what_waits(settings, progress)
        progress("exporting", 0, 0)
        file = export_subject(settings, request_id, now=clock())
    found = Register(settings).get(request_id).rows_found
    if as_json:
        write_json({"request_id": request_id, "path": str(file), "rows_found": found})
        return
    say(f"Request {request_id} is answered: [bold]{file}[/]")
    if found == 0:
        say("Nothing is held about this person: the answer says so. Is the identifier right?")
    else:
        rows = counted(found, "row")
        say(f"It holds {rows} of personal data: hand it over safely, then delete it.")


@subject.command(
    "erase", epilog="Example: `clickstream subject erase --user 4711 --visitor ab-12 --yes`"
)
def erase(
    user: User = None,
    visitor: Visitor = None,
    identifier: Further = None,
    request: Request = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before erasing.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Erase a person from every table, file and log, and take nothing of them in again.

    What remains is a certificate without anything of the person. A run that was stopped goes on
    with `--request`.
    """
    from clickstream_platform.connectors import crm_eraser
    from clickstream_platform.privacy import erase_subject

    settings = settings_of(data)
    if not yes:
        question = "Erase everything of this person? It cannot be undone."
        if not typer.confirm(question, err=True):
            raise NotErasedError
    request_id = _registered(settings, "erase", (user, visitor, identifier), request)
    with progress_bar() as progress:
        _take_what_waits(settings, progress)
        certificate = erase_subject(
            settings,
            request_id,
            now=clock(),
            destination=crm_eraser(settings),
            progress=lambda what: progress(what, 0, 0),
        )
    path = settings.state / "certificates" / f"{request_id}.json"
    if as_json:
        write_json(
            {
                "request_id": request_id,
                "certificate": str(path),
                "rows_found": certificate.rows_found,
                "rows_left": certificate.residue.total,
            }
        )
        return
    say(
        f"Request {request_id} is answered: rows and records erased: {certificate.rows_found:,}, "
        f"found afterwards: {certificate.residue.total:,}."
    )
    say(f"Certificate: [bold]{path.with_suffix('.txt')}[/] (signed: {path.name})")
    say("Next: [bold]clickstream materialize[/] follows up in tables that others share.")


@subject.command("reapply", epilog="Example: `clickstream subject reapply --json`")
def reapply(data: Data = None, as_json: Json = False) -> None:
    """Erase people once more whom a restored backup has brought back; `doctor` tells of them.

    The suppression list and the register must be the newest there are, not those of the backup.
    """
    from clickstream_platform.privacy import reapply_erasures

    settings = settings_of(data)
    with progress_bar() as progress:
        _take_what_waits(settings, progress)
        certificates = reapply_erasures(
            settings, now=clock(), progress=lambda what: progress(what, 0, 0)
        )
    if as_json:
        write_json([each.request_id for each in certificates])
        return
    for each in certificates:
        say(f"Request {each.request_id}: rows and records erased: {each.rows_found:,}.")
    if certificates:
        say("Next: [bold]clickstream materialize[/] follows up in tables that others share.")
    else:
        say("Nobody who was erased is back.")


@subject.command(
    "register", epilog="Example: `clickstream subject register erase --user -` asks for the id"
)
def register(
    request_type: Annotated[str, typer.Argument(help="export or erase.")],
    user: User = None,
    visitor: Visitor = None,
    identifier: Further = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Register a request without working on it, such as for a job that is launched in the UI.

    What it prints is opaque: it may stand in a run's configuration, a person's identifier may not.
    """
    if request_type not in {"export", "erase"}:
        name = "request_type"
        raise ParameterError(name, request_type, "is export or erase", instead="export")
    who = (user, visitor, identifier)
    if not any(who):
        raise WhoError
    request_id = _registered(settings_of(data), request_type, who, None)
    if as_json:
        write_json({"request_id": request_id})
        return
    say(f"Request [bold]{request_id}[/] is registered.")
    say(
        f"Next: [bold]clickstream subject {request_type} --request {request_id}[/], or the job "
        f"subject_{request_type} in the Dagster UI with that identifier."
    )


@subject.command("list", epilog="Example: `clickstream subject list --json`")
def list_requests(data: Data = None, as_json: Json = False) -> None:
    """List requests: how far they are, and until when they must be answered."""
    from clickstream_platform.privacy import Register

    requests = Register(settings_of(data)).requests()
    if not requests and not as_json:
        say("Nobody has asked yet.")
        return
    rows = [
        {
            "request_id": request.request_id,
            "type": request.request_type,
            "status": request.status,
            "received": request.received_at,
            "due": request.due_date,
            "completed": request.completed_at,
            "rows_found": request.rows_found,
            "rows_left": request.rows_left,
        }
        for request in requests
    ]
    write_records(rows, as_json=as_json)


@subject.command(
    "verify", epilog="Examples: `clickstream subject verify`, `… verify --copy certificate.json`"
)
def verify(
    request: Annotated[
        str | None, typer.Argument(help="Identifier of an erasure; all of them if left out.")
    ] = None,
    copy: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A certificate that was handed over."),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check that the audit log of requests and certificates of erasure are as they were signed.

    The exit code is 1 where one is not. Keep the public key apart: it is what others check by.
    """
    from clickstream_platform.privacy import verify_proof

    if request and copy:
        raise TooManyError
    held = None if copy is None else _certificate(copy)
    proof = verify_proof(settings_of(data), request_id=request, copy=held)
    if as_json:
        write_json(
            {
                "audit_entries": proof.audit.entries,
                "audit_head": proof.audit.hash,
                "public_key": proof.public_key,
                "certificates": proof.certificates,
            }
        )
        return
    say(f"Audit log: {counted(proof.audit.entries, 'entry', 'entries')}, as it was signed.")
    for request_id in proof.certificates:
        say(f"Certificate of {request_id}: signed by this platform, and names this log.")
    if not proof.certificates:
        say("No erasure has been answered yet.")
    say(f"Public key of this platform: {proof.public_key}")


@subject.command("approve", epilog="Example: `clickstream subject approve req_0123456789ab`")
def approve(
    request: Annotated[str, typer.Argument(help="Identifier of the request.")], data: Data = None
) -> None:
    """Allow an erasure that stopped because it would remove a large share of all events."""
    from clickstream_platform.privacy import Register

    Register(settings_of(data)).approve(request, now=clock())
    say(f"Approved. Next: [bold]clickstream subject erase --request {request}[/]")


def _certificate(file: Path) -> dict[str, object]:
    """Read a certificate that was handed over."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise NoCertificateError(file)
    return held


def _take_what_waits(settings: "Settings", progress: Report) -> None:
    """Take landed files: whose a record is says its adapter, so none may be wrong."""
    from clickstream_platform.events import ingest_landing, load_adapters, wait_until_settled

    load_adapters(settings.definitions)
    wait_until_settled(settings)
    ingest_landing(settings, now=clock(), progress=progress)


Who = tuple[Sequence[str] | None, Sequence[str] | None, Sequence[str] | None]
"""Users, visitors and further identifiers, as given."""


def _registered(settings: "Settings", request_type: str, who: Who, request: str | None) -> str:
    """The request that is named, or a new one for the person who is."""
    from clickstream_platform.privacy import Namespace, register_request

    if any(who) == bool(request):
        raise WhoError
    if request:
        return request
    users, visitors, further = who
    identifiers: list[tuple[Namespace, str]] = [
        *(("user", _read(text)) for text in users or ()),
        *(("visitor", _read(text)) for text in visitors or ()),
        *(("other", written(settings, text)) for text in further or ()),
    ]
    return register_request(
        settings, request_type=request_type, identifiers=identifiers, now=clock()
    )


def written(settings: "Settings", text: str) -> str:
    """A further identifier, given as `TYPE=VALUE`, as the platform writes it.

    Raises:
        NoTypeError: It has no type.
    """
    from clickstream_platform.identity import identifier_rules

    rules = identifier_rules(settings.definitions)
    kind, equals, value = text.partition("=")
    if not equals:
        raise NoTypeError(rules.further)
    return rules.written(kind, _read(value))


def _read(text: str) -> str:
    # On the command line it would stay in the shell's history and in the list of processes.
    return sys.stdin.readline().strip() if text == "-" else text
