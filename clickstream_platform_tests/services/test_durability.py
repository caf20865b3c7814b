"""Kill -9, full disks, pauses, floods and SIGTERM: no acknowledged event is lost or doubled."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from clickstream_platform.events import Ledger, ingest_landing, pending_files, refresh_events
from clickstream_platform.lake import Lake
from clickstream_platform.services.collector import recover
from clickstream_platform_tests.events.door import landed
from clickstream_platform_tests.services.process import (
    Clients,
    History,
    Running,
    Zygote,
    moments,
    resend,
    send,
)
from clickstream_platform_tests.services.wire import NOW, Door, batch, event

SEED = 20261125
KILLS = 20


def in_log(door: Door) -> Counter[str]:
    """How often each event id lies in the log, after what a crash left was repaired."""
    recover(door.settings.landing)
    return Counter(str(record["event_id"]) for record in door.records)


def in_events(door: Door) -> Counter[str]:
    """How often each event id is in the table, after everything was taken and loaded."""
    recover(door.settings.landing)
    files = [landed(door.settings, path) for path in door.sealed]
    ingest_landing(door.settings, now=NOW, files=files)
    refresh_events(door.settings)
    Ledger(door.settings.state).require_balance()
    rows = Lake(door.settings.lake_folder).scan("events").select("event_id").collect()
    return Counter(rows["event_id"].to_list())


def unsettled(history: History) -> list[dict[str, object]]:
    """Events that their senders do not know to be taken."""
    return [event(id=event_id) for event_id in sorted(history.ids("unknown", "fail"))]


def test_kill_at_random_moments_loses_nothing_acknowledged(door: Door, zygote: Zygote) -> None:
    """Twenty collectors killed under load, one after another, over one folder."""
    key, history = door.key().key, History()
    for number, moment in enumerate(moments(SEED, KILLS, 0.25)):
        running = zygote.start(door.settings.data)
        resend(running.port, key, history, [event(number), *unsettled(history)])
        with Clients(running.port, key, history, name=f"r{number}"):
            time.sleep(moment)
            running.kill()
    last = zygote.start(door.settings.data)
    resend(last.port, key, history, unsettled(history))
    last.kill()
    assert len(history.ids("ok")) > 10 * KILLS, "clients got through between the kills"
    assert not history.ids("unknown", "fail")
    logged = in_log(door)
    assert set(logged) >= history.ids("ok")
    assert history.faults(in_events(door)) == [], f"seed {SEED}"
    assert Lake(door.settings.lake_folder).scan("quarantined_events").collect().is_empty()


@pytest.mark.parametrize("hook", ["kill_before_sync", "kill_after_sync", "kill_mid_line"])
def test_kill_at_the_worst_moment(door: Door, zygote: Zygote, hook: str) -> None:
    """Faults 1, 2 and 3: around the write and the sync of one commit; then a client sends again."""
    key, history = door.key().key, History()
    running = zygote.start(door.settings.data, hook=hook)
    with Clients(running.port, key, history, name="e", threads=2):
        running.wait_gone()
    assert history.ids("ok"), "commits before the fault were acknowledged"
    assert history.ids("unknown")
    logged = in_log(door)
    assert history.ids("ok") <= set(logged)
    held = history.ids("unknown") & set(logged)
    if hook == "kill_after_sync":
        assert held, "they were durable, though nobody was told"
    again = zygote.start(door.settings.data)
    resend(again.port, key, history, unsettled(history))
    again.kill()
    assert not history.ids("unknown", "fail")
    assert history.faults(in_events(door)) == []


def test_checker_finds_what_an_early_acknowledgement_loses(door: Door, zygote: Zygote) -> None:
    """The check above can fail: a collector that answers before it writes does not pass it."""
    key, history = door.key().key, History()
    running = zygote.start(door.settings.data, hook="acknowledge_early")
    connection = running.dial()
    history.note([event(7)], send(connection, key, [event(7)]))
    running.kill()
    assert history.told == {"e7": "ok"}
    assert history.faults(in_log(door)) == ["lost: e7"]


def test_checker_on_histories_by_hand() -> None:
    history = History(told={"a": "ok", "b": "fail", "c": "unknown", "d": "ok"})
    assert history.faults({"a": 1, "c": 1, "d": 1}) == []
    assert history.faults({"a": 1}) == ["lost: d"]
    assert history.faults({"a": 2, "d": 1, "b": 2, "x": 1}) == [
        "doubled: a",
        "doubled: b",
        "invented: x",
    ]


def test_nemesis_kills_pauses_and_fills_the_disk(door: Door, zygote: Zygote) -> None:
    """Jepsen's way: unique ids, three faults in turn, and a history that must make sense."""
    key, history = door.key().key, History()
    full = door.settings.data / "full"
    door.settings.data.mkdir(parents=True, exist_ok=True)
    for number, moment in enumerate(moments(SEED + 1, 6, 0.15)):
        running = zygote.start(door.settings.data, hook="full_disk", seal_after_s=0.05)
        resend(running.port, key, history, [event(number)])
        with Clients(running.port, key, history, name=f"n{number}"):
            time.sleep(moment)
            if number % 3 == 0:
                running.signal(signal.SIGSTOP)
                time.sleep(0.1)
                running.signal(signal.SIGCONT)
                time.sleep(moment)
            elif number % 3 == 1:
                full.touch()
                time.sleep(0.1)
                full.unlink()
                time.sleep(moment)
            running.kill()
    assert history.ids("ok")
    assert history.ids("fail"), "the full disk was told to clients"
    found = in_events(door)
    assert history.faults(found) == [], f"seed {SEED + 1}"
    assert not history.ids("fail") & set(found), "what was refused for the disk is not there"


