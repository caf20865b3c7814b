"""Content-Security-Policy: one policy by hand, what is guessed, what browsers have reported."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from clickstream_platform.collection.tags import (
    Collector,
    Policy,
    blocked_sources,
    content_security_policy,
    load_vendors,
    new_domains,
    read_container,
)
from clickstream_platform.errors import ParameterError
from clickstream_platform_tests.collection.tags.exports import (
    Fields,
    custom_template,
    export,
    ga4,
    html,
    permission,
    table,
    tag,
    template,
    variable,
)
from clickstream_platform_tests.frames import events_frame

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


def policy(*tags: Fields, allow_eval: bool = False, **parts: object) -> Policy:
    container = read_container(export(*tags, **parts), "c")  # type: ignore[arg-type]
    return content_security_policy(container, vendors=load_vendors(), allow_eval=allow_eval)


def report(
    origin: str, *, hours_ago: float = 1, directive: str = "img-src", **more: object
) -> Fields:
    return {
        "source": "csp_reports",
        "event_name": "csp_violation",
        "occurred_at": NOON - timedelta(hours=hours_ago),
        "page_path": "/a",
        "properties": f'{{"directive": "{directive}", "blocked_origin": "{origin}"}}',
    } | more


def seen(*reports: Fields) -> pl.DataFrame:
    rows = [row | {"event_id": str(number)} for number, row in enumerate(reports)]
    return blocked_sources(events_frame(rows).lazy())


def test_policy_of_one_analytics_tag_by_hand() -> None:
    # Google's own page: scripts, images and connections of Tag Manager, and two hosts of GA4.
    assert policy(ga4("1")).value == (
        "default-src 'self'; script-src 'self' 'nonce-{NONCE}' https://*.googletagmanager.com; "
        "style-src 'self'; img-src 'self' data: https://*.google-analytics.com "
        "https://*.googletagmanager.com; font-src 'self'; connect-src 'self' "
        "https://*.analytics.google.com https://*.google-analytics.com "
        "https://*.googletagmanager.com; frame-src 'self' https://*.googletagmanager.com; "
        "object-src 'none'; base-uri 'self'; form-action 'self'"
    )


def test_no_browser_runs_a_server_container() -> None:
    with pytest.raises(ParameterError, match=r"^container is of a server: .*'GTM-ABC123'\. Try "):
        policy(ga4("1"), usage="SERVER")


@pytest.mark.parametrize("usage", ["AMP", "IOS"])
def test_pages_load_no_container_of_apps(usage: str) -> None:
    with pytest.raises(ParameterError, match=r"^container is of AMP pages or an app: .*Try "):
        policy(ga4("1"), usage=usage)


def test_google_tag_needs_what_its_account_needs() -> None:
    account = variable("8", "c", "ads", value="AW-123")
    assert "https://www.googleadservices.com" not in policy(ga4("1")).value
    ads = policy(ga4("1", "{{ads}}"), variable=[account]).value
    assert "https://www.googleadservices.com" in ads
    assert "google-analytics" not in ads


def test_code_of_a_google_tag_needs_what_its_account_needs() -> None:
    code = "<script src='https://www.googletagmanager.com/gtag/js'></script>%s"
    made = policy(html("1", code % "<script>gtag('config', 'G-ABC')</script>"))
    assert made.value == policy(ga4("1")).value


def test_shared_hosts_are_allowed_where_they_are_named() -> None:
    made = policy(html("1", "<script src='https://www.google.com/recaptcha/api.js'></script>"))
    allowed = {name for name, it in made.directives.items() if "https://www.google.com" in it}
    assert allowed == {"script-src"}
    assert not any("www.google.com" in it for it in made.notes)


def test_templates_load_what_they_may() -> None:
    made = policy(
        *(tag(str(n), "cvt_2_12", name=f"pixel {n}") for n in range(5)),
        tag("8", "cvt_2_13", name="silent"),
        tag("9", "cvt_2_14", name="gone"),
        customTemplate=[
            custom_template(
                "12",
                permission("inject_script", "https://cdn.a.example/x.js"),
                permission("send_pixel", "https://*.b.example/*"),
                permission("inject_hidden_iframe", "https://*.cookiebot.eu/"),
            ),
            custom_template("13", permission("access_globals")),
        ],
    )
    assert "https://cdn.a.example" in made.directives["script-src"]
    assert "https://*.b.example" in made.directives["img-src"]
    assert "https://consentcdn.cookiebot.eu" in made.directives["frame-src"]
    assert "code.example" not in made.value
    tags = "named by tags 'pixel 0', 'pixel 1', 'pixel 2' and 2 more. Allowed by guess."
    assert made.notes[1:] == (
        f"*.b.example is of no known vendor; {tags}",
        f"cdn.a.example is of no known vendor; {tags}",
        "The file lacks the templates, and so the hosts, of tag 'gone'.",
        "No host is named by the permissions of the templates of tag 'silent'.",
    )


@pytest.mark.parametrize(
    ("parameters", "is_known"),
    [
        pytest.param(
            [table("configSettingsTable", server_container_url="https://s.shop.example")],
            True,
            id="google tag",
        ),
        pytest.param(template(serverContainerUrl="{{server}}"), True, id="constant"),
        pytest.param(template(serverContainerUrl="{{gone}}"), False, id="variable"),
        pytest.param(template(serverContainerUrl="https://{{gone}}/a"), False, id="in part"),
    ],
)
def test_servers_of_google_tags_are_allowed(parameters: list[Fields], *, is_known: bool) -> None:
    server = variable("8", "c", "server", value="https://s.shop.example/path")
    made = policy(tag("1", "googtag", *parameters), variable=[server])
    assert ("https://s.shop.example" in made.directives["connect-src"]) == is_known
    told = "A variable names the server, to be allowed by you, of tag 'tag 1'."
    assert (told in made.notes) != is_known


def test_zones_load_other_containers() -> None:
    zone = {"zoneId": "40", "name": "Partner", "childContainer": [{"publicId": "GTM-CHILD"}]}
    assert policy(ga4("1"), zone=[zone]).notes[-1] == (
        "Zone 'Partner' loads GTM-CHILD: make a policy of that container, too."
    )


def test_paused_tags_need_nothing() -> None:
    assert policy(ga4("1"), tag("2", "bzi", paused=True)).value == policy(ga4("1")).value
    assert "snap.licdn.com" in policy(tag("2", "bzi")).value


@pytest.mark.parametrize(
    ("code", "directives"),
    [
        pytest.param("<script src='https://x.example/a.js'></script>", {"script-src"}, id="script"),
        pytest.param('<iframe src="//x.example/">', {"frame-src"}, id="frame"),
        pytest.param(
            "<script>load('https://x.example/a')</script>",
            {"script-src", "img-src", "connect-src"},
            id="in code",
        ),
    ],
)
def test_unknown_hosts_are_allowed_where_they_are_named(code: str, directives: set[str]) -> None:
    made = policy(html("1", code))
    allowed = {name for name, sources in made.directives.items() if "https://x.example" in sources}
    assert allowed == directives
    assert "x.example is of no known vendor; named by tag 'tag 1'. Allowed by guess." in made.notes


def test_hosts_of_vendors_in_code_bring_all_that_the_vendor_needs() -> None:
    made = policy(html("1", "<script src='https://connect.facebook.net/en/f.js'></script>"))
    assert "https://www.facebook.com" in made.directives["img-src"]


def test_variables_that_are_evaluated_are_told_of() -> None:
    jsm = variable("8", "jsm", "now", javascript="function(){return 1}")
    (note,) = [it for it in policy(ga4("1"), variable=[jsm]).notes if "'now'" in it]
    assert "undefined without 'unsafe-eval'" in note
    loose = policy(ga4("1"), variable=[jsm], allow_eval=True)
    assert "'unsafe-eval'" in loose.directives["script-src"]
    assert not any("'now'" in it for it in loose.notes)


def test_inline_code_is_allowed_by_its_hash() -> None:
    page = "<html><script>a()</script><script src=x></script></html>"
    made = content_security_policy(vendors=load_vendors(), inline=[page])
    digest = base64.b64encode(hashlib.sha256(b"a()").digest()).decode()
    assert f"'sha256-{digest}'" in made.directives["script-src"]
    assert "nonce" not in made.value


def test_reports_go_to_the_collector_in_both_ways_of_browsers() -> None:
    made = content_security_policy(
        vendors=load_vendors(), collector=Collector("https://c.example/path", "k&1")
    )
    headers = made.headers(enforce=False)
    assert headers["Reporting-Endpoints"] == 'csp="https://c.example/v1/csp?key=k%261"'
    assert headers["Content-Security-Policy-Report-Only"].endswith(
        "report-uri https://c.example/v1/csp?key=k%261; report-to csp"
    )
    assert "https://c.example" in made.directives["connect-src"]
    assert next(iter(made.headers(enforce=True))) == "Content-Security-Policy"
    with pytest.raises(ParameterError, match=r"^collector is no address, got 'c\.example'\. Try"):
        content_security_policy(vendors=load_vendors(), collector=Collector("c.example"))


def test_what_was_reported_is_counted_by_hand() -> None:
    # Two elements and one attribute are one directive; the bot's report does not count.
    found = seen(
        report("https://x.example", directive="script-src-elem", hours_ago=3),
        report("https://x.example", directive="script-src", hours_ago=1, page_path="/b"),
        report("inline", directive="script-src-attr"),
        report("https://x.example", directive="script-src", is_bot=True),
        report("https://x.example", directive="script-src", source="web"),
    )
    assert found.rows() == [
        (
            "script-src",
            "https://x.example",
            NOON - timedelta(hours=3),
            NOON - timedelta(hours=1),
            2,
            2,
        ),
        ("script-src", "inline", NOON - timedelta(hours=1), NOON - timedelta(hours=1), 1, 1),
    ]
    made = content_security_policy(vendors=load_vendors(), seen=found)
    assert made.directives["script-src"] == ("'self'", "'nonce-{NONCE}'", "https://x.example")
    assert "script-src was blocked for inline, which is not allowed by what was reported." in (
        made.notes
    )


@pytest.mark.parametrize(
    ("reports", "new"),
    [
        pytest.param([report("https://x.example")], ["x.example"], id="first seen now"),
        pytest.param(
            [report("https://x.example"), report("https://x.example", hours_ago=168)],
            [],
            id="seen a week ago, to the hour",
        ),
        pytest.param(
            [report("https://x.example", hours_ago=167.9)], ["x.example"], id="just inside"
        ),
        pytest.param([report("https://www.facebook.com")], [], id="known vendor"),
        pytest.param(
            [report("wss://x.example:8443"), report("http://x.example")], ["x.example"], id="ports"
        ),
        pytest.param([report("inline"), report("chrome-extension")], [], id="no domain"),
    ],
)
def test_domain_is_new_for_a_week(reports: list[Fields], new: list[str]) -> None:
    found = new_domains(seen(*reports), load_vendors(), now=NOON, alarm_for=WEEK)
    assert found["domain"].to_list() == new


@pytest.mark.parametrize(
    ("vendor", "directive", "source"),
    [
        pytest.param("cookiebot", "connect-src", "https://consent.cookiebot.com", id="cookiebot"),
        pytest.param("cookiebot", "style-src", "'unsafe-inline'", id="cookiebot styles"),
        pytest.param("segment", "connect-src", "https://track.segment.com", id="segment"),
        pytest.param("onetrust", "connect-src", "https://*.onetrust.com", id="onetrust"),
        pytest.param("usercentrics", "img-src", "https://*.usercentrics.eu", id="usercentrics"),
        pytest.param("hubspot", "script-src", "https://*.hsadspixel.net", id="hubspot"),
        pytest.param("linkedin", "img-src", "https://*.ads.linkedin.com", id="linkedin"),
        pytest.param("microsoft_ads", "script-src", "https://bat.bing.net", id="microsoft"),
    ],
)
def test_vendors_may_load_what_their_own_pages_say(
    vendor: str, directive: str, source: str
) -> None:
    # The pages stand beside each vendor in vendors.toml.
    assert source in load_vendors()[vendor].csp[directive]
