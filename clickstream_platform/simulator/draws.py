"""Random draws that depend on what they are for, and on nothing else.

A draw is the hash of its entity and its purpose. It is the same whatever was drawn before, so
the result does not depend on how the work is cut into chunks, and any part can be drawn again.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
Integers: TypeAlias = NDArray[Any]
"""Integers of some width; numpy widens them by its own rules."""
Floats: TypeAlias = NDArray[np.float64]

LEVELS = 65_536
"""Resolution of a distribution: a table of so many equally likely values, by 16 random bits."""

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Odd step of SplitMix64: 2^64 over the golden ratio."""


def mixed(values: Hashes) -> Hashes:
    """Scramble 64-bit numbers: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    hashes = values ^ (values >> np.uint64(30))
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)
    return hashes


@cache
def purpose_key(purpose: str) -> np.uint64:
    """Turn the name of a purpose into a number."""
    digest = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def root(seed: int, population: str) -> np.uint64:
    """Hash from which all entities of one population descend."""
    return np.uint64(mixed(np.array([seed], np.uint64) * GOLDEN ^ purpose_key(population))[0])


def children(parents: Hashes | np.uint64, numbers: Integers) -> Hashes:
    """Hash of the numbered children of entities: a person's sessions, a session's events."""
    return mixed(parents + (numbers.astype(np.uint64) + np.uint64(1)) * GOLDEN)


def draws(entities: Hashes, purpose: str) -> Hashes:
    """Draw 64 random bits for each entity."""
    return mixed(entities ^ purpose_key(purpose))


def level(hashes: Hashes, part: int) -> NDArray[np.uint16]:
    """Take one of the four 16-bit parts of hashes, to look up a distribution."""
    return hashes.view(np.uint16)[part::4]


def happens(hashes: Hashes, rate: float | Floats, part: int = 0) -> NDArray[np.bool_]:
    """Tell which entities are hit at a rate, by one of the two 32-bit parts of hashes."""
    hit: NDArray[np.bool_] = hashes.view(np.uint32)[part::2] < rate * 2.0**32
    return hit


@cache
def quantiles_of_normal() -> Floats:
    """Standard normal distribution at the middle of each level."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse((i + 0.5) / LEVELS) for i in range(LEVELS)])


def middles() -> Floats:
    """Probability at the middle of each level."""
    middle: Floats = (np.arange(LEVELS) + 0.5) / LEVELS
    return middle


def categories(weights: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Table of positions, each as frequent as its weight."""
    shares = np.cumsum(np.asarray(weights, np.float64))
    return np.searchsorted(shares / shares[-1], middles()).astype(np.int32)


def zipf_with_cutoff(exponent: float, cutoff: float, *, longest: int) -> NDArray[np.int32]:
    """Table of counts from 1, with P(k) proportional to k^-exponent exp(-cutoff k)."""
    counts = np.arange(1, longest + 1)
    return categories(counts**-exponent * np.exp(-cutoff * counts)) + np.int32(1)


def lognormal(mu: float, sigma: float, *, longest: float = np.inf) -> Floats:
    """Table of a lognormal, cut off at the longest value."""
    below = NormalDist().cdf((np.log(longest) - mu) / sigma) if longest < np.inf else 1.0
    normal = np.interp(middles() * below, middles(), quantiles_of_normal())
    values: Floats = np.minimum(np.exp(mu + sigma * normal), longest)
    return values


def laplace(scale: float) -> Floats:
    """Table of a Laplace distribution around 0."""
    centred = middles() - 0.5
    values: Floats = -scale * np.sign(centred) * np.log1p(-2 * np.abs(centred))
    return values


def histogram(weights: Sequence[float]) -> Floats:
    """Table of a continuous quantity whose weight is given for [0, 1), [1, 2), ..."""
    shares = np.concatenate([[0.0], np.cumsum(np.asarray(weights, np.float64))])
    return np.interp(middles(), shares / shares[-1], np.arange(len(shares)))
