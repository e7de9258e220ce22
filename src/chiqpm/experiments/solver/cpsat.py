"""CP-SAT on the linearised problem, for comparison: its objective is rounded to integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.linearised import Linearised
from chiqpm.assignment.solvers import Answer
from chiqpm.errors import ChiqpmError

_SCALE = 1e6


def run_cpsat(model: Linearised, time_limit: float, gap: float, start: NDArray[np.float64] | None, seed: int) -> Answer:
    """CP-SAT, one worker. The auxiliary products are binary anyway where the chosen variables are.

    Raises:
        ChiqpmError: ortools isn't installed.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise ChiqpmError("The comparison with CP-SAT needs ortools: pip install ortools.") from error
    programme = cp_model.CpModel()
    columns = [
        programme.new_int_var(round(low), round(high), "") for low, high in zip(model.lower, model.upper, strict=True)
    ]
    for indices, values, low, high in model.entries:
        total = sum(round(v) * columns[i] for i, v in zip(indices.tolist(), values.tolist(), strict=True))
        if np.isfinite(low):
            programme.add(total >= round(low))
        if np.isfinite(high):
            programme.add(total <= round(high))
    weights = np.rint(_SCALE * model.cost).astype(np.int64).tolist()
    programme.maximize(sum(w * c for w, c in zip(weights, columns, strict=True)))
    if start is not None:
        for column, value in zip(columns, start, strict=True):
            programme.add_hint(column, round(float(value)))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = time_limit
    solver.parameters.relative_gap_limit = gap
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    status = solver.solve(programme)
    if status == cp_model.INFEASIBLE:
        return None, -float("inf"), True
    # Each rounded weight is off by half a unit at most.
    bound = (solver.best_objective_bound + 0.5 * model.size) / _SCALE
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None, bound, False
    return np.array([solver.value(column) for column in columns], dtype=np.float64), bound, False
