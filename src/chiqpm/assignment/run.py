"""The search, and beside it, in a second thread, the proof of how good its answer is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from chiqpm.assignment.bound import certify
from chiqpm.assignment.count import rows_with_sharing
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.search import Search
from chiqpm.assignment.state import SearchState

_FIRST_GUESS = 0.03

Solution = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Selection, ascending (K,), and assignment (C,K)."""


@dataclass(frozen=True)
class Progress:
    """What a running solve reports."""

    fraction: float
    """How much of the planned work is done, in [0, 1]."""
    objective: float
    """Z of the best solution so far."""
    bound: float
    """No solution is better than this; infinite until something is proven."""


class _GapReachedError(Exception):
    """Ends the search: its solution is proven to be good enough."""


class Run:
    """One search with its proof.

    Args:
        problem: the problem.
        deadline: moment of `time.monotonic()` at which to be finished.
        gap: relative gap at which both stop.
        certify: whether to prove a bound.
        progress: called now and then.
    """

    def __init__(
        self,
        problem: AssignmentProblem,
        deadline: float,
        *,
        gap: float,
        certify: bool,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.problem, self.deadline, self.gap, self.progress = problem, deadline, gap, progress
        self.wanted = certify
        self.bound = float("inf")
        self.objective = -float("inf")
        self.stop = threading.Event()
        self.proof: threading.Thread | None = None
        self.failure: BaseException | None = None
        self.threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)

    def search(self, *, seed: int, effort: float, separation_FP: NDArray[np.float64]) -> tuple[Solution, float, bool]:
        """Search, and prove if asked to: the best solution, the bound, and whether the user stopped it."""
        search = Search(
            self.problem,
            seed=seed,
            deadline=self.deadline,
            effort=effort,
            separation_FP=separation_FP,
            progress=lambda fraction, objective: self._report(search, fraction, objective),
        )
        interrupted = False
        try:
            search.run()
            self._begin(search)
            self._await(search)
        except _GapReachedError:
            pass
        except KeyboardInterrupt:
            if search.incumbent is None:
                raise
            interrupted = True
        finally:
            self.stop.set()
            if self.proof is not None:
                self.proof.join()
        if self.failure is not None:
            raise self.failure
        return self._solution(search), self.bound, interrupted

    def _report(self, search: Search, fraction: float, objective: float) -> None:
        self.objective = objective
        if fraction >= _FIRST_GUESS:
            self._begin(search)
        if self.progress is not None:
            self.progress(Progress(fraction, objective, self.bound))
        if self._reached():
            raise _GapReachedError

    def _reached(self) -> bool:
        return self.bound - self.objective <= self.gap * abs(self.objective)

    def _begin(self, search: Search) -> None:
        if not self.wanted or self.proof is not None or search.incumbent is None:
            return
        guess_K = search.incumbent.selection_K.copy()
        self.proof = threading.Thread(target=self._prove, args=(search.satisfied_pairs(), guess_K), daemon=True)
        self.proof.start()

    def _prove(self, pairs: NDArray[np.int64], guess_K: NDArray[np.int64]) -> None:
        try:
            # The search has the other core; linear algebra on both would only wait for it.
            with threadpool_limits(1, user_api="blas"):
                certify(self.problem, pairs=pairs, guess_K=guess_K, deadline=self.deadline, progress=self._proven)
        except BaseException as error:
            self.failure = error

    def _proven(self, fraction: float, bound: float) -> bool:
        self.bound = bound
        return self.stop.is_set() or self._reached()

    def _await(self, search: Search) -> None:
        assert search.incumbent is not None
        self.objective = search.incumbent.rewarded
        # The search has left its core to the proof.
        with threadpool_limits(self.threads, user_api="blas"):
            while self.proof is not None and self.proof.is_alive():
                self.proof.join(0.1)

    def _solution(self, search: Search) -> Solution:
        assert search.incumbent is not None
        problem, selection_K, rows_CN = self.problem, search.incumbent.selection_K, search.incumbent.rows_CN
        if problem.pair_meaning == "count":
            state = SearchState(problem, selection_K, 0)
            rows_CN = rows_with_sharing(
                state.value_CK, state.locked_CK, problem.features_per_class, problem.pairs_needed
            )
        order = np.argsort(selection_K)
        has_CK = np.zeros((len(rows_CN), len(order)), dtype=np.uint8)
        np.put_along_axis(has_CK, rows_CN, 1, axis=1)
        return selection_K[order], has_CK[:, order]
