"""Exact search among the features of several good solutions, for small problems.

Solutions of short annealings hold most of the features of the best one between them, and a mixed-integer solver takes
only a moment to find the best choice among so few.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.exact import is_quick, solve_exactly
from chiqpm.assignment.problem import AssignmentProblem

_MOST_KEPT, _MOST_VARIABLES = 24, 1000
_SECONDS = 20.0


def is_small(problem: AssignmentProblem) -> bool:
    """Whether a mixed-integer solver is quick when few features are left to choose from, but not before."""
    size = problem.kept_features * (problem.num_classes + problem.pairs_needed)
    fits = problem.kept_features <= _MOST_KEPT and size <= _MOST_VARIABLES
    return problem.pair_meaning == "forced" and fits and not is_quick(problem)


def mix_exactly(
    problem: AssignmentProblem,
    features_N: NDArray[np.int64],
    selection_K: NDArray[np.int64],
    rows_CN: NDArray[np.int64],
    deadline: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Find the best solution with nothing but the given features.

    Args:
        problem: the problem.
        features_N: features that may be selected (N,), among them those of the given solution.
        selection_K: selection of a solution to begin with.
        rows_CN: its slots for each class (C,n).
        deadline: moment of `time.monotonic()` at which to be finished.

    Returns:
        Selection and slots, features of the given solution in the slots they had; None when nothing was found, or
        the given solution is not feasible, so that there may be none.
    """
    order = np.argsort(selection_K)
    has_CK = np.zeros((len(rows_CN), len(order)), dtype=np.uint8)
    np.put_along_axis(has_CK, rows_CN, 1, axis=1)
    if not problem.check(selection_K, has_CK).feasible:
        return None
    found = solve_exactly(
        problem,
        time_limit=max(min(deadline - time.monotonic(), _SECONDS), 0.1),
        features_N=features_N,
        start=(selection_K[order], has_CK[:, order]),
    )
    if found.selection_K is None or found.weight_CK is None:
        return None
    stays_K = np.isin(selection_K, found.selection_K)
    chosen_K = selection_K.copy()
    chosen_K[~stays_K] = np.setdiff1d(found.selection_K, selection_K)
    slot = {int(f): k for k, f in enumerate(chosen_K)}
    slots_K = np.array([slot[int(f)] for f in found.selection_K])
    users, columns = np.nonzero(found.weight_CK)
    return chosen_K, slots_K[columns[np.argsort(users, kind="stable")]].reshape(rows_CN.shape)
