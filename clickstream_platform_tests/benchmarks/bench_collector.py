"""The collector: events acknowledged a second on one core, beside two servers that do less.

    python -m clickstream_platform_tests.benchmarks.bench_collector --seconds 10

`wrk` posts batches of ten events, which is what a page sends, and of fifty, which is what a server
does, from one core; the collector has the other to itself. The same server without rules (no strict
reading, no limits, no scrub, no bot score, but the same log) shows what the rules cost; nginx that
writes a line of access log shows what a server costs that understands nothing. The machine may be
shared, so events by processor second of the server are told beside events by the clock's.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from clickstream_platform.collection import lines, policy
from clickstream_platform.collection.bots import (
    RANGES_FOLDER,
    BotScoring,
    load_bot_rules,
    load_ranges,
)
from clickstream_platform.collection.consent import ConsentDoor, load_policy
from clickstream_platform.collection.policy import Enrichment
from clickstream_platform.collection.protocols import parsing
from clickstream_platform.services.collector import Collector, EventLog, serve, write_keys
from clickstream_platform.settings import CollectorSettings, Settings, load_settings

AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)
CONNECTIONS = {10: 32, 50: 12}
"""Connections that send, by the events of one request: enough to keep the collector busy."""

BODIES = 500
"""Requests that are made beforehand and sent in turn."""

TARGET_EVENTS_S = 50_000
TARGET_P99_MS = 25.0

SCRIPT = """
local bodies = {}
for line in io.lines("%(bodies)s") do bodies[#bodies + 1] = line end
local n = 0
request = function()
  n = n + 1
  return wrk.format("POST", "/v1/events", wrk.headers, bodies[n %% #bodies + 1])
end
wrk.headers["Content-Type"] = "text/plain"
wrk.headers["User-Agent"] = "%(agent)s"
wrk.headers["Accept-Language"] = "en-US,en;q=0.9"
"""


class Figures(NamedTuple):
    """What one run showed."""

    events_s: float
    events_cpu_s: float
    p99_ms: float
    failed: int


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def bodies(key: str, size: int) -> Iterator[str]:
    """Batches of page views and clicks, one in fifty events with an address in its URL."""
    rng = random.Random(1)
    now_ms = int(time.time() * 1000)
    for _ in range(BODIES):
        events = []
        for place in range(size):
            page = f"https://shop.example/p/{rng.randrange(10**5)}?utm_source=news&page=2"
            if rng.random() < 0.02:
                page += "&email=ann%40example.com"
            events.append(
                {
                    "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                    "name": rng.choice(["page_view", "click", "scroll"]),
                    "created_at": now_ms - 5_000 + place,
                    "visitor_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                    "session_id": f"s{rng.getrandbits(60):x}",
                    "page_url": page,
                    "page_title": "Red shoes",
                    "referrer_url": "https://www.google.com/",
                    "engaged_time_ms": rng.randrange(10_000),
                    "consent": {"analytics": True, "marketing": False, "gpc": False},
                    "properties": {"list": "search", "position": place, "price": 9.5},
                }
            )
        yield json.dumps({"key": key, "sent_at": now_ms, "events": events}, separators=(",", ":"))


def without_rules() -> None:
    """Take out of this process what judges events; they are still decoded, logged and synced."""
    for module, name, instead in (
        (parsing, "strict_json", msgspec.json.decode),
        (policy, "_fault", lambda *_: None),
        (lines, "scrub_records", lambda records: records),
    ):
        setattr(module, name, instead)


def serve_forever(data: Path, variant: str) -> None:
    """The server under test, in a process of its own."""
    settings = load_settings(data)
    section = CollectorSettings(
        rate_per_key="1000000000/minute", rate_per_address="1000000000/minute"
    )
    log = EventLog(settings.landing, seal_after_s=3600, seal_bytes=10**10, pending_bytes=10**8)
    enrichments: list[Enrichment] = [
        BotScoring(load_bot_rules(), load_ranges(settings.state / RANGES_FOLDER)),
        ConsentDoor(load_policy()),
    ]
    if variant == "bare":
        without_rules()
        enrichments = []
    app = Collector(section, log, write_keys(settings), enrichments=enrichments)
    serve(app, host="127.0.0.1", port=0, ready=lambda port: say(str(port)))


@contextmanager
def collecting(settings: Settings, variant: str) -> Iterator[tuple[int, int]]:
    """A collector on the first core; its port and process."""
    command = ["taskset", "-c", "0", sys.executable, "-m", __spec__.name, "--serve", variant]
    process = subprocess.Popen(
        [*command, "--data", str(settings.data)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


@contextmanager
def nginx(folder: Path) -> Iterator[tuple[int, int]]:
    """An nginx on the first core that answers and writes a line of access log."""
    config = folder / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log {folder}/access.log; client_body_temp_path {folder}/body;\n"
        f"proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;\n"
        f"scgi_temp_path {folder}/s; keepalive_requests 100000000;\n"
        "server { listen 127.0.0.1:8199; location / { return 200 'ok'; } } }\n"
    )
    process = subprocess.Popen(["taskset", "-c", "0", "nginx", "-c", str(config)])
    try:
        time.sleep(1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield 8199, int(children[0])
    finally:
        process.terminate()
        process.wait(timeout=30)


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(port: int, pid: int, script: Path, seconds: float, size: int) -> Figures:
    """Drive a server, after a second to warm it up."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS[size]}", "--latency", "-s"]
    url = f"http://127.0.0.1:{port}/"
    subprocess.run([*command, str(script), "-d1", url], check=True, capture_output=True, text=True)
    before, began = cpu_s(pid), time.monotonic()
    done = subprocess.run(
        [*command, str(script), f"-d{seconds:g}", url], check=True, capture_output=True, text=True
    )
    used, took = cpu_s(pid) - before, time.monotonic() - began
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])  # type: ignore[index]
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout).groups()  # type: ignore[union-attr]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
    return Figures(
        events_s=requests * size / took,
        events_cpu_s=requests * size / used,
        p99_ms=float(value) * scale,
        failed=int(failed[1]) if failed else 0,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--serve", choices=["full", "bare"])
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    if options.serve:
        serve_forever(options.data, options.serve)
        return
    if missing := [name for name in ("wrk", "taskset") if shutil.which(name) is None]:
        say(f"Not installed: {', '.join(missing)} (apt-get install wrk util-linux)")
        sys.exit(1)
    for size in CONNECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), options.seconds, size)


