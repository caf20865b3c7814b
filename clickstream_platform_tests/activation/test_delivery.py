"""The courier: waits, the circuit, halving, and when it gives up."""

import random
from collections.abc import Callable, Sequence

import pytest

from clickstream_platform.activation import (
    BusyError,
    Courier,
    Outcome,
    Patience,
    Record,
    RefusedError,
    UnavailableError,
)
from clickstream_platform_tests.activation.audience import Script
from clickstream_platform_tests.frames import NOON

Answer = Callable[[Sequence[Record]], list[Outcome]]


def records(count: int) -> list[Record]:
    return [
        Record(
            idempotency_key=f"k{number}",
            operation="upsert",
            crm_id=f"user{number}",
            properties={},
            synced_at=NOON,
        )
        for number in range(count)
    ]


def courier(
    script: Script, naps: list[float], *, is_doubtful: bool = False, **limits: float
) -> Courier:
    patience = Patience(**limits)  # type: ignore[arg-type]  # numbers of both kinds
    return Courier(
        script,
        patience=patience,
        sleep=naps.append,
        jitter=lambda: 0.0,
        still_allowed=lambda given: given,
        is_doubtful=is_doubtful,
    )


def busy(seconds: float | None) -> Answer:
    def answer(_records: Sequence[Record]) -> list[Outcome]:
        raise BusyError(Script.name, seconds)

    return answer


def down(_records: Sequence[Record]) -> list[Outcome]:
    raise UnavailableError(Script.name, "timeout")


def refusing(bad: set[str], script: Script) -> Answer:
    """Refuse a call with one of these, take any other."""

    def answer(given: Sequence[Record]) -> list[Outcome]:
        if bad & {record.crm_id for record in given}:
            raise RefusedError(Script.name, "VALIDATION_ERROR")
        return script.take(given)

    return answer


def unclear(given: Sequence[Record]) -> list[Outcome]:
    return [Outcome(record.idempotency_key, "unclear", "RATE_LIMITS") for record in given]


def test_waits_double_up_to_the_longest() -> None:
    script, naps = Script(*[busy(None)] * 5), list[float]()
    courier(script, naps, longest_wait_s=5).deliver(records(1))
    # Half of 1, 2, 4, 5, 5: the jitter, here none, adds up to the other half.
    assert naps == [0.5, 1, 2, 2.5, 2.5]
    assert script.effects == ["k0"]


def test_all_waits_together_are_limited() -> None:
    script, naps = Script(*[busy(50)] * 5), list[float]()
    sender = courier(script, naps, total_wait_s=120)
    assert sender.deliver(records(1)) == {}
    assert (naps, sender.gave_up_for) == ([50, 50], "waited_too_long")


def test_who_gave_up_calls_no_more() -> None:
    script = Script(*[down] * 100)
    sender = courier(script, [])
    sender.deliver(records(4))
    calls = len(script.calls)
    assert sender.deliver(records(4)) == {}
    assert (len(script.calls), sender.calls) == (calls, calls)


def test_doubtful_destination_is_probed_first() -> None:
    script = Script()
    courier(script, [], is_doubtful=True).deliver(records(5))
    assert [len(call) for call in script.calls] == [1, 4]


def test_success_between_failures_keeps_the_circuit_closed() -> None:
    script = Script()
    script.answers = [down, down, script.take, down, down, script.take]
    sender = courier(script, [])
    assert len(sender.deliver(records(2)) | sender.deliver(records(4)[2:])) == 4
    assert {len(call) for call in script.calls} == {2}


def test_records_that_stay_unclear_do_not_hold_up_the_others() -> None:
    script, naps = Script(*[unclear] * 3), list[float]()
    sender = courier(script, naps, tries=3)
    first, second = records(4)[:2], records(4)[2:]
    assert sender.deliver(first) == {}
    assert sender.deliver(second).keys() == {"k2", "k3"}
    assert (len(script.calls), naps, sender.gave_up_for) == (4, [0.5, 1], None)


def test_batches_in_a_row_without_an_answer_end_the_sync() -> None:
    script = Script(*[unclear] * 100)
    sender = courier(script, [], tries=2, failures_to_open=3)
    for record in records(10):
        sender.deliver([record])
    assert (len(script.calls), sender.gave_up_for) == (6, "no_progress")


def test_outcomes_of_records_that_were_not_sent_are_ignored() -> None:
    script = Script(lambda _records: [Outcome("k9", "delivered"), Outcome("k0", "delivered")])
    assert courier(script, []).deliver(records(1)).keys() == {"k0"}


@pytest.mark.parametrize("seed", range(20))
def test_exactly_the_records_at_fault_are_refused(seed: int) -> None:
    rng = random.Random(seed)
    everybody = records(rng.randint(1, 100))
    bad = {record.crm_id for record in everybody if rng.random() < rng.choice([0.01, 0.3])}
    script = Script()
    script.answers = [refusing(bad, script)] * 300
    outcomes = courier(script, [], refusals=1_000).deliver(everybody)
    assert outcomes.keys() == {record.idempotency_key for record in everybody}
    refused = {key for key, outcome in outcomes.items() if outcome.fate == "refused"}
    assert refused == {record.idempotency_key for record in everybody if record.crm_id in bad}
    assert script.contacts.keys() == {record.crm_id for record in everybody} - bad


def test_one_of_a_hundred_is_found_in_few_calls() -> None:
    script = Script()
    script.answers = [refusing({"user77"}, script)] * 300
    courier(script, []).deliver(records(100))
    assert len(script.calls) <= 15


def test_destination_that_refuses_everybody_is_not_asked_about_everybody() -> None:
    script = Script()
    script.answers = [refusing({f"user{number}" for number in range(1_000)}, script)] * 3_000
    sender = courier(script, [])
    refused = sender.deliver(records(1_000))
    assert sender.gave_up_for == "everything_refused"
    assert len(refused) == 100
