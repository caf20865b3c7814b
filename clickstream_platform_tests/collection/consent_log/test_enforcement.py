"""Withdrawal, end to end: from landed files to segments, the CRM, an erasure and a verified log."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.collection.consent_log import verify_consent_log
from clickstream_platform.lake import Lake
from clickstream_platform.orchestration.stages import (
    CONSENT,
    STAGES,
    Stage,
    Work,
    bring_up_to_date,
)
from clickstream_platform.privacy import erase_subject, register_request
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.collection.consent.strings import own
from clickstream_platform_tests.privacy.household import (
    ANN,
    ANN_PHONE,
    BOB,
    BOB_LAPTOP,
    NOON,
    TODAY,
    land,
    ndjson,
    record,
    token,
)

SEGMENT = """\
description = "Everybody with a session."
owner = "us"
purpose = "{purpose}"
expires = 2030-01-01
table = "sessions"
"""

UP_TO_CONSENT = STAGES[: STAGES.index(CONSENT) + 1]

YES = {"analytics": True, "marketing": True, "personalization": True}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A shop with one segment for each purpose."""
    folder = tmp_path / "definitions" / "segments"
    folder.mkdir(parents=True)
    for purpose in ("marketing", "personalization"):
        (folder / f"all_{purpose}.toml").write_text(SEGMENT.format(purpose=purpose))
    monkeypatch.setenv("CLICKSTREAM_DEFINITIONS", str(tmp_path / "definitions"))
    return load_settings(tmp_path / "data")


def materialize(settings: Settings, *, day: int = 0, stages: tuple[Stage, ...] = STAGES) -> Lake:
    """The stages in order, as `clickstream materialize` runs them."""
    work = Work(settings=settings, now=TODAY + timedelta(days=day))
    for stage in stages:
        bring_up_to_date(stage, work)
    return work.lake


def inside(lake: Lake, segment: str) -> set[str]:
    members = lake.scan("segment_members").filter(
        (pl.col("segment") == segment) & pl.col("until_at").is_null()
    )
    return set(members.collect()["person_id"])


def synced(lake: Lake) -> list[tuple[str, str]]:
    """Person, and what the CRM was told last of each."""
    rows = lake.scan("crm_syncs").sort("synced_at").group_by("person_id").last().collect()
    return sorted(rows.select("person_id", "operation").iter_rows())


def test_withdrawal_takes_effect_at_the_next_run_for_old_data_too(shop: Settings) -> None:
    visits = [
        record(1, ANN_PHONE, ANN, consent=YES),
        record(2, BOB_LAPTOP, BOB, consent=YES),
    ]
    land(shop, "visits.ndjson", ndjson(visits))
    lake = materialize(shop)
    ann, bob = token(shop, "user", ANN), token(shop, "user", BOB)
    assert inside(lake, "all_marketing") == inside(lake, "all_personalization") == {ann, bob}
    assert synced(lake) == sorted([(ann, "upsert"), (bob, "upsert")])

    # Ann withdraws marketing on another device; it makes no session of a page.
    withdrawal = record(5, "ann-tv", ANN, event_name="consent_update", consent={"marketing": False})
    land(shop, "withdrawal.ndjson", ndjson([withdrawal]))
    lake = materialize(shop, day=1)
    assert inside(lake, "all_marketing") == {bob}
    assert inside(lake, "all_personalization") == {ann, bob}
    assert synced(lake) == sorted([(ann, "remove"), (bob, "upsert")])
    assert verify_consent_log(lake, shop).entries == 3


def credited(lake: Lake) -> dict[str, float]:
    """Conversions by channel, under one model."""
    rows = lake.scan("attribution_credits").filter(pl.col("model") == "linear").collect()
    return dict(rows.group_by("channel").agg(pl.col("credit").sum()).iter_rows())


def test_withdrawal_takes_credit_back(shop: Settings) -> None:
    mail = "https://shop.example/?utm_source=news&utm_medium=email"
    bought = {"event_name": "purchase", "revenue": 10, "currency": "EUR"}
    german = {"country": "DE", "page_url": mail}
    visits = [
        record(1, ANN_PHONE, ANN, consent=YES, **german),
        record(2, ANN_PHONE, ANN, order_id="o1", **german, **bought),
        record(3, BOB_LAPTOP, BOB, consent=YES, **german),
        record(4, BOB_LAPTOP, BOB, order_id="o2", **german, **bought),
        record(5, "passer-by-1", order_id="o3", **german, **bought),  # never said anything
    ]
    land(shop, "visits.ndjson", ndjson(visits))
    assert credited(materialize(shop)) == {"Email": 2.0}

    # On another device Ann denies what attribution needs beside measurement, Bob all of it.
    denied = {"consent_mode": {"ad_user_data": "denied"}}
    later = [
        record(20, "ann-tv", ANN, country="DE", event_name="consent_update", properties=denied),
        record(21, "bob-tv", BOB, country="DE", consent={"analytics": False}),
    ]
    land(shop, "later.ndjson", ndjson(later))
    lake = materialize(shop, day=1)
    assert credited(lake) == {"(no consent)": 1.0}
    assert lake.row_count("touchpoints") == 0
    assert lake.scan("conversions").collect()["person_id"].to_list() == [token(shop, "user", ANN)]


