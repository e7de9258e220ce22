"""Simulated annealing over selections whose rows respect the forced pairs at every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.arrays import Features
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.state import SearchState

_REPORT_SECONDS = 0.2
_BATCH = 64
_NEIGHBOURHOOD = 8
_SHORT_LIST, _LISTED_STEPS = 256, 2048
_DRAW_HOT, _DRAW_COLD = 7.0, 0.7
_PAIR_FREE_STEPS = 60
_SELECTION_STEPS = 600
_REPAIR_STEPS = 8000
_REPAIR_ATTEMPTS = 4
_ROW_STEPS = 1500
_RENEWALS = 60
_FIRST_SHARE, _ROUND_STEPS, _MOST_ROUNDS, _COOLEST = 0.5, 60, 30, 0.7
_FREE_HOT, _FREE_COLD = 0.4, 0.04
_HOT, _COLD = 0.12, 0.015
_ROW_HOT, _ROW_COLD = 0.17, 0.006


@dataclass
class Incumbent:
    """The best solution so far, in the search's own terms."""

    selection_K: NDArray[np.int64]
    rows_CN: NDArray[np.int64]
    rewarded: float
    """Objective plus the reward for separation."""


def greedy_selection(problem: AssignmentProblem) -> NDArray[np.int64]:
    """Add one feature at a time, each where it raises the objective of the problem without pairs most.

    Returns:
        K allowed features, the required ones first.
    """
    gain_FC, per_class = problem.gain_FC, problem.features_per_class
    every_class = np.arange(problem.num_classes)
    best_CN = np.full((problem.num_classes, per_class), gain_FC.min())
    redundancy_F = np.zeros(problem.num_features)
    open_F = problem.allowed_F.copy()
    selected: list[int] = []
    required = sorted({f for _, f in problem.required})
    while len(selected) < problem.kept_features:
        if len(selected) < len(required):
            feature = required[len(selected)]
        else:
            score_F = np.maximum(gain_FC - best_CN.min(axis=1), 0.0).sum(axis=1) + problem.bias_F - redundancy_F
            feature = int(np.where(open_F, score_F, -np.inf).argmax())
        selected.append(feature)
        open_F[feature] = False
        redundancy_F += problem.penalty_FF[feature]
        worst_C = best_CN.argmin(axis=1)
        best_CN[every_class, worst_C] = np.maximum(best_CN[every_class, worst_C], gain_FC[feature])
    return np.array(selected, dtype=np.int64)


