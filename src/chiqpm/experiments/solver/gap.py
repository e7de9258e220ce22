"""What a gap consists of: how much the rows of one selection lose to each relaxation of their constraints.

    python -m chiqpm.experiments.solver.gap --instance 2048x200 --effort 1

The rest of a gap belongs to the choice of the features: to the search, and to the semidefinite relaxation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment import AssignmentProblem, solve
from chiqpm.assignment.exact import solve_exactly
from chiqpm.assignment.linearised import Linearised
from chiqpm.assignment.solvers import run_highs
from chiqpm.experiments.solver.jobs import load


def rows_of_one_selection(
    problem: AssignmentProblem, *, effort: float, seconds: float, seed: int = 0
) -> dict[str, float]:
    """Objectives with the searched selection fixed, from the search to the weakest relaxation.

    Args:
        problem: the problem.
        effort: of the search.
        seconds: limit of each exact solve.
        seed: of the search.

    Returns:
        ``search``; ``exact``, the proven bound of the best distinct rows; ``equal rows allowed``, likewise; and
        ``linear``, what the certificate's prices can prove at best for this selection.
    """
    found = solve(problem, effort=effort, seed=seed, time_limit=seconds)
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
    values = rows_of_one_selection(problem, effort=options.effort, seconds=options.seconds)
    sys.stdout.write(json.dumps(values, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
