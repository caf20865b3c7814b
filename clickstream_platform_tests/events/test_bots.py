"""Bot score and signals of events: noted at the door or at landing, weighed at loading."""

from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.events import refresh_events
from clickstream_platform.settings import Settings
from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.events import Events
from clickstream_platform_tests.events.door import NOW, drop, event, events, load, take
from clickstream_platform_tests.services.wire import Door, batch, post
from clickstream_platform_tests.services.wire import event as sent

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36"
)
GOOGLEBOT = "66.249.66.1"
"""Address of the shipped list of crawlers, which is of a datacenter, too."""

Verdict = tuple[str | None, int, bool, str | None]


def verdicts(table: pl.DataFrame) -> dict[str, Verdict]:
    """Signals, score, flag and reason by event."""
    columns = ("event_id", "bot_signals", "bot_score", "is_bot", "bot_reason")
    rows = require(Events, table).select(columns).iter_rows()
    return {event_id: (signals, *rest) for event_id, signals, *rest in rows}


NOBODY: Verdict = (None, 0, False, None)


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        pytest.param({"user_agent": CHROME}, NOBODY, id="person"),
        pytest.param({}, NOBODY, id="nothing known"),
        pytest.param(
            {"user_agent": "curl/8"}, ("http_client", 100, True, "http_client"), id="by user agent"
        ),
        pytest.param(
            {"user_agent": CHROME, "bot_signals": "no_accept_language,headless_hint"},
            ("headless_hint,no_accept_language", 100, True, "headless_hint"),
            id="noted at the door, one of them in shadow",
        ),
        pytest.param(
            {"bot_signals": "datacenter_range"},
            ("datacenter_range", 0, False, None),
            id="shadow counts nothing",
        ),
        pytest.param(
            {"user_agent": CHROME, "bot_signals": "http_client"},
            NOBODY,
            id="the user agent speaks for itself",
        ),
        pytest.param(
            {"bot_signals": "http_client"},
            ("http_client", 100, True, "http_client"),
            id="the user agent is gone",
        ),
        pytest.param(
            {"bot_signals": "<b>,retired_rule,,A b"},
            ("retired_rule", 0, False, None),
            id="ids are kept, anything else is not",
        ),
        pytest.param(
            {"user_agent": CHROME, "ip_address": GOOGLEBOT},
            ("crawler_range,datacenter_range", 100, True, "crawler_range"),
            id="by its whole address, at landing",
        ),
        pytest.param(
            {"user_agent": CHROME, "ip_address": "66.249.66.0"},
            NOBODY,
            id="a cut address was looked up when it was whole, or never",
        ),
        pytest.param(
            {"ip_address": GOOGLEBOT, "bot_signals": "no_user_agent"},
            ("no_user_agent", 0, False, None),
            id="what the door noted stays",
        ),
    ],
)
def test_signals_are_weighed(
    settings: Settings, fields: dict[str, object], verdict: Verdict
) -> None:
    table = load(settings, [event(1, **fields), event(2, user_agent=CHROME)])
    assert verdicts(table) == {"e1": verdict, "e2": NOBODY}
    assert set(table["ip_address"].drop_nulls()) <= {"66.249.66.0"}


def test_addresses_of_access_logs_are_looked_up(settings: Settings) -> None:
    line = '{} - - [20/Nov/2026:11:00:00 +0000] "GET / HTTP/1.1" 200 512 "-" "' + CHROME + '"'
    path = drop(
        settings, "access.log", [line.format(GOOGLEBOT), line.format("203.0.113.7")], "nginx"
    )
    take(settings, path)
    table = events(settings).sort("ordinal")
    assert table["bot_reason"].to_list() == ["crawler_range", None]
    assert table["ip_address"].to_list() == ["66.249.66.0", "203.0.113.0"]


def test_what_the_collector_saw_arrives(settings: Settings) -> None:
    door = Door(settings, scores_bots=True, now=NOW)
    key = door.key().key
    headers = {"user_agent": CHROME, "accept_language": "en"}
    headless = {"sec_ch_ua": '"HeadlessChrome";v="130", "Chromium";v="130"'}
    at_ms = int(NOW.timestamp() * 1000) - 60_000
    door.send(
        post("/v1/events", batch(key, sent(1, created_at=at_ms)), **headers),
        post("/v1/events", batch(key, sent(2, created_at=at_ms)), **headers, **headless),
    )
    take(settings, *door.sealed)
    assert verdicts(events(settings)) == {
        "e1": NOBODY,
        "e2": ("headless_hint", 100, True, "headless_hint"),
    }


def test_changed_rules_take_effect_on_what_is_derived_anew(
    settings: Settings, tmp_path: Path
) -> None:
    records = [event(1, bot_signals="datacenter_range"), event(2, user_agent="acme/1")]
    assert set(verdicts(load(settings, records)).values()) == {
        ("datacenter_range", 0, False, None),
        NOBODY,
    }
    (tmp_path / "bots.toml").write_text(
        """
        [[rule]]
        id = "datacenter_range"
        mode = "enforce"
        weight = 60
        [[rule]]
        id = "our_monitor"
        class = "automation"
        layer = "agent"
        mode = "enforce"
        weight = 20
        description = "Ours."
        user_agent = "^acme"
        """
    )
    stricter = settings.model_copy(update={"definitions": tmp_path})
    refresh_events(stricter, full=True)
    assert verdicts(events(settings)) == {
        "e1": ("datacenter_range", 60, True, "datacenter_range"),
        "e2": ("our_monitor", 20, False, None),
    }
    load(stricter, [record | {"event_id": f"x{n}"} for n, record in enumerate(records)])
    by_id = verdicts(events(settings))
    assert (by_id["x0"], by_id["x1"]) == (by_id["e1"], by_id["e2"])
