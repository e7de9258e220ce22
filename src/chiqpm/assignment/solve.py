"""Solve an assignment problem by any method, behind one function and one kind of answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chiqpm.assignment.exact import ExactResult, is_provable, is_quick, solve_exactly
from chiqpm.assignment.pairs import sharing_pairs
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.run import Progress, Run, Solution
from chiqpm.errors import ChiqpmError

_LOG = logging.getLogger(__name__)
_METHODS = ("search", "highs", "scip", "gurobi")
_SMALL_SECONDS = 20.0

Method = Literal["search", "highs", "scip", "gurobi"]


@dataclass(frozen=True)
class DroppedPair:
    """A forced pair of classes that the answer doesn't satisfy."""

    classes: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class Assignment:
    """Which features are kept and which of them each class uses.

    Attributes:
        selection_K: kept features, ascending indices into the dense features (K,).
        weight_CK: 1 where a class uses a feature, columns in the order of `selection_K` (C,K), uint8.
        objective: Z.
        bound: no solution of the problem is better than this; infinite when nothing was proven.
        gap: (bound - objective) / |objective|.
        pairs: class pairs that were to share n - 1 features (P,2).
        pairs_satisfied: how many of them do; where pairs are only counted, how many pairs of classes share n - 1.
        dropped: the others, each with its reason.
        method: the method that was asked for.
        seconds: wall time.
        interrupted: the user stopped it (Ctrl-C); the answer is the best so far.
    """

    selection_K: NDArray[np.int64]
    weight_CK: NDArray[np.uint8]
    objective: float
    bound: float
    gap: float
    pairs: NDArray[np.int64]
    pairs_satisfied: int
    dropped: tuple[DroppedPair, ...]
    method: str
    seconds: float
    interrupted: bool


def solve(
    problem: AssignmentProblem,
    *,
    time_limit: float = 60.0,
    gap: float = 0.0,
    seed: int = 0,
    method: Method = "search",
    effort: float = 1.0,
    certify: bool = False,
    separation_FP: ArrayLike | None = None,
    separation_weight: float = 1.0,
    progress: Callable[[Progress], None] | None = None,
) -> Assignment:
    """Choose the features and give each class its own.

    Args:
        problem: what is to be solved.
        time_limit: seconds of wall time. The search ends by itself when its steps are done, and then depends on nothing
            but the seed; a limit that cuts it short makes it cool faster.
        gap: stop when (bound - objective) / |objective| is proven to be no larger; needs `certify` where the problem is
            too large for an exact solver.
        seed: seed of every random choice.
        method: ``"search"``, annealing followed by an exact proof where the problem is small; ``"highs"``, ``"scip"``
            or ``"gurobi"``, the linearised problem, for small ones. The last two need PySCIPOpt or gurobipy.
        effort: multiplies the steps of the search; more takes longer and finds better. At 1, 2,048 features and 200
            classes take some seconds, 1,000 classes about a minute.
        certify: prove an upper bound (`chiqpm.assignment.bound`) in a second thread, beside the search once that has a
            first solution, and until the time limit after it. Where F times C is at most 4,000, HiGHS, which then
            knows the best solution found and the time that is left, goes on to prove that no other is better.
        separation_FP: how well each feature tells the classes of each pair of `problem.pairs` apart (F,P); signs
            don't matter. The search then also rewards, for each pair, the largest value among the selected features.
            This is a preference outside the objective and its bound.
        separation_weight: multiplies that reward.
        progress: called now and then.

    Returns:
        A feasible assignment. Forced pairs that could not be satisfied are listed in `dropped`.

    Raises:
        ChiqpmError: an argument is out of range, or the method found no feasible assignment in its time.

    Example:
        >>> problem = AssignmentProblem(np.eye(4, 3), np.zeros((4, 4)), np.zeros(4), 3, 1, 0.0)
        >>> solve(problem, method="highs").weight_CK
        array([[1, 0, 0],
               [0, 1, 0],
               [0, 0, 1]], dtype=uint8)
    """
    if method not in _METHODS:
        raise ChiqpmError(f"method must be one of {', '.join(_METHODS)}; received {method!r}.")
    if not time_limit > 0:
        raise ChiqpmError(f"time_limit must be a positive number of seconds, received {time_limit}.")
    if not gap >= 0:
        raise ChiqpmError(f"gap must be at least 0, received {gap}.")
    if not effort > 0:
        raise ChiqpmError(f"effort must be positive, received {effort}.")
    if problem.num_dead:
        _LOG.warning("%d of %d features are dead and can't be selected.", problem.num_dead, problem.num_features)
    separation = _separation(problem, separation_FP, separation_weight)
    began = time.monotonic()
    deadline = began + time_limit
    found: Solution | None = None
    bound, interrupted, impossible = float("inf"), False, False
    small = is_quick(problem) and separation.size == 0
    provable = small or (certify and is_provable(problem) and separation.size == 0)
    if method == "search":
        run = Run(problem, deadline, gap=gap, certify=certify and not small, progress=progress)
        found, bound, interrupted = run.search(seed=seed, effort=effort, separation_FP=separation)
    feasible = found is not None and problem.check(*found).feasible
    if found is not None and feasible:
        value = problem.objective(*found)
        provable = provable and bound - value > gap * abs(value)
    if method != "search" or (provable and not interrupted):
        seconds = deadline - time.monotonic()
        try:
            exact = solve_exactly(
                problem,
                time_limit=max(min(seconds, _SMALL_SECONDS) if small and found is not None else seconds, 0.1),
                gap=gap,
                start=found if feasible else None,
                seed=seed,
                solver="highs" if method == "search" else method,
            )
        except KeyboardInterrupt:
            if found is None:
                raise
            exact, interrupted = ExactResult(None, None, bound, False), True
        impossible = exact.infeasible
        bound = float("inf") if impossible else min(bound, exact.bound)
        if exact.selection_K is not None and exact.weight_CK is not None:
            value = problem.objective(exact.selection_K, exact.weight_CK)
            if found is None or not feasible or value > problem.objective(*found):
                found = exact.selection_K, exact.weight_CK
        elif found is None:
            raise ChiqpmError(_nothing_found(method, exact.infeasible, time_limit))
    assert found is not None
    return _answer(
        problem,
        found,
        bound,
        method=method,
        seconds=time.monotonic() - began,
        interrupted=interrupted,
        impossible=impossible,
    )