class Search:
    """One seeded search; `incumbent` is valid at any moment after `start`, so that it can be interrupted.

    Args:
        problem: the problem.
        seed: seed of every random choice.
        deadline: moment of `time.monotonic()` at which to be finished; the annealing cools faster when it is near.
        effort: multiplies the number of steps.
        separation_FP: what each feature is worth to each pair for telling it apart (F,P); the search rewards the
            largest value among the selected features, on top of the objective.
        progress: called with the fraction done and the present objective.
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
        self.problem, self.deadline, self.effort, self.progress = problem, deadline, effort, progress
        self.state = SearchState(problem, greedy_selection(problem), seed)
        self.separation_FP = separation_FP
        self.done = 0.0
        self.candidate_M = np.flatnonzero(problem.allowed_F)
        self.pairs = problem.pairs
        # Temperatures are in units of how much a feature's worth varies: to one class, and to all classes together.
        self.row_unit = float(problem.gain_FC.std()) or 1.0
        self.unit = self.row_unit * problem.num_classes**0.5
        self.incumbent: Incumbent | None = None

    def run(self) -> None:
        """Pair-free start, repair of the pairs, then the annealing of both together."""
        slots = self.problem.kept_features
        self._compile()
        if slots > self.problem.features_per_class:
            self._anneal_selection(int(_PAIR_FREE_STEPS * slots), _FREE_HOT, _FREE_COLD, share=0.1)
        self._repair()
        self._anneal_rows()
        self._record()
        steps = int(_SELECTION_STEPS * slots * self.effort)
        self._anneal_selection(int(_FIRST_SHARE * steps), _HOT, _COLD, share=0.9 * _FIRST_SHARE)
        self._anneal_rows()
        self._record()
        self._reheat(int((1 - _FIRST_SHARE) * steps))

    def _reheat(self, steps: int) -> None:
        """Leave the best solution and come back, again and again, each time from another temperature."""
        generator = np.random.default_rng(self.state.random)
        rounds = max(1, min(_MOST_ROUNDS, steps // (_ROUND_STEPS * self.problem.kept_features)))
        for left in range(rounds, 0, -1):
            if time.monotonic() > self.deadline or self.incumbent is None:
                break
            self.state.set_solution(self.incumbent.selection_K, self.incumbent.rows_CN)
            hot = _HOT * (_COLD / _HOT) ** generator.uniform(0.0, _COOLEST)
            self.done = 1.0 - (1.0 - _FIRST_SHARE) * left / rounds
            self._anneal_selection(steps // rounds, hot, _COLD, share=0.9 / left)
            self._anneal_rows()
            self._record()

    def satisfied_pairs(self) -> NDArray[np.int64]:
        """The forced pairs that hold in the incumbent (P,2); the others were given up."""
        assert self.incumbent is not None
        rows_CN = self.incumbent.rows_CN
        has_CK = np.zeros((len(rows_CN), self.problem.kept_features), dtype=np.bool_)
        np.put_along_axis(has_CK, rows_CN, True, axis=1)
        shared_P = (has_CK[self.pairs[:, 0]] & has_CK[self.pairs[:, 1]]).sum(axis=1)
        satisfied_P2: NDArray[np.int64] = self.pairs[shared_P == self.problem.features_per_class - 1]
        return satisfied_P2

    def _compile(self) -> None:
        """Compile what isn't compiled yet, which happens once per installation and doesn't count as search time."""
        from chiqpm.assignment.renewal import renew
        from chiqpm.assignment.repair import repair
        from chiqpm.assignment.rows import anneal_rows
        from chiqpm.assignment.selection_moves import anneal_selection, appraise

        began = time.monotonic()
        state, regions, rows = self.state, self.state.regions(), self.state.rows()
        anneal_rows(0, 1.0, 1.0, state.random, rows)
        renew(0, 0, 1.0, 1.0, 1.0, state.random, regions, rows)
        repair(0, 1.0, 1.0, 0.0, state.random, self.pairs, rows)
        features = self._features(self.candidate_M)
        anneal_selection(0, 1.0, 1.0, state.random, features, regions, rows)
        appraise(np.zeros(0), state.random, features._replace(fixed_K=np.ones_like(features.fixed_K)), regions, rows)
        self.deadline += time.monotonic() - began

    def _record(self) -> None:
        reward = float(self.separation_FP[self.state.selection_K].max(axis=0).sum())
        rewarded = self.state.objective + reward
        if self.incumbent is None or rewarded > self.incumbent.rewarded:
            self.incumbent = Incumbent(*self.state.snapshot(), rewarded)

    def _features(self, candidate_M: NDArray[np.int64]) -> Features:
        problem, state = self.problem, self.state
        screen_MD = np.concatenate([problem.gain_FC[candidate_M], self.separation_FP[candidate_M]], axis=1)
        return Features(
            gain_FC=problem.gain_FC,
            separation_FP=self.separation_FP,
            screen_DM=np.ascontiguousarray(screen_MD.T, dtype=np.float32),
            candidate_M=candidate_M,
            bias_F=problem.bias_F,
            penalty_FF=problem.penalty_FF,
            redundancy_F=state.redundancy_F,
            chosen_F=state.chosen_F,
            fixed_K=state.fixed_K,
            selection_K=state.selection_K,
            base_D=np.empty(screen_MD.shape[1], dtype=np.float32),
            score_M=np.empty(len(candidate_M), dtype=np.float32),
            best_M=np.empty(len(candidate_M), dtype=np.float32),
            region_M=np.empty(len(candidate_M), dtype=np.float32),
        )

    def _shortlist(self) -> Features:
        """The candidates that would improve most, or worsen least, if exchanged for a selected feature now."""
        from chiqpm.assignment.selection_moves import appraise

        if len(self.candidate_M) <= _SHORT_LIST + self.problem.kept_features:
            return self._features(self.candidate_M)
        state = self.state
        margin_M = np.full(len(self.candidate_M), -np.inf)
        appraise(margin_M, state.random, self._features(self.candidate_M), state.regions(), state.rows())
        margin_M[np.isin(self.candidate_M, state.selection_K)] = np.inf
        listed = np.argsort(-margin_M, kind="stable")[: _SHORT_LIST + self.problem.kept_features]
        return self._features(np.sort(self.candidate_M[listed]))

    def _anneal_selection(self, steps: int, hot: float, cold: float, share: float) -> None:
        from chiqpm.assignment.renewal import renew
        from chiqpm.assignment.selection_moves import anneal_selection

        state = self.state
        regions, rows = state.regions(), state.rows()
        began = reported = time.monotonic()
        allowance = max(share * (self.deadline - began), 1e-3)
        fraction, done = 0.0, 0
        while done < steps and fraction < 1.0:
            if done % _LISTED_STEPS == 0:
                features = self._shortlist()
            batch = min(_BATCH, steps - done)
            following = min(fraction + batch / steps, 1.0)
            temperature, later = (self.unit * hot * (cold / hot) ** f for f in (fraction, following))
            if len(regions.grouped):
                drawn = temperature * self.row_unit / self.unit
                draws = (_DRAW_HOT * drawn, _DRAW_COLD * drawn)
                renew(batch, _NEIGHBOURHOOD, *draws, temperature, state.random, regions, rows)
            anneal_selection(batch, temperature, later, state.random, features, regions, rows)
            done += batch
            now = time.monotonic()
            fraction = max(done / steps, (now - began) / allowance)
            if self.incumbent is None:
                continue
            # After every batch, whatever the time: what is recorded decides where a reheating begins.
            self._record()
            if now - reported > _REPORT_SECONDS or fraction >= 1.0:
                reported = now
                share_done = _FIRST_SHARE if self.done == 0.0 else 1.0 - self.done
                self.progress(min(self.done + share_done * fraction, 1.0), self.incumbent.rewarded)

    def _anneal_rows(self) -> None:
        """Anneal the rows of the present selection."""
        from chiqpm.assignment.renewal import renew
        from chiqpm.assignment.rows import anneal_rows

        state, regions, rows = self.state, self.state.regions(), self.state.rows()
        steps = int(_ROW_STEPS * self.problem.num_classes * self.problem.features_per_class)
        hot, cold = _ROW_HOT * self.row_unit, _ROW_COLD * self.row_unit
        anneal_rows(steps, hot, cold, state.random, rows)
        for _ in range(_RENEWALS if len(regions.grouped) else 0):
            if time.monotonic() > self.deadline:
                break
            renew(len(regions.grouped), _NEIGHBOURHOOD, hot, cold, cold, state.random, regions, rows)

    def _repair(self) -> None:
        """Make the forced pairs hold; those that resist every attempt are dropped."""
        from chiqpm.assignment.repair import repair

        state, pairs_P2 = self.state, self.pairs
        if not len(pairs_P2):
            return
        state.set_pairs(pairs_P2)
        steps = _REPAIR_STEPS * len(pairs_P2)
        left, best = -1, state.rows_CN.copy()
        for _ in range(_REPAIR_ATTEMPTS):
            energy = repair(steps, 0.5, 0.2, 0.2, state.random, pairs_P2, state.rows())
            if left < 0 or energy < left:
                left, best = energy, state.rows_CN.copy()
            if left == 0 or time.monotonic() > self.deadline:
                break
        if left > 0:
            state.set_rows(best)
            shared_P = (state.has_CK[pairs_P2[:, 0]] & state.has_CK[pairs_P2[:, 1]]).sum(axis=1)
            state.set_pairs(pairs_P2[shared_P == self.problem.features_per_class - 1])
