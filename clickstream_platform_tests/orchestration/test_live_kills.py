"""The platform as people run it, with the default launcher, when its processes are killed."""

import os
import signal
from collections.abc import Iterator

import pytest

from clickstream_platform.orchestration import dagster_home
from clickstream_platform_tests.orchestration.served import (
    ANN,
    Served,
    event,
    holders,
    ledger,
    loaded,
    prepare,
    serving,
    until,
)

pytestmark = [pytest.mark.daemon, pytest.mark.slow]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A platform that has taken one file of Ann, in one run."""
    with serving(prepare(tmp_path_factory.mktemp("kills"))) as served:
        served.drop("first.ndjson", [event(n, user=ANN) for n in range(5)])
        loaded(served, 5)
        yield served


def test_file_that_lands_reaches_the_crm_in_one_run(served: Served) -> None:
    told = until(served.outbox, "the CRM was told")
    assert {record["id"] for record in told} == {ANN}
    (run,) = served.runs(pipelineName="ingest_tick")
    assert run["status"] == "SUCCESS"


def test_run_whose_process_is_killed_is_taken_up_again(served: Served) -> None:
    before = ledger(served)["loaded"]
    name = "carol@example.com"
    served.drop("many.ndjson", [event(n, user=name, event_id=f"c-{n}") for n in range(20_000)])

    run_id, pid = until(served.worker, "a run is at work")
    os.kill(pid, signal.SIGKILL)
    assert served.finished(run_id)["status"] == "FAILURE"
    loaded(served, before + 20_000)
    assert ledger(served)["loaded"] == before + 20_000
    (row,) = served.clickstream(
        "sql", "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM events"
    )
    assert int(row["n"]) == int(row["ids"]) == before + 20_000


def test_daemon_that_was_killed_misses_and_doubles_nothing(served: Served) -> None:
    before = ledger(served)["loaded"]
    name = "dora@example.com"
    served.drop("while-up.ndjson", [event(n, user=name, event_id=f"d-{n}") for n in range(50)])
    until(lambda: served.runs(statuses=["QUEUED", "STARTING", "STARTED"]), "a run was asked for")
    served.kill()
    served.drop("while-down.ndjson", [event(n, user=name, event_id=f"e-{n}") for n in range(50)])
    served.start()
    loaded(served, before + 100)
    assert ledger(served)["loaded"] == before + 100
    assert holders(dagster_home(served.settings), "@example.com") == []
