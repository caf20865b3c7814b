"""Further identifiers of a source that is one TOML file: pseudonyms, one person, erased whole."""

import gzip
import json
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.events import ingest_landing, refresh_events
from clickstream_platform.identity import decide, refresh_identity
from clickstream_platform.lake import Lake
from clickstream_platform.privacy import (
    Vault,
    erase_subject,
    export_subject,
    register_request,
    scan_residue,
)
from clickstream_platform.privacy.identifiers import Namespace
from clickstream_platform.privacy.subjects import Subject, find_subject
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.events.door import fates
from clickstream_platform_tests.privacy.household import (
    NOON,
    TODAY,
    contents,
    land,
    materialize,
    ndjson,
    token,
    zipped,
)

ADAPTER = """
description = "Events of the shop's app"
format = "auto"

[fields]
event_id = "id"
event_name = "what"
occurred_at = "at"
received_at = "at"
visitor_id = "install"
user_id = "account"
properties = "more"

[identifiers]
email = "contact.mail"
phone = "contact.phone"
crm = "customer"
"""
MAIL, PHONE, CUSTOMER = "ann@example.org", "+1 (555) 555-0100", "4711"
FAMILY = "family@example.org"
OWN = [("email", MAIL), ("phone", "15555550100"), ("crm", CUSTOMER), ("user", "account-ann-77")]


Record = dict[str, object]


def record(number: int, install: str, account: str | None = None, **more: object) -> Record:
    at = NOON.replace(hour=number % 24).isoformat()
    known = {"id": f"e{number}", "what": "page_view", "at": at, "install": install}
    return known | ({"account": account} if account else {}) | more


