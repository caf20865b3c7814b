"""Commands about bots."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.collection.bot_behaviour import refresh_bot_behaviour
from clickstream_platform.collection.bots import RANGES_FOLDER, load_ranges
from clickstream_platform.errors import ParameterError
from clickstream_platform.lake import Lake
from clickstream_platform.reports.bot_matches import RATES
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import NOON, events_frame

MINUTE = timedelta(minutes=1)

load_commands()


def bots(*words: str, settings: Settings) -> str:
    result = CliRunner().invoke(app, ["bots", *words, "--data", str(settings.data)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def update(file: Path, kind: str, settings: Settings) -> str:
    origin = ("--source", "https://crawler.example", "--licence", "CC0-1.0", "--date", "2026-11-01")
    return bots("ranges", "update", str(file), "--class", kind, *origin, settings=settings)


def test_imported_list_is_listed_and_matched(settings: Settings, tmp_path: Path) -> None:
    (file := tmp_path / "ours.txt").write_text("192.0.2.0/25\n192.0.2.128/25\n")
    assert "ours: 1 network of class crawler" in update(file, "crawler", settings).replace("\n", "")
    rows = json.loads(bots("ranges", "list", "--json", settings=settings))
    (ours,) = [row for row in rows if row["name"] == "ours"]
    assert ours | {"networks": 1, "published_on": "2026-11-01", "licence": "CC0-1.0"} == ours
    ranges = load_ranges(settings.state / RANGES_FOLDER)
    assert ranges.signals("192.0.2.7") == ("crawler_range",)


def test_class_must_be_one_of_three(settings: Settings, tmp_path: Path) -> None:
    (file := tmp_path / "ours.txt").write_text("192.0.2.0/24")
    with pytest.raises(ParameterError, match="class is one of crawler, ai_crawler, datacenter"):
        update(file, "friends", settings)


def visit(visitor: str, *names: str, **fields: object) -> list[dict[str, object]]:
    """Events of one visitor, one a minute."""
    return [
        {"visitor_id": visitor, "event_name": name, "occurred_at": NOON + number * MINUTE} | fields
        for number, name in enumerate(names)
    ]


def test_rules_are_shown_beside_what_they_match(settings: Settings, lake: Lake) -> None:
    # Datacenter: three visitors; one clicks, two engage, one buys. The robot only views pages.
    rows: list[dict[str, object]] = [
        *visit("ann", "page_view", "click", "purchase", bot_signals="datacenter_range"),
        *visit("bob", "page_view", engaged_time_ms=900, bot_signals="datacenter_range"),
        *visit("robot", *["page_view"] * 20, bot_signals="datacenter_range,headless_hint"),
        *visit("eve", "page_view", "click"),
        *visit("joe", "page_view"),
        *visit("canary", "click", is_synthetic=True, bot_signals="crawler"),
        {"event_name": "page_view", "bot_signals": "retired"},
    ]
    lake.append("events", events_frame([r | {"event_id": f"e{n}"} for n, r in enumerate(rows)]))
    refresh_bot_behaviour(lake, settings)
    found = {row["rule"]: row for row in json.loads(bots("report", "--json", settings=settings))}
    told = {
        name: [row[column] for column in ("events", "visitors", "visitor_days", *RATES)]
        for name, row in found.items()
        if row["events"]
    }
    assert told == {
        "headless_hint": [20, 1, 1, 0, 0, 0],
        "datacenter_range": [24, 3, 3, 1 / 3, 2 / 3, 1 / 3],
        "no_engagement": [20, 1, 1, 0, 0, 0],
        "retired": [1, 0, 0, None, None, None],
        "regular_gaps": [20, 1, 1, 0, 0, 0],
        "(no rule)": [3, 2, 2, 1 / 2, 1 / 2, 0],
    }
    assert found["crawler"]["click_rate"] is None, "enforced, but without matches"
    assert [*found][-1] == "(no rule)"
    assert (found["retired"]["mode"], found["datacenter_range"]["mode"]) == (None, "shadow")
    assert "datacenter_range" in bots("report", settings=settings)


def test_nothing_is_shown_without_events(settings: Settings) -> None:
    assert "No events yet" in bots("report", settings=settings)
