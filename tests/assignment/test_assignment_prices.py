"""Prices against the linear programme whose dual they are, and the certificate's core as it grows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from chiqpm.assignment import AssignmentProblem
from chiqpm.assignment.bound import certify
from chiqpm.assignment.prices import ClassPrices

_PAIRS = np.array([(0, 1), (1, 2), (2, 3), (1, 4), (6, 7)])


def linear_value(gain_FC, pairs, per_class, use_F):
    """What the classes gain at best from a fractional selection: w <= x, n features a class, n - 1 shared by a pair."""
    features, classes = gain_FC.shape
    uses, shares = features * classes, features * len(pairs)
    use = np.arange(uses).reshape(features, classes)
    share = uses + np.arange(shares).reshape(features, len(pairs))
    rows, limits = [], []
    for p, pair in enumerate(pairs):
        for f in range(features):
            for c in pair:
                rows.append(np.zeros(uses + shares))
                rows[-1][share[f, p]], rows[-1][use[f, c]] = 1, -1
                limits.append(0)
        rows.append(np.zeros(uses + shares))
        rows[-1][share[:, p]] = -1
        limits.append(1 - per_class)
    counts = np.zeros((classes, uses + shares))
    for c in range(classes):
        counts[c, use[:, c]] = 1
    cost = np.concatenate([-gain_FC.ravel(), np.zeros(shares)])
    limit = np.concatenate([np.repeat(use_F, classes), np.repeat(use_F, len(pairs))])
    found = linprog(
        cost, np.array(rows), limits, counts, np.full(classes, per_class), np.stack([0 * limit, limit], axis=1)
    )
    return -found.fun


def fractional_problem(seed, classes):
    """Gains and a fractional selection of 6 of 24 features."""
    generator = np.random.default_rng(seed)
    gain_FC, use_F = generator.normal(size=(24, classes)), generator.dirichlet(np.ones(24)) * 6 * 0.5
    use_F = np.minimum(use_F, 0.9)
    return gain_FC, use_F + (6 - use_F.sum()) * (1 - use_F) / (1 - use_F).sum()


def chain(classes):
    """One long component: each class is paired with the next."""
    return np.stack([np.arange(classes - 1), np.arange(1, classes)], axis=1)


@pytest.mark.parametrize(
    ("seed", "classes", "pairs"), [*((seed, 8, _PAIRS) for seed in range(4)), (4, 30, chain(30)), (5, 30, chain(30))]
)
def test_prices_reach_the_value_of_their_linear_programme(seed, classes, pairs):
    gain_FC, use_F = fractional_problem(seed, classes)
    expected = linear_value(gain_FC, pairs, 3, use_F)
    prices = ClassPrices(gain_FC, pairs, 3, 6)
    rows_N = np.arange(24)
    for width in (0.1, 0.01, 0.001):
        prices.smoothing = width
        prices.descend(rows_N, use_F, -prices.worth(), 1e-4, 300)
        value = prices.constant + prices.worth() @ use_F
        assert value >= expected - 1e-9
    assert value == pytest.approx(expected, abs=0.02)


def test_splits_are_balanced_along_a_long_chain():
    # A chain whose one end has much and the other little: what is shared must travel all the way.
    gain_FC = np.linspace(-3.0, 1.0, 120)[None].repeat(2, axis=0)
    prices = ClassPrices(gain_FC, chain(120), 3, 1)
    prices.class_C[:], prices.pair_P[:] = 0.0, 2.0
    prices.split_FP[:] = 1.0
    best = prices.copy().worth(sweeps=100_000, smoothing=0.01)
    assert prices.worth(smoothing=0.01) == pytest.approx(best, rel=1e-4)


def test_threads_change_nothing():
    generator = np.random.default_rng(0)
    gain_FC = generator.normal(size=(400, 12))
    alone, together = (ClassPrices(gain_FC, chain(12), 3, 20) for _ in range(2))
    together.threads = 3
    rows_N, use_N = np.arange(400), generator.random(400) / 20
    for prices in (alone, together):
        prices.descend(rows_N, use_N, -prices.worth(), 1e-2, 20)
    assert np.array_equal(alone.class_C, together.class_C)
    assert np.array_equal(alone.pair_P, together.pair_P)
    assert np.array_equal(alone.worth(), together.worth())


def test_rounded_worth_is_larger_and_unbalanced_splits_are_worth_more():
    generator = np.random.default_rng(0)
    prices = ClassPrices(generator.normal(size=(24, 8)), _PAIRS, 3, 6)
    prices.pair_P[:] = generator.uniform(0, 2, len(_PAIRS))
    prices.split_FP = prices.pair_P * generator.random(prices.split_FP.shape)
    unbalanced = prices.worth(sweeps=0)
    assert (prices.worth(sweeps=0, smoothing=0.1) >= unbalanced).all()
    few = np.array([3, 7])
    assert np.array_equal(prices.copy().worth(few, sweeps=0), unbalanced[few])
    assert (prices.worth() <= unbalanced + 1e-12).all()


def test_a_core_that_grows_proves_as_much_as_all_features():
    generator = np.random.default_rng(1)
    similarity_FC = generator.normal(size=(60, 20))
    redundancy_FF = np.triu(np.maximum(np.corrcoef(similarity_FC), 0), 1)
    problem = AssignmentProblem(similarity_FC / 4, redundancy_FF, 0.1 * generator.normal(size=60), 12, 3, 0.5)
    whole = certify(problem, core_size=60, iterations=200)
    grown = certify(problem, core_size=15, iterations=200)
    assert len(grown.core_N) > 2 * problem.kept_features
    assert len(np.unique(grown.core_N)) == len(grown.core_N)
    assert grown.bound == pytest.approx(whole.bound, rel=5e-3)
