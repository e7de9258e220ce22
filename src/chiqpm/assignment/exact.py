"""Exact answers from mixed-integer solvers, for small problems and for fixed selections."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.linearised import Linearised
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.solvers import RUNNERS

_QUICK, _PROVABLE = 400, 4000


@dataclass(frozen=True)
class ExactResult:
    """What a solver found; `selection_K` is None when it found nothing."""

    selection_K: NDArray[np.int64] | None
    weight_CK: NDArray[np.uint8] | None
    bound: float
    """No solution is better than this (infinite when nothing was proven)."""
    infeasible: bool
    """Whether it proved that no solution exists."""


def is_quick(problem: AssignmentProblem) -> bool:
    """Whether the whole problem is so small that a mixed-integer solver takes seconds."""
    return problem.num_features * problem.num_classes <= _QUICK


def is_provable(problem: AssignmentProblem) -> bool:
    """Whether a mixed-integer solver that knows a good solution may prove within minutes that there is no better."""
    return problem.num_features * problem.num_classes <= _PROVABLE


def solve_exactly(
    problem: AssignmentProblem,
    *,
    time_limit: float,
    gap: float = 0.0,
    selection_K: NDArray[np.int64] | None = None,
    features_N: NDArray[np.int64] | None = None,
    start: tuple[NDArray[np.int64], NDArray[np.uint8]] | None = None,
    seed: int = 0,
    solver: str = "highs",
) -> ExactResult:
    """Solve a small problem, or the rows of a given selection, to proven optimality.

    Args:
        problem: the problem.
        time_limit: seconds of wall time.
        gap: relative gap between solution and bound at which to stop.
        selection_K: fix the selection to these features; None lets the solver choose.
        features_N: the only features that may be selected (N,), ascending; None allows all.
        start: a feasible solution to begin with.
        seed: random seed of the solver.
        solver: ``"highs"``, ``"scip"`` or ``"gurobi"``.
    """
    deadline = time.monotonic() + time_limit
    if selection_K is not None:
        features_N = np.asarray(selection_K)
    elif features_N is None:
        features_N = np.arange(problem.num_features)
    model = Linearised(problem, features_N, fixed=selection_K is not None)
    if model.contradiction:
        return ExactResult(None, None, -float("inf"), True)
    given = None if start is None else model.vector(*start)
    while True:
        remaining = max(deadline - time.monotonic(), 0.01)
        solution, bound, infeasible = RUNNERS[solver](model, remaining, gap, given, seed)
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