@pytest.mark.parametrize("hook", ["full_disk", "small_files"])
def test_full_disk_is_told_and_survived(door: Door, zygote: Zygote, hook: str) -> None:
    """Fault 11: 503 and no acknowledgement; it goes on when there is room; half lines go."""
    key = door.key().key
    door.settings.data.mkdir(parents=True, exist_ok=True)
    running = zygote.start(door.settings.data, hook=hook)
    connection = running.dial()
    taken, status, headers = 0, 200, None
    if hook == "full_disk":
        assert send(connection, key, [event(0)]) == "ok"
        (door.settings.data / "full").touch()
    sent = 100
    while status == 200:
        taken += 1
        body = json.dumps(batch(key, event(sent + taken, page_title="y" * 9_000)))
        connection.request("POST", "/v1/events", body)
        response = connection.getresponse()
        status, headers, told = response.status, response.headers, json.loads(response.read())
    assert status == 503
    assert told["error"] == "log_unavailable"
    assert headers is not None
    assert headers["retry-after"] == "5"
    (door.settings.data / "full").unlink(missing_ok=True)
    assert send(connection, key, [event(1)]) == "ok", "it goes on, in another file"
    running.kill()
    expected = {"e1"} | ({"e0"} if hook == "full_disk" else set())
    expected |= {f"e{sent + n}" for n in range(1, taken)}
    assert in_log(door) == Counter(expected)
    assert in_events(door) == Counter(expected)


@pytest.mark.slow
def test_real_full_disk(door: Door, zygote: Zygote) -> None:
    """Fault 11 on a file system of 300 kB."""
    landing = door.settings.landing
    landing.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(landing)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root and the right to mount")
    try:
        key, history = door.key().key, History()
        running = zygote.start(door.settings.data)
        connection = running.dial()
        for number in range(100):
            events = [event(number, page_title="z" * 8_000)]
            history.note(events, send(connection, key, events))
        assert history.ids("ok")
        assert history.ids("fail")
        running.kill()
        assert set(in_log(door)) == history.ids("ok")
    finally:
        subprocess.run(["umount", str(landing)], check=True)


