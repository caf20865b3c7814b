"""Channel rules: Google's published cases, click ids and referrers, and the two engines."""

import csv
import json
import random
from pathlib import Path

import ibis
import polars as pl
import pytest
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from clickstream_platform.attribution import (
    DIRECT,
    ChannelRules,
    Link,
    TrafficSource,
    channel_of,
    load_channel_rules,
    traffic_source_of,
    with_channel,
)
from clickstream_platform.attribution.channels.words import portable
from clickstream_platform.errors import DefinitionError
from clickstream_platform_tests.engines import run

RULES = load_channel_rules()
COLUMNS = {
    "campaign_source": "source",
    "campaign_medium": "medium",
    "campaign_name": "campaign",
    "click_id_type": "click_id_type",
    "referrer_host": "referrer_host",
    "landing_host": "landing_host",
}
TEXT_OF = {
    "campaign_source": ["google", "Facebook ", "(direct)", "youtube.com", "ChatGPT.com", "sms"],
    "campaign_medium": ["cpc", "CPM", "organic", "(none)", "web-push", "e mail", "retargeting"],
    "campaign_name": ["eshop", "Shopping", "x-cross-network", "(not set)", "spring"],
    "click_id_type": ["gclid", "fbclid", "nonsense"],
    "referrer_host": [
        "www.google.co.uk",
        "l.facebook.com",
        "claude.ai",
        "www.example.com",
        "blog.example.com",
        "shop.example.co.uk",
        "checkout.stripe.com",
        "www.paypal.com",
        "news.example.org",
        "localhost",
        "www.bing.com.",
        "10.1.2.3",
    ],
    "landing_host": ["www.example.com", "example.co.uk.", "localhost", "192.168.2.3"],
}
NOTHING: dict[str, str | None] = dict.fromkeys(COLUMNS)
ODD = (
    *(
        "vİdeo",
        "MOBİLE",
        "İnstagram.com",
        "FBCLİD",
        "ΟΔΟΣ",
        "οδος",
        "ß",
        "\u017fms",
        "\ufb01",
        "e\u0301",
    ),
    *("ppc\u2028", "push\x85", "push\u2029", "cpc \x85", "x\u2028cp\u2028y", "x\rcp", "x\ncp\nx"),
    *("google\u2028.com", "google.com\n.", "google.com.\u2028", "goog\u212ae", "bücher.example"),
    *("a\\", "a'b", "%", "${x}", ".*", "(", "[", "\x0bsms", "\x1f", "\xa0cpc", "..", "e\u0301"),
)
"""What engines could read or fold in their own ways."""


def random_rows(seed: int, count: int) -> list[dict[str, str | None]]:
    """Links of every kind; a tenth of their values are noise."""
    rng = random.Random(seed)

    def value(name: str) -> str | None:
        noise = "".join(rng.choices("aeé.-() S\t", k=rng.randrange(5)))
        return rng.choice([None, None, None, noise, *TEXT_OF[name]])

    return [{name: value(name) for name in COLUMNS} for _ in range(count)]


def odd_rows() -> list[dict[str, str | None]]:
    """Every odd value in every place, alone and where the link is paid for."""
    paid: list[dict[str, str | None]] = [
        NOTHING,
        {"campaign_source": "google", "campaign_medium": "cpc"},
    ]
    return [NOTHING | more | {name: odd} for odd in ODD for name in COLUMNS for more in paid]


def link(row: dict[str, str | None]) -> Link:
    return Link(**{COLUMNS[name]: row[name] for name in COLUMNS})


def frame(rows: list[dict[str, str | None]]) -> pl.DataFrame:
    table = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String))
    return table.with_row_index("n").cast({"n": pl.Int64})


