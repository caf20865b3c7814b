"""Adapters: shipped ones load, wrong ones are refused by file and key, expressions are scalar."""

import json
from pathlib import Path

import pytest

from clickstream_platform.errors import DefinitionError
from clickstream_platform.events import (
    Ledger,
    load_adapters,
    pending_files,
    read_adapters,
    refresh_events,
    replay_quarantine,
    unfinished_batches,
)
from clickstream_platform.events.adapters import adapter_for, columns_of
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import (
    drop,
    event,
    events,
    keep_promises,
    load,
    load_file,
    quarantined,
)

SOUND = 'description = "d"\nformat = "ndjson"\n[fields]\nevent_name = "e"\n'


def define(folder: Path, text: str, name: str = "mine") -> Path:
    """A folder of definitions with one source."""
    (folder / "sources").mkdir(exist_ok=True)
    (folder / "sources" / f"{name}.toml").write_text(text)
    return folder


def test_shipped_adapters_load() -> None:
    assert set(load_adapters()) >= {
        "canonical", "shop", "panel", "apache", "nasa", "nginx", "snowplow", "segment", "ga4",
    }  # fmt: skip


def test_own_adapter_is_added_and_own_file_replaces_a_shipped_one(tmp_path: Path) -> None:
    define(tmp_path, SOUND)
    define(tmp_path, SOUND.replace('"d"', '"my shop"'), "shop")
    adapters = load_adapters(tmp_path)
    assert adapters["mine"].fields["event_name"].field == "e"
    assert adapters["shop"].description == "my shop"


def test_folder_without_adapter_is_canonical_under_its_own_name() -> None:
    adapter = adapter_for("website", load_adapters())
    assert (adapter.name, adapter.fields["page_url"].field) == ("website", "page_url")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("format = [", "mine.toml: syntax: .* must be TOML", id="no TOML"),
        pytest.param(SOUND + 'colour = "e"\n', "unknown fields \\['colour'\\]", id="unknown field"),
        pytest.param(SOUND + 'revenu = "e"\n', "'revenu'.*mean revenue", id="misspelt field"),
        pytest.param(
            SOUND.replace("[fields]", "speed = 1\n[fields]"), "mine.toml: speed: ", id="unknown key"
        ),
        pytest.param(
            SOUND.replace('"ndjson"', '"xml"'), "mine.toml: format: ", id="unknown format"
        ),
        pytest.param(
            SOUND + 'revenue = { sql = "(select 1)" }\n',
            "fields.revenue: sql is not one scalar expression",
            id="subquery",
        ),
        pytest.param(SOUND + 'revenue = { sql = "1 +" }\n', "fields.revenue: sql ", id="no SQL"),
        pytest.param(
            SOUND + 'revenue = { field = "a", value = "b" }\n', "needs exactly one of", id="two"
        ),
        pytest.param(SOUND + 'revenue = "a\'b"\n', "is not a path", id="no path"),
        pytest.param(
            'time_zone = "Mars"\n' + SOUND, "'Mars' is not a time zone", id="unknown zone"
        ),
        pytest.param(
            SOUND + '[identifiers]\nemial = "mail"\n',
            "mine.toml: identifiers.emial: is no type of identifier; known: crm, device, email, "
            ".*add the type to identity/identifiers.toml",
            id="unknown type",
        ),
        pytest.param(
            SOUND + '[identifiers]\nuser = "u"\n', "`user_id` under .fields.", id="type of a field"
        ),
        pytest.param(
            SOUND + '[identifiers]\ncrm = { sql = "1 +" }\n', "identifiers.crm: sql ", id="no rule"
        ),
        pytest.param('name = "other"\n' + SOUND, "mine.toml: name: is 'other'", id="other name"),
    ],
)
def test_wrong_definition_names_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        load_adapters(define(tmp_path, text))


def test_own_type_may_be_declared_and_shipped_sources_do_without_those_that_are_gone(
    tmp_path: Path,
) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "identifiers.toml").write_text(
        "[types]\nuser = { priority = 1, limit = 1 }\nvisitor = { priority = 9, limit = 100 }\n"
        "loyalty = { priority = 2, limit = 5 }\nemail = { priority = 3, limit = 5 }\n"
    )
    adapters = load_adapters(define(tmp_path, SOUND + '[identifiers]\nloyalty = "card.no"\n'))
    assert adapters["mine"].paths("identifier loyalty") == ("card.no",)
    assert set(load_adapters()["segment"].identifiers) == {"device", "email", "phone"}
    assert set(adapters["segment"].identifiers) == {"email"}


