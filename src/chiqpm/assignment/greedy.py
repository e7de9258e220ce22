"""A first selection for the search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.problem import AssignmentProblem


def greedy_selection(problem: AssignmentProblem) -> NDArray[np.int64]:
    """Add one feature at a time, each where it raises the objective of the problem without pairs most.

    Returns:
        K allowed features, the required ones first.
    """
    gain_FC, per_class = problem.gain_FC, problem.features_per_class
    every_class = np.arange(problem.num_classes)
    best_CN = np.full((problem.num_classes, per_class), gain_FC.min())
    redundancy_F = np.zeros(problem.num_features)
    open_F = problem.allowed_F.copy()
    selected: list[int] = []
    required = sorted({f for _, f in problem.required})
    while len(selected) < problem.kept_features:
        if len(selected) < len(required):
            feature = required[len(selected)]
        else:
            score_F = np.maximum(gain_FC - best_CN.min(axis=1), 0.0).sum(axis=1) + problem.bias_F - redundancy_F
            feature = int(np.where(open_F, score_F, -np.inf).argmax())
        selected.append(feature)
        open_F[feature] = False
        redundancy_F += problem.penalty_FF[feature]
        worst_C = best_CN.argmin(axis=1)
        best_CN[every_class, worst_C] = np.maximum(best_CN[every_class, worst_C], gain_FC[feature])
    return np.array(selected, dtype=np.int64)
