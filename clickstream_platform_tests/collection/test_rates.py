"""Rates: worked by hand, and what gets through over time."""

import random

import pytest

from clickstream_platform.collection.rates import MAX_SENDERS, Meter, Rate


def test_so_many_at_once_and_then_at_the_pace() -> None:
    # Six a minute: one costs ten seconds.
    meter = Meter(Rate.parse("6/minute"))
    assert meter.admits("ann", 6, 0.0)
    assert not meter.admits("ann", 1, 9.9)
    assert meter.admits("ann", 1, 10.0)
    assert not meter.admits("ann", 1, 10.1)
    assert meter.admits("bob", 6, 10.1), "each sender for itself"


def test_more_than_a_period_at_once_never_fits() -> None:
    assert not Meter(Rate.parse("6/hour")).admits("ann", 7, 0.0)


@pytest.mark.parametrize("seed", range(10))
def test_over_k_periods_at_most_k_plus_one_times_the_rate(seed: int) -> None:
    rng = random.Random(seed)
    meter, now_s, through = Meter(Rate.parse("20/second")), 0.0, 0
    while now_s < 10:
        size = rng.randint(1, 5)
        through += size * meter.admits("ann", size, now_s)
        now_s += rng.uniform(0, 0.05)
    assert 20 * 9 <= through <= 20 * 11


def test_memory_is_bounded() -> None:
    meter = Meter(Rate.parse("10/second"))
    for number in range(MAX_SENDERS + 10):
        meter.admits(f"s{number}", 1, float(number))
    assert len(meter._paid_at) <= MAX_SENDERS  # noqa: SLF001