def test_columns_of_an_expression_leave_out_what_a_lambda_binds() -> None:
    expression = "list_filter(a, x -> x > b) || CASE WHEN \"c.d\" = 'e' THEN f END"
    assert columns_of(expression) == ("a", "b", "c.d", "f")


TILL = """
description = "d"
format = "csv"
[fields]
event_name = { value = "purchase" }
visitor_id = "card"
occurred_at = "at"
currency = { value = "EUR" }
"""


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('{ sql = "cents / 100" }', "sql: Binder Error: No function matches .*CAST.cents AS"),
        ('{ sql = "nofunc(cents)" }', "sql: Catalog Error: .* nofunc does not exist"),
        ('{ sql = "context.ip" }', 'sql: Binder Error: Referenced table "context" not found'),
        ('{ sql = "cents + at" }', "sql: Parser Error: syntax error"),
        ('{ sql = "cents -- of euros" }', "sql: Parser Error: syntax error"),
        ('{ sql = "cents AS price" }', "sql: Parser Error: syntax error"),
        ('{ sql = "sum(CAST(cents AS INT))" }', "sql: Binder Error: aggregates are not allowed"),
        ('{ sql = "random()" }', "sql: Binder Error: .*volatile"),
        ('{ sql = "row_number() OVER ()" }', "sql is not one scalar expression"),
        ('{ field = "at", format = "%Q" }', "format: Invalid Input Error: .*%Q.* Write auto, "),
        (
            '{ field = "at", format = "epoch" }',
            "format: Invalid Input Error: .*Write auto, epoch_s",
        ),
        ('{ field = "at", format = "" }', "format: Invalid Input Error"),
    ],
)
def test_what_can_be_computed_for_no_record_is_told_at_once(
    tmp_path: Path, rule: str, message: str
) -> None:
    field = "created_at" if "format" in rule else "revenue"
    with pytest.raises(DefinitionError, match=f"mine.toml: fields.{field}[.:] ?{message}"):
        load_adapters(define(tmp_path, f"{TILL}{field} = {rule}\n"))


@pytest.mark.parametrize("days", ["inf", "nan"])
def test_horizon_is_a_number_of_days(tmp_path: Path, days: str) -> None:
    with pytest.raises(DefinitionError, match=r"mine.toml: lateness_horizon_days: "):
        load_adapters(define(tmp_path, f"lateness_horizon_days = {days}\n{TILL}"))


def test_shipped_expressions_can_be_computed(tmp_path: Path) -> None:
    for adapter in load_adapters().values():
        name = Path(adapter.file).name
        define(tmp_path, Path(adapter.file).read_text(encoding="utf-8"), name.removesuffix(".toml"))
    assert set(load_adapters(tmp_path)) == set(load_adapters())


@pytest.mark.parametrize(
    ("field", "sql"),
    [
        ("revenue", "CAST(cents AS BIGINT) / 100"),
        ("order_id", "CAST(cents AS BIGINT)"),
        ("visitor_id", "card || CAST(cents AS BIGINT)"),
    ],
)
def test_record_for_which_an_expression_fails_waits_and_the_others_load(
    settings: Settings, tmp_path: Path, field: str, sql: str
) -> None:
    rules = TILL.replace('visitor_id = "card"\n', "") if field == "visitor_id" else TILL
    # Another expression shares a part with it, and fails for nobody.
    shared = 'product_id = { sql = "TRY_CAST(cents AS BIGINT) + length(card || cents)" }\n'
    folder = define(tmp_path, f'{rules}{shared}{field} = {{ sql = "{sql}" }}\n', "till")
    settings = settings.model_copy(update={"definitions": folder})
    path = tmp_path / "a.csv"
    path.write_text("card,at,cents\nc1,2026-11-20 10:00,150\nc2,2026-11-20 10:00,1.50 EUR\n")
    assert load_file(settings, path, "till").height == 1
    assert "record_unreadable" in quarantined(settings)[1]
    (row,) = Lake(settings.lake_folder).scan("quarantined_events").collect().to_dicts()
    assert row["violations"][0]["got"] == f"its sql fails for {field}"
    keep_promises(settings)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('delimiter = "\\n"', "delimiter and quote must differ"),
        ("delimiter = '\"'", "delimiter and quote must differ"),
        ('quote = "§"', ".*quote is ASCII"),
        ('columns = ["card", "Card"]', "columns must name every column once"),
        ('columns = ["card", ""]', "columns must name every column once"),
        ("skip_lines = 1", "skip_lines needs columns"),
    ],
)
def test_form_of_a_file_that_none_can_have_is_told(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=f"mine.toml: file: {message}"):
        load_adapters(define(tmp_path, f"{line}\n{TILL}"))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('revenue = { sql = "CAST(cent AS INT)" }', "fields.revenue: reads 'cent', .*mean cents"),
        ('revenue = "Cents"', "fields.revenue: reads 'Cents', .*mean cents"),
        ('order_id = { fields = ["cents", "receipt"] }', "fields.order_id: reads 'receipt'"),
        ('[identifiers]\ncrm = "cart"', "identifiers.crm: reads 'cart', .*mean card"),
    ],
)
def test_misspelt_column_is_told_where_the_adapter_names_all(
    tmp_path: Path, rule: str, message: str
) -> None:
    text = f'columns = ["card", "at", "cents"]\n{TILL}{rule}\n'
    with pytest.raises(DefinitionError, match=f"mine.toml: {message}"):
        load_adapters(define(tmp_path, text))


