"""Lint of containers: one container by hand, each rule with and without, errors of files."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clickstream_platform.collection.tags import (
    Finding,
    lint,
    load_rules,
    load_vendors,
    read_container,
)
from clickstream_platform.errors import DefinitionError
from clickstream_platform_tests.collection.tags.exports import (
    ALL_PAGES,
    CONSENT_INIT,
    Fields,
    custom_template,
    export,
    ga4,
    html,
    permission,
    table,
    tag,
    template,
    trigger,
    variable,
)

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
FBQ = (
    "<script>!function(){load('https://connect.facebook.net/en/f.js')}();fbq('init','%s')</script>"
)
BANNER = "<script src='https://consent.cookiebot.com/uc.js'></script>"


def findings(*tags: Fields, **parts: object) -> list[Finding]:
    return found_in(export(*tags, **parts))  # type: ignore[arg-type]


def found_in(text: str) -> list[Finding]:
    container = read_container(text, "c.json")
    return lint(container, rules=load_rules(), vendors=load_vendors(), now=NOON)


def rules(*tags: Fields, **parts: object) -> set[tuple[str, str, str]]:
    """Rule, item and place, of errors and warnings."""
    return {
        (it.rule, it.name, it.where) for it in findings(*tags, **parts) if it.severity != "info"
    }


def test_container_by_hand() -> None:
    # Two tags set up G-ABC; the pixel asks nobody and runs everywhere; one variable is read by
    # nobody; a clean conversion stays unmentioned.
    found = findings(
        ga4("1", name="GA4"),
        ga4("2", "{{account}}", name="GA4 again", on=(ALL_PAGES,)),
        html("3", FBQ % "123", name="pixel", on=(ALL_PAGES,), needs="NOT_SET"),
        tag("4", "awct", *template(conversionId="99", conversionLabel="x"), name="conversion"),
        variable=[
            variable("8", "c", "account", value="G-ABC"),
            variable("9", "v", "order", name="order"),
        ],
    )
    assert [(it.severity, it.rule, it.name, it.where) for it in found] == [
        ("error", "account_twice", "GA4 again", "google_analytics, as GA4 does"),
        ("error", "consent_missing", "pixel", ""),
        ("warning", "html_on_all_pages", "pixel", ""),
        ("warning", "unused", "order", ""),
    ]


def test_sound_container_has_no_fault() -> None:
    order = variable("8", "v", "order", name="order")
    event = tag("2", "gaawe", *template(eventName="buy"), table("eventParameters", id="{{order}}"))
    banner = html("3", BANNER, on=(CONSENT_INIT,), needs="NOT_SET")
    assert findings(ga4("1", on=(ALL_PAGES,)), event, banner, variable=[order]) == []


@pytest.mark.parametrize(
    ("broken", "rule", "where"),
    [
        pytest.param(html("1", "<b></b>", needs="NOT_SET"), "consent_missing", "", id="html"),
        pytest.param(tag("1", "bzi", needs="NOT_NEEDED"), "consent_missing", "", id="vendor"),
        pytest.param(
            html("1", FBQ % "1", needs="NOT_NEEDED"), "consent_missing", "", id="declared away"
        ),
        pytest.param(
            ga4("1", on=(CONSENT_INIT,)),
            "fires_before_consent",
            "Consent Initialization - All Pages",
            id="early",
        ),
        pytest.param(
            tag("1", "gaawe", table("eventParameters", who="ann@example.com")),
            "personal_value",
            "eventParameters.who (email)",
            id="address",
        ),
        pytest.param(
            tag("1", "gaawe", table("eventParameters", userEmail="x")),
            "personal_parameter",
            "eventParameters.userEmail",
            id="personal name",
        ),
        pytest.param(
            tag("1", "gaawe", table("eventParameters", api_secret="x")),  # noqa: S106 - no secret,
            "secret_exposed",
            "eventParameters.api_secret",
            id="secret",
        ),
        pytest.param(html("1", "document.write(1)"), "document_write", "", id="document.write"),
        pytest.param(
            html("1", "<img src=http://snap.licdn.com/a>"), "insecure_url", "", id="plain http"
        ),
        pytest.param(
            html("1", "<script src='//cdn.evil.example/x.js'></script>"),
            "unknown_domain",
            "cdn.evil.example",
            id="stranger",
        ),
        pytest.param(tag("1", "ua"), "retired", "universal_analytics", id="retired"),
        pytest.param(ga4("1", on=()), "trigger_missing", "", id="no trigger"),
        pytest.param(ga4("1", on=("5", "77")), "trigger_unknown", "trigger 77", id="gone trigger"),
        pytest.param(
            ga4("1", setupTag=[{"tagName": "gone"}]), "sequence_unknown", "gone", id="sequence"
        ),
        pytest.param(ga4("1", "{{gone}}"), "variable_unknown", "{{gone}}", id="gone variable"),
        pytest.param(ga4("1", paused=True), "paused", "", id="paused"),
        pytest.param(ga4("1", scheduleEndMs="1700000000000"), "expired", "", id="expired"),
    ],
)
def test_rule_finds_what_it_is_about(broken: Fields, rule: str, where: str) -> None:
    # Tag 9 uses the trigger, so that nothing else is at fault.
    assert rules(broken, ga4("9", "G-OTHER")) == {(rule, "tag 1", where)}


def test_personal_values_are_not_repeated() -> None:
    found = findings(tag("1", "gaawe", table("eventParameters", who="ann@example.com")))
    assert not any("ann" in str(it) for it in found)


def test_numbers_of_accounts_are_not_telephone_numbers() -> None:
    awct = tag("1", "awct", *template(conversionId="4915112345678", conversionLabel="AbC-D_efG"))
    assert rules(awct, html("2", FBQ % "4111111111111111")) == set()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        pytest.param([ga4("1"), ga4("2")], {"account_twice", "duplicate"}, id="same trigger"),
        pytest.param([ga4("1"), ga4("2", on=(ALL_PAGES,))], {"account_twice"}, id="other trigger"),
        pytest.param([ga4("1"), ga4("2", paused=True)], {"paused"}, id="paused twin"),
        pytest.param([html("1", FBQ % 1), html("2", FBQ % 1 + " ")], {"account_twice"}, id="pixel"),
        pytest.param([html("1", FBQ % 1), html("2", FBQ % 2)], set(), id="two accounts"),
        pytest.param(
            [ga4("1", name="a"), ga4("2", "G-D", name="a")], {"name_twice"}, id="same name"
        ),
    ],
)
def test_two_tags(tags: list[Fields], expected: set[str]) -> None:
    assert {rule for rule, *_ in rules(*tags)} == expected


def test_called_tags_and_grouped_triggers_are_used() -> None:
    group = trigger("6", type="TRIGGER_GROUP", customEventFilter=[])
    member = {"type": "TRIGGER_REFERENCE", "value": "5"}
    group["parameter"] = [{"type": "LIST", "key": "triggerIds", "list": [member]}]
    tags = [
        ga4("1", on=("6",), setupTag=[{"tagName": "tag 2"}]),
        ga4("2", "G-D", on=()),
    ]
    assert rules(*tags, trigger=[trigger("5"), group]) == set()


@pytest.mark.parametrize("kind", ["cvt_2_12", "cvt_WVXBK"])
def test_templates_are_judged_by_what_they_may_load(kind: str) -> None:
    gallery = {"host": "github.com", "galleryTemplateId": "WVXBK"}
    may = permission("inject_script", "https://x.evil.example/*")
    made = custom_template("12", may, name="Widget", galleryReference=gallery)
    spare = custom_template("13", name="Spare")
    assert rules(tag("1", kind), customTemplate=[made, spare]) == {
        ("unknown_domain", "Widget", "x.evil.example"),
        ("unused", "Spare", ""),
    }


def test_template_whose_gallery_is_no_text_is_nobodys() -> None:
    odd = custom_template("12", name="Odd", galleryReference={"galleryTemplateId": []})
    assert rules(tag("1", "cvt_2_99"), customTemplate=[odd]) == {("unused", "Odd", "")}


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("<!-- see https://x.example/docs --><b></b>", id="comment"),
        pytest.param("<script>\n  // see https://x.example/docs\n  go()</script>", id="line"),
        pytest.param("<script>/* http://x.example/ */ go()</script>", id="block"),
        pytest.param("<script>// no document.write here\ngo()</script>", id="warning"),
        pytest.param(
            '<script type="application/ld+json">{"sameAs": ["https://www.facebook.com/x"],'
            '"@context": "https://schema.org"}</script>',
            id="data",
        ),
        pytest.param('<a href="http://x.example/" class="b">go</a>', id="link"),
        pytest.param('<svg xmlns="http://www.w3.org/2000/svg"></svg>', id="language"),
        pytest.param(
            "<script>d.createElementNS('http://www.w3.org/2000/svg', 'g')</script>", id="element"
        ),
    ],
)
def test_what_code_only_says_is_not_loaded(code: str) -> None:
    assert rules(html("1", code, needs="NOT_NEEDED")) == set()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("<script>go('//x.example/a.js')</script>", id="no scheme"),
        pytest.param("<script>go(/^https?:\\/\\//.test(u),'https://x.example/')</script>", id="re"),
        pytest.param("<script>for(i=0;i<a;i++)go('https://x.example/')</script>", id="less than"),
        pytest.param("<script>go('a // b', 'https://x.example/')</script>", id="slashes in a text"),
        pytest.param("<script type=module src=//x.example/a.js></script>", id="module"),
        pytest.param("<script>go('https://x.example/')", id="never closed"),
    ],
)
def test_what_code_loads_is_found(code: str) -> None:
    assert rules(html("1", code)) == {("unknown_domain", "tag 1", "x.example")}


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param(
            html("1", "<script>gtag('consent', 'default', {})</script>", needs="NOT_SET"), id="code"
        ),
        pytest.param(tag("1", "cvt_2_12", needs="NOT_SET"), id="template"),
    ],
)
def test_who_tells_what_was_chosen_need_not_ask(tags: Fields) -> None:
    early = tags | {"firingTriggerId": [CONSENT_INIT]}
    banner = custom_template("12", permission("access_consent", write=True))
    used = tag("2", "cvt_2_12")
    assert rules(early, used, customTemplate=[banner]) == set()


def test_template_that_only_reads_consent_must_ask() -> None:
    reader = custom_template("12", permission("access_consent"))
    assert rules(tag("1", "cvt_2_12", needs="NOT_SET"), customTemplate=[reader]) == {
        ("consent_missing", "tag 1", "")
    }


def test_google_tag_in_code_asks_consent_mode_as_its_tag_does() -> None:
    snippet = (
        "<script src='https://www.googletagmanager.com/gtag/js?id=%s'></script>"
        "<script>gtag('config', '%s')</script>"
    )
    for account in ("G-ABC", "AW-123"):
        code = snippet.replace("%s", account)
        (found,) = findings(html("1", code, needs="NOT_SET"))
        assert found.rule == "consent_by_mode_alone"
        both = code + FBQ % 1
        assert rules(html("1", both, needs="NOT_SET")) == {("consent_missing", "tag 1", "")}


def test_hosts_of_many_products_tell_nothing_of_a_tag() -> None:
    captcha = "<script src='https://www.google.com/recaptcha/api.js'></script>"
    assert rules(html("1", captcha, needs="NOT_NEEDED")) == set()


def test_tags_of_amp_containers_are_of_the_vendors_of_their_twins() -> None:
    linker = tag("1", "gclidw_amp", needs="NOT_SET")
    assert [it.rule for it in findings(linker, usage="AMP")] == ["consent_by_mode_alone"]


def test_notes_and_names_read_no_variable() -> None:
    order = variable("8", "v", "order", name="order")
    assert rules(ga4("1", notes="once {{banner}}, {{order}}"), variable=[order]) == {
        ("unused", "order", "")
    }


def test_triggers_of_zones_are_used() -> None:
    zone = {"zoneId": "40", "name": "Partner", "boundary": {"customEvaluationTriggerId": ["6"]}}
    assert rules(ga4("1"), trigger=[trigger("5"), trigger("6")], zone=[zone]) == set()
    assert rules(ga4("1"), zone=[zone]) == {("trigger_unknown", "Partner", "trigger 6")}


def test_switches_hold_nothing() -> None:
    switches: list[Fields] = [
        {"type": "BOOLEAN", "key": key, "value": "false"} for key in ("sendEmail", "useAppSecret")
    ]
    assert rules(tag("1", "gaawe", *switches)) == set()


@pytest.mark.parametrize("number", ["\u00b2", "9" * 5_000])
def test_what_is_no_number_is_neither_trigger_nor_time(number: str) -> None:
    found = rules(ga4("1", on=(number,), scheduleEndMs=number))
    assert "trigger_unknown" in {rule for rule, *_ in found}
    assert "expired" not in {rule for rule, *_ in found}


def test_comments_that_never_end_are_comments() -> None:
    # Read again and again from each of their beginnings, they would take minutes.
    for code in ("<!--" * 40_000, "<script>" + "/*" * 80_000):
        found = findings(html("1", f"{code} https://x.example/"))
        assert "unknown_domain" not in {it.rule for it in found}


def test_constants_hold_accounts_and_secrets() -> None:
    account = variable("8", "c", "pixel", value="4111111111111111")
    secret = variable("9", "c", "Meta access token", value="EAAB")
    reads = tag("1", "gaawe", *template(a="{{pixel}}", b="{{Meta access token}}"))
    assert rules(reads, variable=[account, secret]) == {
        ("secret_exposed", "Meta access token", "value")
    }


def test_file_may_begin_with_a_byte_order_mark() -> None:
    assert found_in("\ufeff" + export(ga4("1"))) == findings(ga4("1"))


def test_server_containers_are_not_asked_for_consent_in_browsers() -> None:
    sent = tag("1", "sgtmgaaw", *template(apiSecret="x"), needs="NOT_SET")
    assert findings(sent, usage="SERVER") == []
    assert {it.rule for it in findings(sent)} == {"consent_missing", "secret_exposed"}


def test_versions_of_the_api_are_read_as_exports_are() -> None:
    text = export(html("1", "<b></b>", needs="NOT_SET"))
    spoken = text.replace("NOT_SET", "notSet").replace("TEMPLATE", "template")
    _, _, version = spoken.partition('"containerVersion": ')
    assert found_in(version[:-1]) == found_in(text)


@pytest.mark.parametrize("seed", range(20))
def test_order_of_tags_changes_no_rule(seed: int) -> None:
    tags = [
        ga4("1"),
        ga4("2"),
        html("3", FBQ % 1, needs="NOT_SET"),
        html("4", FBQ % 1, on=()),
        tag("5", "ua", paused=True),
    ]
    said = {(it.rule, it.kind) for it in findings(*tags)}
    random.Random(seed).shuffle(tags)
    assert {(it.rule, it.kind) for it in findings(*tags)} == said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", r"^c\.json: syntax: is no JSON", id="no JSON"),
        pytest.param("[" * 100_000, r"^c\.json: syntax: is no JSON", id="deep"),
        pytest.param("[]", r"^c\.json: \(root\): is no JSON object\. Export it", id="list"),
        pytest.param("{}", r"^c\.json: containerVersion: is missing\. Export it", id="other"),
        pytest.param(
            export().replace(": 2,", ": 1,", 1), r"exportFormatVersion: is 1; only 2", id="format"
        ),
        pytest.param(export(tag={}), r"containerVersion\.tag: is no list", id="no list"),
        pytest.param(export({"name": "x"}), r"tag\[0\]: has no tagId or no name", id="no id"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        read_container(text, "c.json")


def test_own_rules_must_be_those_that_exist(tmp_path: Path) -> None:
    own = tmp_path / "tag_rules.toml"
    own.write_text('[invented]\nseverity = "error"\nsays = "x"\nremedy = "x"\n')
    with pytest.raises(DefinitionError, match=r"account_twice: is missing\. Add it"):
        load_rules(tmp_path)


def test_own_vendors_replace_the_shipped_ones(tmp_path: Path) -> None:
    own = tmp_path / "tag_vendors.toml"
    own.write_text(
        '[us]\npurpose = "function"\ntypes = []\ncsp.script-src = ["https://us.example"]'
    )
    assert [*load_vendors(tmp_path)] == ["us"]
    own.write_text('[us]\npurpose = "fun"\ntypes = []\ncsp = {}\n')
    with pytest.raises(DefinitionError, match=r"tag_vendors\.toml: us\.purpose: "):
        load_vendors(tmp_path)
    own.write_text('[us]\npurpose = "function"\ntypes = []\naccounts = "("\ncsp = {}\n')
    with pytest.raises(DefinitionError, match=r"tag_vendors\.toml: us\.accounts: "):
        load_vendors(tmp_path)
