"""Scenarios: what a file says, what holds of what came, and what is said if it does not."""

import random
from textwrap import dedent

import pytest

from clickstream_platform.collection.probes import Record, failures, read_scenario
from clickstream_platform.collection.probes.scenario import Expected
from clickstream_platform.errors import DefinitionError

VIEW: Record = {"event_name": "page_view", "page_url": "https://shop.example/a", "visitor_id": "v"}
BUY: Record = {
    "event_name": "purchase",
    "revenue": 5,
    "properties": {"items": [{"id": "p1"}], "is_new": True},
}
REFUSED: Record = {
    "event_name": "purchase",
    "violations": [{"code": "identity_missing", "field": "visitor_id", "got": None}],
}


def expected(text: str) -> Expected:
    lines = "\n".join(f"      {line}" for line in dedent(text).strip().splitlines())
    scenario = read_scenario(f"name: n\nsteps:\n  - name: s\n    expect:\n{lines}\n", "s.yaml")
    return scenario.steps[0].expect


def test_scenario_by_hand() -> None:
    wanted = expected("""
        in_order: true
        only: true
        good:
          - event: page_view
            count: 2
            where: {page_url: {matches: "^https://shop"}}
          - event: purchase
            where:
              revenue: {at_least: 5, at_most: 5.0}
              properties.items.0.id: p1
              properties.is_new: true
              order_id: {exists: false}
        bad:
          - {code: identity_missing, count: {at_least: 1}}
        """)
    assert failures(wanted, [VIEW, VIEW, BUY], [REFUSED]) == []
    assert failures(wanted, [VIEW, BUY], []) == [
        "expected 2 page_view where page_url matches '^https://shop'; found 1",
        "expected at least 1 bad by identity_missing; found 0",
        "came, in order: page_view, purchase",
    ]


@pytest.mark.parametrize(
    ("text", "good", "bad", "said"),
    [
        pytest.param(
            "good: [{event: purchase, where: {revenue: {at_least: 6}}}]",
            [VIEW, BUY],
            [],
            "expected 1 purchase where revenue is at least 6.0; found 0; "
            "in the closest of 1, revenue is 5",
            id="closest",
        ),
        pytest.param(
            "good: [{event: page_view, where: {visitor_id: w}}]",
            [VIEW],
            [],
            "expected 1 page_view where visitor_id is 'w'; found 0; "
            "in the closest of 1, visitor_id is withheld",
            id="withheld",
        ),
        pytest.param("good: []", [], [REFUSED], "expected no bad event; purchase breaks "
                     "identity_missing (visitor_id)", id="bad"),
        pytest.param("only: true\ngood: [{event: page_view}]", [VIEW, BUY], [],
                     "expected no other events; found purchase", id="only"),
        pytest.param("in_order: true\ngood: [{event: purchase}, {event: page_view}]", [VIEW, BUY],
                     [], "expected 1 page_view after purchase; it came before", id="order"),
        pytest.param("good: [{event: page_view, count: 0}]", [VIEW], [],
                     "expected 0 page_view; found 1", id="none"),
        pytest.param("good: [{event: page_view, count: {at_least: 2, at_most: 3}}]", [VIEW], [],
                     "expected at least 2 and at most 3 page_view; found 1", id="range"),
    ],
)  # fmt: skip
def test_failure_says_what_came(
    text: str, good: list[Record], bad: list[Record], said: str
) -> None:
    assert failures(expected(text), good, bad)[0] == said


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ("true", True, True),
        ("1", True, False),
        ("true", 1, False),
        ("1", 1.0, True),
        ("'1'", 1, False),
        ("null", None, True),
        ("{exists: true}", None, False),
        ("{exists: true}", "", True),
        ("{one_of: [a, b]}", "b", True),
        ("{one_of: [1]}", True, False),
        ("{matches: b$}", "ab", True),
        ("{matches: '1'}", 1, False),
        ("{at_least: 1}", 1, True),
        ("{at_least: 1}", True, False),
        ("{at_most: 1}", "0", False),
        ("{at_most: 1, at_least: 0}", -1, False),
    ],
)
def test_matchers(rule: str, value: object, holds: bool) -> None:  # noqa: FBT001
    wanted = expected(f"good: [{{event: x, where: {{f: {rule}}}}}]")
    assert (failures(wanted, [{"event_name": "x", "f": value}], []) == []) == holds


def test_what_need_not_come_has_a_place_only_if_it_came() -> None:
    wanted = expected("""
        in_order: true
        good:
          - {event: page_view, count: {at_least: 0}}
          - event: purchase
    """)
    assert failures(wanted, [BUY], []) == []
    assert failures(wanted, [VIEW, BUY], []) == []
    assert failures(wanted, [BUY, VIEW], []) != []


@pytest.mark.parametrize("seed", range(20))
def test_counts_and_only_do_not_depend_on_order(seed: int) -> None:
    rng = random.Random(seed)
    came: list[Record] = [rng.choice([VIEW, BUY]) for _ in range(rng.randrange(6))]
    names = [str(it["event_name"]) for it in came]
    counts = {name: names.count(name) for name in names}
    good = [f"{{event: {name}, count: {number}}}" for name, number in counts.items()]
    wanted = expected(f"only: true\ngood: [{', '.join(good)}]")
    rng.shuffle(came)
    assert failures(wanted, came, []) == []
    assert failures(wanted, [*came, VIEW], []) != []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [", r"s\.yaml: syntax: is no YAML, line 1\. Mend it", id="no YAML"),
        pytest.param("", r"s\.yaml: \(root\): must be a table", id="empty"),
        pytest.param("name: n\nsteps: []", r"s\.yaml: steps: Tuple should have at", id="no steps"),
        pytest.param("name: n\nstep: []", r"s\.yaml: step: .*mean steps", id="misspelt"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        read_scenario(text, "s.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good: [{event: x, where: {f: {matches: '('}}}]", r"where\.f\.matches: is no pattern: "),
        ("good: [{event: x, where: {f: {}}}]", r"where\.f: needs one of equals, one_of"),
        ("good: [{event: x, count: {at_least: 2, at_most: 1}}]", r"count: at_most is less than"),
        ("good: [{event: x, count: -1}]", r"count\.at_least: .*greater than or equal to 0"),
        ("good: [{event: x, often: 1}]", r"good\.0\.often: is no key here"),
    ],
)
def test_expectations_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        expected(text)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        pytest.param("send: [{path: /x, body: {at: 2026-01-01}}]", "body: holds what", id="date"),
        pytest.param("send: [{path: /x, body: [.nan]}]", "body: holds what", id="no number"),
        pytest.param('send: [{path: /x, headers: {A: "\\xe9"}}]', "headers.A: ", id="header"),
        pytest.param('send: [{path: "/\\n"}]', "path: ", id="path"),
        pytest.param('run: ["a\\0"]', "run.0: ", id="command"),
        pytest.param("timeout_s: .inf", "timeout_s: Input should be a finite", id="for ever"),
        pytest.param("name: t", "syntax: has a key twice, line 5", id="key twice"),
    ],
)
def test_what_cannot_be_sent_or_run_is_refused_before(step: str, message: str) -> None:
    text = f"name: n\nsteps:\n  - name: s\n    expect: {{}}\n    {step}\n"
    with pytest.raises(DefinitionError, match=message):
        read_scenario(text, "s.yaml")


def test_keys_that_are_merged_in_may_be_overridden() -> None:
    text = "name: n\nsteps:\n  - &s\n    name: s\n    expect: {}\n  - {<<: *s, name: t}\n"
    assert [step.name for step in read_scenario(text, "s.yaml").steps] == ["s", "t"]