def _separation(problem: AssignmentProblem, given: ArrayLike | None, weight: float) -> NDArray[np.float64]:
    if given is None:
        return np.empty((problem.num_features, 0))
    separation_FP = np.abs(np.asarray(given, dtype=np.float64))
    shape = (problem.num_features, len(problem.pairs))
    if separation_FP.shape != shape or not np.isfinite(separation_FP).all():
        raise ChiqpmError(
            f"separation_FP must be finite and have shape {shape} (features, pairs of the problem), received shape "
            f"{separation_FP.shape}."
        )
    if not 0 <= weight < float("inf"):
        raise ChiqpmError(f"separation_weight must be at least 0, received {weight}.")
    return np.ascontiguousarray(weight * separation_FP)


def _nothing_found(method: str, infeasible: bool, time_limit: float) -> str:
    if infeasible:
        return (
            f"{method} proved that no assignment satisfies all constraints: use method='search', which names the pairs "
            "that can't hold, or lower pair_density."
        )
    return (
        f"{method} found no feasible assignment within time_limit={time_limit} seconds: allow more time or use "
        "method='search'."
    )


def _answer(
    problem: AssignmentProblem,
    found: Solution,
    bound: float,
    *,
    method: str,
    seconds: float,
    interrupted: bool,
    impossible: bool,
) -> Assignment:
    selection_K, weight_CK = found
    feasibility = problem.check(selection_K, weight_CK)
    if feasibility.violations:
        raise ChiqpmError(
            f"No valid assignment was found: {'; '.join(feasibility.violations[:3])}. Keep more features or fix "
            f"fewer rows."
        )
    dropped = tuple(DroppedPair(pair, _reason(problem, pair, impossible)) for pair in feasibility.pair_violations)
    if dropped:
        _LOG.warning("%d of %d forced class pairs could not be satisfied.", len(dropped), len(problem.pairs))
    objective = problem.objective(selection_K, weight_CK)
    satisfied = len(problem.pairs) - len(dropped)
    if problem.pair_meaning == "count":
        satisfied = len(sharing_pairs(weight_CK, problem.features_per_class - 1))
    # A pair that was given up may let the objective exceed the bound of the full problem.
    bound = max(bound, objective)
    return Assignment(
        selection_K,
        weight_CK,
        objective,
        bound,
        (bound - objective) / max(abs(objective), 1e-12),
        problem.pairs,
        satisfied,
        dropped,
        method,
        seconds,
        interrupted,
    )


def _reason(problem: AssignmentProblem, pair: tuple[int, int], impossible: bool) -> str:
    per_class = problem.features_per_class
    first, second = ({f for c, f in problem.required if c == member} for member in pair)
    # Two classes that share n - 1 features use n + 1 between them.
    if len(first | second) > per_class + 1:
        return f"the classes require {len(first | second)} different features, but a pair uses only {per_class + 1}"
    if impossible:
        return "the exact solver proved that the pairs can't all hold together"
    return "no assignment was found that satisfies it together with the other pairs"
