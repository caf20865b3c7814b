"""The platform as people run it: the UI's own server and daemon, asked over GraphQL.

Runs are forked, for there are many; `test_live_kills` has those of the default launcher.
"""

import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clickstream_platform.orchestration import dagster_home
from clickstream_platform_tests.orchestration.served import (
    ANN,
    BOB,
    Served,
    event,
    holders,
    ledger,
    loaded,
    prepare,
    serving,
    settled,
    until,
)

pytestmark = [pytest.mark.daemon, pytest.mark.slow]

SESSIONS = ("sessions", "session_events", "sessionless_events", "runaway_sessions")
IDENTITY = ("identity_map", "identity_merges", "identity_conflicts")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A platform that has taken one file of Ann and Bob."""
    with serving(prepare(tmp_path_factory.mktemp("live")), is_forking=True) as served:
        people = [event(n, user=user) for user in (ANN, BOB) for n in range(5)]
        served.drop("first.ndjson", people)
        loaded(served, 10)
        yield served


def test_file_that_lands_reaches_the_crm_in_one_run(served: Served) -> None:
    told = until(served.outbox, "the CRM was told")
    assert {record["id"] for record in told} == {ANN, BOB}
    (run,) = served.runs(pipelineName="ingest_tick")
    assert run["status"] == "SUCCESS"
    fates = ledger(served)
    assert (fates["received"], fates["loaded"]) == (10, 10)


def test_checks_and_freshness_can_be_read_back(served: Served) -> None:
    checks = served.checks("events")
    assert checks["contract"]["evaluation"]["success"]
    assert checks["ledger"]["evaluation"]["success"]
    assert checks["ledger"]["status"] == "SUCCEEDED"

    def is_fresh() -> bool:
        info = served.assets()["events"]["freshnessStatusInfo"]
        return bool(info) and info["freshnessStatus"] == "HEALTHY"

    until(is_fresh, "the events are fresh")


def test_assets_tell_what_they_hold(served: Served) -> None:
    (told,) = served.assets()["sessions"]["assetMaterializations"]
    entries = {entry["label"]: entry for entry in told["metadataEntries"]}
    assert entries["dagster/row_count"]["intValue"] == 2
    days = served.clickstream("sql", "SELECT CAST(session_date AS VARCHAR) AS day FROM sessions")
    assert told["partition"] in {row["day"] for row in days}
    assert {"dagster/row_count", "dagster/uri"} <= entries.keys()


def test_assets_can_be_materialised(served: Served) -> None:
    tags = {"dagster/partition": datetime.now(UTC).date().isoformat()}
    run = served.run("__ASSET_JOB", assets=SESSIONS, tags=tags)
    assert run["status"] == "SUCCESS", served.said(run["runId"])
    run = served.run("__ASSET_JOB", assets=IDENTITY)
    assert run["status"] == "SUCCESS", served.said(run["runId"])
    assert ledger(served)["loaded"] == 10


def test_partitions_can_be_backfilled(served: Served) -> None:
    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=back)).isoformat() for back in (1, 0)]
    assert served.backfill(SESSIONS, days) == "COMPLETED_SUCCESS"
    counted = served.clickstream("sql", "SELECT count(*) AS n, sum(events) AS events FROM sessions")
    assert [int(value) for value in counted[0].values()] == [2, 10]


def test_too_much_that_is_refused_raises_the_alarm(served: Served) -> None:
    bad = [event(n, user=BOB, event_id=f"bad-{n}", occurred_at="not a time") for n in range(25)]
    served.drop("bad.ndjson", bad)
    until(lambda: ledger(served)["quarantined"] == 25, "the bad file is taken")

    def alarm() -> dict[str, Any] | None:
        found = served.checks("quarantined_events").get("quarantine_share")
        return found if found and not found["evaluation"]["success"] else None

    found = until(alarm, "the alarm is raised")
    assert found["evaluation"]["severity"] == "WARN"
    entries = {entry["label"]: entry for entry in found["evaluation"]["metadataEntries"]}
    assert entries["alarming_sources"]["text"] == "web"
    settled(served)


def test_request_is_answered_by_its_opaque_identifier(served: Served) -> None:
    words = ("subject", "register", "export", "--user", "-")
    request_id = served.clickstream(*words, typed=f"{BOB}\n")["request_id"]
    config = {"ops": {"export_subject_data": {"config": {"request_id": request_id}}}}
    run = served.run("subject_export", config=config)
    assert run["status"] == "SUCCESS", served.said(run["runId"])
    with zipfile.ZipFile(served.settings.exports / f"{request_id}.zip") as archive:
        text = archive.read("data.json").decode()
    assert "page_view" in text
    assert ANN not in text
    assert "visitor of ann" not in text
    assert BOB not in served.said(run["runId"])


def test_what_is_no_identifier_of_a_request_is_refused_and_not_repeated(served: Served) -> None:
    config = {"ops": {"export_subject_data": {"config": {"request_id": "carol@example.com"}}}}
    run = served.run("subject_export", config=config)
    said = served.said(run["runId"])
    assert run["status"] == "FAILURE"
    assert "Register the request first" in said
    assert "carol" not in said
    served.ask(
        "mutation ($id: String!) { deletePipelineRun(runId: $id) { __typename } }", id=run["runId"]
    )


def test_erasure_leaves_nothing_of_a_person_anywhere(served: Served) -> None:
    words = ("subject", "register", "erase", "--user", "-")
    request_id = served.clickstream(*words, typed=f"{ANN}\n")["request_id"]
    config = {"ops": {"erase_subject_data": {"config": {"request_id": request_id}}}}
    run = served.run("subject_erase", config=config)
    assert run["status"] == "SUCCESS", served.said(run["runId"])
    settled(served)
    assert holders(served.data, ANN) == holders(served.data, "visitor of ann") == []
    assert holders(dagster_home(served.settings), request_id) != []
    assert holders(served.data, BOB) != []
    assert served.checks("events")["ledger"]["evaluation"]["success"]
    # The same file again, under another name: nobody comes back.
    before = ledger(served)["suppressed"]
    served.drop("again.ndjson", [event(n, user=user) for user in (ANN, BOB) for n in range(5)])

    until(lambda: ledger(served)["suppressed"] == before + 5, "the old file is suppressed")
    settled(served)
    (row,) = served.clickstream("sql", "SELECT count(DISTINCT user_id) AS users FROM events")
    assert int(row["users"]) == 1
    assert holders(served.data, ANN) == []
    assert holders(dagster_home(served.settings), "@example.com") == []
