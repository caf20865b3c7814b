"""Loading: repetition in any order, lateness, replay, conservation."""

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clickstream_platform.events import (
    FATES,
    Ledger,
    LedgerError,
    ingest_landing,
    loading,
    pending_files,
    quarantine_summary,
    refresh_events,
    replay_quarantine,
)
from clickstream_platform.lake import Lake, polars_schema
from clickstream_platform.lake.schemas import stored
from clickstream_platform.privacy import Suppression
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.events.door import (
    HOUR,
    NOW,
    drop,
    event,
    events,
    fates,
    keep_promises,
    landed,
    load,
    take,
)

# -- Repetition --------------------------------------------------------------------------------


def test_earliest_arrival_stays_whichever_is_loaded_first(settings: Settings) -> None:
    early = event(1, received_at=(NOW - 2 * HOUR).isoformat(), page_url="https://a.example.com/")
    late = event(1, received_at=(NOW - HOUR).isoformat(), page_url="https://b.example.com/")
    assert load(settings, [late])["page_host"].to_list() == ["b.example.com"]
    assert load(settings, [early])["page_host"].to_list() == ["a.example.com"]
    duplicates = Lake(settings.lake_folder).scan("duplicate_events").collect()
    assert duplicates.select("event_id", "is_conflict").rows() == [("e1", True)]
    assert fates(settings)["duplicate"] == 1
    keep_promises(settings)


def test_ids_that_minimisation_made_equal_are_still_two_events(settings: Settings) -> None:
    ids = ["ann@example.com-1", "bob@example.com-1", "order [draft 2]"]
    rows = load(settings, [event(0, event_id=event_id) for event_id in ids])
    assert fates(settings)["loaded"] == rows.height == 3
    repairs = dict(zip(rows["event_id"].str.slice(0, 2), rows["repairs"], strict=True))
    assert repairs == {"d_": "event_id:derive", "or": None}
    assert not rows["event_id"].str.contains("@").any()


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
def test_orders_whose_ids_hold_an_address_stay_distinct(
    settings: Settings, separators: tuple[str, str]
) -> None:
    ids = [
        "ann@example.com-17",
        "bob@example.com-17",
        "ann@example.com-17",
        "A-17",
        "+49 170 5550100",
    ]
    purchases = [event(n, event_name="purchase", order_id=order) for n, order in enumerate(ids)]
    lines = [json.dumps(purchase, separators=separators) for purchase in purchases]
    orders = load(settings, lines)["order_id"].to_list()
    # Ann's order came twice, and counts once; nobody else's counts as hers.
    assert orders[0] == orders[2]
    assert len(set(orders)) == 4
    assert orders[3] == "A-17"
    assert all(re.fullmatch(r"pf_[a-p]{24}", orders[n]) for n in (0, 1, 4))
    again = load(settings, [event(9, event_name="purchase", order_id=ids[0])])
    assert again.row(by_predicate=pl.col("event_id") == "e9", named=True)["order_id"] == orders[0]
    held = Lake(settings.lake_folder).scan("raw_events").collect().write_ndjson()
    assert not re.search(r"ann@|bob@|5550100|\[email\]", held)


def test_resent_event_is_a_duplicate_without_conflict(settings: Settings) -> None:
    load(settings, [event(1), event(1, sent_at=NOW.isoformat(), received_at=NOW.isoformat())])
    duplicates = Lake(settings.lake_folder).scan("duplicate_events").collect()
    assert duplicates["is_conflict"].to_list() == [False]


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, object]]:
    """Records with repetitions, conflicts, late ones and broken ones."""
    numbers = st.integers(0, 6)
    hours = st.integers(0, 24 * 40)
    return draw(
        st.lists(
            st.builds(
                lambda n, h, name, ok: event(
                    n,
                    event_name=name if ok else None,
                    occurred_at=(NOW - h * HOUR).isoformat(),
                    received_at=(NOW - HOUR + timedelta(seconds=h % 7)).isoformat(),
                ),
                numbers,
                hours,
                st.sampled_from(["page_view", "login"]),
                st.booleans(),
            ),
            min_size=1,
            max_size=10,
        )
    )


@given(data=st.data(), records=streams())
@hypothesis_settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_and_split_gives_the_same_events_as_a_full_refresh(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, records: list[dict[str, object]]
) -> None:
    # Ties of arrival time would be broken by batch; a hair apart, content alone decides.
    for place, record in enumerate(records):
        at = datetime.fromisoformat(str(record["received_at"]))
        record["received_at"] = (at + timedelta(microseconds=place)).isoformat()
    once = load_settings(tmp_path_factory.mktemp("once"))
    parts = load_settings(tmp_path_factory.mktemp("parts"))
    shutil.copytree(_vault(once), _vault(parts), dirs_exist_ok=True)
    expected = load(once, records)
    shutil.copytree(_vault(once), _vault(parts), dirs_exist_ok=True)
    shuffled = data.draw(st.permutations(records))
    cut = data.draw(st.integers(0, len(shuffled)))
    for part in (shuffled[:cut], shuffled[cut:]):
        if part:
            load(parts, part)
    columns = [c for c in expected.columns if c not in {"batch_id", "ordinal"}]
    assert events(parts).select(columns).equals(expected.select(columns))
    refresh_events(parts, full=True)
    assert events(parts).select(columns).equals(expected.select(columns))
    for settings in (once, parts):
        Ledger(settings.state).require_balance()
    assert {f: fates(once)[f] for f in FATES} == {f: fates(parts)[f] for f in FATES}


