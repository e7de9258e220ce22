"""The problem as a mixed-integer linear programme."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from chiqpm.assignment.problem import AssignmentProblem


class Linearised:
    """Columns, rows and right-hand sides of the linear programme over a set of features.

    Variables: x_f, w_fc, one s_fp for each feature of each forced pair (bounded by both classes' w, equal to their
    product where that matters) and one y_fg >= x_f + x_g - 1 for each penalised pair of features. Where pairs are only
    counted, every pair of classes has its s_fp, and z_p = 1 claims that it shares n - 1. Distinctness of the other
    classes is added when a solution breaks it.
    """

    def __init__(self, problem: AssignmentProblem, features_N: NDArray[np.int64], fixed: bool) -> None:
        self.problem, self.features_N = problem, features_N
        num_features, num_classes = len(features_N), problem.num_classes
        self.x = np.arange(num_features)
        self.w = num_features + np.arange(num_features * num_classes).reshape(num_features, num_classes)
        size = num_features * (num_classes + 1)
        self.counted = problem.pair_meaning == "count" and problem.pairs_needed > 0
        self.pairs = np.stack(np.triu_indices(num_classes, 1), axis=1) if self.counted else problem.pairs
        num_pairs = len(self.pairs)
        self.s = size + np.arange(num_features * num_pairs).reshape(num_features, num_pairs)
        size += self.s.size
        penalty = np.triu(problem.penalty_FF[np.ix_(features_N, features_N)], 1)
        self.first, self.second = np.nonzero(penalty)
        self.y = size + np.arange(len(self.first))
        size += len(self.first)
        self.z = size + np.arange(num_pairs if self.counted else 0)
        self.size = size + len(self.z)

        self.cost = np.zeros(self.size)
        self.cost[self.x] = problem.bias_F[features_N]
        self.cost[self.w] = problem.gain_FC[features_N]
        self.cost[self.y] = -penalty[self.first, self.second]
        self.lower, self.upper = np.zeros(self.size), np.ones(self.size)
        if fixed:
            self.lower[self.x] = 1.0
        self.upper[self.x[~problem.allowed_F[features_N]]] = 0.0
        place = {int(f): i for i, f in enumerate(features_N)}
        self.contradiction = any(f not in place for _, f in problem.required)
        for c, f in problem.required:
            if f in place:
                self.lower[self.w[place[f], c]] = 1.0
        self.integer = np.zeros(self.size, dtype=np.bool_)
        self.integer[self.x] = True
        self.integer[self.w] = True
        self.integer[self.z] = True
        self.entries: list[tuple[NDArray[np.int64], NDArray[np.float64], float, float]] = []
        self._constraints()

    def add(self, columns: Any, values: Any, low: float, high: float) -> None:
        """Add the row low <= values · columns <= high."""
        columns = np.asarray(columns, dtype=np.int64).ravel()
        self.entries.append((columns, np.broadcast_to(np.asarray(values, dtype=float), columns.shape), low, high))

    def _constraints(self) -> None:
        problem, inf = self.problem, float("inf")
        per_class = problem.features_per_class
        self.add(self.x, 1.0, problem.kept_features, problem.kept_features)
        for c in range(problem.num_classes):
            self.add(self.w[:, c], 1.0, per_class, per_class)
        for i in range(len(self.features_N)):
            for c in range(problem.num_classes):
                self.add([self.w[i, c], self.x[i]], [1.0, -1.0], -inf, 0.0)
        if self.counted:
            self.add(self.z, 1.0, problem.pairs_needed, inf)
        for p, (c, d) in enumerate(self.pairs):
            if self.counted:
                self.add([*self.s[:, p], self.z[p]], [1.0] * len(self.s) + [1.0 - per_class], 0.0, inf)
            else:
                self.add(self.s[:, p], 1.0, per_class - 1, per_class - 1)
            for i in range(len(self.features_N)):
                self.add([self.s[i, p], self.w[i, c]], [1.0, -1.0], -inf, 0.0)
                self.add([self.s[i, p], self.w[i, d]], [1.0, -1.0], -inf, 0.0)
                self.add([self.w[i, c], self.w[i, d], self.s[i, p]], [1.0, 1.0, -1.0], -inf, 1.0)
        for e, (f, g) in enumerate(zip(self.first, self.second, strict=True)):
            self.add([self.x[f], self.x[g], self.y[e]], [1.0, 1.0, -1.0], -inf, 1.0)

    def forbid_twins(self, has_NC: NDArray[np.bool_]) -> bool:
        """Add cuts against classes with equal features; returns whether there were any."""
        rows: dict[bytes, list[int]] = {}
        for c in range(has_NC.shape[1]):
            rows.setdefault(has_NC[:, c].tobytes(), []).append(c)
        twins = [group for group in rows.values() if len(group) > 1]
        for group in twins:
            members = np.flatnonzero(has_NC[:, group[0]])
            for c, d in combinations(range(has_NC.shape[1]), 2):
                self.add(self.w[members][:, [c, d]], 1.0, 0.0, 2 * len(members) - 1)
        return bool(twins)

    def vector(self, selection_K: NDArray[np.int64], weight_CK: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The values of all variables for a given solution."""
        solution = np.zeros(self.size)
        place = {int(f): i for i, f in enumerate(self.features_N)}
        index = np.array([place[int(f)] for f in selection_K])
        solution[self.x[index]] = 1.0
        solution[self.w[index]] = weight_CK.T
        for p, (c, d) in enumerate(self.pairs):
            solution[self.s[:, p]] = solution[self.w[:, c]] * solution[self.w[:, d]]
        if self.counted:
            solution[self.z] = solution[self.s].sum(axis=0) == self.problem.features_per_class - 1
        solution[self.y] = solution[self.x[self.first]] * solution[self.x[self.second]]
        return solution

    def matrix(self) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
        """The rows as a sparse matrix, and their least and largest values."""
        lengths = [len(columns) for columns, *_ in self.entries]
        values = np.concatenate([values for _, values, _, _ in self.entries])
        columns = np.concatenate([columns for columns, *_ in self.entries])
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        matrix = sparse.csr_matrix((values, columns, indptr), shape=(len(self.entries), self.size))
        low = np.array([low for _, _, low, _ in self.entries])
        high = np.array([high for _, _, _, high in self.entries])
        return matrix, low, high
