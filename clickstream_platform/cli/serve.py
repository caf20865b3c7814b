"""The command that serves the Dagster UI with its daemon, and the report, on this machine alone."""

import signal
import socket
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, app, settings_of
from clickstream_platform.cli.output import say
from clickstream_platform.errors import ClickstreamError

LOOPBACK = "127.0.0.1"
"""The UI has no users of its own: a guard goes in front of it before anybody else can reach it."""


class PortInUseError(ClickstreamError, OSError):
    """The UI or the report cannot listen where it should."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"Port {port} is in use: perhaps `clickstream serve` runs already. End what listens "
            "there, or choose another by --port; the report takes the one after it."
        )


def require_free(port: int) -> None:
    """Refuse a port that something listens at, before anything is started.

    Raises:
        PortInUseError: It is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise PortInUseError(port) from None


class ReportHandler(SimpleHTTPRequestHandler):
    """Gives out the folder of reports, to those who ask for this machine by its own name."""

    def send_head(self):  # type: ignore[no-untyped-def]  # noqa: ANN201 - signature of the library
        """Refuse names that a foreign page may have pointed here, and lists of files."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in {LOOPBACK, "localhost"} or self.path.endswith("/"):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the library
        """Say nothing: the orchestrator's own log is the one to read."""


@app.command(epilog="Example: `clickstream serve --port 3100`")
def serve(
    port: Annotated[int, typer.Option(min=1024, max=65534, help="Port of the UI.")] = 3000,
    data: Data = None,
) -> None:
    """Serve the Dagster UI with its sensors and schedules, and the report beside it.

    Both listen on this machine alone. The report has the next port. Ctrl-C ends both.
    """
    from clickstream_platform.orchestration import start_ui

    settings = settings_of(data)
    settings.reports.mkdir(parents=True, exist_ok=True)
    for taken in (port, port + 1):
        require_free(taken)
    handler = partial(ReportHandler, directory=str(settings.reports))
    with ThreadingHTTPServer((LOOPBACK, port + 1), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        say(f"Dagster UI: [bold]http://{LOOPBACK}:{port}[/] (ready in some 15 s; Ctrl-C ends it)")
        say(f"Report:     [bold]http://{LOOPBACK}:{port + 1}/clickstream_report.html[/]")
        # A child inherits an interrupt that a script ignores, and would then heed no signal at all;
        # a handler, even the usual one, is not inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with start_ui(settings, host=LOOPBACK, port=port) as process:
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                code = process.wait()
            except KeyboardInterrupt:
                process.terminate()
                code = process.wait()
        server.shutdown()
    raise typer.Exit(0 if code == -signal.SIGTERM else code)
