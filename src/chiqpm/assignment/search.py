"""The search: several annealed solutions, mixed with each other until the best of them stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.annealer import Annealer
from chiqpm.assignment.elite import is_small, mix_exactly
from chiqpm.assignment.problem import AssignmentProblem

_REPORT_SECONDS = 0.2
_PAIR_FREE_STEPS = 60
_FREE_HOT, _FREE_COLD = 0.4, 0.04
_STEPS = 600
_MEMBER_STEPS, _MOST_MEMBERS, _ANNEALED_SHARE = 300, 4, 0.5
_CHILD_SHARE, _COOLEST, _MIXED = 0.2, 0.7, 0.7
_SMALL_STEPS, _SMALL_MEMBER_STEPS, _SMALL_MEMBERS, _CROWD, _FAITHFUL = 4800, 50, 4, 1.4, 0.6
_HOT, _COLD = 0.12, 0.015
_LEAST_GAIN = 1e-9


@dataclass
class Incumbent:
    """A solution in the search's own terms."""

    selection_K: NDArray[np.int64]
    rows_CN: NDArray[np.int64]
    rewarded: float
    """Objective plus the reward for separation."""

    def equals(self, other: Incumbent) -> bool:
        """Whether both select the same features."""
        return np.array_equal(np.sort(self.selection_K), np.sort(other.selection_K))