def test_flood_is_bounded(door: Door, zygote: Zygote) -> None:
    """Fault 42: a slow disk and more than memory may hold: 429, and all that was taken is there."""
    key, history = door.key().key, History()
    running = zygote.start(door.settings.data, hook="slow_disk", pending_mb=1)
    bulky = ["w" * 60_000]

    def flood(thread: int) -> None:
        connection = running.dial()
        for number in range(4):
            events = [
                event(id=f"f{thread}-{number}-{place}", properties={"w": bulky[0]})
                for place in range(6)
            ]
            history.note(events, send(connection, key, events))

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection = running.dial()
    connection.request("GET", "/health")
    health = json.loads(connection.getresponse().read())
    assert health["refusals"].get("overloaded", 0) > 0
    assert send(connection, key, [event(1)]) == "ok", "it goes on when the flood is over"
    history.note([event(1)], "ok")
    running.kill()
    assert history.ids("fail")
    assert history.faults(in_log(door)) == []
    assert not history.ids("fail") & set(in_log(door))


def test_slow_clients_do_not_block_others(door: Door, zygote: Zygote) -> None:
    """Fault 43: two hundred connections that say nothing; a real client is answered."""
    key = door.key().key
    running = zygote.start(door.settings.data)
    idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(200)]
    for each in idle:
        each.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    connection = running.dial()
    assert send(connection, key, [event(1)]) == "ok"
    for each in idle:
        each.close()
    running.kill()


def test_large_head_is_not_held(door: Door, zygote: Zygote) -> None:
    running = zygote.start(door.settings.data)
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ")
        with pytest.raises(OSError, match=r"reset|pipe|aborted"):  # noqa: PT012 - until it closes
            for _ in range(60):
                connection.sendall(b"a" * 1_000_000)
    running.kill()


def test_sigterm_drains(door: Door, tmp_path: Path) -> None:
    """Fault 9: the command itself, under load: nothing acknowledged is lost, exit 0 in 10 s."""
    key, history = door.key().key, History()
    command = [sys.executable, "-c", "from clickstream_platform.cli import main; main()"]
    command += ["collect", "--port", "0", "--data", str(door.settings.data)]
    errors = tmp_path / "stderr"
    with (
        errors.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)", line)
        assert found, line
        resend(int(found[1]), key, history, [event(1)])
        with Clients(int(found[1]), key, history, name="t"):
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            code = process.wait(timeout=30)
            took_s = time.monotonic() - began
        process.stdout.close()
    assert code == 0
    assert took_s < 10
    assert history.ids("ok")
    assert not list(door.settings.landing.glob("*/.collector-*")), "everything was sealed"
    assert pending_files(door.settings) or door.sealed
    assert history.faults(in_events(door)) == []
    assert errors.read_text() == ""


def test_trace_shows_write_then_sync_then_reply(door: Door, tmp_path: Path) -> None:
    """What a kill cannot show: the reply leaves only after the disk confirmed."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: scripts/system_packages.sh does it")
    trace = tmp_path / "trace"
    key = door.key().key
    command = [
        strace, "-f", "-o", str(trace), "-e", "trace=write,fsync,fdatasync,writev,sendto,sendmsg",
        "-s", "64", sys.executable, "-c", "from clickstream_platform.cli import main; main()",
        "collect", "--port", "0", "--data", str(door.settings.data),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)", line)
        if found is None:
            pytest.skip("strace may not trace here (ptrace is forbidden)")
        collector = Running(process.pid, int(found[1]))
        for number in range(3):
            assert send(collector.dial(), key, [event(number)]) == "ok"
        # strace hands signals on to nobody: the collector is its only child.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGTERM)
        process.wait(timeout=30)
        for connection in collector.dialled:
            connection.close()
        process.stdout.close()
    steps, folders = [], 0
    for call in trace.read_text().splitlines():
        if "_crc" in call and "write(" in call:
            steps.append("write")
        elif ("fdatasync(" in call and "unfinished" not in call) or "fdatasync resumed" in call:
            assert call.rstrip().endswith("= 0"), call
            steps.append("sync")
        elif " fsync(" in call and not steps:
            folders += 1
        elif "HTTP/1.1 200" in call:
            steps.append("reply")
    assert steps == ["write", "sync", "reply"] * 3
    assert folders >= 2, "the names of the file and of its folder were synced before"
