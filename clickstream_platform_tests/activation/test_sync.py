"""The sync: who is told of, who is not, and that nobody is told of twice."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import chain, count, repeat

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from clickstream_platform.activation import (
    BusyError,
    MisconfiguredError,
    Outcome,
    Patience,
    Record,
    RefusedError,
    UnavailableError,
    plan_sync,
    retry_failed,
)
from clickstream_platform.lake import Lake
from clickstream_platform.privacy import SuppressionUnavailableError
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.activation.audience import (
    HOUR,
    Audience,
    Script,
    everything_below,
    frame,
)
from clickstream_platform_tests.frames import NOON, surrogate

ANN, BOB = "ann@example.com", "bob@example.com"


def test_person_in_segments_is_told_of_once(audience: Audience) -> None:
    audience.put(ANN, "readers", "buyers", score=19.6)
    done = audience.sync()
    assert audience.destination.contacts == {
        ANN: {
            "clickstream_segments": "buyers;readers",
            "engagement_band": "medium",
            "engagement_score": "20",
            "last_seen_date": "2026-03-01",
        }
    }
    assert audience.ledger() == [(ANN, "upsert", "delivered", None)]
    assert done.details["delivered"] == 1
    version = audience.lake.version("crm_syncs")
    again = audience.sync(NOON + HOUR)
    assert len(audience.destination.calls) == 1
    assert (again.version, again.rows_written) == (version, 0)


def test_only_who_changed_is_told_of_again(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.put(BOB, "readers")
    audience.sync()
    audience.put(BOB, "readers", "buyers")
    audience.sync(NOON + HOUR)
    assert [record.crm_id for record in audience.destination.calls[-1]] == [BOB]


def test_time_alone_tells_of_nobody_until_the_band_falls(audience: Audience) -> None:
    audience.put(ANN, "readers", score=7)
    audience.sync()
    audience.sync(NOON + timedelta(days=3))  # 7 * 2 ** -(3/7) = 5.2
    assert len(audience.destination.calls) == 1
    audience.sync(NOON + timedelta(days=4))  # 7 * 2 ** -(4/7) = 4.7
    assert audience.destination.contacts[ANN]["engagement_band"] == "low"
    assert audience.destination.contacts[ANN]["engagement_score"] == "7"


def test_who_left_every_segment_is_cleared(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.sync()
    audience.put(ANN)
    done = audience.sync(NOON + HOUR)
    assert set(audience.destination.contacts[ANN].values()) == {""}
    assert audience.ledger()[1:] == [(ANN, "remove", "delivered", None)]
    assert done.details["removals"] == 1
    audience.sync(NOON + 2 * HOUR)
    assert len(audience.destination.calls) == 2


def test_who_returns_is_told_of_again_under_another_key(audience: Audience) -> None:
    for number, segments in enumerate([["readers"], [], ["readers"]]):
        audience.put(ANN, *segments)
        audience.sync(NOON + number * HOUR)
    assert audience.destination.contacts[ANN]["clickstream_segments"] == "readers"
    assert len(set(audience.destination.effects)) == 3


def test_segments_for_other_purposes_and_expired_ones_are_not_told(audience: Audience) -> None:
    audience.segments("studied", purpose="analytics")
    audience.segments("old", is_expired=True)
    audience.put(ANN, "studied", "old")
    audience.put(BOB, "studied", "readers")
    audience.sync()
    assert audience.destination.contacts.keys() == {BOB}
    assert audience.destination.contacts[BOB]["clickstream_segments"] == "readers"


def test_person_whose_score_is_gone_has_no_band(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.lake.delete("engagement_scores", "true")
    audience.sync()
    contact = audience.destination.contacts[ANN]
    assert (contact["engagement_band"], contact["engagement_score"]) == ("", "")
    assert contact["clickstream_segments"] == "readers"


def test_visitors_who_never_signed_in_are_not_told_of(audience: Audience) -> None:
    audience.put("somebody", "readers", is_visitor=True)
    audience.sync()
    assert (audience.destination.calls, audience.ledger()) == ([], [])


@pytest.mark.parametrize("consent", [False, None])
def test_consent_is_asked_for_again_at_sending_time(
    audience: Audience,
    consent: bool | None,  # noqa: FBT001 - a parameter of the case
) -> None:
    audience.put(ANN, "readers")
    audience.visit(audience.token(ANN), at=NOON + HOUR, consent=consent)
    audience.sync(NOON + 2 * HOUR)
    audience.sync(NOON + 3 * HOUR)
    assert audience.destination.calls == []
    assert audience.ledger() == [(ANN, "upsert", "withheld", "no_consent")]
    audience.visit(audience.token(ANN), at=NOON + 4 * HOUR)
    audience.sync(NOON + 5 * HOUR)
    assert audience.ledger()[1:] == [(ANN, "upsert", "delivered", None)]


def test_who_withdraws_consent_is_cleared(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.sync()
    audience.visit(audience.token(ANN), at=NOON + HOUR, consent=False)
    audience.sync(NOON + 2 * HOUR)
    assert set(audience.destination.contacts[ANN].values()) == {""}


@pytest.mark.parametrize("by", ["pseudonym", "identifier"])
def test_who_is_suppressed_is_withheld(audience: Audience, by: str) -> None:
    audience.put(ANN, "readers")
    audience.put(BOB, "readers")
    if by == "pseudonym":
        audience.suppression.add_tokens([audience.token(ANN)], request_id="r1", now=NOON)
    else:
        audience.suppression.add("user", [ANN], request_id="r1", now=NOON)
    for hours in range(3):
        audience.sync(NOON + hours * HOUR)
    assert audience.destination.contacts.keys() == {BOB}
    assert [row for row in audience.ledger() if row[0] == ANN] == [
        (ANN, "upsert", "withheld", "suppressed")
    ]


def test_suppression_during_a_sync_is_seen_by_the_next_batch(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.put(BOB, "readers")
    audience.destination.batch_size = 1

    def suppress_everybody(records: Sequence[Record]) -> list[Outcome]:
        audience.suppression.add("user", [ANN, BOB], request_id="r1", now=NOON)
        return audience.destination.take(records)

    audience.destination.answers = [suppress_everybody]
    audience.sync()
    assert len(audience.destination.contacts) == 1
    assert sorted(row[2] for row in audience.ledger()) == ["delivered", "withheld"]


def withdraws_while_it_is_sent(audience: Audience) -> Callable[[Sequence[Record]], list[Outcome]]:
    """Take a batch, while everybody says no to marketing."""

    def take(records: Sequence[Record]) -> list[Outcome]:
        for user in (ANN, BOB):
            audience.visit(audience.token(user), at=NOON + HOUR, consent=False)
        return audience.destination.take(records)

    return take


def test_withdrawal_during_a_sync_is_seen_by_the_next_batch(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.put(BOB, "readers")
    audience.destination.batch_size = 1
    audience.destination.answers = [withdraws_while_it_is_sent(audience)]
    audience.sync()
    (told,) = audience.destination.contacts
    assert sorted(row[2:] for row in audience.ledger()) == [
        ("delivered", None),
        ("withheld", "no_consent"),
    ]
    audience.sync(NOON + 2 * HOUR)
    assert audience.destination.contacts.keys() == {told}
    assert set(audience.destination.contacts[told].values()) == {""}


def test_outcomes_are_committed_every_few_seconds_and_at_the_end(
    audience: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A commit for each call would cost the square of an audience.
    for user in ("u1", "u2", "u3", "u4", "u5"):
        audience.put(user, "readers")
    audience.destination.batch_size = 1
    commits: list[int] = []
    merge = Lake.merge

    def counted(lake: Lake, table: str, rows: pl.DataFrame, *, on: Sequence[str]) -> int:
        commits.append(rows.height)
        return merge(lake, table, rows, on=on)

    monkeypatch.setattr(Lake, "merge", counted)
    ticks = count(step=0.5)
    audience.sync(seconds=lambda: next(ticks))
    assert sum(commits) == 5
    assert 1 < len(commits) < 5


def test_choice_counts_as_of_the_time_that_a_sync_has_taken(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.put(BOB, "readers")
    audience.destination.batch_size = 1

    def chooses(records: Sequence[Record]) -> list[Outcome]:
        said = {"consent_marketing": False, "is_opted_out": False, "valid_from_at": NOON + HOUR}
        keys = [surrogate(audience.token(user)) for user in (ANN, BOB)]
        rows = [{"event_id": f"e{key}", "user_key": key} | said for key in keys]
        audience.lake.append("consents", frame("consents", rows))
        return audience.destination.take(records)

    audience.destination.answers = [chooses]
    ticks = chain([0.0], repeat(HOUR.total_seconds()))
    audience.sync(seconds=lambda: next(ticks))
    assert len(audience.destination.contacts) == 1


def test_who_withdraws_while_it_is_unclear_whether_they_arrived_is_cleared(
    audience: Audience,
) -> None:
    audience.put(ANN, "readers")
    audience.put(BOB, "readers")
    audience.destination.batch_size = 1

    def taken_without_an_answer(records: Sequence[Record]) -> list[Outcome]:
        audience.destination.take(records)
        raise UnavailableError(Script.name, "timeout")

    audience.destination.answers = [taken_without_an_answer] * 2
    audience.sync(patience=Patience(tries=1))
    assert [row[2] for row in audience.ledger()] == ["pending", "pending"]
    audience.destination.answers = [withdraws_while_it_is_sent(audience)]
    audience.sync(NOON + 2 * HOUR)
    assert sorted(row[2] for row in audience.ledger()) == ["delivered", "pending"]
    audience.sync(NOON + 3 * HOUR)
    said = [set(contact.values()) for contact in audience.destination.contacts.values()]
    assert said == [{""}, {""}]


@pytest.mark.parametrize("how", ["withdraws", "is suppressed"])
def test_who_says_no_while_the_destination_is_busy_is_not_sent_again(
    audience: Audience, how: str
) -> None:
    audience.put(ANN, "readers")
    audience.put(BOB, "readers")

    def busy(_records: Sequence[Record]) -> list[Outcome]:
        if how == "withdraws":
            audience.visit(audience.token(ANN), at=NOON + HOUR, consent=False)
        else:
            audience.suppression.add("user", [ANN], request_id="r1", now=NOON)
        raise BusyError(Script.name, 1.0)

    audience.destination.answers = [busy]
    audience.sync()
    assert [record.crm_id for record in audience.destination.calls[-1]] == [BOB]
    assert audience.destination.contacts.keys() == {BOB}


def test_suppression_list_that_cannot_be_read_lets_nobody_pass(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.suppression.add("user", [BOB], request_id="r1", now=NOON)
    audience.suppression.file.unlink()
    with pytest.raises(SuppressionUnavailableError, match=r"Nothing passes until it is back"):
        audience.sync()
    assert audience.destination.calls == []


def test_user_whom_the_vault_forgot_is_withheld_once(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.vault.forget(pl.Series([audience.token(ANN)]))
    for hours in range(3):
        audience.sync(NOON + hours * HOUR)
    assert [row[1:] for row in audience.ledger()] == [("upsert", "withheld", "unknown_user")]


def test_no_identifier_reaches_the_lake(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.destination.answers = [refuse_calls("INVALID_EMAIL")]
    audience.sync()
    assert b"ann@example" not in everything_below(audience.lake.folder)
    assert "ann@example" not in repr(audience.destination.calls)


def refuse_calls(reason: str) -> Callable[[Sequence[Record]], list[Outcome]]:
    def answer(_records: Sequence[Record]) -> list[Outcome]:
        raise RefusedError(Script.name, reason)

    return answer


def fail(_records: Sequence[Record]) -> list[Outcome]:
    raise UnavailableError(Script.name, "timeout")


def test_refused_person_is_a_dead_letter_until_there_is_something_new(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.destination.answers = [refuse_calls("VALIDATION_ERROR")]
    audience.sync()
    assert audience.ledger() == [(ANN, "upsert", "failed", "validation_error")]
    audience.sync(NOON + HOUR)
    assert len(audience.destination.calls) == 1
    audience.put(ANN, "readers", "buyers")
    audience.sync(NOON + 2 * HOUR)
    assert audience.ledger()[1:] == [(ANN, "upsert", "delivered", None)]


def test_dead_letters_can_be_sent_again_under_their_key(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.destination.answers = [refuse_calls("VALIDATION_ERROR")]
    audience.sync()
    assert retry_failed(audience.lake, destination="script") == 1
    audience.sync(NOON + HOUR)
    first, second = audience.destination.calls
    assert first[0].idempotency_key == second[0].idempotency_key
    assert audience.ledger() == [(ANN, "upsert", "delivered", None)]


def test_sentences_of_a_destination_stay_out_of_the_ledger(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.destination.answers = [refuse_calls(f"Email address {ANN} is invalid")]
    audience.sync()
    assert audience.ledger() == [(ANN, "upsert", "failed", "refused")]


def test_what_is_unanswered_is_overtaken_by_what_is_newer(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.destination.answers = [fail] * 20
    audience.sync()
    audience.put(ANN, "readers", "buyers")
    audience.destination.answers = []
    audience.sync(NOON + HOUR)
    assert audience.ledger() == [
        (ANN, "upsert", "failed", "superseded"),
        (ANN, "upsert", "delivered", None),
    ]


def test_who_left_while_it_was_unclear_whether_they_arrived_is_cleared(
    audience: Audience,
) -> None:
    audience.put(ANN, "readers")
    audience.destination.answers = [fail] * 20
    audience.sync()
    audience.put(ANN)
    audience.destination.answers = []
    audience.sync(NOON + HOUR)
    assert audience.ledger()[1:] == [(ANN, "remove", "delivered", None)]


def test_setting_at_fault_stops_the_sync_and_loses_nothing(audience: Audience) -> None:
    def misconfigured(_records: Sequence[Record]) -> list[Outcome]:
        raise MisconfiguredError(Script.name, "the token is not valid", remedy="Set it.")

    audience.put(ANN, "readers")
    audience.destination.answers = [misconfigured]
    with pytest.raises(MisconfiguredError, match=r"^script: the token is not valid\. Set it\."):
        audience.sync()
    assert audience.ledger() == [(ANN, "upsert", "pending", None)]
    audience.sync(NOON + HOUR)
    assert audience.ledger() == [(ANN, "upsert", "delivered", None)]


def test_batches_hold_one_operation_and_no_more_than_fit(audience: Audience) -> None:
    users = [f"user{number}@example.com" for number in range(5)]
    for user in users:
        audience.put(user, "readers")
    audience.destination.batch_size = 2
    audience.sync()
    assert [len(call) for call in audience.destination.calls] == [2, 2, 1]
    audience.put(users[0])
    audience.put(users[1], "buyers")
    audience.sync(NOON + HOUR)
    assert [{r.operation for r in call} for call in audience.destination.calls[3:]] == [
        {"remove"},
        {"upsert"},
    ]


def test_clock_that_goes_back_does_not_disorder_the_ledger(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.sync(NOON + HOUR)
    audience.put(ANN)
    audience.sync(NOON)
    assert [row[1] for row in audience.ledger()] == ["upsert", "remove"]


def test_plan_says_what_would_be_done_and_does_nothing(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.put(BOB, "readers", consent=None)
    plan = plan_sync(
        audience.lake,
        audience.settings,
        suppression=audience.suppression,
        destination="script",
        now=NOON,
    )
    assert sorted(plan["operation"]) == ["upsert", "withheld"]
    assert audience.vault.reveals().is_empty()
    assert not audience.lake.exists("crm_syncs")


def test_destinations_are_told_apart(audience: Audience) -> None:
    audience.put(ANN, "readers")
    audience.sync()
    other = Script()
    other.name = "other"
    audience.sync(destination=other)
    assert other.contacts == audience.destination.contacts


def test_everybody_is_told_of_again_when_the_crm_knows_them_by_another_property(
    audience: Audience,
) -> None:
    audience.put(ANN, "readers")
    audience.sync()
    crm = audience.settings.crm.model_copy(update={"id_property": "account"})
    audience.settings = audience.settings.model_copy(update={"crm": crm})
    audience.sync(NOON + HOUR)
    audience.sync(NOON + 2 * HOUR)
    assert len(audience.destination.calls) == len(set(audience.destination.effects)) == 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from([ANN, BOB]),
        st.sets(st.sampled_from(["readers", "buyers"])),
        st.sampled_from([True, True, False, None]),
        st.sampled_from(["take", "fail", "take and fail", "refuse"]),
    ),
    min_size=1,
    max_size=5,
)


@budget(max_examples=12)
@given(STEPS)
def test_destination_ends_with_what_is_wanted_whatever_went_wrong(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, set[str], bool | None, str]],
) -> None:
    settings = load_settings(tmp_path_factory.mktemp("data"))
    audience = Audience(Lake(settings.lake_folder), settings)
    target = audience.destination

    def take_and_fail(records: Sequence[Record]) -> list[Outcome]:
        target.take(records)
        return fail(records)

    answers = {"fail": fail, "take and fail": take_and_fail, "refuse": refuse_calls("BAD")}
    wanted: dict[str, str] = {}
    for number, (user, segments, consent, answer) in enumerate(steps):
        audience.put(user, *segments, consent=consent, at=NOON + number * HOUR)
        wanted[user] = ";".join(sorted(segments)) if consent else ""
        target.answers = [answers[answer]] * 30 if answer in answers else []
        audience.sync(NOON + number * HOUR)
    target.answers = []
    retry_failed(audience.lake, destination="script")
    # Two syncs settle it: one clears who may hold something, the next notes why they are left out.
    audience.sync(NOON + 100 * HOUR)
    audience.sync(NOON + 101 * HOUR)
    held = {user: contact["clickstream_segments"] for user, contact in target.contacts.items()}
    assert {user: text for user, text in held.items() if text} == {
        user: text for user, text in wanted.items() if text
    }
    assert audience.sync(NOON + 102 * HOUR).rows_written == 0
