"""Commands about consent, and the example of the guide."""

import contextlib
import io
import json
import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.collection.consent_log import ConsentLogError
from clickstream_platform.lake import Lake
from clickstream_platform.reports import consent_rates
from clickstream_platform.settings import Settings
from clickstream_platform_tests.collection.consent_log.world import (
    LAPTOP,
    PHONE,
    arrive,
    event,
    pseudonym,
    tamper,
)

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "consent.md"

load_commands()


def consent(*words: str, settings: Settings) -> str:
    result = CliRunner().invoke(app, ["consent", *words, "--data", str(settings.data)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def visited(lake: Lake, settings: Settings) -> Lake:
    """Four visitors: one says yes, one no, one nothing; one comes from France and says yes."""
    other, third = pseudonym("pv", "tv"), pseudonym("pv", "watch")
    arrive(
        lake,
        settings,
        [
            event(1, PHONE, page_path="/a", says="yn", properties='{"cmp_version": "9.1"}'),
            event(2, PHONE, page_path="/b"),
            event(3, LAPTOP, page_path="/a", says="n"),
            event(4, LAPTOP, page_path="/a"),
            event(5, other, page_path="/a"),
            event(6, third, page_path="/b", country="FR", says="y"),
        ],
    )
    return lake


def test_opt_in_rates_by_hand(visited: Lake, settings: Settings) -> None:
    # /a: three visitors, one yes, one no, one silent: 1 of 2 answered yes, 2 of 3 would be lost,
    # with 3 events (two of the no, one of the silent).
    rates = consent_rates(visited, settings, days=30)
    rows = {(row[0], row[1]): row[2:] for row in rates.iter_rows()}
    assert rows["page", "/a"] == (3, 1, 1, 1, 0.5, pytest.approx(2 / 3), 3)
    assert rows["page", "/b"] == (1, 1, 0, 0, 1.0, 0.0, 0)
    assert rows["country", "DE"][:4] == (3, 1, 1, 1)
    assert rows["country", "FR"][:4] == (1, 1, 0, 0)
    assert rows["consent platform", "9.1"][:4] == (1, 1, 0, 0)
    assert rows["consent platform", "(not said)"][:4] == (3, 1, 1, 1)
    for dimension in ("page", "country", "consent platform"):
        assert sum(row[0] for (name, _), row in rows.items() if name == dimension) == 4


def test_events_whose_identifiers_were_taken_at_the_door_are_lost_events_of_nobody(
    visited: Lake, settings: Settings
) -> None:
    # Two refusals on /a, and one event without identifiers that says nothing.
    nobody = {"visitor": None, "page_path": "/a"}
    arrive(
        visited,
        settings,
        [event(7, says="n", **nobody), event(8, says="n", **nobody), event(9, **nobody)],  # type: ignore[arg-type]  # one of them is no column
    )
    rows = {row[:2]: row[2:] for row in consent_rates(visited, settings, days=30).iter_rows()}
    assert rows["page", "/a"] == (3, 1, 1, 1, 0.5, pytest.approx(2 / 3), 5)
    assert rows["country", "DE"][-1] == 5


def test_report_and_show_print_what_is_recorded(visited: Lake, settings: Settings) -> None:
    assert visited.row_count("consent_log") == 3
    rates = json.loads(consent("report", "--json", settings=settings))
    assert {row["dimension"] for row in rates} == {"page", "country", "consent platform"}
    shown = json.loads(consent("show", "--limit", "2", "--json", settings=settings))
    assert [row["number"] for row in shown] == [3, 2]
    assert "consent_analytics" in shown[0]
    assert PHONE not in consent("show", settings=settings)


def test_without_anything_the_commands_say_so(settings: Settings) -> None:
    assert "Nobody has chosen anything yet" in consent("show", settings=settings)
    assert "No visitors yet" in consent("report", settings=settings)
    assert "0 entries" in consent("verify", settings=settings)


def test_verify_finds_a_deleted_entry(visited: Lake, settings: Settings) -> None:
    assert "3 entries, as they were written" in consent("verify", settings=settings)
    assert json.loads(consent("verify", "--json", settings=settings))["erased"] == 0
    held = visited.scan("consent_log").collect()
    tamper(visited, "consent_log", held.filter(pl.col("number") != 2))
    with pytest.raises(ConsentLogError, match="entry 2 is missing"):
        consent("verify", settings=settings)


@pytest.mark.parametrize(
    ("text", "country", "processing", "is_allowed"),
    [
        pytest.param("1YYN", "US", "crm", False, id="US Privacy"),
        pytest.param("DBABLA~BVQqAAAAAgA.QA", "US", "crm", True, id="GPP"),
        pytest.param("G111", "DE", "first_party_analytics", True, id="gcs"),
        pytest.param("11p1p1p1p5", "DE", "first_party_analytics", False, id="gcd"),
        pytest.param("CPi8wgAPi8wgAAOACBENCu", "DE", "crm", False, id="TCF, cut off"),
    ],
)
def test_decode_says_what_a_string_allows(
    settings: Settings, text: str, country: str, processing: str, *, is_allowed: bool
) -> None:
    rows = json.loads(consent("decode", text, "--country", country, "--json", settings=settings))
    found = {row["processing"]: row["is_allowed"] for row in rows}
    assert found[processing] == is_allowed


def test_the_example_of_the_guide_prints_what_it_says() -> None:
    text = GUIDE.read_text()
    code, expected = (
        re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)[0] for kind in ("python", "text")
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(GUIDE), "exec"), {})  # noqa: S102 - our own guide
    assert printed.getvalue() == expected
