"""Where sessions begin and end: worked by hand.

As made by the statements; at every edge of time also as defined. That both agree on everything
else as well, `test_agreement` shows.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from ibis.backends.duckdb import Backend

from clickstream_platform.sessions import SessionPolicy, preset_policies
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import (
    events_frame,
    identity_frame,
    microseconds,
    surrogate,
)
from clickstream_platform_tests.sessions.history import Event, minutes, visit
from clickstream_platform_tests.sessions.making import (
    HALF_AN_HOUR,
    NOBODY,
    Tables,
    by_definition,
    by_statements,
)

JUST = 1 / 60_000_000
"""A microsecond, in minutes."""

Make = Callable[..., Tables]


@pytest.fixture
def defined(tmp_path: Path, duckdb_backend: Backend) -> Make:
    """The tables as defined, which takes longer."""
    return lambda *frames, **rules: by_definition(duckdb_backend, tmp_path, *frames, **rules)


def ping(event_id: str, visitor: str, at: float, **columns: object) -> Event:
    return visit(event_id, visitor, at, event_name="page_ping", **columns)


def split(
    *events: Event, policy: SessionPolicy = HALF_AN_HOUR, make: Make = by_statements
) -> list[str]:
    """Sessions in order of time as reason and events, such as "first a1 a2"."""
    made = make(events_frame([*events]), NOBODY, policy=policy)
    names = {surrogate(str(it["event_id"])): str(it["event_id"]) for it in events}
    found = []
    for session in made["sessions"].sort("started_at", "session_key").to_dicts():
        places = made["session_events"].sort("event_number").to_dicts()
        mine = [it for it in places if it["session_key"] == session["session_key"]]
        assert [it["event_number"] for it in mine] == [*range(1, len(mine) + 1)]
        found.append(" ".join([session["cut_reason"], *(names[it["event_key"]] for it in mine)]))
    return found


@pytest.mark.parametrize(
    ("gap", "sessions"),
    [
        pytest.param(30.0, ["first a b"], id="exactly the timeout stays"),
        pytest.param(30 + JUST, ["first a", "timeout b"], id="a microsecond more splits"),
        pytest.param(30 - JUST, ["first a b"], id="a microsecond less stays"),
    ],
)
def test_gap_longer_than_the_timeout_splits(defined: Make, gap: float, sessions: list[str]) -> None:
    events = visit("a", "ann", 0.3), visit("b", "ann", 0.3 + gap)
    assert split(*events) == split(*events, make=defined) == sessions


@pytest.mark.parametrize(
    ("last", "sizes"),
    [
        pytest.param(24 * 60, [74], id="exactly a day stays"),
        pytest.param(24 * 60 + JUST, [73, 2], id="a microsecond more splits"),
    ],
)
def test_session_lasts_a_day_at_most(defined: Make, last: float, sizes: list[int]) -> None:
    all_day = [visit(f"a{i:02}", "ann", 20 * i) for i in range(72)]
    found = split(*all_day, visit("z", "ann", last))
    assert split(*all_day, visit("z", "ann", last), make=defined) == found
    assert [*map(len, map(str.split, found))] == sizes
    assert found[-1].split()[0] == ("first" if len(sizes) == 1 else "max_duration")


def test_each_cut_for_length_counts_from_the_one_before() -> None:
    # Every 20 minutes, 50 at most: three events each, whatever lies before.
    events = [visit(f"a{i}", "ann", 20 * i) for i in range(8)]
    assert split(*events, policy=SessionPolicy(max_duration=timedelta(minutes=50))) == [
        "first a0 a1 a2",
        "max_duration a3 a4 a5",
        "max_duration a6 a7",
    ]


def test_other_campaign_splits_and_the_same_one_does_not() -> None:
    news, ads = {"campaign_source": "news"}, {"campaign_source": "ads"}
    assert split(
        visit("a", "ann", 0, **news),
        visit("b", "ann", 1),
        visit("c", "ann", 2, **news),
        visit("d", "ann", 3, **ads),
        visit("e", "ann", 4, **news),
        visit("f", "ann", 60, **news),
    ) == ["first a b c", "campaign d", "campaign e", "timeout f"]


def test_first_campaign_of_a_run_splits_too() -> None:
    events = visit("a", "ann", 0), visit("b", "ann", 1, click_id_type="gclid")
    assert split(*events) == ["first a", "campaign b"]
    assert split(*events, policy=SessionPolicy(cut_on_campaign=False)) == ["first a b"]


@pytest.mark.parametrize("column", ["campaign_medium", "campaign_name", "click_id_type"])
def test_campaigns_differ_by_any_of_their_columns(column: str) -> None:
    same = {"campaign_source": "news", column: "x"}
    events = visit("a", "ann", 0, **same), visit("b", "ann", 1, **same | {column: "y"})
    assert split(*events) == ["first a", "campaign b"]


def test_term_and_content_are_no_campaign_of_their_own() -> None:
    same = {"campaign_source": "news"}
    events = visit("a", "ann", 0, **same), visit("b", "ann", 1, campaign_term="x", **same)
    assert split(*events) == ["first a b"]


def test_columns_of_a_campaign_do_not_run_into_each_other() -> None:
    one, other = {"campaign_source": "a", "campaign_medium": "b"}, {"campaign_source": "ab"}
    events = visit("a", "ann", 0, **one), visit("b", "ann", 1, **other)
    assert split(*events) == ["first a", "campaign b"]


def test_campaign_of_a_ping_neither_cuts_nor_counts() -> None:
    news = {"campaign_source": "news"}
    assert split(
        visit("a", "ann", 0), ping("b", "ann", 1, **news), visit("c", "ann", 2, **news)
    ) == ["first a b", "campaign c"]


def test_pings_alone_open_no_session() -> None:
    events = [ping("a", "ann", 0), ping("b", "ann", 30), visit("c", "bob", 0)]
    made = by_statements(events_frame(events))
    assert made["sessions"]["person_id"].to_list() == ["bob"]
    rows = made["sessionless_events"].sort("occurred_us")
    assert rows.select("event_name", "reason").rows() == [("page_ping", "only_pings")] * 2
    assert rows["person_key"].to_list() == [surrogate("ann")] * 2


def test_ping_opens_the_session_of_what_follows() -> None:
    assert split(ping("a", "ann", 0), visit("b", "ann", 5)) == ["first a b"]


def test_first_session_is_the_first_that_is_one() -> None:
    assert split(ping("a", "ann", 0), visit("b", "ann", 31), visit("c", "ann", 90)) == [
        "first b",
        "timeout c",
    ]


def test_person_whose_pings_lead_to_a_campaign_has_no_first_session() -> None:
    campaign = visit("b", "ann", 1, campaign_source="news")
    assert split(ping("a", "ann", 0), campaign) == ["campaign b"]


def test_events_of_one_instant_are_in_order_of_their_keys() -> None:
    events = [visit(f"e{i}", "ann", 5) for i in range(6)]
    in_order = sorted((f"e{i}" for i in range(6)), key=surrogate)
    assert split(*events) == [" ".join(["first", *in_order])]


def test_campaigns_of_one_instant_split_it() -> None:
    first, second = sorted(("x", "y"), key=surrogate)
    events = [visit(it, "ann", 5, campaign_source=it) for it in (second, first)]
    assert split(*events) == [f"first {first}", f"campaign {second}"]


LOGIN = SessionPolicy(cut_on_identity=True)


def test_signing_in_splits_where_the_policy_says_so() -> None:
    events = [
        visit("a", "ann", 0),
        visit("b", "ann", 1, event_name="page_ping", user_id="ann"),
        visit("c", "ann", 2, user_id="ann"),
        visit("d", "ann", 3),
        visit("e", "ann", 4, user_id="ann"),
        visit("f", "ann", 60, user_id="ann"),
    ]
    # Events that name nobody in between are no signing out, and a ping signs nobody in.
    assert split(*events, policy=LOGIN) == ["first a b", "identity c d e", "timeout f"]
    assert split(*events) == ["first a b c d e", "timeout f"]


def test_what_follows_a_logout_is_another_session_where_the_policy_says_so() -> None:
    events = [
        visit("a", "ann", 0),
        visit("b", "ann", 1, event_name="logout"),
        visit("c", "ann", 2),
        visit("d", "ann", 40, event_name="sign_out"),
        ping("e", "ann", 41),
    ]
    policy = SessionPolicy(cut_on_logout=True)
    assert split(*events, policy=policy) == ["first a b", "logout c", "timeout d"]


def test_session_has_so_many_events_at_most() -> None:
    events = [visit(f"a{i}", "ann", 0) for i in range(5)]
    in_order = sorted((f"a{i}" for i in range(5)), key=surrogate)
    assert split(*events, policy=SessionPolicy(max_events=2)) == [
        " ".join(["first", *in_order[:2]]),
        " ".join(["max_events", *in_order[2:4]]),
        " ".join(["max_events", *in_order[4:]]),
    ]


def test_reasons_of_one_event_are_named_in_one_order() -> None:
    every = SessionPolicy(
        cut_on_logout=True, cut_on_identity=True, cut_at_midnight=True, max_events=1
    )
    midnight = 12 * 60
    at_once = visit("b", "ann", midnight + 1, user_id="ann")
    before = visit("a", "ann", midnight - 1)
    logout = before | {"event_name": "logout"}
    found = [
        split(logout, at_once | {"campaign_source": "news"}, policy=every),
        split(logout, at_once, policy=every),
        split(before, at_once, policy=every),
        split(before, at_once | {"user_id": None}, policy=every),
        split(visit("a", "ann", 0), visit("b", "ann", 1), policy=every),
    ]
    assert [it[1].split()[0] for it in found] == [
        "campaign", "logout", "identity", "midnight", "max_events",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "local", "gap", "sessions"),
    [
        pytest.param("UTC", "2026-03-01T23:59:59.999999", JUST, 2, id="midnight begins the day"),
        pytest.param("Europe/Berlin", "2026-03-01T23:50", 20, 2, id="an hour before UTC"),
        pytest.param("America/New_York", "2026-03-01T18:50", 20, 1, id="midnight in UTC is none"),
        pytest.param("Europe/Berlin", "2026-03-29T01:50", 20, 1, id="clocks go forward"),
        pytest.param("Europe/Berlin", "2026-03-29T23:50", 20, 2, id="after going forward"),
        pytest.param("Europe/Berlin", "2026-10-25T02:50", 20, 1, id="clocks go back"),
        pytest.param("Europe/Berlin", "2026-10-25T23:50", 20, 2, id="after going back"),
        pytest.param("Australia/Lord_Howe", "2026-04-04T23:50", 20, 2, id="half an hour's change"),
        pytest.param("Pacific/Apia", "2011-12-29T23:50", 20, 2, id="a day that never was"),
        pytest.param("America/Sao_Paulo", "2018-11-03T23:50", 20, 2, id="a midnight that was not"),
        pytest.param("America/Sao_Paulo", "2018-02-17T23:50", 20, 1, id="a last hour twice"),
        pytest.param("America/Sao_Paulo", "1969-12-31T23:50", 20, 2, id="a local day before 1970"),
    ],
)
def test_midnight_is_that_of_the_zone(zone: str, local: str, gap: float, sessions: int) -> None:
    first = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone))
    at = (microseconds(first) - minutes(0)) / 60_000_000
    policy = SessionPolicy(cut_at_midnight=True, time_zone=zone)
    assert len(split(visit("a", "ann", at), visit("b", "ann", at + gap), policy=policy)) == sessions


def test_visit_of_matomo_lasts_as_long_as_a_day_of_25_hours(settings: Settings) -> None:
    berlin = settings.model_copy(update={"time_zone": "Europe/Berlin"})
    midnight = datetime(2026, 10, 25, tzinfo=ZoneInfo("Europe/Berlin"))
    at = (microseconds(midnight) - minutes(0)) / 60_000_000
    # Every half hour until 24:30 after midnight, which is 23:30 of the same day.
    events = [visit(f"e{number}", "ann", at + 30 * number) for number in range(50)]
    assert len(split(*events, policy=preset_policies(berlin)["matomo"])) == 1


def test_people_do_not_share_sessions() -> None:
    events = visit("a", "ann", 0), visit("b", "bob", 1), visit("c", "ann", 2)
    assert split(*events) == ["first a c", "first b"]


def test_person_is_the_user_then_the_only_user_of_the_visitor_then_the_visitor() -> None:
    events = [
        visit("a", "phone", 0),
        visit("b", "laptop", 1, user_id="ann"),
        visit("c", "tablet", 2),
        visit("d", "tablet", 3, user_id="ann"),
        visit("e", "other", 4),
    ]
    people = identity_frame(
        [
            {"visitor_id": "phone", "user_id": "ann"},
            {"visitor_id": "tablet", "user_id": "ann", "person_id": "tablet", "is_shared": True},
            {"visitor_id": "tablet", "user_id": "bob", "person_id": "tablet", "is_shared": True},
        ]
    )
    made = by_statements(events_frame(events), people)["sessions"]
    assert sorted(made.select("person_id", "events").rows()) == [
        ("ann", 3),
        ("other", 1),
        ("tablet", 1),
    ]


def test_event_of_nobody_and_synthetic_event_are_in_no_session() -> None:
    events = [
        visit("a", None, 0),
        visit("b", "ann", 0, is_synthetic=True),
        visit("c", None, 1, is_synthetic=True),
    ]
    made = by_statements(events_frame(events))
    assert (made["sessions"].height, made["session_events"].height) == (0, 0)
    assert made["sessionless_events"].select("event_key", "person_key", "reason").rows() == [
        (surrogate("a"), None, "no_person")
    ]


def test_session_is_named_after_person_and_first_event() -> None:
    made = by_statements(events_frame([visit("a", "ann", 0), visit("b", "ann", 1)]))
    assert made["sessions"]["session_id"].to_list() == [f"s_{surrogate('ann')}_{surrogate('a')}"]


def test_no_events_make_no_sessions() -> None:
    assert [rows.height for rows in by_statements(events_frame([])).values()] == [0, 0, 0, 0]