def compare(folder: Path, seconds: float, size: int) -> None:
    """Measure each server in turn, and tell the figures."""
    settings = load_settings(folder / "data")
    key = write_keys(settings).add("web", "browser", now=datetime.now(UTC)).key
    file = folder / "bodies"
    texts = list(bodies(key, size))
    file.write_text("\n".join(texts) + "\n")
    script = folder / "post.lua"
    script.write_text(SCRIPT % {"bodies": file, "agent": AGENT})
    servers: dict[str, Callable[[], object]] = {
        "full": lambda: collecting(settings, "full"),
        "bare": lambda: collecting(settings, "bare"),
    }
    if shutil.which("nginx"):
        servers["nginx"] = lambda: nginx(folder)
    found: dict[str, Figures] = {}
    for name, server in servers.items():
        with server() as (port, pid):  # type: ignore[attr-defined]
            found[name] = measure(port, pid, script, seconds, size)
            if name != "nginx":
                acknowledged(port)
        f = found[name]
        say(
            f"{name}, batches of {size}: {f.events_s:,.0f} events/s, {f.events_cpu_s:,.0f} by "
            f"processor second, p99 {f.p99_ms:.1f} ms, {f.failed} refused"
        )
    tell(found, size, sum(map(len, texts)) / len(texts))


def acknowledged(port: int) -> None:
    """Show that the server counted what it took, and refused nothing."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
        say(f"  health: {answer.read().decode()}")


def tell(found: dict[str, Figures], size: int, body_bytes: float) -> None:
    """Print the figures for docs/performance.md."""
    full = found["full"]
    load = os.getloadavg()[0]
    what = f"batches of {size} ({body_bytes:,.0f} B, {CONNECTIONS[size]} connections)"
    results = [
        (
            f"events acknowledged a second on one core, all rules on, {what}",
            f"{full.events_s:,.0f}/s, {full.events_cpu_s:,.0f} by CPU second (load {load:.1f})",
            f">= {TARGET_EVENTS_S:,}/s",
        ),
        (
            f"p99 of an acknowledged batch, {what}",
            f"{full.p99_ms:.1f} ms",
            f"<= {TARGET_P99_MS:g} ms",
        ),
        (
            f"cost of the rules: events by processor second, with to without, {what}",
            f"{full.events_cpu_s / found['bare'].events_cpu_s:.2f}",
            "told",
        ),
    ]
    if "nginx" in found:
        ratio = found["nginx"].events_cpu_s / full.events_cpu_s
        results.append(
            (
                f"processor time to nginx that writes an access log, {what}",
                f"{ratio:.1f} times",
                "told",
            )
        )
    for what, measured, target in results:
        say("RESULT " + json.dumps({"what": what, "measured": measured, "target": target}))


if __name__ == "__main__":
    main()
