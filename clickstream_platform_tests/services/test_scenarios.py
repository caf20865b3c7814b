"""Scenarios against a real server: requests, commands, patience; the command line; the plugin."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.collection.probes import read_scenario
from clickstream_platform.connectors import MicroClient, MicroUnreachableError
from clickstream_platform.services.collector import Micro
from clickstream_platform.services.scenarios import StepResult, run_scenario

pytest_plugins = ["pytester"]

load_commands()

TRACK = """
import json, os, sys, time, urllib.request
time.sleep(float(sys.argv[2]))
event = {"id": sys.argv[1], "name": sys.argv[1], "visitor_id": "v"}
body = json.dumps({"key": "k", "events": [event]}).encode()
urllib.request.urlopen(os.environ["MICRO_URL"] + "/v1/events", body)
"""
CHECKOUT = """
name: checkout
timeout_s: 8
settle_s: 0.2
steps:
  - name: landing
    send:
      - path: /v1/events
        body: {key: k, events: [{id: e1, name: page_view, visitor_id: v, page_url: "https://s.example/"}]}
    expect:
      only: true
      good: [{event: page_view, where: {page_url: {matches: s.example}}}]
  - name: a bad one
    send:
      - {path: /v1/events, body: {key: k, events: [{id: e2, name: purchase}]}}
    expect:
      bad: [{code: identity_missing}]
"""


def run(text: str, micro: Micro, folder: Path) -> list[StepResult]:
    return [*run_scenario(read_scenario(text, "s.yaml"), MicroClient(micro.url), folder=folder)]


def step_of(command: list[str], expect: str = "good: [{event: late}]", **more: object) -> str:
    said = "".join(f"\n    {name}: {value}" for name, value in more.items())
    run = f"run: {json.dumps(command)}\n    expect: {{{expect}}}{said}"
    return f"name: n\nsettle_s: 0.5\nsteps:\n  - name: s\n    {run}"


def test_steps_see_what_came_since_the_one_before(micro: Micro, tmp_path: Path) -> None:
    first, second = run(CHECKOUT, micro, tmp_path)
    assert (first.failures, second.failures) == ((), ())
    (again, _) = run(CHECKOUT, micro, tmp_path)
    assert again.failures == (), "it forgets what it held"


def test_command_finds_the_server_and_its_late_event_is_waited_for(
    micro: Micro, tmp_path: Path
) -> None:
    (tmp_path / "track.py").write_text(
        TRACK + "import subprocess\n"
        "if len(sys.argv) > 3:\n"
        "    subprocess.Popen([sys.executable, 'track.py', *sys.argv[3:]])\n"
    )
    late = [sys.executable, "track.py", "early", "0", "late", "0.6"]
    (result,) = run(step_of(late), micro, tmp_path)
    assert result.failures == ()
    assert result.took_s > 0.6
    none = "good: [{event: early}, {event: late, count: 0}]"
    (result,) = run(step_of([*late[:-1], "0.3"], none), micro, tmp_path)
    assert result.failures[0] == "expected 0 late; found 1", "what should not come is waited for"


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        pytest.param(
            [sys.executable, "-c", "raise SystemExit('no shop')"],
            f"the command {sys.executable} ended with 1: no shop",
            id="fails",
        ),
        pytest.param(
            [sys.executable, "-c", "import time; time.sleep(9)"],
            f"the command {sys.executable} was not done within 0.7 s",
            id="hangs",
        ),
        pytest.param(
            ["./gone"], "the command ./gone cannot be run: No such file or directory", id="gone"
        ),
    ],
)
def test_command_that_does_not_do_its_work(
    command: list[str], failure: str, micro: Micro, tmp_path: Path
) -> None:
    (result,) = run(step_of(command, timeout_s=0.7), micro, tmp_path)
    assert result.failures == (
        failure,
        "expected 1 late; found 0",
        "came, in order: no good event",
    )


def test_what_a_late_command_has_begun_ends_with_it(micro: Micro, tmp_path: Path) -> None:
    (tmp_path / "track.py").write_text(TRACK)
    code = f"import subprocess; subprocess.run([{sys.executable!r}, 'track.py', 'stray', '1.2'])"
    late = step_of([sys.executable, "-c", code], "", timeout_s=0.4).replace("0.5", "1.5")
    (result,) = run(late, micro, tmp_path)
    assert "was not done within 0.4 s" in result.failures[0]
    assert micro.good() == []


def test_proxies_of_the_environment_are_passed_by(
    micro: Micro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    assert MicroClient(micro.url).good() == []


def test_command_line_runs_its_own_server_or_another(micro: Micro, tmp_path: Path) -> None:
    file = tmp_path / "checkout.yaml"
    file.write_text(CHECKOUT)
    own = CliRunner().invoke(app, ["micro", "run", str(file), "--data", str(tmp_path / "data")])
    assert own.exit_code == 0, own.output
    assert own.stdout.startswith("passed: checkout: landing (")
    file.write_text(CHECKOUT.replace("e1, name: page_view", "e1, name: click"))
    other = CliRunner().invoke(app, ["micro", "run", str(file), "--url", micro.url])
    assert other.exit_code == 1
    first, expected, *_ = other.stdout.splitlines()
    assert first.startswith("failed: checkout: landing (")
    assert expected == "  expected 1 page_view where page_url matches 's.example'; found 0"
    told = CliRunner().invoke(app, ["micro", "run", str(file), "--url", micro.url, "--json"])
    assert [bool(it["failures"]) for it in json.loads(told.stdout)] == [True, False]


def test_what_is_no_micro_server_is_said() -> None:
    with pytest.raises(MicroUnreachableError, match=r":9: does not answer\. Start one by"):
        MicroClient("http://127.0.0.1:9").reset()


def test_plugin_gives_an_empty_server_to_each_test(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", checkout=CHECKOUT, broken=CHECKOUT.replace("s.example}", "other}"))
    pytester.makepyfile("""
        import json, urllib.request

        def track(micro, name):
            event = {"id": name, "name": name, "visitor_id": "v"}
            body = json.dumps({"key": "k", "events": [event]}).encode()
            urllib.request.urlopen(micro.url + "/v1/events", body)

        def test_first(micro):
            track(micro, "page_view")
            micro.expect_events("page_view")

        def test_second_sees_nothing_of_the_first(micro):
            micro.expect_events()

        def test_scenario(run_micro_scenario):
            run_micro_scenario("checkout.yaml")

        def test_scenario_that_fails(run_micro_scenario):
            run_micro_scenario("broken.yaml")
    """)
    pytester.makeini("[pytest]\nclickstream_data = shop")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        ["checkout", "landing: expected 1 page_view where page_url matches *"]
    )
    assert not (pytester.path / "shop").exists(), "nothing is written"


def test_plugin_costs_tests_that_do_not_use_it_no_engine(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_nothing():
            assert not {"polars", "duckdb", "uvicorn"} & sys.modules.keys()
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q").assert_outcomes(passed=1)
