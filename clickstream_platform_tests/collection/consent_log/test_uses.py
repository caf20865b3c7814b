"""Every use of rows about people, against the table of purposes: none without consent."""

from datetime import timedelta

import polars as pl
import pytest

from clickstream_platform.collection.consent import load_policy
from clickstream_platform.identity.features import consented_events
from clickstream_platform.identity.people import with_person
from clickstream_platform.lake import Lake, connect, view
from clickstream_platform.orchestration.stages import STAGES, Work, bring_up_to_date
from clickstream_platform.reports.figures import Figures
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform.tables.catalog import TABLES, StoredTable
from clickstream_platform_tests.frames import surrogate
from clickstream_platform_tests.privacy.household import (
    ANN,
    ANN_PHONE,
    BOB,
    BOB_LAPTOP,
    TODAY,
    land,
    ndjson,
    record,
    token,
)

OF_PEOPLE = [table for table in TABLES.values() if table.person_columns]
IN_USE = [table for table in OF_PEOPLE if table.processing is not None]
CHOICES = ("analytics", "marketing", "personalization")
SEGMENT = """\
description = "Everybody with a session."
owner = "us"
purpose = "personalization"
expires = 2030-01-01
table = "sessions"
"""


@pytest.mark.parametrize("table", OF_PEOPLE, ids=lambda table: table.name)
def test_table_of_people_says_what_it_is_used_for(table: StoredTable) -> None:
    assert (table.processing is None) == bool(table.held_for), "one or the other"
    known = {each.name for each in load_policy().processing if not each.is_exempt}
    assert table.processing is None or table.processing in known
    assert table.processing or not table.asks_besides


def test_what_is_held_whatever_people_chose_is_listed_here() -> None:
    # A new table of people is in use for a processing, or a reviewer has seen why it is not.
    assert {table.name for table in OF_PEOPLE} - {table.name for table in IN_USE} == {
        *("raw_events", "events", "quarantined_events", "duplicate_events"),
        *("identity_decisions", "identity_merges", "identity_conflicts", "identity_map"),
        *("consents", "person_consents"),
        *("sessions", "session_events", "sessionless_events"),
        *("bot_behaviour", "runaway_sessions"),
        "crm_syncs",
    }


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A shop in Germany in which Ann and Bob agreed to everything and bought something."""
    folder = tmp_path_factory.mktemp("shop")
    segments = folder / "definitions" / "segments"
    segments.mkdir(parents=True)
    (segments / "everybody.toml").write_text(SEGMENT)
    (segments / "written_to.toml").write_text(SEGMENT.replace("personalization", "marketing"))
    monkeypatch.setenv("CLICKSTREAM_DEFINITIONS", str(folder / "definitions"))
    settings = load_settings(folder / "data")
    bought = {"event_name": "purchase", "revenue": 10, "currency": "EUR", "country": "DE"}
    rows = [
        record(
            number,
            visitor,
            user,
            order_id=f"o{number}",
            consent=dict.fromkeys(CHOICES, True),
            **bought,
        )
        for number, (visitor, user) in enumerate([(ANN_PHONE, ANN), (BOB_LAPTOP, BOB)])
    ]
    land(settings, "visits.ndjson", ndjson(rows))
    return settings


def materialize(settings: Settings, *, day: int = 0) -> Lake:
    work = Work(settings=settings, now=TODAY + timedelta(days=day))
    for stage in STAGES:
        bring_up_to_date(stage, work)
    return work.lake


def rows_in_use(lake: Lake, settings: Settings, person: str) -> dict[str, int]:
    """Rows of a person that are in use, by table."""
    who = token(settings, "user", person)
    found = {}
    for table in IN_USE:
        rows = lake.scan(table.name).filter(pl.sql_expr(table.in_use))
        is_theirs = [
            pl.col(name) == (surrogate(who) if name.endswith("_key") else who)
            for name in table.person_columns
        ]
        found[table.name] = rows.filter(pl.any_horizontal(is_theirs)).collect().height
    return found


def recognisable(lake: Lake, settings: Settings) -> set[str]:
    """Visitors whom probabilistic matching may look at."""
    backend = connect(settings.lake)
    events, people, held = (
        view(backend, lake, name) for name in ("events", "identity_map", "person_consents")
    )
    asked = consented_events(with_person(events, people), held, purpose="consent_personalization")
    return set(asked.select("visitor_id").to_polars()["visitor_id"])


def shown(lake: Lake, settings: Settings) -> int:
    """Sessions that a report counts."""
    figures = Figures(lake, settings)
    period = figures.period(30)
    return int(figures.frame("sessions_by_day", period)["sessions"].sum())


def test_nothing_is_in_use_of_who_withdrew(shop: Settings) -> None:
    lake = materialize(shop)
    before = {person: rows_in_use(lake, shop, person) for person in (ANN, BOB)}
    assert all(all(rows.values()) for rows in before.values()), "else the rest proves nothing"
    assert shown(lake, shop) == len(recognisable(lake, shop)) == 2

    no = record(9, "ann-tv", ANN, country="DE", consent=dict.fromkeys(CHOICES, False))
    land(shop, "withdrawal.ndjson", ndjson([no]))
    lake = materialize(shop, day=1)
    assert rows_in_use(lake, shop, ANN) == dict.fromkeys(before[ANN], 0)
    assert rows_in_use(lake, shop, BOB) == before[BOB]
    assert shown(lake, shop) == 1
    assert recognisable(lake, shop) == {token(shop, "visitor", BOB_LAPTOP)}
    told = lake.scan("crm_syncs").filter(pl.col("person_id") == token(shop, "user", ANN))
    assert told.sort("synced_at").collect()["operation"].to_list() == ["upsert", "remove"]

    yes = record(19, "ann-tv", ANN, country="DE", consent=dict.fromkeys(CHOICES, True))
    land(shop, "again.ndjson", ndjson([yes]))
    lake = materialize(shop, day=2)
    assert all(rows_in_use(lake, shop, ANN).values()), "what is given again is used again"


def members(lake: Lake, settings: Settings) -> dict[str, set[str]]:
    """Segments that each person is in."""
    rows = lake.scan("segment_members").filter(pl.col("until_at").is_null()).collect()
    return {
        person: set(rows.filter(person_id=token(settings, "user", person))["segment"])
        for person in (ANN, BOB)
    }


def test_segment_asks_for_its_own_purpose_and_for_measurement(shop: Settings) -> None:
    (shop.definitions / "segments" / "counted.toml").write_text(  # type: ignore[operator]  # it is set
        SEGMENT.replace("personalization", "analytics")
    )
    assert members(materialize(shop), shop)[ANN] >= {"everybody", "written_to", "counted"}
    took_back = [
        (ANN, "marketing", {"everybody", "counted"}),
        (BOB, "personalization", {"written_to", "counted"}),
        (ANN, "analytics", set()),
    ]
    for day, (person, purpose, left) in enumerate(took_back, start=1):
        no = record(10 * day, f"tv {person}", person, country="DE", consent={purpose: False})
        land(shop, f"{day}.ndjson", ndjson([no]))
        own = {"everybody", "written_to", "counted"}
        assert members(materialize(shop, day=day), shop)[person] & own == left