def test_published_cases_of_the_default_channel_group(shared: Path) -> None:
    cases = json.loads((shared / "cases/ga4_rules/default_channel_group.json").read_text())
    asked = [*cases["cases"]]
    got = [
        channel_of(Link(source=c["source"], medium=c["medium"], campaign=c["campaign"]), RULES)
        for c in asked
    ]
    assert got == [case["expected_channel"] for case in asked]
    assert len(got) == 29


def test_published_source_categories(shared: Path) -> None:
    with (shared / "cases/ga4_rules/ga4_source_categories.csv").open(newline="") as file:
        published = {row["source"]: row["source_category"] for row in csv.DictReader(file)}
    prefix = "SOURCE_CATEGORY_"
    got = {source: prefix + (RULES.category(source) or "").upper() for source in published}
    assert got == published


def test_channels_are_googles_and_ai_assistants() -> None:
    assert len(RULES.channels) == 20
    assert {"AI Assistants", "Unassigned", DIRECT} <= set(RULES.channels)


@pytest.mark.parametrize(
    ("said", "channel"),
    [
        pytest.param(Link(), "Direct", id="nothing"),
        pytest.param(Link(campaign="spring"), "Unassigned", id="a campaign without a source"),
        pytest.param(Link(campaign="spring", click_id_type="gclid"), "Paid Search", id="gclid too"),
        pytest.param(Link(source="Google", medium="CPC "), "Paid Search", id="case and space"),
        pytest.param(Link(click_id_type="gclid"), "Paid Search", id="gclid"),
        pytest.param(Link(click_id_type="wbraid"), "Paid Search", id="wbraid"),
        pytest.param(Link(click_id_type="msclkid"), "Paid Search", id="msclkid"),
        pytest.param(Link(click_id_type="yclid"), "Paid Search", id="yclid"),
        pytest.param(Link(click_id_type="ttclid"), "Paid Social", id="ttclid"),
        pytest.param(Link(click_id_type="li_fat_id"), "Paid Social", id="li_fat_id"),
        pytest.param(Link(click_id_type="fbclid"), "Organic Social", id="fbclid"),
        pytest.param(Link(click_id_type="dclid"), "Display", id="dclid"),
        pytest.param(
            Link(source="facebook", medium="paid", click_id_type="fbclid"),
            "Paid Social",
            id="campaign before click id",
        ),
        pytest.param(
            Link(click_id_type="gclid", referrer_host="news.example.org"),
            "Paid Search",
            id="click id before referrer",
        ),
        pytest.param(Link(referrer_host="www.google.de"), "Organic Search", id="country of google"),
        pytest.param(Link(referrer_host="duckduckgo.com"), "Organic Search", id="search engine"),
        pytest.param(Link(referrer_host="ya.ru"), "Organic Search", id="yandex by its short name"),
        pytest.param(Link(referrer_host="t.co"), "Organic Social", id="social host"),
        pytest.param(Link(referrer_host="m.youtube.com"), "Organic Video", id="video host"),
        pytest.param(Link(referrer_host="news.example.org"), "Referral", id="another site"),
        pytest.param(Link(referrer_host="gemini.google.com"), "AI Assistants", id="gemini"),
        pytest.param(Link(source="chatgpt.com"), "AI Assistants", id="chatgpt names itself"),
        pytest.param(Link(source="chatgpt.com", medium="cpc"), "Paid Other", id="paid assistant"),
        pytest.param(Link(referrer_host="www.paypal.com"), "Direct", id="payment"),
        pytest.param(Link(referrer_host="accounts.google.com"), "Direct", id="sign-in"),
        pytest.param(
            Link(referrer_host="blog.example.co.uk", landing_host="www.example.co.uk"),
            "Direct",
            id="own site",
        ),
        pytest.param(
            Link(referrer_host="other.co.uk", landing_host="example.co.uk"),
            "Referral",
            id="neighbour below one suffix",
        ),
        pytest.param(
            Link(referrer_host="localhost", landing_host="localhost"), "Direct", id="one label"
        ),
        pytest.param(
            Link(referrer_host="10.1.2.3", landing_host="192.168.2.3"),
            "Referral",
            id="IP addresses that end alike",
        ),
        pytest.param(
            Link(referrer_host="10.1.2.3", landing_host="10.1.2.3"), "Direct", id="own IP address"
        ),
        pytest.param(Link(referrer_host="www.bing.com."), "Organic Search", id="dot of the root"),
        pytest.param(
            Link(referrer_host="blog.example.com.", landing_host="www.example.com"),
            "Direct",
            id="own site with the dot of the root",
        ),
        pytest.param(
            Link(source="assistant.example", medium="ai-assistant", campaign="(ai-assistant)"),
            "AI Assistants",
            id="as Google Analytics writes an assistant that is not listed here",
        ),
    ],
)
def test_channel_of_a_link(said: Link, channel: str) -> None:
    assert channel_of(said, RULES) == channel