@pytest.mark.parametrize(
    ("form", "rule", "message"),
    [
        (
            "snowplow_tsv",
            'page_url = "page_ulr"',
            "fields.page_url: .*_tsv .*mean page_url",
        ),
        ("combined_log", 'user_agent = "useragent"', "fields.user_agent: .*_log .*mean user_agent"),
        ("combined_log", 'page_url = "path.x"', "fields.page_url: reads 'path.x'"),
        ("ga4", 'visitor_id = "user_pseudoid"', "fields.visitor_id: .*ga4 .*mean user_pseudo_id"),
        ("ga4", 'platform = "device.categry"', "fields.platform: .*ga4 .*mean category"),
    ],
)
def test_misspelt_column_is_told_where_the_format_names_all(
    tmp_path: Path, form: str, rule: str, message: str
) -> None:
    text = SOUND.replace("ndjson", form).replace('"e"', '{ value = "e" }')
    with pytest.raises(DefinitionError, match=f"mine.toml: {message}"):
        load_adapters(define(tmp_path, f"{text}{rule}\n"))


@pytest.mark.parametrize(
    ("form", "path"),
    [
        pytest.param("snowplow_tsv", "client_session.userId", id="inside an object"),
        pytest.param("snowplow_tsv", "bot_signals", id="noted at landing"),
        pytest.param("ga4", "params.page_locaton", id="parameters are the user's own"),
        pytest.param("ga4", "collected_traffic_source.gbraid", id="a field that Google may add"),
    ],
)
def test_column_that_a_record_may_have_is_none_misspelt(
    tmp_path: Path, form: str, path: str
) -> None:
    text = SOUND.replace("ndjson", form).replace('"e"', '{ value = "e" }')
    load_adapters(define(tmp_path, f'{text}page_url = "{path}"\n'))


EXPORTED: dict[str, tuple[dict[str, object], str]] = {
    "1.234,50": ({"total": "1.234,50"}, "1234.5000"),
    "USD 1,234.50": ({"total": "USD 1,234.50"}, "1234.5000"),
    "two columns": ({"day": "20.11.2026", "hour": "10:00"}, "2026-11-20 10:00:00+00:00"),
    "46355.5": ({"days": "46346.416666666664"}, "2026-11-20 10:00:00+00:00"),
    "10:00:00,250": ({"logged": "2026-11-20 10:00:00,250"}, "2026-11-20 10:00:00.250000+00:00"),
    "a zone in each": (
        {"zone": "Asia/Tokyo", "local": "2026-11-20 19:00"},
        "2026-11-20 10:00:00+00:00",
    ),
    "a list, of which": ({"items": [{"sku": "s-1"}, {"sku": "s-2"}]}, "s-1"),
    "in other letters": ({"name": "購入"}, "purchase"),
    "count from 1": ({"id": 1}, "till-1"),
}
"""By words of a row in the guide: a record, and what comes of it."""


@pytest.mark.parametrize("row", EXPORTED)
def test_recipe_of_the_guide_reads_what_it_says(
    settings: Settings, tmp_path: Path, row: str
) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide" / "sources.md"
    (line,) = [text for text in guide.read_text().splitlines() if "|" in text and row in text]
    rule = line.split("| `")[-1].split("`")[0].replace("\\|", "|")
    rules = {"event_name": '{ value = "a" }', "occurred_at": '"at"', "visitor_id": '"who"'}
    rules |= {"currency": '{ value = "EUR" }', **dict([rule.split(" = ", 1)])}
    text = 'description = "d"\nformat = "ndjson"\nlive = false\n[fields]\n'
    define(tmp_path, text + "".join(f"{name} = {given}\n" for name, given in rules.items()))
    record, expected = EXPORTED[row]
    (file := tmp_path / "a.ndjson").write_text(
        json.dumps({"at": "2026-11-20T10:00:00Z", "who": "v", **record})
    )
    (event,) = load_file(
        settings.model_copy(update={"definitions": tmp_path}), file, "mine"
    ).to_dicts()
    assert str(event[rule.split(" = ")[0]]) == expected


