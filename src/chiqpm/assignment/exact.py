"""The problem as a mixed-integer linear programme, solved by HiGHS: exact, for small problems and fixed selections."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from chiqpm.assignment.problem import AssignmentProblem


@dataclass(frozen=True)
class ExactResult:
    """What HiGHS found; `selection_K` is None when it found nothing."""

    selection_K: NDArray[np.int64] | None
    weight_CK: NDArray[np.uint8] | None
    bound: float
    """No solution is better than this (infinite when nothing was proven)."""
    infeasible: bool
    """Whether HiGHS proved that no solution exists."""


class Linearised:
    """Columns, rows and right-hand sides of the linear programme over a set of features.

    Variables: x_f, w_fc, one s_fp for each feature of each forced pair (bounded by both classes' w, equal to their
    product
    where that matters) and one y_fg >= x_f + x_g - 1 for each penalised pair of features. Distinctness of the
    other classes is
    added when a solution breaks it.
    """

    def __init__(self, problem: AssignmentProblem, features_N: NDArray[np.int64], fixed: bool) -> None:
        self.problem, self.features_N = problem, features_N
        num_features, num_classes = len(features_N), problem.num_classes
        self.x = np.arange(num_features)
        self.w = num_features + np.arange(num_features * num_classes).reshape(num_features, num_classes)
        size = num_features * (num_classes + 1)
        num_pairs = len(problem.pairs)
        self.s = size + np.arange(num_features * num_pairs).reshape(num_features, num_pairs)
        size += self.s.size
        penalty = np.triu(problem.penalty_FF[np.ix_(features_N, features_N)], 1)
        self.first, self.second = np.nonzero(penalty)
        self.y = size + np.arange(len(self.first))
        self.size = size + len(self.first)

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
        for p, (c, d) in enumerate(problem.pairs):
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
        for p, (c, d) in enumerate(self.problem.pairs):
            solution[self.s[:, p]] = solution[self.w[:, c]] * solution[self.w[:, d]]
        solution[self.y] = solution[self.x[self.first]] * solution[self.x[self.second]]
        return solution


def solve_highs(
    problem: AssignmentProblem,
    *,
    time_limit: float,
    gap: float = 0.0,
    selection_K: NDArray[np.int64] | None = None,
    start: tuple[NDArray[np.int64], NDArray[np.uint8]] | None = None,
    seed: int = 0,
) -> ExactResult:
    """Solve a small problem, or the rows of a given selection, to proven optimality.

    Args:
        problem: the problem.
        time_limit: seconds of wall time.
        gap: relative gap between solution and bound at which to stop.
        selection_K: fix the selection to these features; None lets HiGHS choose.
        start: a feasible solution to begin with.
        seed: HiGHS's random seed.
    """
    deadline = time.monotonic() + time_limit
    features_N = np.arange(problem.num_features) if selection_K is None else np.asarray(selection_K)
    model = Linearised(problem, features_N, fixed=selection_K is not None)
    if model.contradiction:
        return ExactResult(None, None, -float("inf"), True)
    bound = float("inf")
    while True:
        solution, bound, infeasible = _run(model, max(deadline - time.monotonic(), 0.01), gap, start, seed)
        if solution is None:
            return ExactResult(None, None, bound, infeasible)
        has_NC = solution[model.w] > 0.5
        if not model.forbid_twins(has_NC):
            chosen = np.flatnonzero(solution[model.x] > 0.5)
            selection = features_N[chosen]
            order = np.argsort(selection)
            weight = has_NC[chosen].T.astype(np.uint8)[:, order]
            return ExactResult(selection[order], weight, bound, False)
        if time.monotonic() >= deadline:
            return ExactResult(None, None, bound, False)


def _run(
    model: Linearised,
    time_limit: float,
    gap: float,
    start: tuple[NDArray[np.int64], NDArray[np.uint8]] | None,
    seed: int,
) -> tuple[NDArray[np.float64] | None, float, bool]:
    import highspy

    lengths = [len(columns) for columns, *_ in model.entries]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    matrix = sparse.csr_matrix(
        (
            np.concatenate([values for _, values, _, _ in model.entries]),
            np.concatenate([columns for columns, *_ in model.entries]),
            indptr,
        ),
        shape=(len(model.entries), model.size),
    )
    programme = highspy.HighsLp()
    programme.num_col_, programme.num_row_ = model.size, len(model.entries)
    programme.sense_ = highspy.ObjSense.kMaximize
    programme.col_cost_, programme.col_lower_, programme.col_upper_ = model.cost, model.lower, model.upper
    programme.row_lower_ = np.array([low for _, _, low, _ in model.entries])
    programme.row_upper_ = np.array([high for _, _, _, high in model.entries])
    programme.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    programme.a_matrix_.start_, programme.a_matrix_.index_ = matrix.indptr, matrix.indices
    programme.a_matrix_.value_ = matrix.data
    programme.integrality_ = [
        highspy.HighsVarType.kInteger if whole else highspy.HighsVarType.kContinuous for whole in model.integer
    ]
    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("random_seed", seed)
    highs.setOptionValue("time_limit", float(time_limit))
    highs.setOptionValue("mip_rel_gap", float(gap))
    highs.setOptionValue("mip_abs_gap", 1e-7)
    highs.passModel(programme)
    if start is not None:
        given = highspy.HighsSolution()
        given.col_value = list(model.vector(*start))
        highs.setSolution(given)
    highs.run()
    status, info = highs.getModelStatus(), highs.getInfo()
    infeasible = status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)
    if infeasible:
        return None, -float("inf"), True
    bound = float(info.mip_dual_bound)
    if not np.isfinite(bound) or info.primal_solution_status != 2:
        return None, float("inf") if not np.isfinite(bound) else bound, False
    return np.array(highs.getSolution().col_value), bound, False
