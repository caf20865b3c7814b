"""The command that serves the Dagster UI with its daemon, and the report, on this machine alone."""

import os
import signal
import subprocess
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Annotated

import typer

from clickstream_platform.cli.app import Data, app, settings_of
from clickstream_platform.cli.output import say

LOOPBACK = "127.0.0.1"
"""The UI has no users of its own: a guard goes in front of it before anybody else can reach it."""

DEFINITIONS = "clickstream_platform.orchestration.definitions"


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
    from clickstream_platform.orchestration import dagster_home

    settings = settings_of(data)
    home = dagster_home(settings)
    settings.reports.mkdir(parents=True, exist_ok=True)
    handler = partial(ReportHandler, directory=str(settings.reports))
    with ThreadingHTTPServer((LOOPBACK, port + 1), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        say(f"Dagster UI: [bold]http://{LOOPBACK}:{port}[/] (ready in some 15 s; Ctrl-C ends it)")
        say(f"Report:     [bold]http://{LOOPBACK}:{port + 1}/clickstream_report.html[/]")
        command = [sys.executable, "-m", "dagster", "dev", "-m", DEFINITIONS]
        command += ["-h", LOOPBACK, "-p", str(port), "--log-level", "warning"]
        environment = os.environ | {
            "DAGSTER_HOME": str(home),
            "CLICKSTREAM_DATA": str(settings.data),
            # `dagster dev` tells its successor's name at every start.
            "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded",
        }
        # A child inherits an interrupt that a script ignores, and would then heed no signal at all;
        # a handler, even the usual one, is not inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with subprocess.Popen(command, env=environment, cwd=home) as process:  # noqa: S603 - our own words
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                code = process.wait()
            except KeyboardInterrupt:
                process.terminate()
                code = process.wait()
        server.shutdown()
    raise typer.Exit(0 if code == -signal.SIGTERM else code)