def test_choice_that_expires_takes_credit_back_by_itself(shop: Settings) -> None:
    # Made at noon of 2 March 2026, good for 396 days: until 2 April 2027.
    said = {"tcf_string": own(*range(1, 12), at=NOON)}
    visit = record(1, ANN_PHONE, event_name="purchase", country="DE", properties=said)
    land(shop, "visits.ndjson", ndjson([visit]))
    assert sum(credited(materialize(shop)).values()) == 1.0
    assert sum(credited(materialize(shop, day=392)).values()) == 1.0
    assert credited(materialize(shop, day=397)) == {}


SIGNALS: dict[str, tuple[dict[str, object], set[str]]] = {
    "a control": ({"gpc": True}, {"marketing"}),
    "a string that says no": ({"tcf_string": own(1, 8, 9, at=NOON)}, {"marketing", "profiles"}),
    "a string that says yes": ({"tcf_string": own(*range(1, 12), at=NOON)}, set()),
    "a string that cannot be read": ({"tcf_string": "?"}, {"marketing", "profiles"}),
    "US Privacy": ({"us_privacy": "1YYN"}, {"marketing"}),
    "Consent Mode": (
        {"consent_mode": {"ad_user_data": "denied", "personalization_storage": "granted"}},
        {"marketing"},
    ),
}
"""What somebody who had said yes to everything sends later, and what they leave by it."""


def test_every_signal_withdraws(shop: Settings) -> None:
    people = {name: f"somebody-{number}-77aa" for number, name in enumerate(SIGNALS)}
    first = [
        record(number, f"device-{number}", user, consent=YES, country="DE")
        for number, user in enumerate(people.values())
    ]
    later = [
        record(20 + number, f"device-{number}", people[name], country="DE", properties=signal)
        for number, (name, (signal, _)) in enumerate(SIGNALS.items())
    ]
    land(shop, "visits.ndjson", ndjson(first))
    land(shop, "later.ndjson", ndjson(later))
    lake = materialize(shop)
    found = {"marketing": inside(lake, "all_marketing")}
    found["profiles"] = inside(lake, "all_personalization")
    for name, (_, leaves) in SIGNALS.items():
        person = token(shop, "user", people[name])
        left = {purpose for purpose, members in found.items() if person not in members}
        assert left == leaves, name
    # Events themselves are stamped with what their signals come to.
    stamped = lake.scan("events").filter(pl.col("event_id").is_in(["event-21", "event-22"]))
    columns = ("consent_analytics", "consent_marketing", "consent_personalization")
    rows = stamped.sort("event_id").select(columns).collect().rows()
    assert rows == [(True, False, False), (True, True, True)]


def test_an_erased_person_leaves_a_log_that_verifies(shop: Settings) -> None:
    rows = [
        record(1, ANN_PHONE, ANN, consent=YES),
        record(2, "tablet", ANN, consent=YES),
        record(3, "tablet", BOB, consent=YES),
        record(4, "tablet", consent=YES),
        *(record(10 + n, f"passer-by-{n}", consent={"analytics": n % 2 == 0}) for n in range(60)),
    ]
    land(shop, "visits.ndjson", ndjson(rows))
    lake = materialize(shop, stages=UP_TO_CONSENT)
    before = verify_consent_log(lake, shop)
    ann = token(shop, "user", ANN)
    request = register_request(shop, request_type="erase", identifiers=[("user", ANN)], now=TODAY)
    certificate = erase_subject(shop, request, now=TODAY)
    assert certificate.residue.total == 0
    assert ann not in set(lake.scan("consents").collect()["user_id"])
    after = verify_consent_log(lake, shop)
    assert (after.entries, after.head) == (before.entries, before.head)
    assert after.erased == 2
    assert after.relinked == 1  # the tablet itself, which led to Ann
    # Life goes on: the next choices are chained behind.
    land(shop, "more.ndjson", ndjson([record(90, BOB_LAPTOP, BOB, consent=YES)]))
    lake = materialize(shop, day=1, stages=UP_TO_CONSENT)
    assert verify_consent_log(lake, shop).entries == before.entries + 1
    certificates = list((shop.state / "certificates").glob("*.json"))
    held = json.loads(certificates[0].read_text())
    assert [t["rows_removed"] for t in held["tables"] if t["table"] == "consents"] == [2]
