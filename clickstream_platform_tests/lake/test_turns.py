"""Turns: who works on events keeps others waiting, whatever becomes of it."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clickstream_platform.lake import deriving, rewriting, turn


def test_others_wait_are_told_and_come_in(tmp_path: Path) -> None:
    told: list[str] = []
    order: list[str] = []
    waits = threading.Event()

    def tell(what: str, _done: int, _total: int) -> None:
        told.append(what)
        waits.set()

    def other() -> None:
        with turn(tmp_path, progress=tell):
            order.append("other")

    with turn(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "other"]
    assert told == ["waiting for another process that takes or loads events"]


def test_who_has_the_turn_may_ask_again(tmp_path: Path) -> None:
    with turn(tmp_path), turn(tmp_path):
        pass
    with turn(tmp_path):
        pass


def test_an_error_ends_the_turn(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), turn(tmp_path):
        _ = 1 / 0
    done = threading.Event()

    def other() -> None:
        with turn(tmp_path):
            done.set()

    threading.Thread(target=other).start()
    assert done.wait(60)


def test_a_process_that_dies_ends_its_turn(tmp_path: Path) -> None:
    takes = (
        "import pathlib, sys, time; from clickstream_platform.lake.turns import turn\n"
        "with turn(pathlib.Path(sys.argv[1])):\n    print('x', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", takes, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.kill()
    with turn(tmp_path):
        pass


def test_tables_are_derived_side_by_side_but_not_beside_an_erasure(tmp_path: Path) -> None:
    order: list[str] = []
    started, waits = threading.Event(), threading.Event()

    def derives() -> None:
        with deriving(tmp_path):
            started.set()
            assert waits.wait(60)
            order.append("derived")

    def erases() -> None:
        with rewriting(tmp_path, progress=lambda *_: waits.set()):
            order.append("erased")

    threads = [threading.Thread(target=derives), threading.Thread(target=erases)]
    threads[0].start()
    assert started.wait(60)
    with deriving(tmp_path), turn(tmp_path):
        threads[1].start()
        assert waits.wait(60)
    for thread in threads:
        thread.join(60)
    assert order == ["derived", "erased"]
    with (
        rewriting(tmp_path),
        deriving(tmp_path),
        turn(tmp_path),
    ):  # one thread is never in its own way
        pass