def _vault(settings: Settings) -> Path:
    folder = settings.state / "vault"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# -- Lateness ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "fate"),
    [
        pytest.param(timedelta(days=3), "loaded", id="three days late"),
        pytest.param(timedelta(days=30), "loaded", id="at the horizon"),
        pytest.param(timedelta(days=30, microseconds=1), "too_late", id="beyond the horizon"),
        pytest.param(timedelta(days=400), "too_late", id="a year late"),
    ],
)
def test_late_event_goes_to_its_date_until_the_horizon(
    settings: Settings, age: timedelta, fate: str
) -> None:
    load(settings, [event(occurred_at=(NOW - age).isoformat(), received_at=NOW.isoformat())])
    assert fates(settings)[fate] == 1
    loaded = events(settings)
    assert loaded["event_date"].to_list() == ([(NOW - age).date()] if fate == "loaded" else [])
    assert loaded["is_late"].to_list() == [True] * loaded.height
    keep_promises(settings)


def test_imported_history_is_never_late(settings: Settings) -> None:
    text = (
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,"
        "user_session\n2019-10-01 00:00:00 UTC,view,1,2,,a,3.0,4,5\n"
    )
    path = settings.landing / "shop" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    take(settings, path)
    assert events(settings).select("event_name", "is_late").rows() == [("view_item", False)]


# -- Replay and rebuild ------------------------------------------------------------------------


def test_replay_after_a_mended_mapping_loads_what_waited_once(
    settings: Settings, tmp_path: Path
) -> None:
    definitions = tmp_path / "definitions"
    (definitions / "sources").mkdir(parents=True)
    file = definitions / "sources" / "till.toml"
    text = (
        'description = "Tills"\nformat = "ndjson"\nlive = false\n[fields]\n'
        'event_name = "name"\noccurred_at = "at"\nvisitor_id = "NOBODY"\n'
    )
    file.write_text(text)
    mine = settings.model_copy(update={"definitions": definitions})
    records = [
        {"name": "login", "at": "2026-11-20T10:00:00Z", "till": "t1"},
        {"name": "login", "at": "2026-11-20T10:00:00Z", "till": "t1"},
    ]
    assert load(mine, records, source="till").is_empty()
    assert quarantine_summary(Lake(mine.lake_folder))["code"].to_list() == ["identity_missing"]
    file.write_text(text.replace("NOBODY", "till"))
    details = replay_quarantine(mine, code="identity_missing").details
    assert (details["waiting_before"], details["waiting_after"]) == (2, 0)
    assert events(mine).height == 2
    assert events(mine)["visitor_id"].n_unique() == 1
    before = events(mine)
    replay_quarantine(mine)
    assert events(mine).equals(before)
    keep_promises(mine)


def test_hour_is_derived_anew_without_a_difference(settings: Settings) -> None:
    load(settings, [event(n, event_name="x" if n % 2 else None) for n in range(6)])
    before = events(settings)
    refreshed = refresh_events(settings, hours=[NOW.replace(minute=0)])
    assert refreshed.rows_read == 6
    assert events(settings).equals(before)
    assert refresh_events(settings, hours=[NOW + HOUR]).rows_read == 0
    keep_promises(settings)


def test_nothing_landed_writes_nothing(settings: Settings) -> None:
    load(settings, [event()])
    version = Lake(settings.lake_folder).version("events")
    assert refresh_events(settings).version == version


def test_interrupted_load_is_taken_out_and_loaded_again(settings: Settings) -> None:
    load(settings, [event(1), event(2), event(3, event_name=None)])
    ledger = Ledger(settings.state)
    ledger.set_state([str(row["batch_id"]) for row in ledger.batches()], "loading")
    refresh_events(settings)
    assert events(settings)["event_id"].to_list() == ["e1", "e2"]
    keep_promises(settings)


def test_a_batch_beaten_just_before_a_crash_is_counted_anew_after_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(settings, [event(1, received_at=(NOW - HOUR).isoformat()), event(2)])

    def crash(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loading, "recount", crash)
        with pytest.raises(KeyboardInterrupt):
            load(settings, [event(1, received_at=(NOW - 2 * HOUR).isoformat())])
    refresh_events(settings)
    counted = {(row["loaded"], row["duplicate"]) for row in Ledger(settings.state).batches()}
    assert counted == {(1, 1), (1, 0)}
    keep_promises(settings)


