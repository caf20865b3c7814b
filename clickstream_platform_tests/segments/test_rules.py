"""Definitions of segments: what is read, what is refused and why, and how they read in words."""

import re
from datetime import date
from pathlib import Path

import pytest

from clickstream_platform.errors import DefinitionError
from clickstream_platform.segments import Segment, describe, load_segments

HEAD = """
description = "A test."
owner = "us"
purpose = "marketing"
expires = 2026-12-31
"""


def read(folder: Path, rule: str, *, head: str = HEAD, name: str = "mine") -> Segment:
    (folder / "segments").mkdir(exist_ok=True)
    (folder / "segments" / f"{name}.toml").write_text(head + rule)
    return load_segments(folder)[name]


def test_shipped_segments_say_who_answers_for_them_and_read_as_sentences() -> None:
    shipped = load_segments()
    assert {"cart_abandoners", "engaged_shoppers", "newsletter_readers"} <= shipped.keys()
    for segment in shipped.values():
        assert segment.owner
        assert segment.description.endswith(".")
        assert describe(segment).startswith("Persons with ")


def test_own_file_replaces_the_shipped_segment_of_its_name(tmp_path: Path) -> None:
    own = read(tmp_path, 'did = "search"', name="cart_abandoners")
    assert own.rule.did == "search"
    assert load_segments(tmp_path).keys() == load_segments().keys()


