"""Draws: the published generator, and tables that hold their distributions."""

import numpy as np
import pytest

from clickstream_platform.simulator import draws


def test_reproduces_the_published_numbers_of_splitmix64() -> None:
    # The first outputs of SplitMix64 seeded with 1234567, as listed at
    # rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64.
    states = np.uint64(1234567) + np.arange(1, 6, dtype=np.uint64) * draws.GOLDEN
    assert draws.mixed(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_draws_do_not_depend_on_their_company() -> None:
    people = draws.children(draws.root(1, "person"), np.arange(1_000))
    alone = draws.draws(people[500:501], "country")
    assert alone.tolist() == draws.draws(people, "country")[500:501].tolist()


def test_purposes_and_seeds_are_independent() -> None:
    people = draws.children(draws.root(1, "person"), np.arange(20_000))
    others = draws.children(draws.root(2, "person"), np.arange(20_000))
    by_purpose = [draws.level(draws.draws(people, purpose), 0) for purpose in ("a", "b")]
    by_part = [draws.level(draws.draws(people, "a"), part) for part in (1, 2)]
    by_seed = [draws.level(draws.draws(others, "a"), 0)]
    correlations = np.corrcoef([*by_purpose, *by_part, *by_seed]) - np.eye(5)
    # Four standard errors of a correlation of independent draws.
    assert np.abs(correlations).max() < 4 / np.sqrt(20_000)


def test_zipf_with_cutoff_has_the_chances_of_its_formula() -> None:
    # P(2) / P(1) = 2^-1 e^-0.5, and P(3) / P(1) = 3^-1 e^-1.
    table = draws.zipf_with_cutoff(1.0, 0.5, longest=50)
    ones, twos, threes = ((table == k).sum() for k in (1, 2, 3))
    assert twos / ones == pytest.approx(0.5 * np.exp(-0.5), abs=1e-4)
    assert threes / ones == pytest.approx(np.exp(-1) / 3, abs=1e-4)


def test_lognormal_has_its_median_and_stops_at_its_longest() -> None:
    assert np.median(draws.lognormal(3.0, 0.5)) == pytest.approx(np.exp(3.0), rel=1e-3)
    cut = draws.lognormal(3.0, 2.0, longest=30.0)
    assert cut.max() <= 30.0
    # Below the cut it is as before: the share under 10 among those under 30.
    whole = draws.lognormal(3.0, 2.0)
    assert (cut < 10).mean() == pytest.approx((whole < 10).sum() / (whole < 30).sum(), abs=1e-3)


def test_categories_without_weight_never_happen() -> None:
    assert np.bincount(draws.categories([0.0, 3.0, 0.0, 1.0])).tolist() == [0, 49_152, 0, 16_384]


def test_histogram_is_flat_within_its_bars() -> None:
    table = draws.histogram([1.0, 3.0])
    assert (table < 1).mean() == pytest.approx(0.25)
    assert np.quantile(table, 0.125) == pytest.approx(0.5, abs=1e-3)


def test_laplace_is_symmetric_with_its_scale() -> None:
    table = draws.laplace(1.5)
    assert table.mean() == pytest.approx(0, abs=1e-9)
    assert np.abs(table).mean() == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize(("rate", "hits"), [(0.0, 0), (1.0, 50_000)])
def test_rates_of_zero_and_one_are_exact(rate: float, hits: int) -> None:
    people = draws.children(draws.root(1, "person"), np.arange(50_000))
    assert draws.happens(draws.draws(people, "fault"), rate).sum() == hits
