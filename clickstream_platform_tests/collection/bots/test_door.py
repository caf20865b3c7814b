"""Bots at the door: header by header, then what a record gets."""

import tracemalloc

import pytest

from clickstream_platform.collection.arrivals import Arrival
from clickstream_platform.collection.bots import BotScoring, header_signals, load_bot_rules
from clickstream_platform.settings import Settings
from clickstream_platform_tests.collection.bots.test_ranges import RANGES
from clickstream_platform_tests.services.wire import Door, batch, event, post

WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Mobile Safari/537.36"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
BRANDS = '"Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"'


def browser(agent: str = WINDOWS, /, **changed: str | None) -> dict[str, str]:
    """Headers of Chrome 130 on Windows, changed."""
    headers = {
        "user-agent": agent,
        "accept-language": "en-US,en;q=0.9",
        "sec-ch-ua": BRANDS,
        "sec-ch-ua-mobile": "?0",
        "sec-ch-ua-platform": '"Windows"',
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    return {name: value for name, value in headers.items() if value is not None}


NO_HINTS: dict[str, str | None] = dict.fromkeys(
    ("sec_ch_ua", "sec_ch_ua_mobile", "sec_ch_ua_platform")
)


@pytest.mark.parametrize(
    ("headers", "signals"),
    [
        pytest.param(browser(), (), id="Chrome on Windows"),
        pytest.param(
            browser(ANDROID, sec_ch_ua_mobile="?1", sec_ch_ua_platform='"Android"'),
            (),
            id="Chrome on Android",
        ),
        pytest.param(
            browser(WINDOWS + " Edg/130.0", sec_ch_ua=BRANDS.replace("Google Chrome", "Edge")),
            (),
            id="Edge",
        ),
        pytest.param(browser(FIREFOX, **NO_HINTS), (), id="Firefox sends no hints"),
        pytest.param(browser(**NO_HINTS), (), id="Chrome over plain HTTP sends none either"),
        pytest.param(browser(sec_ch_ua_platform='"Haiku"'), (), id="system nobody knows"),
        pytest.param(
            browser(sec_ch_ua=BRANDS.replace("Google Chrome", "HeadlessChrome")),
            ("headless_hint",),
            id="headless in disguise",
        ),
        pytest.param(
            browser(sec_ch_ua=BRANDS.replace("130", "119")),
            ("client_hints_mismatch",),
            id="other version",
        ),
        pytest.param(browser(FIREFOX), ("client_hints_mismatch",), id="Firefox with hints"),
        pytest.param(
            browser(sec_ch_ua_mobile="?1"), ("client_hints_mismatch",), id="desktop on a phone"
        ),
        pytest.param(
            browser(sec_ch_ua_platform='"Linux"'), ("client_hints_mismatch",), id="other system"
        ),
        pytest.param(browser(accept_language=None), ("no_accept_language",), id="no language"),
        pytest.param({}, ("no_accept_language", "no_user_agent"), id="nothing at all"),
    ],
)
def test_headers_that_no_browser_sends(headers: dict[str, str], signals: tuple[str, ...]) -> None:
    assert header_signals(headers) == signals


def scored(
    record: dict[str, object],
    headers: dict[str, str],
    *,
    address: str | None = None,
    client: str | None = None,
    is_server: bool = False,
) -> dict[str, object]:
    arrival = Arrival(
        path="/",
        query={},
        headers=headers,
        body=b"",
        received_us=0,
        address=address,
        client=client,
        is_server=is_server,
    )
    BotScoring(load_bot_rules(), RANGES)(record, arrival)
    return {name: record.get(name) for name in ("bot_signals", "bot_score")}


def test_signals_of_all_layers_meet_on_the_record() -> None:
    headers = browser("curl/8.5.0", accept_language=None, **NO_HINTS)
    # http_client is certain; the crawler's network is, too; the other two are in shadow.
    assert scored({"user_agent": "curl/8.5.0"}, headers, client="198.51.100.70") == {
        "bot_signals": "crawler_range,datacenter_range,http_client,no_accept_language",
        "bot_score": 100,
    }


def test_record_of_a_person_gets_nothing_and_keeps_no_claim() -> None:
    claimed: dict[str, object] = {"user_agent": WINDOWS, "bot_signals": "crawler", "bot_score": 100}
    assert scored(claimed, browser(), client="203.0.113.7") == {
        "bot_signals": None,
        "bot_score": None,
    }
    assert claimed == {"user_agent": WINDOWS}


def test_server_is_not_taken_for_the_visitor_it_speaks_for() -> None:
    headers, client = {"user-agent": "okhttp/4"}, "198.51.100.70"
    assert scored({"user_agent": WINDOWS}, headers, client=client, is_server=True) == {
        "bot_signals": None,
        "bot_score": None,
    }
    passed_on = scored({"user_agent": "curl/8"}, headers, client=client, is_server=True)
    assert passed_on["bot_signals"] == "http_client"


def test_network_alone_is_enough_where_the_address_is_cut() -> None:
    scores = scored({}, browser(), address="192.0.2.0")
    assert scores == {"bot_signals": "crawler_range", "bot_score": 100}


def test_made_up_headers_do_not_fill_the_memory() -> None:
    scoring = BotScoring(load_bot_rules(), RANGES)
    tracemalloc.start()
    for number in range(1_000):
        long = f"{number} " + "x" * 60_000
        headers = browser(long, sec_ch_ua=long, sec_ch_ua_platform=long)
        arrival = Arrival(path="/", query={}, headers=headers, body=b"", received_us=0)
        scoring({"user_agent": long}, arrival)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000 * 4_000


def test_collector_notes_signals_and_stores_no_header(settings: Settings) -> None:
    door = Door(settings, scores_bots=True)
    key = door.key().key
    headless = BRANDS.replace("Google Chrome", "HeadlessChrome")
    door.send(
        post("/v1/events", batch(key, event(1)), **browser()),
        post("/v1/events", batch(key, event(2), event(3)), **browser(sec_ch_ua=headless)),
    )
    told = {record["event_id"]: record.get("bot_signals") for record in door.taken}
    assert told == {"e1": None, "e2": "headless_hint", "e3": "headless_hint"}
    assert b"Not?A_Brand" not in door.disk
    assert b"203.0.113.77" not in door.disk