@pytest.mark.parametrize(
    ("said", "channel"),
    [
        (Link(source="(direct)", campaign="cross-network"), "Direct"),
        (Link(source="amazon", medium="cpc", campaign="cross-network"), "Cross-network"),
        (Link(source="amazon", medium="cpc"), "Paid Shopping"),
        (Link(source="google", medium="cpc", campaign="shopping"), "Paid Shopping"),
        (Link(source="youtube", medium="cpm"), "Paid Video"),
        (Link(source="news", medium="cpm"), "Display"),
        (Link(source="perplexity", campaign="shopping"), "AI Assistants"),
        (Link(source="facebook", campaign="eshop"), "Organic Shopping"),
        (Link(source="youtube", medium="social"), "Organic Social"),
        (Link(source="google", medium="mobile-video"), "Organic Video"),
        (Link(source="google", medium="referral"), "Organic Search"),
        (Link(source="email", medium="referral"), "Referral"),
        (Link(source="email", medium="affiliate"), "Email"),
        (Link(source="sms", medium="affiliate"), "Affiliates"),
        (Link(source="sms", medium="audio"), "Audio"),
        (Link(source="sms", medium="web-push"), "SMS"),
    ],
)
def test_of_two_rules_that_hold_the_first_decides(said: Link, channel: str) -> None:
    assert channel_of(said, RULES) == channel


@pytest.mark.parametrize(
    ("channel", "media"),
    [
        ("Display", "display, banner, expandable, interstitial, cpm"),
        ("Paid Other", "cpc, ppc, CPV, retargeting, paid, paidsocial"),
        (
            "Organic Social",
            "social, social-network, social-media, sm, social network, social media",
        ),
        ("Referral", "referral, app, link"),
        ("Email", "email, e-mail, e_mail, e mail"),
        ("Affiliates", "affiliate, affiliates"),
        ("Mobile Push Notifications", "push, webpush, mobile, notifications"),
        ("Unassigned", "pushed, newsletter, cost, appointment, prepaid, ppcx"),
    ],
)
def test_medium_alone_names_its_channel(channel: str, media: str) -> None:
    said = [Link(source="news", medium=medium) for medium in media.split(", ")]
    assert {channel_of(link, RULES) for link in said} == {channel}


@pytest.mark.parametrize("source", ["email", "e-mail", "e_mail", "e mail"])
def test_mail_may_be_named_as_the_source(source: str) -> None:
    assert channel_of(Link(source=source), RULES) == "Email"


def test_every_click_id_names_a_channel() -> None:
    channels = {
        "Paid Search": "gclid gbraid wbraid msclkid yclid",
        "Paid Social": "ttclid twclid li_fat_id rdt_cid sccid",
        "Paid Other": "dicbo tblci",
        "Display": "dclid",
        "Affiliates": "irclickid awc cjevent",
        "Email": "mc_cid",
        "Organic Search": "srsltid",
        "Organic Social": "epik igshid fbclid",
    }
    expected = {name: channel for channel, names in channels.items() for name in names.split()}
    said = {name: channel_of(Link(click_id_type=name), RULES) for name in RULES.click_ids}
    assert said == expected


