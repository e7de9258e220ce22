"""Permutation tests within readers: exact where few permutations exist, else by Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError

EXACT_UP_TO = 2**14
"""Permutations that are all gone through; of more, a sample is drawn."""


def sign_flip_test(
    differences_R: NDArray[np.float64], *, resamples: int = 9999, seed: int = 0, exact_up_to: int = EXACT_UP_TO
) -> float:
    """Test two-sided whether the mean of paired differences is zero.

    If a reader's two values could as well have been exchanged, every pattern of signs of the differences was equally
    probable. The p-value is the share of patterns whose mean is at least as far from zero as the observed one;
    drawn patterns count with the observed one among them, so that the test is valid for any number of draws (Phipson
    and Smyth, 2010, "Permutation p-values should never be zero").

    Args:
        differences_R: one difference for each of R readers, finite.
        resamples: patterns drawn where there are too many to go through.
        seed: of the draws.
        exact_up_to: most patterns that are all gone through.

    Raises:
        ChiqpmError: no readers, or a value that isn't finite.

    >>> sign_flip_test(np.array([1.0, 2.0, 3.0, 4.0]))
    0.125
    """
    differences = np.asarray(differences_R, dtype=np.float64)
    if differences.ndim != 1 or differences.size == 0 or not np.isfinite(differences).all():
        raise ChiqpmError(f"differences must be finite, one for each reader; received {differences!r}")
    if 2**differences.size <= exact_up_to:
        signs = np.array(list(product((1.0, -1.0), repeat=differences.size)))
        return float(_as_extreme(signs @ differences, differences.sum()).mean())
    signs = np.random.default_rng(seed).choice((1.0, -1.0), size=(resamples, differences.size))
    return float((1 + _as_extreme(signs @ differences, differences.sum()).sum()) / (1 + resamples))


def omnibus_test(
    values_RA: NDArray[np.float64], *, resamples: int = 9999, seed: int = 0, exact_up_to: int = EXACT_UP_TO
) -> float:
    """Test whether the arms differ at all, by permuting each reader's values among the arms.

    The statistic is the variance of the arms' means.

    Args:
        values_RA: a value for each of R readers and A arms, finite.
        resamples: permutations drawn where there are too many to go through.
        seed: of the draws.
        exact_up_to: most permutations that are all gone through.

    Raises:
        ChiqpmError: not a matrix with two or more arms, or a value that isn't finite.
    """
    values = np.asarray(values_RA, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise ChiqpmError(f"values must be finite, readers by two or more arms; received shape {values.shape}")
    orders = np.array(list(permutations(range(values.shape[1]))))
    observed = values.mean(axis=0).var()
    readers = np.arange(len(values))[:, None]
    if len(orders) ** len(values) <= exact_up_to:
        drawn = [
            values[readers, orders[list(choice)]].mean(axis=0).var()
            for choice in product(range(len(orders)), repeat=len(values))
        ]
        return float(_as_extreme(np.array(drawn), observed).mean())
    generator = np.random.default_rng(seed)
    drawn = [
        values[readers, orders[generator.integers(len(orders), size=len(values))]].mean(axis=0).var()
        for _ in range(resamples)
    ]
    return float((1 + _as_extreme(np.array(drawn), observed).sum()) / (1 + resamples))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false finding among them stays below the level (Holm, 1979).

    >>> [round(value, 4) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _as_extreme(drawn: NDArray[np.float64], observed: float) -> NDArray[np.bool_]:
    """Which statistics are as far from zero as the observed one; equal ones may differ by rounding."""
    return np.abs(drawn) >= abs(observed) * (1 - 1e-12) - 1e-15