class Search:
    """One seeded search; `incumbent` is valid at any moment once it is set, so that it can be interrupted.

    Args:
        problem: the problem.
        seed: seed of every random choice.
        deadline: moment of `time.monotonic()` at which to be finished; the annealing cools faster when it is near.
        effort: multiplies the number of steps.
        separation_FP: what each feature is worth to each pair for telling it apart (F,P); the search rewards the
            largest value among the selected features, on top of the objective.
        progress: called with the fraction done and the best objective.
    """

    def __init__(
        self,
        problem: AssignmentProblem,
        *,
        seed: int,
        deadline: float,
        effort: float,
        separation_FP: NDArray[np.float64],
        progress: Callable[[float, float], None],
    ) -> None:
        self.problem, self.progress = problem, progress
        self.annealer = Annealer(problem, seed=seed, deadline=deadline, separation_FP=separation_FP)
        self.generator = np.random.default_rng([seed, 1])
        self.small = is_small(problem) and separation_FP.size == 0
        self.total = max(int((_SMALL_STEPS if self.small else _STEPS) * problem.kept_features * effort), 1)
        self.left = self.total
        self.uses_F = np.zeros(problem.num_features)
        self.reported = 0.0
        self.incumbent: Incumbent | None = None

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The class pairs that are to hold (P,2)."""
        return self.problem.pairs

    def run(self) -> None:
        """Pair-free start, repair of the pairs, then families of solutions until the steps are used up."""
        self.annealer.compile()
        self._anneal_freely()
        complete = self.annealer.repair()
        self.annealer.anneal_rows()
        self.incumbent = origin = self._present()
        while self._goes_on():
            self._family(origin, restarts=complete and not self.small)

    def satisfied_pairs(self) -> NDArray[np.int64]:
        """The forced pairs that hold in the incumbent (P,2); the others were given up."""
        assert self.incumbent is not None
        rows_CN = self.incumbent.rows_CN
        has_CK = np.zeros((len(rows_CN), self.problem.kept_features), dtype=np.bool_)
        np.put_along_axis(has_CK, rows_CN, True, axis=1)
        shared_P = (has_CK[self.pairs[:, 0]] & has_CK[self.pairs[:, 1]]).sum(axis=1)
        satisfied_P2: NDArray[np.int64] = self.pairs[shared_P == self.problem.features_per_class - 1]
        return satisfied_P2

    def _goes_on(self) -> bool:
        return self.left > 0 and time.monotonic() < self.annealer.deadline

    def _anneal_freely(self) -> None:
        """Choose features as if there were no pairs."""
        annealer, slots = self.annealer, self.problem.kept_features
        if slots > self.problem.features_per_class:
            seconds = 0.1 * (annealer.deadline - time.monotonic())
            annealer.anneal_selection(int(_PAIR_FREE_STEPS * slots), _FREE_HOT, _FREE_COLD, seconds=seconds)

    def _another(self, origin: Incumbent) -> Incumbent:
        """Start anew: how the pairs were repaired decides what large components of paired classes can become.

        Returns the origin where one attempt at the pairs isn't enough.
        """
        annealer = self.annealer
        annealer.state.set_pairs(self.pairs[:0])
        self._anneal_freely()
        if not annealer.repair(attempts=1):
            annealer.state.set_pairs(self.pairs)
            return origin
        annealer.anneal_rows()
        return self._present()

    def _family(self, origin: Incumbent, *, restarts: bool) -> None:
        """Anneal some solutions, and mix them for as long as that is likely to help.

        All begin at the origin, or all but the first with a start of their own.
        """
        slots = self.problem.kept_features
        if self.small:
            count, steps = _SMALL_MEMBERS, _SMALL_MEMBER_STEPS * slots
        else:
            share = _ANNEALED_SHARE * self.left
            count = int(np.clip(share // (_MEMBER_STEPS * slots), 1, _MOST_MEMBERS))
            steps = max(int(share) // count, 1)
        members: list[Incumbent] = []
        while len(members) < count and self._goes_on():
            start = self._another(origin) if restarts and members else origin
            members.append(self._descend(start, steps, _HOT))
        if self.small and self._goes_on():
            self._mix_exactly(members)
        elif not self.small:
            self._mix(members, max(int(_CHILD_SHARE * steps), 1))

    def _mix(self, members: list[Incumbent], steps: int) -> None:
        """Reheat the members, mostly with nothing but the features of another one to choose from."""
        generator = self.generator
        while self._goes_on():
            i = int(generator.integers(len(members)))
            hot = _HOT * (_COLD / _HOT) ** generator.uniform(0.0, _COOLEST)
            listed_M = None
            if len(members) > 1 and generator.uniform() < _MIXED:
                j = (i + int(generator.integers(1, len(members)))) % len(members)
                listed_M = np.union1d(members[i].selection_K, members[j].selection_K)
            child = self._descend(members[i], steps, hot, listed_M)
            if child.rewarded > members[i].rewarded + _LEAST_GAIN:
                members[i] = child
                others = [j for j in range(len(members)) if j != i and members[j].equals(child)]
                if others:
                    del members[min(i, others[0], key=lambda j: members[j].rewarded)]

    def _mix_exactly(self, members: list[Incumbent]) -> None:
        """Find the best solution among the features of a good one and some of those that all members used until now."""
        assert self.incumbent is not None
        fresh = max(members, key=lambda member: member.rewarded)
        base = self.incumbent if self.generator.uniform() < _FAITHFUL else fresh
        best_K = base.selection_K
        for member in members:
            self.uses_F[member.selection_K] += 1
        drawn_F = np.log(np.maximum(self.uses_F, 1e-9)) + self.generator.gumbel(size=len(self.uses_F))
        drawn_F[best_K] = np.inf
        listed = np.argsort(-drawn_F, kind="stable")[: int(_CROWD * len(best_K))]
        listed = np.sort(listed[(self.uses_F[listed] > 0) | (drawn_F[listed] == np.inf)])
        found = mix_exactly(self.problem, listed, best_K, base.rows_CN, self.annealer.deadline)
        if found is not None:
            self.annealer.state.set_solution(*found)
            self._keep(self._present())

    def _descend(
        self, parent: Incumbent, steps: int, hot: float, listed_M: NDArray[np.int64] | None = None
    ) -> Incumbent:
        """Anneal from a solution; returns the best on the way."""
        annealer = self.annealer
        best = parent
        steps = min(steps, self.left)
        before = self.left
        annealer.state.set_solution(parent.selection_K, parent.rows_CN)

        def look(fraction: float) -> None:
            # After every batch, whatever the time: what is found decides what follows.
            nonlocal best
            self.left = before - int(fraction * steps)
            if annealer.rewarded > best.rewarded:
                best = self._present()
            self._keep(best)

        seconds = annealer.deadline - time.monotonic()
        if not self.small:  # where one family takes all the time, each of its members gets its part
            seconds *= 0.9 * steps / before
        annealer.anneal_selection(steps, hot, _COLD, seconds=seconds, listed_M=listed_M, after_batch=look)
        annealer.anneal_rows()
        look(1.0)
        return best

    def _present(self) -> Incumbent:
        return Incumbent(*self.annealer.state.snapshot(), self.annealer.rewarded)

    def _keep(self, found: Incumbent) -> None:
        """Remember the solution if it is the best so far, and report now and then."""
        if self.incumbent is None or found.rewarded > self.incumbent.rewarded:
            self.incumbent = found
        now = time.monotonic()
        if now - self.reported > _REPORT_SECONDS or self.left <= 0:
            self.reported = now
            self.progress(1.0 - max(self.left, 0) / self.total, self.incumbent.rewarded)