def records() -> list[Record]:
    """Ann on two devices without a login on the first; Bob and Cid with one address; a stranger."""
    return [
        record(0, "install-ann-one", contact={"mail": " Ann@Example.ORG", "phone": PHONE}),
        record(1, "install-ann-two", "account-ann-77", contact={"mail": MAIL}, customer=4711),
        record(2, "install-ann-two", customer="4711", more={"note": "no contact"}),
        record(3, "install-bob", "account-bob-88", contact={"mail": FAMILY}),
        record(4, "install-cid", "account-cid-99", contact={"mail": FAMILY}),
        record(5, "install-old", contact={"mail": FAMILY}),
        record(6, "stranger", contact={"mail": "test@example.org", "phone": "null"}, customer="0"),
        record(7, "install-ann-one", contact={"phone": "001 555 5550100"}, what=""),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    (folder / "own" / "sources").mkdir(parents=True)
    (folder / "own" / "sources" / "app.toml").write_text(ADAPTER)
    (folder / "clickstream.toml").write_text('definitions = "own"\n')
    settings = load_settings(folder)
    land(settings, "day.ndjson", ndjson(records()), source="app")
    materialize(settings)
    return folder


@pytest.fixture
def app(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy for one test; anybody may be erased from so few events."""
    monkeypatch.setenv("CLICKSTREAM_PRIVACY__MAX_ERASED_SHARE", "1")
    shutil.copytree(made, tmp_path / "app")
    return load_settings(tmp_path / "app")


def rows(settings: Settings, table: str = "events") -> pl.DataFrame:
    return Lake(settings.lake_folder).scan(table).collect()


def subject(settings: Settings, *asked: tuple[Namespace, str]) -> Subject:
    return find_subject(settings, asked, now=TODAY)


def erase(settings: Settings, *asked: tuple[Namespace, str]) -> int:
    """Erase somebody; return the rows that went."""
    request = register_request(settings, request_type="erase", identifiers=asked, now=TODAY)
    certificate = erase_subject(settings, request, now=TODAY)
    assert certificate.residue.total == 0
    return certificate.rows_found


def persons(settings: Settings) -> set[frozenset[str]]:
    """Visitors that are one person, by what they are called outside."""
    vault = Vault(settings.state / "vault")
    merged = rows(settings, "identity_map").filter(~pl.col("is_shared"))
    names = vault.reveal(merged["visitor_id"], purpose="test", now=NOON)
    grouped = merged.with_columns(name=names).group_by("person_key").agg("name")
    return {frozenset(group) for group in grouped["name"].to_list()}


def test_events_carry_pseudonyms_and_nothing_else_is_stored(app: Settings) -> None:
    mail, phone = (token(app, "other", each) for each in (f"email:{MAIL}", "phone:15555550100"))
    crm = token(app, "other", f"crm:{CUSTOMER}")
    carried = dict(rows(app).select("event_id", "identifiers").rows())
    assert carried["e0"] == f"email:{mail},phone:{phone}"
    assert carried["e1"] == f"crm:{crm},email:{mail}"
    assert carried["e2"] == f"crm:{crm}"
    assert carried["e6"] is None, "a test's address, null and 0 stand for nobody"
    (waiting,) = rows(app, "quarantined_events").to_dicts()
    assert waiting["identifiers"] == f"phone:{phone}"
    raw = rows(app, "raw_events").sort("ordinal")["payload"]
    assert json.loads(raw[1])["customer"] == crm, "a number too"
    assert json.loads(raw[0])["contact"] == {"mail": mail, "phone": phone}
    assert set(scan_residue(app, OWN, []).by_store) == {"landing"}


def test_two_devices_with_one_address_are_one_person(app: Settings) -> None:
    assert persons(app) == {
        frozenset({"install-ann-one", "install-ann-two"}),
        frozenset({"install-bob"}),
        frozenset({"install-cid"}),
    }
    conflicts = rows(app, "identity_conflicts").select("identifier_type", "reason", "found")
    assert conflicts.rows() == [("email", "shared", 2)]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(("other", "email:ANN@example.org "), id="by address"),
        pytest.param(("other", "phone:001-555-555-0100"), id="by telephone"),
        pytest.param(("other", "crm:4711"), id="by customer number"),
        pytest.param(("user", "account-ann-77"), id="by account"),
        pytest.param(("visitor", "install-ann-one"), id="by a device without a login"),
    ],
)
def test_any_identifier_leads_to_the_whole_person(
    app: Settings, asked: tuple[Namespace, str]
) -> None:
    found = subject(app, asked)
    assert found.users == (token(app, "user", "account-ann-77"),)
    assert len(found.visitors) == 2
    assert len(found.others) == 3
    assert found.shared == ()
    assert {*OWN} <= set(found.values)


def test_address_of_two_users_leads_to_nobody(app: Settings) -> None:
    family = subject(app, ("other", f"email:{FAMILY}"))
    assert (family.tokens, family.identifiers) == ((), ())
    bob = subject(app, ("user", "account-bob-88"))
    assert bob.others == ()
    assert len(bob.visitors) == 1
    assert FAMILY not in {value for _, value in bob.values}


def test_shipped_segment_source_joins_devices_by_what_people_say_of_themselves(
    app: Settings,
) -> None:
    phone = {"traits": {"email": "Eve@Example.org"}, "device": {"id": "a-1b2c3d4e5f"}}
    at = NOON.isoformat()
    said: list[dict[str, object]] = [
        {"anonymousId": "web-eve-0001", "type": "identify", "traits": {"email": "eve@example.org"}},
        {"anonymousId": "app-eve-0002", "type": "track", "event": "Opened", "context": phone},
        {"anonymousId": "app-eve-0003", "type": "screen", "context": {"device": phone["device"]}},
    ]
    lines = [{"messageId": f"m{n}", "timestamp": at, **each} for n, each in enumerate(said)]
    land(app, "messages.ndjson", ndjson(lines), source="segment")
    materialize(app)
    assert frozenset({"web-eve-0001", "app-eve-0002", "app-eve-0003"}) in persons(app)
    assert set(scan_residue(app, [("email", "eve@example.org")], []).by_store) == {"landing"}


@pytest.mark.parametrize("refreshed", [True, False])
def test_device_between_two_users_is_neither_ones(app: Settings, *, refreshed: bool) -> None:
    # It gave Ann's address and Cid's customer number: one of them may be wrong.
    more = [
        record(40, "install-cid", "account-cid-99", customer="5900"),
        record(41, "install-between", contact={"mail": MAIL}),
        record(42, "install-between", customer="5900"),
    ]
    land(app, "between.ndjson", ndjson(more), source="app")
    ingest_landing(app, now=TODAY)
    refresh_events(app)
    if refreshed:
        refresh_identity(Lake(app.lake_folder), app)
    between = token(app, "visitor", "install-between")
    for account in ("account-ann-77", "account-cid-99"):
        found = subject(app, ("user", account))
        assert found.users == (token(app, "user", account),)
        assert between not in {*found.visitors, *found.shared}
    assert subject(app, ("visitor", "install-between")).users == ()


def test_what_names_the_person_on_a_shared_device_is_theirs(app: Settings) -> None:
    more = [
        record(43, "tablet-in-the-kitchen", "account-ann-77"),
        record(44, "tablet-in-the-kitchen", "account-bob-88"),
        record(45, "tablet-in-the-kitchen", contact={"mail": MAIL}),
        record(46, "tablet-in-the-kitchen"),
    ]
    land(app, "tablet.ndjson", ndjson(more), source="app")
    materialize(app)
    assert subject(app, ("user", "account-ann-77")).shared == (
        token(app, "visitor", "tablet-in-the-kitchen"),
    )
    erase(app, ("user", "account-ann-77"))
    assert {"e43", "e44", "e45", "e46"} & set(rows(app)["event_id"]) == {"e44", "e46"}
    left = {it["id"] for it in parsed((app.landing / "app" / "tablet.ndjson").read_bytes())}
    assert left == {"e44", "e46"}


def test_decision_parts_an_address_from_a_person(app: Settings) -> None:
    lake = Lake(app.lake_folder)
    ends = [
        (row["identifier_id"], row["identifier_key"])
        for row in rows(app, "identity_merges").to_dicts()
        if row["identifier_id"] == token(app, "visitor", "install-ann-one")
    ]
    decide(lake, "split", reason="sold", actor="care", now=NOON, identifier=ends[0])
    refresh_identity(lake, app)
    found = subject(app, ("user", "account-ann-77"))
    assert found.visitors == (token(app, "visitor", "install-ann-two"),)


def test_export_tells_the_linked_identifiers(app: Settings) -> None:
    asked: list[tuple[Namespace, str]] = [("other", f"email:{MAIL}")]
    request = register_request(app, request_type="export", identifiers=asked, now=TODAY)
    with zipfile.ZipFile(export_subject(app, request, now=TODAY)) as package:
        data = json.loads(package.read("data.json"))
    told = {(each["kind"], each["value"]) for each in data["identifiers"]}
    assert told == {*OWN, ("visitor", "install-ann-one"), ("visitor", "install-ann-two")}
    assert {row["event_id"] for row in data["tables"]["events"]} == {"e0", "e1", "e2"}
    assert len(data["tables"]["quarantined_events"]) == 1
    assert "install-bob" not in json.dumps(data)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(("other", "email:Ann@example.org"), id="by address"),
        pytest.param(("user", "account-ann-77"), id="by account"),
    ],
)
def test_erased_by_any_and_never_seen_again(app: Settings, asked: tuple[Namespace, str]) -> None:
    original = (app.landing / "app" / "day.ndjson").read_bytes()
    assert erase(app, asked) > 0
    assert set(rows(app)["event_id"]) == {"e3", "e4", "e5", "e6"}
    assert rows(app, "quarantined_events").is_empty()
    left = (app.landing / "app" / "day.ndjson").read_text()
    assert [json.loads(line)["id"] for line in left.splitlines()] == ["e3", "e4", "e5", "e6"]
    # The old file comes back, and Ann on a device that nobody has seen before.
    again = ndjson([record(11, "install-new", contact={"phone": "+1 555 555 0100"})])
    land(app, "again.ndjson", original + again, source="app")
    before = rows(app, "raw_events").height
    materialize(app)
    assert rows(app, "raw_events").height == before + 4, "the others' four are repetitions"
    assert set(rows(app)["event_id"]) == {"e3", "e4", "e5", "e6"}
    assert fates(app, "app")["suppressed"] == 4 + 5
    kept = contents(app)
    materialize(app, full=True)
    assert contents(app) == kept


def test_who_shares_an_address_is_erased_without_the_others(app: Settings) -> None:
    erase(app, ("user", "account-bob-88"))
    assert "e3" not in set(rows(app)["event_id"])
    carried = dict(rows(app).select("event_id", "identifiers").rows())
    assert carried["e4"] == f"email:{token(app, 'other', f'email:{FAMILY}')}"
    # Now that one user is left of two, the address is Cid's, and the old device with it.
    materialize(app)
    assert frozenset({"install-cid", "install-old"}) in persons(app)


@pytest.mark.parametrize("ending", ["csv", "parquet", "ndjson.gz"])
def test_other_formats_lose_the_person_too(app: Settings, tmp_path: Path, ending: str) -> None:
    more = [record(31, "i-1", customer="4711"), record(32, "i-2", customer="4712")]
    frame, file = pl.DataFrame(more), tmp_path / f"more.{ending}"
    if ending == "csv":
        frame.write_csv(file)
    elif ending == "parquet":
        frame.write_parquet(file)
    else:
        file.write_bytes(gzip.compress(ndjson(more)))
    landed = land(app, f"more.{ending}", file.read_bytes(), source="app")
    materialize(app)
    erase(app, ("other", f"email:{MAIL}"))
    assert ids_in(landed) == ["e32"]


def ids_in(file: Path) -> list[str]:
    if file.suffix == ".csv":
        return pl.read_csv(file)["id"].to_list()
    if file.suffix == ".parquet":
        return pl.read_parquet(file)["id"].to_list()
    return [json.loads(line)["id"] for line in gzip.decompress(file.read_bytes()).splitlines()]


def test_files_that_were_never_taken_are_rewritten_by_their_fields(app: Settings) -> None:
    # Not ingested: found by the fields that the adapter declares, however a number is written.
    waiting = [
        record(20, "elsewhere-1", contact={"phone": "00 1 555 5550100"}),
        record(21, "elsewhere-2", customer=" 4711 "),
        record(22, "elsewhere-3", "account-bob-88", customer="4711"),
        record(23, "elsewhere-4", customer="47110"),
    ]
    file = land(app, "waiting.ndjson.gz", zipped(waiting), source="app")
    erase(app, ("user", "account-ann-77"))
    left = {it["id"]: it for it in parsed(gzip.decompress(file.read_bytes()))}
    assert set(left) == {"e22", "e23"}
    assert left["e22"]["customer"] == "[erased]", "Bob's record stays, and leads to Ann no more"


def parsed(text: bytes) -> Iterable[Record]:
    return map(json.loads, text.splitlines())
