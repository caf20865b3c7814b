"""User agents: who is a program, by which rule, and how well that is told."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_platform.collection.bots import bot_reason
from clickstream_platform.collection.bots.agents import DECLARED, NO_PROGRAM, agent_reader

METHOD = Path(__file__).parents[3] / "docs/methods/bots.md"

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36"
)


def reasons(agents: list[str], own: dict[str, str] | None = None) -> list[str | None]:
    """Which rule tells each user agent."""
    return pl.DataFrame({"ua": agents}).select(bot_reason(pl.col("ua"), own)).to_series().to_list()


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        pytest.param(CHROME, None, id="browser"),
        pytest.param(CHROME.replace("Chrome", "HeadlessChrome"), "headless", id="headless"),
        pytest.param("curl/8.5.0", "http_client", id="client"),
        pytest.param(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "crawler",
            id="search engine",
        ),
        pytest.param(
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.2; "
            "+https://openai.com/gptbot",
            "ai_crawler",
            id="reads for a model",
        ),
        pytest.param("NL-Crawler", "declared_bot", id="on no list but says so"),
        pytest.param("Mozilla/5.0 (Linux; Android 4.2.1; CUBOT GT99)", None, id="telephone"),
    ],
)
def test_reason_is_the_first_rule_that_tells(agent: str, reason: str | None) -> None:
    assert reasons([agent]) == [reason]


def test_patterns_of_the_user_come_first() -> None:
    own = {"our_monitor": "(?i)acme", "our_other": "8"}
    agents = ["curl/8 acme", "curl/8", "curl/7", CHROME]
    assert reasons(agents, own) == ["our_monitor", "our_other", "http_client", None]
    assert [*map(agent_reader(own), agents)] == reasons(agents, own)


def test_one_agent_is_told_as_a_column_of_them(shared: Path) -> None:
    agents = labelled(shared)["ua"].to_list()
    assert [*map(agent_reader(), agents)] == reasons(agents)


PIECES = (
    *("Mozilla/5.0", "curl/8", "HeadlessChrome", "Googlebot", "GPTBot", "Cubot", "bot", "Rss", "x"),
    *("http://", "www.", "a@b.cd", " ", "/", "(", "_", "-", "\t", "\x0b", "\n", "1"),
)
reader = agent_reader()


@given(st.lists(st.sampled_from(PIECES) | st.text(st.characters(max_codepoint=127)), max_size=8))
def test_any_agent_in_ascii_is_told_as_a_column_of_one(pieces: list[str]) -> None:
    agent = "".join(pieces)
    assert [reader(agent)] == reasons([agent])


def labelled(shared: Path) -> pl.DataFrame:
    """User agents with ``is_bot``, of both lists."""
    files = sorted((shared / "cases/bot_detection").glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return pl.DataFrame([{"ua": row["ua"], "is_bot": row["is_bot"]} for row in rows])


def recall_and_precision(labels: pl.DataFrame, flagged: pl.Expr) -> tuple[float, float]:
    told = labels.with_columns(flagged=flagged)
    both = told.filter("is_bot", "flagged").height
    return both / told.filter("is_bot").height, both / told.filter("flagged").height


def test_labelled_agents_are_told_apart(shared: Path) -> None:
    recall, precision = recall_and_precision(
        labelled(shared), bot_reason(pl.col("ua")).is_not_null()
    )
    assert recall >= 0.99
    assert precision >= 0.99


def test_page_about_the_method_shows_these_figures(shared: Path) -> None:
    told = labelled(shared).with_columns(reason=bot_reason(pl.col("ua")).fill_null("none"))
    counts = told.group_by("reason").agg(
        bots=pl.col("is_bot").sum(), people=(~pl.col("is_bot")).sum()
    )
    page = METHOD.read_text(encoding="utf-8")
    rows = {
        f"| {reason if reason == 'none' else f'`{reason}`'} | {bots:,} | {people:,} |"
        for reason, bots, people in counts.iter_rows()
    }
    assert {row for row in rows if row not in page} == set()


def test_most_of_those_on_no_list_would_say_so_themselves(shared: Path) -> None:
    # The list's own entries, as if the list were not there: crawlers of tomorrow.
    says_so = pl.col("ua").str.contains(DECLARED) & ~pl.col("ua").str.contains(NO_PROGRAM)
    recall, precision = recall_and_precision(labelled(shared), says_so)
    assert recall >= 0.75
    assert precision >= 0.99


def test_ai_crawlers_are_a_class_of_their_own(shared: Path) -> None:
    lines = (shared / "cases/bot_detection/crawler-user-agents.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "ai-crawler" in row["category"]]
    told = reasons([row["ua"] for row in rows])
    assert sum(reason in {"ai_crawler", "headless"} for reason in told) >= 0.95 * len(told)