def test_redacted_field_inside_others_reaches_no_table(settings: Settings, tmp_path: Path) -> None:
    text = SOUND.replace("[fields]", 'redact = ["context.ip", "who", "items.card"]\n[fields]')
    define(tmp_path, text)
    record = '{"e":"a","who":"ann","context":%s,"items":[{"card":"4","n":1},[{"card":"5"}]]}'
    contexts = ['{"ip":"b","os":{"ip":"kept"}}', '{"\\u0069p":"b"}', '"text"', "null"]
    file = tmp_path / "a.ndjson"
    file.write_text(
        "".join(f"{record % context}\n" for context in contexts) + '{"e":"a","context.ip":"b"}\n'
    )
    own = settings.model_copy(update={"definitions": tmp_path})
    load_file(own, file, "mine")
    raw = Lake(settings.lake_folder).scan("raw_events").sort("ordinal").collect()["payload"]
    rest = ',"items":[{"n":1},[{}]]}'
    assert raw.to_list() == [
        '{"e":"a","context":{"os":{"ip":"kept"}}' + rest,
        '{"e":"a","context":{}' + rest,
        '{"e":"a","context":"text"' + rest,
        '{"e":"a","context":null' + rest,
        '{"e":"a"}',
    ]


def stopped(settings: Settings, name: str = "mine") -> Settings:
    """Settings of a user one of whose adapters cannot be used as written."""
    folder = settings.data / "definitions"
    folder.mkdir(parents=True)
    return settings.model_copy(update={"definitions": define(folder, "format = [", name)})


def test_wrong_adapter_is_no_matter_of_the_others(tmp_path: Path) -> None:
    adapters = read_adapters(define(tmp_path, "format = ["))
    assert [*adapters.faults] == ["mine"]
    assert adapters.sound == load_adapters()
    assert (adapters.stops("mine"), adapters.stops("website")) == (True, False)
    with pytest.raises(DefinitionError, match=r"mine\.toml: syntax: "):
        adapter_for("mine", adapters)


def test_wrong_canonical_adapter_stops_whatever_it_reads(tmp_path: Path) -> None:
    adapters = read_adapters(define(tmp_path, "format = [", "canonical"))
    assert (adapters.stops("website"), adapters.stops("nginx")) == (True, False)


def test_files_of_a_stopped_source_wait_and_those_of_others_are_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clickstream_platform.events.landed.SETTLE_S", 0.0)
    own = stopped(settings)
    drop(own, "a.ndjson", [event()], "mine")
    drop(own, "a.ndjson", [event()], "web")
    assert [file.source for file in pending_files(own)] == ["web"]
    assert own.definitions is not None
    define(own.definitions, SOUND)
    assert [file.source for file in pending_files(own)] == ["mine", "web"]


def test_batch_of_a_stopped_source_waits_and_goes_on_when_its_adapter_is_mended(
    settings: Settings,
) -> None:
    load(settings, [event(1)], source="mine")
    own, ledger = stopped(settings), Ledger(settings.state)
    ledger.set_state([str(ledger.batches()[0]["batch_id"])], "landed")
    assert load(own, [event(2)]).height == 2
    assert [row["state"] for row in ledger.batches()] == ["landed", "loaded"]
    assert unfinished_batches(own) == []
    assert len(unfinished_batches(settings)) == 1


def test_nothing_is_derived_anew_of_a_stopped_source(settings: Settings) -> None:
    load(settings, [event(1), event(2, visitor_id=None)], source="mine")
    own, before = stopped(settings), events(settings)
    with pytest.raises(DefinitionError, match=r"mine\.toml"):
        refresh_events(own, full=True)
    with pytest.raises(DefinitionError, match=r"mine\.toml"):
        replay_quarantine(own)
    assert events(settings).equals(before)
    assert {row["state"] for row in Ledger(settings.state).batches()} == {"loaded"}


def test_file_for_a_stopped_source_is_refused_before_it_is_copied(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "a.ndjson").write_text("{}\n")
    with pytest.raises(DefinitionError, match=r"mine\.toml"):
        load_file(stopped(settings), tmp_path / "a.ndjson", "mine")
    assert not (settings.landing / "mine").exists()