def test_last_day_belongs_to_the_segment(tmp_path: Path) -> None:
    segment = read(tmp_path, 'did = "search"')
    assert not segment.is_expired(date(2026, 12, 31))
    assert segment.is_expired(date(2027, 1, 1))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        pytest.param('did = "purchase"', "a purchase event", id="at least one"),
        pytest.param('never = "purchase"', "no purchase event", id="none"),
        pytest.param(
            'table = "sessions"\ncount = {min = 2}\nwhere = {channel = "Email"}\nwithin_days = 14',
            "at least 2 sessions with channel Email in the last 14 days",
            id="counted",
        ),
        pytest.param(
            'table = "sessions"\ncount = {min = 1, max = 3}\nwhere = {is_engaged = false}',
            "1 to 3 sessions that are not engaged",
            id="range and truth",
        ),
        pytest.param(
            'table = "events"\nwhere = {event_name = ["search", "view_item"]}\nbefore_days = 3',
            "a search or view_item event at least 3 days ago",
            id="several names",
        ),
        pytest.param(
            'table = "events"\nwhere = {revenue = {min = 9.5}, country = ["DE", "AT"]}',
            "an event with revenue of at least 9.5 and with country DE or AT",
            id="several columns",
        ),
        pytest.param(
            'did = "purchase"\ntotal = {revenue = {min = 100}}\nwithin_days = 60\nbefore_days = 30',
            "purchase events between 30 and 60 days ago whose revenue adds up to at least 100",
            id="total",
        ),
        pytest.param("score = {max = 3}", "an engagement score of at most 3", id="score"),
        pytest.param(
            'not = {table = "sessions", within_days = 7}', "no session in the last 7 days", id="not"
        ),
        pytest.param(
            'any = [{score = {min = 1}}, {all = [{did = "search"}, {not = {score = {min = 2}}}]}]',
            "an engagement score of at least 1, or (a search event, and none of this: "
            "an engagement score of at least 2)",
            id="nested",
        ),
        pytest.param(
            'did = "view_item"\ncount = {min = 3}\nwhere = {"properties.category" = "shoes"}',
            "at least 3 view_item events with category shoes",
            id="properties",
        ),
        pytest.param(
            'table = "events"\nwhere = {event_name = {starts_with = "view_"}}',
            "an event with event name that starts with view_",
            id="beginning",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {country = {is_set = false}, source = {is_set = true}}',
            "a session with no country and with any source",
            id="there or not",
        ),
        pytest.param('table = "sessions"\ncount = {max = 0}', "no session", id="a count of none"),
        pytest.param(
            'table = "sessions"\ncount = {min = 2, max = 2}', "exactly 2 sessions", id="exactly"
        ),
    ],
)
def test_rule_reads_in_plain_words(tmp_path: Path, rule: str, words: str) -> None:
    assert describe(read(tmp_path, rule)) == f"Persons with {words}."


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        pytest.param("", r"rule: needs exactly one of .*; has none", id="no rule"),
        pytest.param(
            'did = "a"\nscore = {min = 1}', r"rule: .* has did, score", id="two rules in one"
        ),
        pytest.param(
            'did = "a"\nwhere = {"properties.size" = {min = 2}}',
            r"rule: properties\.size is compared as text; a range needs a column of numbers",
            id="range of a property",
        ),
        pytest.param(
            'did = "a"\nwhere = {"properties.user_id" = "u"}',
            r"rule: properties\.user_id identifies people",
            id="personal property",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {page_views = {starts_with = "1"}}',
            r"rule: page_views holds numbers",
            id="beginning of a number",
        ),
        pytest.param(
            'table = "events"\nwhere = {device_type = {starts_with = "fax"}}',
            r"rule: device_type is one of .*mobile",
            id="beginning of no known value",
        ),
        pytest.param(
            'did = "a"\nwhere = {country = {is_set = "yes"}}',
            r"where.country.*is_set: .*valid boolean",
            id="neither true nor false",
        ),
        pytest.param("score = {}", r"score: needs min, max or both", id="empty range"),
        pytest.param("score = {min = 2, max = 1}", r"score: min is larger than max", id="reversed"),
        pytest.param(
            'table = "sessions"\nwhere = {chanel = "Email"}',
            r"rule: chanel is not a column of sessions \(did you mean channel\?\): .*, country",
            id="unknown column",
        ),
        pytest.param(
            'table = "events"\nwhere = {user_id = "pu_1"}',
            r"rule: user_id identifies people",
            id="a person",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {session_id = "s_1"}',
            r"rule: session_id identifies people",
            id="a session, and so a person",
        ),
        pytest.param(
            'table = "events"\nwhere = {order_id = "o1"}',
            r"rule: order_id identifies people",
            id="an order, and so a person",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {cut_reason = "tiemout"}',
            r"rule: cut_reason is one of campaign, .*timeout",
            id="value that no row has",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {is_bot = true}',
            r"rule: is_bot is true of no row that counts",
            id="bots",
        ),
        pytest.param(
            'table = "events"\nwhere = {is_synthetic = [true]}',
            r"rule: is_synthetic is true of no row that counts",
            id="canaries",
        ),
        pytest.param(
            'did = "a"\ncount = {max = -1}', r"count: counts are whole numbers", id="count below 0"
        ),
        pytest.param(
            'did = "a"\ncount = {min = 1.2, max = 1.8}',
            r"count: counts are whole numbers",
            id="part of a row",
        ),
        pytest.param("score = {max = -1}", r"score: no score is below 0", id="score below 0"),
        pytest.param(
            'did = "a"\ncount = 3', r"count: must be a table, such as \{", id="count as a number"
        ),
        pytest.param('[all]\ndid = "a"', r"all: must be a list", id="one table for several"),
        pytest.param(
            "not." * 20 + 'did = "a"', r"rule: is deeper than 20 conditions", id="too deep"
        ),
        pytest.param(
            "not = {" * 2_000 + 'did = "a"' + "}" * 2_000, r"syntax: brackets", id="without end"
        ),
        pytest.param('negated = {did = "a"}', r"negated: is no key here", id="name of the code"),
        pytest.param('did = " "', r"did: .* at least 1 character", id="blank event name"),
        pytest.param(
            'table = "sessions"\nwhere = {channel = 3}', r"channel holds text", id="number for text"
        ),
        pytest.param(
            'table = "sessions"\nwhere = {is_bounce = "yes"}',
            r"is_bounce holds true and false",
            id="text for truth",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {page_views = true}',
            r"page_views holds numbers",
            id="truth for number",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {started_at = {min = 3}}',
            r"started_at holds times; use within_days",
            id="time",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {channel = []}',
            r"where.channel: must be a text",
            id="empty list",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {channel = {like = "E"}}',
            r"where.channel: must be a text",
            id="unknown comparison",
        ),
        pytest.param("score = {min = 1}\nwithin_days = 3", r"do not go with score", id="window"),
        pytest.param('did = "a"\nwithin_days = 0', r"within_days: .* greater than 0", id="no time"),
        pytest.param(
            'did = "a"\nwithin_days = 3\nbefore_days = 3',
            r"within_days must be larger than before_days",
            id="no window",
        ),
        pytest.param(
            'did = "a"\nwhere = {event_name = "b"}', r"name the event already", id="two names"
        ),
        pytest.param(
            'table = "sessions"\ncount = {min = 1}\ntotal = {revenue = {min = 1}}',
            r"count and total are two conditions",
            id="count and total",
        ),
        pytest.param(
            'table = "sessions"\ntotal = {revenue = {min = 1}, events = {min = 1}}',
            r"total takes one column",
            id="two totals",
        ),
        pytest.param('never = "a"\ncount = {min = 2}', r"never says how many", id="never twice"),
        pytest.param("all = []", r"all: .* at least 1 item", id="nothing to combine"),
        pytest.param('[[all]]\ndid = "a"\ndoes = 1', r"all.0.does: is no key here", id="extra key"),
        pytest.param('did = ""', r"did: .* at least 1 character", id="event without a name"),
        pytest.param('never = ""', r"never: .* at least 1 character", id="none without a name"),
        pytest.param("score = {min = nan}", r"score.min: .* finite number", id="no number"),
        pytest.param("score = {max = inf}", r"score.max: .* finite number", id="no end"),
        pytest.param('score = {min = "5"}', r"score.min: .* valid number", id="number as text"),
        pytest.param("score = {min = true}", r"score.min: .* valid number", id="truth as number"),
        pytest.param(
            'did = "a"\nwithin_days = "7"', r"within_days: .* valid number", id="days as text"
        ),
        pytest.param(
            'did = "a"\nwithin_days = inf', r"within_days: .* finite number", id="days without end"
        ),
        pytest.param(
            'did = "a"\nbefore_days = 800_000',
            r"before_days: .* less than or equal to 36525",
            id="before the calendar",
        ),
        pytest.param(
            'table = "sessions"\nwhere = {page_views = nan}',
            r"where.page_views: must be a text, a number",
            id="value that is no number",
        ),
        pytest.param(
            f'table = "sessions"\nwhere = {{page_views = [1, 1{"0" * 400}]}}',
            r"where.page_views: must be a text, a number",
            id="number that no column can hold",
        ),
        pytest.param('name = "other"\ndid = "a"', r"name: is no key here", id="name"),
        pytest.param("did = ", r"syntax: .* It must be TOML", id="not TOML"),
    ],
)
def test_what_cannot_be_used_is_named_with_file_key_and_reason(
    tmp_path: Path, rule: str, message: str
) -> None:
    with pytest.raises(DefinitionError, match=rf"mine\.toml: .*{message}"):
        read(tmp_path, rule)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        pytest.param(HEAD.replace("marketing", "fun"), r"purpose: Input should be", id="purpose"),
        pytest.param(HEAD.replace('owner = "us"', ""), r"owner: is missing", id="owner"),
        pytest.param(
            HEAD.replace("owner", "ownr"), r"ownr: .*did you mean owner\?", id="misspelt owner"
        ),
        pytest.param(HEAD.replace('"us"', '" "'), r"owner: .* at least 1 char", id="blank owner"),
        pytest.param(
            HEAD.replace("2026-12-31", "20454"), r"expires: must be a day, such as", id="number"
        ),
        pytest.param(
            HEAD.replace("2026-12-31", '"soon"'), r"expires: Input should be", id="expiry"
        ),
    ],
)
def test_head_must_be_complete(tmp_path: Path, head: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        read(tmp_path, 'did = "a"', head=head)


def test_example_of_the_guide_is_read_as_it_is_told(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide" / "segments.md"
    (example,) = re.findall(r"```toml\n(.*?)```", guide.read_text(), re.DOTALL)
    assert describe(read(tmp_path, example)) == (
        "Persons with purchase events in the last 180 days whose revenue adds up to at least 200, "
        "and (a session with campaign name spring or summer, or a session with device type mobile "
        "and with page views of at least 3), and no session in the last 14 days."
    )


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param('table = "events"\nwhere = {device_type = ["mobile", "tablet"]}', id="known"),
        pytest.param('table = "sessions"\nwhere = {is_bot = false}', id="no bots"),
        pytest.param('did = "a"\ncount = {min = 0, max = 3.0}', id="whole counts"),
        pytest.param("not." * 19 + 'did = "a"', id="deep"),
    ],
)
def test_what_is_at_the_edge_is_taken(tmp_path: Path, rule: str) -> None:
    assert read(tmp_path, rule).name == "mine"


def test_file_name_is_the_name(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"My-Segment\.toml: name: .* match pattern"):
        read(tmp_path, 'did = "a"', name="My-Segment")


def test_name_is_not_that_of_a_column_of_people(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"person_key\.toml: name: .* give the file another"):
        read(tmp_path, 'did = "a"', name="person_key")
