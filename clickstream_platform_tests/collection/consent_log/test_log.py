"""The consent log: choices by hand, the same whatever the order, and nobody can change it."""

import json
import random
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.collection.consent import COLUMNS
from clickstream_platform.collection.consent_log import (
    ConsentLogError,
    choices_as_of,
    current_consents,
    refresh_consents,
    verify_consent_log,
)
from clickstream_platform.collection.consent_log.chain import anchor_file, chain_entries
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.collection.consent.strings import own
from clickstream_platform_tests.collection.consent_log.world import (
    ANN,
    BOB,
    LAPTOP,
    MINUTE,
    PHONE,
    START,
    arrive,
    event,
    split,
    tamper,
)
from clickstream_platform_tests.frames import events_frame, identity_frame, surrogate

LATER = START + timedelta(days=1)


def recorded(lake: Lake) -> list[tuple[object, ...]]:
    """Minute and consents of each choice."""
    rows = lake.scan("consents").sort("valid_from_us").collect()
    return [
        ((at - START) // MINUTE, *said)
        for at, *said in rows.select(
            "valid_from_at", "consent_analytics", "consent_marketing", "consent_personalization"
        ).iter_rows()
    ]


def test_a_choice_is_recorded_where_it_changes(lake: Lake, settings: Settings) -> None:
    # Said at 1 and again at 2, taken back at 4; what says nothing (0 and 3) records nothing.
    arrive(
        lake,
        settings,
        [
            event(0),
            event(1, says="yy"),
            event(2, says="yy"),
            event(3),
            event(4, event_name="consent_update", says="yn"),
        ],
    )
    assert recorded(lake) == [(1, True, True, None), (4, True, False, None)]
    verified = verify_consent_log(lake, settings)
    assert (verified.entries, verified.unsigned, verified.erased) == (2, 0, 0)


def test_strings_are_judged_and_kept_as_evidence(lake: Lake, settings: Settings) -> None:
    properties = json.dumps({"tcf_string": own(1, 8, 9), "notice_version": "7", "price": 1})
    arrive(lake, settings, [event(1, properties=properties), event(2, properties=properties)])
    row = lake.scan("consents").collect().row(0, named=True)
    assert {name: row[name] for name in ("source", "jurisdiction", "tcf_policy_version",
            "notice_version", "cmp_version")} == {
        "source": "tcf", "jurisdiction": "eu", "tcf_policy_version": 5,
        "notice_version": "7", "cmp_version": "10.3",
    }  # fmt: skip
    assert recorded(lake) == [(1, True, False, False)]
    assert row["valid_until_at"] == START + timedelta(days=396)
    assert len(row["string_hash"]) == 64


@pytest.mark.parametrize("seed", range(3))
def test_what_is_recorded_does_not_depend_on_the_order_of_arrival(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    rows = [
        event(
            minute,
            rng.choice([PHONE, LAPTOP]),
            rng.choice([None, None, ANN, BOB]),
            says=rng.choice("-yn") + rng.choice("-yn"),
            properties=rng.choice([None, '{"gpc": true}', '{"gpc": false}', '{"a": "gpc"}']),
        )
        for minute in range(24)
    ]
    found, current = [], []
    for number, parts in enumerate([[0] * 24, [rng.randrange(3) for _ in rows]]):
        settings = load_settings(tmp_path / f"data{number}")
        lake = Lake(settings.lake_folder)
        for batch in split(rows, parts):
            arrive(lake, settings, batch)
            refresh_consents(lake, settings)
        verify_consent_log(lake, settings)
        stated = lake.scan("events").select("event_id", "visitor_key", "user_key", "occurred_us")
        as_of = choices_as_of(lake.scan("consents"), stated).sort("event_id").collect()
        found.append(as_of.drop("commitment"))
        current.append(current_consents(lake, now=LATER).sort("person_key").rows())
    assert found[0].equals(found[1])
    assert current[0] == current[1]


def test_a_choice_that_comes_late_is_found_between_others(lake: Lake, settings: Settings) -> None:
    # Yes at 1 and at 7; the no of minute 5 arrives last. Minute 7 is then a change again.
    arrive(lake, settings, [event(1, says="y"), event(7, says="y")])
    assert recorded(lake) == [(1, True, None, None)]
    arrive(lake, settings, [event(5, says="n")])
    assert [row[:2] for row in recorded(lake)] == [(1, True), (5, False), (7, True)]


def test_nothing_new_writes_nothing(lake: Lake, settings: Settings) -> None:
    arrive(lake, settings, [event(1, says="y")])
    versions = [lake.version(table) for table in ("consents", "consent_log")]
    refresh_consents(lake, settings)
    assert [lake.version(table) for table in ("consents", "consent_log")] == versions


def test_events_get_the_choice_in_force_when_they_happened() -> None:
    events = pl.DataFrame(
        {
            "event_id": ["a", "b", "c", "d"],
            "visitor_key": [1, 1, 1, 2],
            "user_key": [None, None, 9, None],
            "occurred_us": [5, 10, 20, 20],
        },
        schema_overrides={"user_key": pl.Int64},
    )
    made = pl.DataFrame(
        {
            "visitor_key": [1, 1],
            "user_key": [None, None],
            "commitment": ["x", "y"],
            "valid_from_us": [10, 15],
            "consent_analytics": [True, False],
            "consent_marketing": [True, None],
            "consent_personalization": [None, None],
        },
        schema_overrides={"user_key": pl.Int64, "consent_personalization": pl.Boolean},
    )
    found = choices_as_of(made.lazy(), events.lazy()).sort("event_id").collect()
    assert found["commitment"].to_list() == [None, "x", None, None]
    assert found["in_force_consent_analytics"].to_list() == [None, True, None, None]


# -- What a person has chosen by now --------------------------------------------------------------


def consent_of(lake: Lake, person: str, now: object = LATER) -> tuple[object, ...] | None:
    rows = current_consents(lake, now=now)  # type: ignore[arg-type]  # an instant
    found = rows.filter(pl.col("person_key") == surrogate(person))
    assert found["person_id"].to_list() == [person] * found.height
    return found.select(COLUMNS).row(0) if found.height else None


def may_attribute(lake: Lake, person: str) -> object:
    rows = current_consents(lake, now=LATER)
    return dict(rows.select("person_id", "consent_attribution").iter_rows())[person]


def test_the_last_choice_counts_on_whichever_device(lake: Lake, settings: Settings) -> None:
    lake.append("identity_map", identity_frame([{"visitor_id": PHONE, "user_id": ANN}]))
    arrive(
        lake,
        settings,
        [
            event(1, PHONE, says="yyy"),
            event(2, LAPTOP, ANN, says="-n"),
            event(3, LAPTOP, BOB, says="yy"),
            event(4, PHONE),
        ],
    )
    assert consent_of(lake, ANN) == (True, False, True)
    assert consent_of(lake, BOB) == (True, True, None)
    assert consent_of(lake, ANN, START + 1.5 * MINUTE) == (True, True, True)
    assert consent_of(lake, LAPTOP) is None


def test_opting_out_on_one_device_wins_until_that_device_says_otherwise(
    lake: Lake, settings: Settings
) -> None:
    lake.append("identity_map", identity_frame([{"visitor_id": PHONE, "user_id": ANN}]))
    arrive(lake, settings, [event(1, PHONE, properties='{"gpc": true}')])
    arrive(lake, settings, [event(2, LAPTOP, ANN, says="yy")])
    assert consent_of(lake, ANN) == (True, False, None)
    arrive(lake, settings, [event(3, PHONE, says="yy")])
    assert consent_of(lake, ANN) == (True, False, None)
    assert may_attribute(lake, ANN) is False
    arrive(lake, settings, [event(4, PHONE, says="yy", properties='{"gpc": false}')])
    assert consent_of(lake, ANN) == (True, True, None)
    assert may_attribute(lake, ANN) is True


def test_a_choice_that_has_expired_is_a_no(lake: Lake, settings: Settings) -> None:
    text = json.dumps({"tcf_string": own(1, 8, 9)})
    arrive(lake, settings, [event(1, properties=text)])
    assert consent_of(lake, PHONE) == (True, False, False)
    assert consent_of(lake, PHONE, START + timedelta(days=397)) == (False, False, False)


# -- Nobody can change it --------------------------------------------------------------------------


@pytest.fixture
def log(lake: Lake, settings: Settings) -> pl.DataFrame:
    """A log of five choices."""
    arrive(lake, settings, [event(m, says="yy" if m % 2 == 0 else "ny") for m in range(5)])
    return lake.scan("consent_log").sort("number").collect()


def test_a_sound_log_is_verified(lake: Lake, settings: Settings, log: pl.DataFrame) -> None:
    assert verify_consent_log(lake, settings) == (5, log["entry_hash"][-1], 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            lambda log: log.with_columns(
                consent_marketing=pl.when(pl.col("number") != 3).then("consent_marketing")
            ),
            "entry 3 does not say what it said",
            id="edited",
        ),
        pytest.param(
            lambda log: log.filter(pl.col("number") != 2),
            "entry 2 is missing or stands elsewhere",
            id="deleted",
        ),
        pytest.param(
            lambda log: log.with_columns(number=pl.col("number").replace({2: 3, 3: 2})).sort(
                "number"
            ),
            "entry 2 does not follow",
            id="reordered",
        ),
        pytest.param(lambda log: log.head(4), "entry 5 and what follows", id="cut off"),
        pytest.param(lambda log: log.clear(), "entry 1 and what follows", id="emptied"),
    ],
)
def test_a_changed_log_is_found(
    lake: Lake, settings: Settings, log: pl.DataFrame, change: object, reason: str
) -> None:
    tamper(lake, "consent_log", change(log))  # type: ignore[operator]  # a function
    with pytest.raises(ConsentLogError, match=reason):
        verify_consent_log(lake, settings)


