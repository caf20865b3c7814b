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


reader = agent_reader()


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


LINUX = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
PHONE = (
    "Mozilla/5.0 (Linux; Android 14; {}) AppleWebKit/537.36 Chrome/130.0.0.0 Mobile Safari/537.36"
)
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        pytest.param(f"{LINUX} HeadlessEdg/130.0 Safari/537.36", "headless", id="any headless"),
        pytest.param(f"{LINUX} wkhtmltopdf Safari/537.36", "headless", id="prints pages"),
        pytest.param("acme-http/1.0", "http_client", id="client of HTTP"),
        pytest.param("Acme 1.1 package http", "http_client", id="its second word"),
        pytest.param("acme/1.0 (https)", None, id="remark about a protocol"),
        pytest.param("Acme-RestClient/2.1", "http_client", id="client of an interface"),
        pytest.param("acme/3.1 ruby/3.2.0 x86_64-linux", "http_client", id="language"),
        pytest.param("acme-cli/1.0 (go1.22; linux)", "http_client", id="language in brackets"),
        pytest.param("acme-sdk-java/1.11 Linux/5.10", "http_client", id="kit for developers"),
        pytest.param("Acme/1.0 Java/MIDP-2.0", None, id="telephone with Java"),
        pytest.param("acme-rivers/1.0 (java; android)", None, id="app in Java"),
        pytest.param("PS4Application libhttp/1.0 (PS4) (PlayStation 4)", None, id="console"),
        pytest.param("acmecrawler2/0.1", "declared_bot", id="word with a number"),
        pytest.param(f"{CHROME} AcmeMonitoring", "declared_bot", id="monitoring"),
        pytest.param("acme-security-scan", "declared_bot", id="scan"),
        pytest.param("AcmeDownloader", "declared_bot", id="downloader"),
        pytest.param("acme.com uptime", "declared_bot", id="begins with its site"),
        pytest.param("Acme 2/1.0 - 3 subscribers", "declared_bot", id="reads feeds for people"),
        pytest.param(
            "Mozilla/5.0 (X; +acme.org) AppleWebKit/537", "declared_bot", id="site to ask"
        ),
        pytest.param("Mozilla/5.0 (compatible; Acme/1.0)", "declared_bot", id="no engine"),
        pytest.param("Mozilla/5.0 (compatible; Acme 1.0; Haiku)", None, id="system but no engine"),
        pytest.param("com.example.app/3.18 (iPhone; iOS 17)", None, id="app by its package"),
        pytest.param(f"{IPHONE} (Acme ios@9.2.3.13)", None, id="version after an at sign"),
        pytest.param(PHONE.format("A1 Build/AP3A.240617.008"), None, id="build of a system"),
        pytest.param(f"{IPHONE} MetaIAB Facebook", None, id="browser in an app"),
        pytest.param(PHONE.format("CUBOT_P20"), None, id="telephone with an underscore"),
        pytest.param(PHONE.format("M bot 60 Build/LMY47D"), None, id="telephone called bot"),
        pytest.param(f"{IPHONE} WIRED/3.2", None, id="ends as a product of the list does"),
        pytest.param("Opera/9.80 (Opera Mini/4.4.39008/37)", None, id="number of a version"),
        pytest.param("claudebot/1.0", "ai_crawler", id="reader in another case"),
        pytest.param("Meta-ExternalAgent", "ai_crawler", id="reader by its name alone"),
        pytest.param("mydevinfo/1.0", None, id="name inside of another"),
        pytest.param("MistralAI-Index/1.0", "ai_crawler", id="reader of a known model"),
        pytest.param("AcmeAIBot/1.0 (+https://example.com)", "ai_crawler", id="reader by its word"),
        pytest.param("Claude/1.0 Chrome/130.0 Electron/33.0", None, id="app of a known model"),
    ],
)
def test_whoever_is_on_no_list_is_told_by_how_programs_name_themselves(
    agent: str, reason: str | None
) -> None:
    assert reasons([agent]) == [reason]
    assert reader(agent) == reason


def test_a_long_or_odd_agent_is_told_as_a_column_of_one() -> None:
    odd = ["", "   ", "\0", "\0bot", f"{CHROME}\0", "机器人/1.0", "Бot", "\n", "null"]
    long = ["a" * 10_240, "(" * 10_240, "http" * 2_560, "a@" * 5_120, "; " * 5_120, "a.-" * 3_413]
    assert [*map(reader, odd + long)] == reasons(odd + long)


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
