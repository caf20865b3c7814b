"""One record: by hand, every rule broken alone, repairs, and instants in every usual form."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.events import (
    quarantine_rows,
)
from clickstream_platform.events.canonical import row_rules
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.events.door import (
    event,
    fates,
    keep_promises,
    load,
    quarantined,
)


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
    "revenue_too_large": {"revenue": "10000000000"},
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


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("?utm_source=caf%C3%A9", {"campaign_source": "caf\u00e9"}, id="UTF-8"),
        pytest.param("?utm_source=caf%E9", {"campaign_source": "caf%E9"}, id="Latin-1"),
        pytest.param("?utm_source=%FF%FE", {"campaign_source": "%FF%FE"}, id="no text at all"),
        pytest.param("?utm_source=%E0%A4%A", {"campaign_source": "%E0%A4%A"}, id="cut off"),
        pytest.param("?utm_source=%ED%A0%80", {"campaign_source": "%ED%A0%80"}, id="surrogate"),
        pytest.param("?utm_source=&utm_source=b", {"campaign_source": "b"}, id="first is empty"),
        pytest.param("?utm_source=", {"campaign_source": None}, id="empty"),
        pytest.param(
            "#utm_source=a&utm_medium=b",
            {"campaign_source": "a", "campaign_medium": "b"},
            id="in the fragment",
        ),
        pytest.param("?ScCid=x", {"click_id_type": "sccid"}, id="click id in capitals"),
        pytest.param("?gclid=&fbclid=x", {"click_id_type": "fbclid"}, id="empty click id"),
        pytest.param("?xgclid=1", {"click_id_type": None}, id="name that ends like a click id"),
    ],
)
def test_campaign_is_read_from_any_address(
    settings: Settings, address: str, expected: dict[str, str | None]
) -> None:
    other = event(2, page_url="https://shop.example.com/?utm_source=other")
    rows = load(settings, [event(1, page_url=f"https://shop.example.com/{address}"), other])
    found = rows.filter(event_id="e1").row(0, named=True)
    assert {name: found[name] for name in expected} == expected
    keep_promises(settings)


@pytest.mark.parametrize("revenue", ["1000000", 12345678.9, "9999999999.9999"])
def test_large_amounts_are_exact(settings: Settings, revenue: object) -> None:
    rows = load(settings, [event(revenue=revenue, currency="EUR")])
    assert float(rows["revenue"].item()) == float(rows["revenue_original"].item()) == float(revenue)  # type: ignore[arg-type]  # a number or a text of one


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59Z", "1e19"])
def test_time_beyond_what_dates_can_say_is_no_instant(settings: Settings, at: str) -> None:
    load(settings, [event(occurred_at=at, received_at=at)])
    assert quarantined(settings) == {0: ["occurred_at_unreadable", "received_at_unreadable"]}


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("[2001:db8::1]:8080", "[2001:db8::1]"),
        ("ann:secret@[2001:DB8::1]", "[2001:db8::1]"),
        ("ann@Shop.example:443", "shop.example"),
    ],
)
def test_host_is_without_user_and_port(settings: Settings, authority: str, host: str) -> None:
    rows = load(settings, [event(1, page_url=f"https://{authority}/p?a=b")])
    assert rows.select("page_host", "page_path").rows() == [(host, "/p")]


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
        ("Café öffnen", "cafe_offnen", "event_name:rename"),
        ("page_view", "page_view", None),
    ],
)
def test_event_names_are_repaired_and_the_repair_recorded(
    settings: Settings, name: str, kept: str, repair: str | None
) -> None:
    row = load(settings, [event(event_name=name)]).row(0, named=True)
    assert (row["event_name"], row["repairs"]) == (kept, repair)


@pytest.mark.parametrize(
    "name", ["購入", "購入 A", "click 購入", "Größe", "!", "a\u0301" * 2 + "ж"]
)
def test_event_name_is_not_cut_to_the_letters_that_fit(settings: Settings, name: str) -> None:
    # Without the others 購入 A and 商品 A would be one event.
    load(settings, [event(event_name=name)])
    assert quarantined(settings) == {0: ["event_name_malformed"]}


def test_shape_holds_no_letter_or_digit_of_any_writing(settings: Settings) -> None:
    load(settings, [event(event_name="Жанна-24 太郎 ٣")])
    (waiting,) = Lake(settings.lake_folder).scan("quarantined_events").collect().to_dicts()
    assert [v["got"] for v in waiting["violations"]] == ["aaaaa-99 aa 9"]


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
        ("2026-11-20t10:00:00z", "10:00:00"),
        ("2026-11-20T09:59:60z", "09:59:59.999999"),
        ("2026-11-20T10:00Z", "10:00:00"),
        ("2026-11-20T12:00+02:00", "10:00:00"),
        (1795168800123456789, "10:00:00.123456"),
        ("1.795168800123456789e18", "10:00:00.123456"),
        (1795168800, "10:00:00"),
        (1795168800000, "10:00:00"),
        (1795168800000000, "10:00:00"),
        (1795168800.25, "10:00:00.250000"),
        ("1795168800.25", "10:00:00.250000"),
        (1795168800250.5, "10:00:00.250500"),
        ("1.79516880025e9", "10:00:00.250000"),
    ],
)
def test_instants_are_read_in_every_usual_form(
    settings: Settings, text: object, expected: str
) -> None:
    row = load(settings, [event(occurred_at=text)]).row(0, named=True)
    assert str(row["occurred_at"].replace(tzinfo=None))[11:] == expected


@pytest.mark.parametrize(
    "number", [-(2**63), 2**63 - 1, 1e18, -1e30, "290000-01-01T00:00:00Z", "290000-01-01 (BC)"]
)
def test_number_that_is_no_instant_fails_for_its_own_record(
    settings: Settings, number: object
) -> None:
    kept = load(settings, [event(1, created_at=number, sent_at="290000-01-01T00:00:00Z"), event(2)])
    assert kept["event_id"].to_list() == ["e2"]
    assert list(quarantined(settings)) == [0]


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


@pytest.mark.parametrize(
    ("form", "text"),
    [("%d.%m.%Y %H:%M", "20.11.2026 10:00"), ("epoch_ns", "1795168800000000000")],
)
def test_time_of_another_format_waits_and_is_told_which(
    tmp_path: Path, form: str, text: str
) -> None:
    definitions = tmp_path / "definitions"
    (definitions / "sources").mkdir(parents=True)
    (definitions / "sources" / "till.toml").write_text(
        'description = "Tills"\nformat = "ndjson"\n[fields]\nevent_name = "event_name"\n'
        f'occurred_at = {{ field = "at", format = "{form}" }}\nvisitor_id = "visitor_id"\n'
    )
    settings = load_settings(tmp_path / "data").model_copy(update={"definitions": definitions})
    records = [{"event_name": "a", "at": at, "visitor_id": "v"} for at in (text, "10 o'clock")]
    (row,) = load(settings, records, source="till").to_dicts()
    assert str(row["occurred_at"]) == "2026-11-20 10:00:00+00:00"
    (waiting,) = Lake(settings.lake_folder).scan("quarantined_events").collect().to_dicts()
    (violation,) = waiting["violations"]
    assert violation["expected"] == f"an instant as {form}"


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
