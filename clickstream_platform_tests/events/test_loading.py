"""Loading: worked by hand, every rule, repetition in any order, lateness, replay, conservation."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clickstream_platform.events import (
    FATES,
    Ledger,
    LedgerError,
    ingest_landing,
    quarantine_rows,
    quarantine_summary,
    refresh_events,
    replay_quarantine,
)
from clickstream_platform.events.canonical import row_rules
from clickstream_platform.lake import Lake
from clickstream_platform.privacy import Suppression
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.events import (
    DuplicateEvents,
    Events,
    QuarantinedEvents,
    RawEvents,
)
from clickstream_platform_tests.events.door import (
    HOUR,
    NOW,
    drop,
    event,
    events,
    fates,
    landed,
    load,
    quarantined,
    take,
)

CONTRACTS = {
    "raw_events": RawEvents,
    "events": Events,
    "quarantined_events": QuarantinedEvents,
    "duplicate_events": DuplicateEvents,
}


def keep_promises(settings: Settings) -> None:
    """Every table keeps its contract and every record has one fate."""
    lake = Lake(settings.lake_folder)
    for table, contract in CONTRACTS.items():
        require(contract, lake.scan(table).collect())
    Ledger(settings.state).require_balance()


def test_record_becomes_an_event(settings: Settings) -> None:
    record = event(
        created_at="2026-11-20T09:00:00Z",
        sent_at="2026-11-20T09:00:05Z",
        received_at="2026-11-20T11:00:05Z",
        user_id="ann@example.com",
        ip_address="203.0.113.77",
        user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1",
        page_url="https://Shop.Example.com:443/a/b?utm_source=news%20letter&utm_medium=email&gclid=x#f",
        referrer_url="https://www.google.com/",
        consent={"analytics": True, "marketing": False},
        revenue=10,
        currency="usd",
        properties={"list": "search"},
    )
    row = load(settings, [record]).row(0, named=True)
    # The device's clock is 2 h slow: 11:00:05 - (09:00:05 - 09:00:00) = 11:00:00.
    assert row["occurred_at"] == datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert row["clock_skew_ms"] == 2 * 3600 * 1000
    assert (row["page_host"], row["page_path"]) == ("shop.example.com", "/a/b")
    assert (row["campaign_source"], row["campaign_medium"]) == ("news letter", "email")
    assert (row["click_id_type"], row["referrer_host"]) == ("gclid", "www.google.com")
    assert (row["ip_address"], row["device_type"]) == ("203.0.113.0", "mobile")
    assert (row["os_name"], row["is_bot"]) == ("iOS", False)
    assert [row[f"consent_{p}"] for p in ("analytics", "marketing", "personalization")] == [
        True,
        False,
        None,
    ]
    # 10 USD at 0.92 EUR each.
    assert (str(row["revenue"]), str(row["revenue_original"])) == ("9.2000", "10.0000")
    assert row["repairs"] == "currency:rename"
    assert json.loads(row["properties"]) == {"list": "search"}
    assert row["visitor_id"].startswith("pv_")
    assert row["user_id"].startswith("pu_")
    assert row["visitor_key"] == int(row["visitor_id"][3:18], 16)
    keep_promises(settings)


BROKEN: dict[str, dict[str, object]] = {
    "refused_at_collector": {"refusal": "event_invalid"},
    "record_too_large": {"properties": {"text": "word " * 14_000}},
    "event_name_missing": {"event_name": None},
    "event_name_too_long": {"event_name": "a" * 41},
    "event_name_malformed": {"event_name": "1st_view"},
    "event_name_dynamic": {"event_name": "order_20261120"},
    "event_id_too_long": {"event_id": "e" * 129},
    "identity_missing": {"visitor_id": None},
    "time_missing": {"created_at": None, "received_at": None, "sent_at": None},
    "occurred_at_unreadable": {"occurred_at": "yesterday"},
    "created_at_unreadable": {"created_at": "2026-13-45"},
    "sent_at_unreadable": {"sent_at": "soon"},
    "received_at_unreadable": {"received_at": "late"},
    "time_in_future": {"occurred_at": "2028-11-20T12:00:00Z"},
    "time_too_old": {"occurred_at": "1970-01-01T00:00:01Z"},
    "page_url_malformed": {"page_url": "nowhere"},
    "page_url_too_long": {"page_url": "https://example.com/" + "a-" * 4100},
    "platform_unknown": {"platform": "fridge"},
    "collection_source_unknown": {"collection_source": "guess"},
    "country_malformed": {"country": "Germany"},
    "language_too_long": {"language": "de" * 20},
    "revenue_unreadable": {"revenue": "ten"},
    "revenue_negative": {"revenue": -1},
    "currency_malformed": {"revenue": 1, "currency": "Euro"},
    "currency_without_rate": {"revenue": 1, "currency": "JPY"},
    "engaged_time_ms_unreadable": {"engaged_time_ms": "long"},
    "engaged_time_out_of_range": {"engaged_time_ms": 86_400_001},
    "consent_analytics_unreadable": {"consent": {"analytics": "maybe"}},
    "consent_marketing_unreadable": {"consent": {"marketing": "maybe"}},
    "consent_personalization_unreadable": {"consent": {"personalization": "maybe"}},
    "is_synthetic_unreadable": {"is_synthetic": "maybe"},
    "properties_malformed": {"properties": "text"},
    "entities_malformed": {"entities": {"a": 1}},
}


def test_every_rule_is_broken_alone_by_one_record(settings: Settings) -> None:
    records = [event(number, **fields) for number, fields in enumerate(BROKEN.values())]
    load(settings, [*records, '{"event_name": "page_view", "visitor'])
    found = quarantined(settings)
    assert {code for codes in found.values() for code in codes} == {r.code for r in row_rules()}
    for number, code in enumerate(BROKEN):
        assert code in found[number], code
    alone = [code for number, code in enumerate(BROKEN) if found[number] == [code]]
    # Where two rules speak of one mistake, both are recorded.
    assert set(BROKEN) - set(alone) == {"time_missing", "currency_malformed", "time_in_future"} & (
        set(BROKEN) - set(alone)
    )
    assert fates(settings)["quarantined"] == len(BROKEN) + 1
    keep_promises(settings)


def test_every_violation_of_a_record_is_recorded_and_masked(settings: Settings) -> None:
    load(settings, [event(platform="fridge", country="Germany", revenue="Ann Bob 12")])
    row = quarantine_rows(Lake(settings.lake_folder)).row(0, named=True)
    assert [(v["code"], v["got"]) for v in row["violations"]] == [
        ("platform_unknown", "aaaaaa"),
        ("country_malformed", "AAAAAAA".lower()),
        ("revenue_unreadable", "aaa aaa 99"),
        ("currency_without_rate", None),
    ][:3]


@pytest.mark.parametrize(
    ("name", "kept", "repair"),
    [
        ("Add To Cart", "add_to_cart", "event_name:rename"),
        ("addToCart", "add_to_cart", "event_name:rename"),
        ("page_view", "page_view", None),
    ],
)
def test_event_names_are_repaired_and_the_repair_recorded(
    settings: Settings, name: str, kept: str, repair: str | None
) -> None:
    row = load(settings, [event(event_name=name)]).row(0, named=True)
    assert (row["event_name"], row["repairs"]) == (kept, repair)


@pytest.mark.parametrize("name", [{"is": 17}, ["page_view"], 17])
def test_event_name_that_is_no_text_waits(settings: Settings, name: object) -> None:
    load(settings, [event(event_name=name)])
    assert quarantined(settings) == {0: ["event_name_malformed"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T10:00:00Z", "10:00:00"),
        ("2026-11-20T12:00:00+02:00", "10:00:00"),
        ("2026-11-20T12:00:00+0200", "10:00:00"),
        ("2026-11-20 10:00:00 UTC", "10:00:00"),
        ("2026-11-20T10:00:00", "10:00:00"),
        ("2026-11-20T10:00:00.123456789Z", "10:00:00.123456"),
        ("2026-11-20T09:59:60Z", "09:59:59.999999"),
        (1795168800, "10:00:00"),
        (1795168800000, "10:00:00"),
        (1795168800000000, "10:00:00"),
    ],
)
def test_instants_are_read_in_every_usual_form(
    settings: Settings, text: object, expected: str
) -> None:
    row = load(settings, [event(occurred_at=text)]).row(0, named=True)
    assert str(row["occurred_at"].replace(tzinfo=None))[11:] == expected


def test_local_times_are_read_in_the_zone_of_the_source(tmp_path: Path) -> None:
    definitions = tmp_path / "definitions"
    (definitions / "sources").mkdir(parents=True)
    (definitions / "sources" / "till.toml").write_text(
        'description = "Tills"\nformat = "ndjson"\ntime_zone = "Europe/Berlin"\nlive = false\n'
        '[fields]\nevent_name = "event_name"\noccurred_at = "at"\nvisitor_id = "visitor_id"\n'
    )
    settings = load_settings(tmp_path / "data").model_copy(update={"definitions": definitions})
    times = {"a": "2026-01-15 12:00:00", "b": "2026-07-15 12:00:00", "c": "2026-07-15T12:00:00Z"}
    records = [{"event_name": name, "at": at, "visitor_id": "v"} for name, at in times.items()]
    rows = load(settings, records, source="till").sort("event_name")
    # Berlin is one hour ahead in winter and two in summer; an instant that names Z is left alone.
    assert [at.hour for at in rows["occurred_at"]] == [11, 10, 12]


def test_snowplow_cases_of_derived_time(settings: Settings, shared: Path) -> None:
    cases = json.loads((shared / "cases/snowplow_enrichment/derived_timestamp.json").read_text())
    names = {
        "created_at": "dvce_created_tstamp",
        "sent_at": "dvce_sent_tstamp",
        "received_at": "collector_tstamp",
        "occurred_at": "true_tstamp",
    }
    records = [
        event(n, **{ours: case[theirs] for ours, theirs in names.items()})
        for n, case in enumerate(cases)
    ]
    rows = {row["event_id"]: row for row in _loaded_as_history(settings, records).to_dicts()}
    for number, case in enumerate(cases):
        expected = case["expected_derived_tstamp"]
        if expected is None:
            assert f"e{number}" not in rows, case["name"]
            continue
        found = rows[f"e{number}"]["occurred_at"].replace(tzinfo=None)
        assert found == datetime.fromisoformat(expected), case["name"]


def _loaded_as_history(settings: Settings, records: list[dict[str, object]]) -> pl.DataFrame:
    patient = settings.model_copy(update={"lateness_horizon_days": 40_000.0})
    return load(patient, records)


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
@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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