@pytest.mark.parametrize(
    "host",
    [
        *["chatgpt.com", "chat.openai.com", "claude.ai", "gemini.google.com", "poe.com"],
        *["copilot.microsoft.com", "www.perplexity.ai", "www.meta.ai", "chat.mistral.ai"],
        *["character.ai", "old.character.ai", "m365.cloud.microsoft"],
    ],
)
def test_ai_assistants_are_a_channel_of_their_own(host: str) -> None:
    assert channel_of(Link(referrer_host=host), RULES) == "AI Assistants"


def test_traffic_source_of_a_referrer_is_its_host_and_kind() -> None:
    search = Link(referrer_host="www.google.de")
    assert traffic_source_of(search, RULES) == TrafficSource("google.de", "organic")
    assert traffic_source_of(Link(), RULES) == TrafficSource(None, None)


@pytest.mark.parametrize("host", ["docs.google.com", "mail.yahoo.com", "translate.google.com"])
def test_what_a_search_engine_has_beside_its_search_refers_as_any_site(host: str) -> None:
    assert channel_of(Link(referrer_host=host), RULES) == "Referral"
    assert traffic_source_of(Link(referrer_host=host), RULES) == TrafficSource(host, "referral")


def test_click_id_that_unpaid_links_carry_yields_to_the_referrer() -> None:
    both = Link(click_id_type="fbclid", referrer_host="l.instagram.com")
    assert traffic_source_of(both, RULES) == TrafficSource("l.instagram.com", "social")
    alone = Link(click_id_type="fbclid")
    assert traffic_source_of(alone, RULES) == TrafficSource("facebook", "social")


def named_by(backend: SQLBackend, folder: Path, rows: list[dict[str, str | None]]) -> list[str]:
    table = run(backend, folder, {"links": frame(rows)}, lambda links: with_channel(links, RULES))
    return table.sort("n")["channel"].to_list()


def test_table_agrees_with_link_by_link(tmp_path: Path, duckdb_backend: Backend) -> None:
    rows = random_rows(1, 5_000) + odd_rows()
    one_by_one = [channel_of(link(row), RULES) for row in rows]
    assert named_by(duckdb_backend, tmp_path, rows) == one_by_one
    assert len(set(one_by_one)) > 15


@pytest.mark.spark
@pytest.mark.slow
def test_engines_agree(tmp_path: Path, duckdb_backend: Backend, spark_backend: SQLBackend) -> None:
    rows = random_rows(2, 500) + odd_rows()
    on_duckdb, on_spark = (
        named_by(engine, tmp_path, rows) for engine in (duckdb_backend, spark_backend)
    )
    assert on_spark == on_duckdb


def test_table_keeps_its_other_columns_and_rows(duckdb_backend: Backend) -> None:
    rows = [NOTHING, NOTHING, NOTHING | {"click_id_type": "gclid"}]
    table = duckdb_backend.create_table("links", frame(rows).to_arrow())
    named = with_channel(table.mutate(channel=ibis.literal("old")), RULES).order_by("n").to_polars()
    assert named["channel"].to_list() == ["Direct", "Direct", "Paid Search"]
    assert named.columns == ["n", *COLUMNS, "channel"]


# -- Definitions of one's own ------------------------------------------------------------------


def own_rules(folder: Path, name: str, text: str) -> ChannelRules:
    (folder / name).write_text(text)
    return load_channel_rules(folder)


def test_own_rules_replace_the_shipped_ones(tmp_path: Path) -> None:
    text = """otherwise = "Rest"
    [[rule]]
    channel = "Partners"
    when = { referrer_host = 'partner', source_category = false }
    """
    rules = own_rules(tmp_path, "channels.toml", text)
    assert channel_of(Link(referrer_host="a.partner.example"), rules) == "Partners"
    assert channel_of(Link(source="google", referrer_host="partner.example"), rules) == "Rest"


