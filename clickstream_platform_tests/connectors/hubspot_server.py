"""A server on this machine that speaks HubSpot's contact interface, and can misbehave on demand.

It keeps contacts and every write to them, so a test can count effects: a write under a trace id
that a contact has seen before is no new effect.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

TOKEN = "token-of-the-tests"  # noqa: S105 - of a server that lives for one test
ID_PROPERTY = "external_user_id"
CONTACTS = "/crm/v3/objects/contacts"
MOST_INPUTS = 100
PROPERTIES = {
    ID_PROPERTY,
    "clickstream_segments",
    "engagement_band",
    "engagement_score",
    "last_seen_date",
}

Content: TypeAlias = dict[str, Any]
Fault: TypeAlias = Callable[["Handler", Content], None]
"""Answers one request in place of the server."""


class Account:
    """Contacts of one account, what was asked for, and what is to go wrong."""

    def __init__(self) -> None:
        self.contacts: dict[str, dict[str, str]] = {}
        self.effects: Counter[tuple[str, str]] = Counter()
        """How often each contact was written under each trace id."""
        self.requests: list[tuple[str, int]] = []
        """Path and number of inputs of each request."""
        self.faults: list[Fault] = []
        """What goes wrong with the next requests, in order."""
        self.invalid: dict[str, str] = {}
        """Contacts that are refused, and why."""
        self.is_all_or_nothing = False
        """Whether one invalid input makes a call fail, instead of an error beside results."""
        self.properties = set(PROPERTIES)
        self.closing = threading.Event()
        self.url = ""

    def write(self, each: Content, *, is_new: bool) -> Content:
        contact = self.contacts.setdefault(each["id"], {each["idProperty"]: each["id"]})
        contact.update(each["properties"])
        self.effects[each["id"], each["objectWriteTraceId"]] += 1
        return {
            "id": str(abs(hash(each["id"]))),
            "new": is_new,
            "properties": dict(contact),
            "objectWriteTraceId": each["objectWriteTraceId"],
        }

    def apply(self, path: str, inputs: list[Content]) -> tuple[int, Content]:
        """Do what a batch asks for."""
        if len(inputs) > MOST_INPUTS:
            return 400, error("VALIDATION_ERROR", f"{len(inputs)} inputs; at most {MOST_INPUTS}")
        if unknown := {name for each in inputs for name in each["properties"]} - self.properties:
            message = f'Property "{min(unknown)}" does not exist'
            code = [{"message": message, "code": "PROPERTY_DOESNT_EXIST"}]
            return 400, error("VALIDATION_ERROR", message, errors=code)
        invalid = [each for each in inputs if each["id"] in self.invalid]
        if invalid and self.is_all_or_nothing:
            return 400, error("VALIDATION_ERROR", f"{invalid[0]['id']} is not valid")
        results, errors = [], []
        for each in inputs:
            context = {"objectWriteTraceId": [each["objectWriteTraceId"]]}
            is_there = each["id"] in self.contacts
            if each["id"] in self.invalid:
                category = self.invalid[each["id"]]
                errors.append(error(category, f"{each['id']} is not valid", context=context))
            elif path.endswith("/update") and not is_there:
                missing = {"ids": [each["id"]]}
                errors.append(error("OBJECT_NOT_FOUND", "Could not get some", context=missing))
            else:
                results.append(self.write(each, is_new=not is_there))
        content: Content = {"status": "COMPLETE", "results": results}
        if errors:
            content |= {"numErrors": len(errors), "errors": errors}
        return (207 if errors else 200), content


def error(category: str, message: str, **more: object) -> Content:
    """An error as the interface words it: its message quotes values."""
    return {"status": "error", "category": category, "message": message, **more}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    account: Account

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        content: Content = json.loads(self.rfile.read(length))
        account = self.account
        account.requests.append((self.path, len(content.get("inputs", ["one"]))))
        if account.faults:
            with suppress(BrokenPipeError, ConnectionResetError):
                account.faults.pop(0)(self, content)
            return
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, error("INVALID_AUTHENTICATION", "no"))
        elif self.path in {f"{CONTACTS}/batch/upsert", f"{CONTACTS}/batch/update"}:
            self.answer(*account.apply(self.path, content["inputs"]))
        elif self.path == f"{CONTACTS}/gdpr-delete":
            is_there = account.contacts.pop(content["objectId"], None) is not None
            self.answer(204 if is_there else 404, {})
        else:
            self.answer(404, error("NOT_FOUND", "no such path"))

    def answer(self, status: int, content: Content, **headers: str) -> None:
        """Answer with JSON."""
        body = b"" if status == 204 else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        """Close the connection without another word."""
        self.close_connection = True
        self.connection.close()


def busy(retry_after: str | None = None, *, status: int = 429) -> Fault:
    """Ask to wait."""

    def fault(handler: Handler, _content: Content) -> None:
        headers = {} if retry_after is None else {"Retry_After": retry_after}
        handler.answer(status, error("RATE_LIMITS", "slow down"), **headers)

    return fault


def fails(status: int, category: str = "INTERNAL_ERROR") -> Fault:
    """Answer with a status and nothing done."""

    def fault(handler: Handler, _content: Content) -> None:
        handler.answer(status, error(category, "it went wrong"))

    return fault


def taken_then_dropped(handler: Handler, content: Content) -> None:
    """Do what is asked, and close the connection instead of saying so."""
    handler.account.apply(handler.path, content["inputs"])
    handler.hang_up()


def taken_then_silent(handler: Handler, content: Content) -> None:
    """Do what is asked, and say nothing until the other side gives up."""
    handler.account.apply(handler.path, content["inputs"])
    handler.account.closing.wait(30)


def endless(handler: Handler, _content: Content) -> None:
    """Send a body that never ends."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.account.closing.is_set():
        handler.wfile.write(b"x" * 65_536)


def trickling(handler: Handler, _content: Content) -> None:
    """Send a body a byte at a time: each read succeeds, the whole never does."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.account.closing.wait(0.02):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def trickling_head(handler: Handler, _content: Content) -> None:
    """Send a header a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.account.closing.wait(0.02):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def unreadable(handler: Handler, content: Content) -> None:
    """Do what is asked, and answer with a page."""
    handler.account.apply(handler.path, content["inputs"])
    body = b"<html>welcome</html>"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def serving() -> Iterator[Account]:
    """Run the server on a free port of this machine."""
    account = Account()
    handler = type("BoundHandler", (Handler,), {"account": account})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.block_on_close = True, False
    account.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield account
    finally:
        account.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
