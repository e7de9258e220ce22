"""Mixed-integer solvers that take the linearised problem: HiGHS, and SCIP and Gurobi where they are installed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.linearised import Linearised
from chiqpm.errors import ChiqpmError

Answer = tuple[NDArray[np.float64] | None, float, bool]
"""Values of all variables (None when none were found), the proven bound, and whether infeasibility was proven."""

_POLL = 0.1
_GUROBI_TOO_LARGE = 10010
_GUROBI_LICENCE = 10009


def run_highs(
    model: Linearised,
    time_limit: float,
    gap: float,
    start: NDArray[np.float64] | None,
    seed: int,
) -> Answer:
    """HiGHS, one thread.

    Raises:
        KeyboardInterrupt: it was interrupted, and has stopped.
    """
    import highspy

    matrix, low, high = model.matrix()
    programme = highspy.HighsLp()
    programme.num_col_, programme.num_row_ = model.size, len(low)
    programme.sense_ = highspy.ObjSense.kMaximize
    programme.col_cost_, programme.col_lower_, programme.col_upper_ = model.cost, model.lower, model.upper
    programme.row_lower_, programme.row_upper_ = low, high
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
        given.col_value = list(start)
        highs.setSolution(given)
    _run_interruptibly(highs)
    status, info = highs.getModelStatus(), highs.getInfo()
    infeasible = status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)
    if infeasible:
        return None, -float("inf"), True
    bound = float(info.mip_dual_bound)
    if not np.isfinite(bound) or info.primal_solution_status != 2:
        return None, float("inf") if not np.isfinite(bound) else bound, False
    return np.array(highs.getSolution().col_value), bound, False


def _run_interruptibly(highs: Any) -> None:
    """Run in another thread, so that Ctrl-C is noticed at once; it ends the run, and is passed on."""
    highs.HandleUserInterrupt = True
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(highs.run)
        try:
            while not wait([run], timeout=_POLL).done:
                pass
        except KeyboardInterrupt:
            highs.cancelSolve()
            raise
    run.result()


def run_scip(model: Linearised, time_limit: float, gap: float, start: NDArray[np.float64] | None, seed: int) -> Answer:
    """SCIP, one thread.

    Raises:
        ChiqpmError: PySCIPOpt isn't installed.
    """
    try:
        from pyscipopt import Model, quicksum
    except ImportError as error:
        raise ChiqpmError("method='scip' needs PySCIPOpt: pip install pyscipopt, or use method='highs'.") from error
    scip = Model()
    scip.hideOutput()
    scip.setParam("limits/time", float(time_limit))
    scip.setParam("limits/gap", float(gap))
    scip.setParam("randomization/randomseedshift", seed)
    columns = [
        scip.addVar(vtype="B" if whole else "C", lb=float(lower), ub=float(upper), obj=float(cost))
        for whole, lower, upper, cost in zip(model.integer, model.lower, model.upper, model.cost, strict=True)
    ]
    scip.setMaximize()
    for indices, values, low, high in model.entries:
        total = quicksum(float(v) * columns[i] for i, v in zip(indices, values, strict=True))
        if low == high:
            scip.addCons(total == low)
        else:
            if np.isfinite(high):
                scip.addCons(total <= high)
            if np.isfinite(low):
                scip.addCons(total >= low)
    if start is not None:
        given = scip.createSol()
        for column, value in zip(columns, start, strict=True):
            scip.setSolVal(given, column, float(value))
        scip.addSol(given)
    scip.optimize()
    if scip.getStatus() in ("infeasible", "inforunbd"):
        return None, -float("inf"), True
    bound = float(scip.getDualbound())
    if scip.getNSols() == 0:
        return None, bound if bound < scip.infinity() else float("inf"), False
    solution = scip.getBestSol()
    return np.array([scip.getSolVal(solution, column) for column in columns]), bound, False


def run_gurobi(
    model: Linearised, time_limit: float, gap: float, start: NDArray[np.float64] | None, seed: int
) -> Answer:
    """Gurobi, one thread.

    Raises:
        ChiqpmError: gurobipy isn't installed, or its licence doesn't cover the problem.
    """
    try:
        import gurobipy
    except ImportError as error:
        raise ChiqpmError("method='gurobi' needs gurobipy: pip install gurobipy, or use method='highs'.") from error
    matrix, low, high = model.matrix()
    try:
        with gurobipy.Env(params={"OutputFlag": 0}) as environment, gurobipy.Model(env=environment) as gurobi:
            kinds = np.where(model.integer, gurobipy.GRB.BINARY, gurobipy.GRB.CONTINUOUS)
            columns = gurobi.addMVar(model.size, lb=model.lower, ub=model.upper, obj=model.cost, vtype=kinds)
            gurobi.ModelSense = gurobipy.GRB.MAXIMIZE
            upper, lower = np.isfinite(high), np.isfinite(low)
            gurobi.addMConstr(matrix[upper], columns, "<", high[upper])
            gurobi.addMConstr(matrix[lower], columns, ">", low[lower])
            gurobi.Params.TimeLimit, gurobi.Params.MIPGap = float(time_limit), float(gap)
            gurobi.Params.Threads, gurobi.Params.Seed = 1, seed
            if start is not None:
                columns.Start = start
            gurobi.optimize()
            if gurobi.Status in (gurobipy.GRB.INFEASIBLE, gurobipy.GRB.INF_OR_UNBD):
                return None, -float("inf"), True
            found = np.array(columns.X) if gurobi.SolCount else None
            return found, float(gurobi.ObjBound), False
    except gurobipy.GurobiError as error:
        if error.errno in (_GUROBI_TOO_LARGE, _GUROBI_LICENCE):
            raise ChiqpmError(
                f"Gurobi's licence doesn't cover this problem ({model.size} variables, {len(low)} constraints; the one "
                f"that comes with gurobipy stops at 2000 of each): {error}. Install a larger licence, or use "
                "method='search'."
            ) from error
        raise ChiqpmError(f"Gurobi failed: {error}.") from error


RUNNERS: dict[str, Callable[[Linearised, float, float, NDArray[np.float64] | None, int], Answer]] = {
    "highs": run_highs,
    "scip": run_scip,
    "gurobi": run_gurobi,
}
"""Solvers by the name of the method."""