def test_own_sources_and_click_ids_are_added(tmp_path: Path) -> None:
    own_rules(tmp_path, "sources.toml", '[category]\nsearch = ["intra.example"]\nvideo = ["t.co"]')
    rules = own_rules(tmp_path, "click_ids.toml", '[ourid]\nsource = "x"\nmedium = "affiliate"')
    assert channel_of(Link(referrer_host="intra.example"), rules) == "Organic Search"
    assert channel_of(Link(referrer_host="t.co"), rules) == "Organic Video"
    assert channel_of(Link(click_id_type="ourid"), rules) == "Affiliates"
    assert channel_of(Link(click_id_type="gclid"), rules) == "Paid Search"


def test_own_rules_are_the_same_for_a_link_and_a_table(
    tmp_path: Path, duckdb_backend: Backend
) -> None:
    when = (
        "medium = ['${x}', 'ΕΚΠΤΩΣΕΙΣ']",
        "medium = '^a[.$]b.$'",
        "campaign = 'πρός$'",
        "campaign = '\\Wsale\\b'",
    )
    rules = "".join(f'[[rule]]\nchannel = "{n}"\nwhen = {{{it}}}\n' for n, it in enumerate(when))
    own = own_rules(tmp_path, "channels.toml", 'otherwise = "x"\n' + rules)
    mediums = ("${X}", "εκπτωσεις", "ΕΚΠΤΩΣΕΙΣ ", "a.bé", "a$b\u2028", "axbb", "a.b")
    campaigns = ("ΠΡΌΣ", "πρός\u2028", "esale", "ésale", "#saleé")
    rows = [NOTHING | {"campaign_medium": it} for it in mediums]
    rows += [NOTHING | {"campaign_name": it} for it in campaigns]
    named = with_channel(duckdb_backend.create_table("links", frame(rows).to_arrow()), own)
    by_table = named.order_by("n").to_polars()["channel"].to_list()
    assert by_table == [channel_of(link(row), own) for row in rows]
    assert by_table == [*"00011xx", *"2xx33"]


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("^a.$", r"^a[^\n]\z"),
        (r"\.\$[.$]", r"\.\$[.$]"),
        (r"[]$]$|[^].\]$]\\.", r"[]$]\z|[^].\]$]\\[^\n]"),
        ("[a]\u03c2", "[a]\u03c3"),
    ],
)
def test_patterns_are_written_so_that_engines_read_them_alike(pattern: str, written: str) -> None:
    assert portable(pattern) == written


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("channels.toml", "otherwise = ", r"channels\.toml: syntax: .* must be TOML"),
        ("channels.toml", 'otherwise = "x"\nrule = []', r"channels\.toml: rule: .*at least 1"),
        (
            "channels.toml",
            'otherwise = "x"\n[[rule]]\nchannel = "y"\nwhen = { colour = "red" }',
            r"channels\.toml: rule\.0\.when\.colour.*: Input should be 'source'",
        ),
        (
            "channels.toml",
            'otherwise = "x"\n[[rule]]\nchannel = "y"\nwhen = { source = \'(\' }',
            r"channels\.toml: rule\.0\.when: .*is not a regular expression: \(\. ",
        ),
        (
            "channels.toml",
            'otherwise = "x"\n[[rule]]\nchannel = "y"\nwhen = { source = \'a(?=b)\' }',
            r"channels\.toml: rule\.0\.when: .*regular expression",
        ),
        ("sources.toml", 'sites = ["x"]', r"sources\.toml: sites: is no key here"),
        ("click_ids.toml", '[abc]\nsource = "x"', r"click_ids\.toml: abc\.medium: is missing"),
    ],
)
def test_definitions_that_cannot_be_used_name_file_and_key(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        own_rules(tmp_path, name, text)
