"""What a gap consists of: the relaxed rows of one selection, the prices, and the relaxed choice of features.

    python -m chiqpm.experiments.solver.gap --instance 2048x200 --effort 1

Weakens the constraints on the rows of the searched selection step by step. Then proves a bound, and chooses features at
the certificate's prices by a local search of its own: what that finds above the objective is lost to the prices or to
the search, and what the bound lies above that is lost to the semidefinite relaxation.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment import Assignment, AssignmentProblem, solve
from chiqpm.assignment.bound import certify
from chiqpm.assignment.exact import solve_exactly
from chiqpm.assignment.linearised import Linearised
from chiqpm.assignment.solvers import run_highs
from chiqpm.experiments.solver.jobs import load

_SWAPS, _CANDIDATES = 3000, 400
_TABU_OUT, _TABU_IN = 12, 7


def rows_of_one_selection(
    problem: AssignmentProblem, found: Assignment, *, seconds: float, seed: int = 0
) -> dict[str, float]:
    """Objectives with the searched selection fixed, from the search to the weakest relaxation.

    Args:
        problem: the problem.
        found: a good solution, whose selection is taken.
        seconds: limit of each exact solve.
        seed: of the exact solver.

    Returns:
        ``search``; ``exact``, the proven bound of the best distinct rows; ``equal rows allowed``, likewise; and
        ``linear``, what the certificate's prices can prove at best for this selection.
    """
    start = found.selection_K, found.weight_CK
    exact = solve_exactly(problem, time_limit=seconds, selection_K=found.selection_K, start=start)
    model = Linearised(problem, found.selection_K, fixed=True)
    _, integral, _ = run_highs(model, seconds, 0.0, None, seed)
    model.integer[:] = False
    solution, _, _ = run_highs(model, seconds, 0.0, None, seed)
    linear = float(model.cost @ solution) if solution is not None else float("inf")
    return {
        "search": found.objective,
        "exact": exact.bound,
        "equal rows allowed": integral,
        "linear": linear,
        "without pairs": _without_pairs(problem, found.selection_K, found.weight_CK),
    }


def choice_of_features(problem: AssignmentProblem, found: Assignment, *, seconds: float) -> dict[str, float]:
    """The bound, and what it would be at least if the features were chosen exactly at its prices.

    Args:
        problem: the problem.
        found: a good solution.
        seconds: limit of the proof.

    Returns:
        ``at the prices``: the best selection's value at the certificate's prices, by local search; and ``bound``.
    """
    proof = certify(problem, guess_K=found.selection_K, deadline=time.monotonic() + seconds)
    worth_F = proof.prices.worth(sweeps=0) + problem.bias_F
    value = _best_selection(worth_F, problem, found.selection_K)
    return {"at the prices": proof.prices.constant + value, "bound": proof.bound}


def _best_selection(worth_F: NDArray[np.float64], problem: AssignmentProblem, start_K: NDArray[np.int64]) -> float:
    """Tabu search over swaps of two features, for worths and penalties alone."""
    selected_F = np.zeros(problem.num_features, dtype=np.bool_)
    selected_F[start_K] = True
    penalty_FF = problem.penalty_FF
    cost_F = penalty_FF[start_K].sum(axis=0)
    value = float(worth_F[start_K].sum() - cost_F[start_K].sum() / 2)
    best, free_F = value, np.zeros(problem.num_features, dtype=np.int64)
    for step in range(_SWAPS):
        merit_F = worth_F - cost_F
        leave = np.flatnonzero(selected_F & (free_F <= step))
        enter = np.flatnonzero(~selected_F & problem.allowed_F & (free_F <= step))
        if not len(leave) or not len(enter):
            break
        enter = enter[np.argsort(-merit_F[enter], kind="stable")[:_CANDIDATES]]
        change = merit_F[enter] - merit_F[leave, None] + penalty_FF[np.ix_(leave, enter)]
        out, into = (int(i) for i in np.unravel_index(int(change.argmax()), change.shape))
        value += float(change[out, into])
        best = max(best, value)
        selected_F[leave[out]], selected_F[enter[into]] = False, True
        cost_F += penalty_FF[enter[into]] - penalty_FF[leave[out]]
        free_F[leave[out]], free_F[enter[into]] = step + _TABU_OUT, step + _TABU_IN
    return best


def _without_pairs(problem: AssignmentProblem, selection_K: NDArray[np.int64], weight_CK: NDArray[np.uint8]) -> float:
    """The objective if every class simply took its best features of the selection."""
    gain_KC = problem.gain_FC[selection_K]
    best = float(np.sort(gain_KC, axis=0)[-problem.features_per_class :].sum())
    return problem.objective(selection_K, weight_CK) - float((gain_KC.T * weight_CK).sum()) + best


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the objectives as JSON."""
    parser = argparse.ArgumentParser(prog="python -m chiqpm.experiments.solver.gap", description=__doc__)
    parser.add_argument("--instance", default="2048x200")
    parser.add_argument("--effort", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--cache", type=Path, default=Path("runs/solver"))
    options = parser.parse_args(arguments)
    problem = load(options.instance, options.cache)
    found = solve(problem, effort=options.effort, time_limit=options.seconds)
    values = rows_of_one_selection(problem, found, seconds=options.seconds)
    values |= choice_of_features(problem, found, seconds=options.seconds)
    sys.stdout.write(json.dumps(values, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