def test_a_log_that_was_written_anew_is_not_the_one_that_was_signed(
    lake: Lake, settings: Settings, log: pl.DataFrame
) -> None:
    forged = log.with_columns(consent_marketing=pl.lit(False))  # noqa: FBT003 - polars
    tamper(lake, "consent_log", chain_entries(forged, (0, "0" * 64)))  # type: ignore[arg-type]
    with pytest.raises(ConsentLogError, match="entry 5 is not the one that was signed"):
        verify_consent_log(lake, settings)
    with pytest.raises(ConsentLogError, match="is not the one that was signed"):
        arrive(lake, settings, [event(9, says="n")])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("{", "cannot be read", id="broken"),
        pytest.param(
            '{"log": "consent_log", "entries": 1, "head": "x", "signature": "00"}',
            "signature is wrong",
            id="forged",
        ),
    ],
)
def test_a_changed_head_is_found(
    lake: Lake, settings: Settings, log: pl.DataFrame, text: str, reason: str
) -> None:
    assert log.height
    anchor_file(settings).write_text(text)
    with pytest.raises(ConsentLogError, match=reason):
        verify_consent_log(lake, settings)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            lambda rows: rows.with_columns(consent_marketing=pl.lit(None, dtype=pl.Boolean)),
            "entry 1 is said differently in consents",
            id="another choice",
        ),
        pytest.param(
            lambda rows: rows.with_columns(visitor_id=pl.lit(LAPTOP)),
            "5 name somebody else in consents",
            id="another person",
        ),
        pytest.param(
            lambda rows: rows.head(3), "2 are gone from consents", id="deleted without an erasure"
        ),
    ],
)
def test_changed_choices_are_found(
    lake: Lake, settings: Settings, log: pl.DataFrame, change: object, reason: str
) -> None:
    assert log.height
    tamper(lake, "consents", change(lake.scan("consents").collect()))  # type: ignore[operator]
    with pytest.raises(ConsentLogError, match=reason):
        verify_consent_log(lake, settings)


def test_a_crash_before_chaining_is_mended(lake: Lake, settings: Settings) -> None:
    arrive(lake, settings, [event(1, says="y")])
    held = lake.scan("consent_log").collect()
    head = anchor_file(settings).read_bytes()
    arrive(lake, settings, [event(2, says="n")])
    # Back to the moment between the two commits of the second batch.
    tamper(lake, "consent_log", held)
    anchor_file(settings).write_bytes(head)
    refresh_consents(lake, settings)
    assert verify_consent_log(lake, settings).entries == 2
    # A crash before the signature: the log is longer than what was signed.
    anchor_file(settings).write_bytes(head)
    assert verify_consent_log(lake, settings).unsigned == 1
    refresh_consents(lake, settings)
    assert verify_consent_log(lake, settings).unsigned == 0


def test_the_log_holds_nothing_that_leads_to_a_person(
    lake: Lake, settings: Settings, log: pl.DataFrame
) -> None:
    texts = " ".join(map(str, log.rows()))
    for row in lake.scan("consents").collect().iter_rows(named=True):
        for name in ("visitor_id", "visitor_key", "nonce"):
            assert str(row[name]) not in texts
    assert events_frame([event(0)])["visitor_id"][0] not in texts
    assert settings.state.exists()
