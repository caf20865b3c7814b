"""Rules of bots: what matching ones come to, and files that cannot be used."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_platform.collection.bots import BotRule, BotRules, load_bot_rules
from clickstream_platform.collection.bots.rules import CAP
from clickstream_platform.errors import DefinitionError


def rule(name: str, weight: int, mode: str = "enforce") -> BotRule:
    return BotRule.model_validate(
        {
            "id": name,
            "layer": "header",
            "class": "automation",
            "mode": mode,
            "weight": weight,
            "description": "Is odd.",
        }
    )


RULES = BotRules(
    threshold=50,
    rule=(rule("a", 30), rule("b", 30), rule("c", 80), rule("d", 100, "shadow")),
)


@pytest.mark.parametrize(
    ("matched", "verdict"),
    [
        pytest.param("", (None, 0, False, None), id="nothing"),
        pytest.param("a", ("a", 30, False, None), id="below the threshold"),
        pytest.param("ba", ("a,b", 60, True, "a"), id="two add up, the first of equals tells"),
        pytest.param("ca", ("a,c", 100, True, "c"), id="110 is capped, the heaviest tells"),
        pytest.param("d", ("d", 0, False, None), id="shadow is noted and counts nothing"),
        pytest.param("x", ("x", 0, False, None), id="no rule any more"),
    ],
)
def test_enforced_rules_add_up(matched: str, verdict: tuple[object, ...]) -> None:
    assert RULES.verdict(matched) == verdict


def test_score_equal_to_the_threshold_is_a_bots() -> None:
    assert RULES.model_copy(update={"threshold": 30}).verdict("a").is_bot


SETS = st.sets(st.sampled_from("abcd"))


@given(SETS, SETS)
def test_another_signal_never_lowers_the_score(fewer: set[str], more: set[str]) -> None:
    low, high = RULES.verdict(fewer), RULES.verdict(fewer | more)
    assert low.score <= high.score <= CAP
    assert high.is_bot >= low.is_bot
    assert (high.reason is not None) == high.is_bot == (high.score >= RULES.threshold)


def own(folder: Path, text: str) -> BotRules:
    (folder / "bots.toml").write_text(text, encoding="utf-8")
    return load_bot_rules(folder)


def test_own_file_changes_what_it_names_and_adds_to_the_rest(tmp_path: Path) -> None:
    shipped = load_bot_rules()
    changed = own(
        tmp_path,
        """
        threshold = 80
        [[rule]]
        id = "datacenter_range"
        mode = "enforce"
        [[rule]]
        id = "our_monitor"
        class = "automation"
        layer = "agent"
        mode = "shadow"
        weight = 100
        description = "Checks the shop every minute."
        user_agent = "(?i)acme"
        """,
    )
    assert (shipped.threshold, changed.threshold) == (50, 80)
    assert shipped.by_id["datacenter_range"].mode == "shadow"
    assert changed.by_id["datacenter_range"].mode == "enforce"
    assert changed.by_id["datacenter_range"].weight == shipped.by_id["datacenter_range"].weight
    assert changed.own_patterns == {"our_monitor": "(?i)acme"}
    assert [*changed.by_id] == [*shipped.by_id, "our_monitor"]


MADE_UP = """[[rule]]
id = "x"
class = "automation"
layer = "agent"
mode = "shadow"
weight = 1
description = "y"
"""


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("threshold = ", r"syntax", id="no TOML"),
        pytest.param("treshold = 3", r"treshold: is no key here", id="unknown key"),
        pytest.param("threshold = 0", r"threshold: Input should be greater", id="no threshold"),
        pytest.param("rule = 3", r"rule: must be written as \[\[rule\]\]", id="no list"),
        pytest.param("[[rule]]\nweight = 3", r"rule\.0\.id: is missing", id="no id"),
        pytest.param(
            '[[rule]]\nid = "headles"\nmode = "shadow"',
            r"rule\.0\.id: 'headles' is no rule of ours and says no user_agent",
            id="slip in an id",
        ),
        pytest.param(
            '[[rule]]\nid = "headless"\nwait = 3',
            r"rule\.headless\.wait: is no key here",
            id="key of a rule",
        ),
        pytest.param(
            '[[rule]]\nid = "headless"\nweight = 101', r"rule\.headless\.weight", id="too heavy"
        ),
        pytest.param(
            MADE_UP + 'user_agent = "(?=a)"', r"rule\.x: rule x: user_agent is no", id="lookahead"
        ),
        pytest.param(
            MADE_UP + 'user_agent = "(?x) a"', r"rule\.x: .* both Rust's regex and RE2", id="Rust's"
        ),
        pytest.param(
            '[[rule]]\nid = "headless"\nat_least = 3',
            r"rule\.headless: rule headless: at_least is for rules of layer behaviour",
            id="number of a user agent",
        ),
        pytest.param(
            '[[rule]]\nid = "sleepless"\nat_least = 0', r"rule\.sleepless\.at_least", id="no number"
        ),
        pytest.param(
            '[[rule]]\nid = "no_user_agent"\nuser_agent = "a"',
            r"rule\.no_user_agent: rule no_user_agent: user_agent is for rules of layer agent",
            id="pattern of a header",
        ),
    ],
)
def test_wrong_file_is_told_with_key_and_remedy(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(DefinitionError, match=rf"bots\.toml: {key}.* (See docs|It must be TOML)"):
        own(tmp_path, text)
