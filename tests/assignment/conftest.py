"""Problems for the assignment's tests, and their optimum by trying everything."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from chiqpm.assignment import AssignmentProblem


def _brute_force(problem):
    """The optimum by trying every selection and every assignment; -inf when there is none."""
    kept, per_class, classes = problem.kept_features, problem.features_per_class, problem.num_classes
    rows = [frozenset(row) for row in combinations(range(kept), per_class)]
    before = [[int(c) for pair in problem.pairs.tolist() for c in pair if d in pair and c < d] for d in range(classes)]
    best = -np.inf
    for selection in combinations(np.flatnonzero(problem.allowed_F).tolist(), kept):
        place = {f: k for k, f in enumerate(selection)}
        needed = [{place.get(f, -1) for c, f in problem.required if c == d} for d in range(classes)]
        chosen = np.array(selection)
        base = problem.bias_F[chosen].sum() - np.triu(problem.penalty_FF[np.ix_(chosen, chosen)], 1).sum()
        value = [[problem.gain_FC[chosen[list(row)], c].sum() for row in rows] for c in range(classes)]

        def extend(taken, total, needed=needed, value=value):
            nonlocal best
            c = len(taken)
            if c == classes:
                best = max(best, total)
                return
            for i, row in enumerate(rows):
                if i in taken or not needed[c] <= row:
                    continue
                if all(len(row & rows[taken[d]]) == per_class - 1 for d in before[c]):
                    extend([*taken, i], total + value[c][i])

        extend([], base)
    return best


def _random_problem(seed, **options):
    generator = np.random.default_rng(seed)
    features = int(generator.integers(4, 7))
    kept = int(generator.integers(3, min(features, 5) + 1))
    per_class = int(generator.integers(1, kept))
    classes = int(generator.integers(2, min(5, comb(kept, per_class)) + 1))
    redundancy = np.triu(generator.random((features, features)) * (generator.random((features, features)) < 0.5), 1)
    return AssignmentProblem(
        generator.normal(size=(features, classes)),
        redundancy,
        0.3 * generator.normal(size=features),
        kept,
        per_class,
        float(generator.choice([0, 0.5, 1.0])),
        **options,
    )


def _large(seed=0, features=60, classes=30, kept=20, **options):
    generator = np.random.default_rng(seed)
    similarity = generator.normal(size=(features, classes))
    similarity /= np.abs(similarity).max()
    redundancy = np.triu(np.maximum(np.corrcoef(similarity), 0), 1)
    return AssignmentProblem(
        similarity, redundancy / redundancy.max(), generator.normal(size=features) * 0.1, kept, 4, 0.5, **options
    )


@pytest.fixture(scope="session")
def brute_force():
    """The optimum of a tiny problem."""
    return _brute_force


@pytest.fixture(scope="session")
def random_problem():
    """A tiny problem from a seed."""
    return _random_problem


@pytest.fixture(scope="session")
def large():
    """A problem for the search."""
    return _large