def test_unbalanced_ledger_is_an_error(settings: Settings) -> None:
    load(settings, [event(1)])
    ledger = Ledger(settings.state)
    batch_id = str(ledger.batches()[0]["batch_id"])
    ledger.count({batch_id: {"loaded": 0}})
    with pytest.raises(LedgerError, match="not the sum of fates in 1 batches"):
        ledger.require_balance()


def test_poison_row_among_ten_thousand_costs_one_row(settings: Settings) -> None:
    records: list[object] = [event(n) for n in range(10_000)]
    records[5_000] = '{"event_name": "page_view", "deep": ' + "[" * 2_000
    load(settings, records)
    assert (fates(settings)["loaded"], fates(settings)["quarantined"]) == (9_999, 1)


def test_large_batch_is_loaded_in_stretches(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickstream_platform.events.loading.CHUNK_ROWS", 7)
    load(settings, [event(n % 15, received_at=(NOW - HOUR).isoformat()) for n in range(20)])
    assert events(settings).height == 15
    assert (fates(settings)["loaded"], fates(settings)["duplicate"]) == (15, 5)
    keep_promises(settings)


def test_suppressed_people_are_counted_and_leave_nothing(settings: Settings) -> None:
    path = drop(settings, "a.ndjson", [event(1, user_id="bob"), event(2, visitor_id="v2")])
    Suppression(settings.state / "vault").add("user", ["bob"], request_id="r1", now=NOW)
    take(settings, path)
    assert events(settings)["event_id"].to_list() == ["e2"]
    assert fates(settings)["suppressed"] == 1
    keep_promises(settings)


def test_known_file_is_not_taken_twice(settings: Settings) -> None:
    path = drop(settings, "a.ndjson", [event(1)])
    take(settings, path)
    refreshed = ingest_landing(settings, now=NOW + HOUR, files=[landed(settings, path)])
    assert refreshed.details["known"] == 1
    assert fates(settings)["received"] == 1


LISTED = """
description = "d"
format = "csv"
columns = ["event_id", "event_name", "received_at", "visitor_id"]
[fields]
event_id = "event_id"
event_name = "event_name"
received_at = "received_at"
visitor_id = "visitor_id"
"""


def _aged(path: Path) -> Path:
    os.utime(path, (0, 0))  # still for long enough to be taken
    return path


def test_refused_file_is_taken_when_its_adapter_is_mended_and_only_then(
    settings: Settings, tmp_path: Path
) -> None:
    own = settings.model_copy(update={"definitions": tmp_path / "own"})
    adapter = tmp_path / "own" / "sources" / "till.toml"
    adapter.parent.mkdir(parents=True)
    adapter.write_text(LISTED.replace('"csv"', '"parquet"'))
    line = f"e1,page_view,{NOW.isoformat()},visitor-ann"
    _aged(drop(own, "a.csv", [line], "till"))

    def taken() -> dict[str, object]:
        details = ingest_landing(own, now=NOW).details
        refresh_events(own)
        return {name: details[name] for name in ("files", "refused", "known")}

    assert taken() == {"files": 0, "refused": 1, "known": 0}
    assert taken() == {"files": 0, "refused": 0, "known": 0}
    adapter.write_text(LISTED.replace('"csv"', '"parquet"').replace('"d"', '"still"'))
    assert taken() == {"files": 0, "refused": 1, "known": 0}
    adapter.write_text(LISTED)
    assert taken() == {"files": 1, "refused": 0, "known": 0}
    assert taken() == {"files": 0, "refused": 0, "known": 0}
    adapter.write_text(LISTED.replace('"d"', '"edited"'))
    assert taken() == {"files": 0, "refused": 0, "known": 0}
    assert events(own)["event_id"].to_list() == ["e1"]
    keep_promises(own)


def test_file_that_an_earlier_version_refused_is_tried_once_more(settings: Settings) -> None:
    path = _aged(drop(settings, "a.parquet", ["PAR1 and no more"]))
    assert ingest_landing(settings, now=NOW).details["refused"] == 1
    with closing(sqlite3.connect(settings.state / "ledger.db")) as ledger:
        ledger.execute("DROP TABLE refusals")
    assert [file.path for file in pending_files(settings)] == [path]
    assert ingest_landing(settings, now=NOW).details["refused"] == 1
    assert pending_files(settings) == []


def test_files_are_taken_into_tables_of_an_earlier_version(settings: Settings) -> None:
    for table in ("raw_events", "events", "quarantined_events", "duplicate_events"):
        spec = stored(table)
        empty = pl.DataFrame(schema=polars_schema(table)).drop("identifiers")
        folder = settings.lake_folder / table
        folder.mkdir(parents=True)
        write_deltalake(folder, empty.to_arrow(), partition_by=list(spec.partition_by))
    load(settings, [event(1), event(2, event_name=None)])
    assert replay_quarantine(settings).details["waiting_after"] == 1
    assert events(settings)["event_id"].to_list() == ["e1"]
    keep_promises(settings)
