"""The phases of the search on one candidate solution: repair of the pairs, annealing of rows and of the selection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.arrays import Features
from chiqpm.assignment.greedy import greedy_selection
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.state import SearchState

_BATCH = 64
_NEIGHBOURHOOD = 8
_SHORT_LIST, _LISTED_STEPS = 256, 2048
_DRAW_HOT, _DRAW_COLD = 7.0, 0.7
_REPAIR_STEPS, _REPAIR_ATTEMPTS = 8000, 4
_EXCHANGING, _JUMPING = (0.5, 0.2, 0.2, 0.0), (1.0, 0.2, 0.35, 0.5)
_ROW_STEPS, _RENEWALS, _RENEWED = 150, 8, 200
_PARTS, _LONGEST_PART = 20, 200_000
_TIME_SHARE = 0.5
_ROW_HOT, _ROW_COLD = 0.17, 0.006


class Annealer:
    """The phases of the search on one state, each of which ends early when the time is up.

    Temperatures of the selection are in units of how much a feature's worth to all classes together varies.

    Args:
        problem: the problem.
        seed: seed of every random choice.
        deadline: moment of `time.monotonic()` at which to be finished.
        separation_FP: what each feature is worth to each pair for telling it apart (F,P).
    """

    def __init__(
        self, problem: AssignmentProblem, *, seed: int, deadline: float, separation_FP: NDArray[np.float64]
    ) -> None:
        self.problem, self.deadline, self.separation_FP = problem, deadline, separation_FP
        self.state = SearchState(problem, greedy_selection(problem), seed)
        self.candidate_M = np.flatnonzero(problem.allowed_F)
        self.everything: Features | None = None
        self.jumping = False
        self.row_unit = float(problem.gain_FC.std()) or 1.0
        self.unit = self.row_unit * problem.num_classes**0.5

    @property
    def rewarded(self) -> float:
        """Objective of the present state plus the reward for separation."""
        return self.state.objective + float(self.separation_FP[self.state.selection_K].max(axis=0).sum())

    def compile(self) -> None:
        """Compile what isn't compiled yet, which happens once per installation and doesn't count as search time."""
        from chiqpm.assignment.renewal import renew
        from chiqpm.assignment.repair import repair
        from chiqpm.assignment.rows import anneal_rows
        from chiqpm.assignment.selection_moves import anneal_selection, appraise

        began = time.monotonic()
        state, regions, rows = self.state, self.state.regions(), self.state.rows()
        anneal_rows(0, 1.0, 1.0, state.random, rows)
        renew(0, 0, 1.0, 1.0, 1.0, state.random, regions, rows)
        repair(0, 1.0, 1.0, 0.0, 0.0, state.random, self.problem.pairs, rows)
        features = self.features(self.candidate_M)
        anneal_selection(0, 1.0, 1.0, state.random, features, regions, rows)
        appraise(np.zeros(0), state.random, features._replace(fixed_K=np.ones_like(features.fixed_K)), regions, rows)
        self.deadline += time.monotonic() - began

    def features(self, candidate_M: NDArray[np.int64]) -> Features:
        """The features that may enter the selection, as the compiled moves take them."""
        problem, state = self.problem, self.state
        screen_DM = np.empty((problem.num_classes + self.separation_FP.shape[1], len(candidate_M)), dtype=np.float32)
        screen_DM[: problem.num_classes] = problem.gain_FC[candidate_M].T
        screen_DM[problem.num_classes :] = self.separation_FP[candidate_M].T
        return Features(
            gain_FC=problem.gain_FC,
            separation_FP=self.separation_FP,
            screen_DM=screen_DM,
            candidate_M=candidate_M,
            bias_F=problem.bias_F,
            penalty_FF=problem.penalty_FF,
            redundancy_F=state.redundancy_F,
            chosen_F=state.chosen_F,
            fixed_K=state.fixed_K,
            selection_K=state.selection_K,
            base_D=np.empty(len(screen_DM), dtype=np.float32),
            score_M=np.empty(len(candidate_M), dtype=np.float32),
            best_M=np.empty(len(candidate_M), dtype=np.float32),
            region_M=np.empty(len(candidate_M), dtype=np.float32),
        )

    def shortlist(self) -> Features:
        """The candidates that would improve most, or worsen least, if exchanged for a selected feature now."""
        from chiqpm.assignment.selection_moves import appraise

        if self.everything is None:
            self.everything = self.features(self.candidate_M)
        if len(self.candidate_M) <= _SHORT_LIST + self.problem.kept_features:
            return self.everything
        state = self.state
        margin_M = np.full(len(self.candidate_M), -np.inf)
        appraise(margin_M, state.random, self.everything, state.regions(), state.rows())
        margin_M[np.isin(self.candidate_M, state.selection_K)] = np.inf
        listed = np.argsort(-margin_M, kind="stable")[: _SHORT_LIST + self.problem.kept_features]
        return self.features(np.sort(self.candidate_M[listed]))

    def anneal_selection(
        self,
        steps: int,
        hot: float,
        cold: float,
        *,
        seconds: float,
        listed_M: NDArray[np.int64] | None = None,
        after_batch: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        """Anneal selection and rows together.

        Args:
            steps: exchanges of a feature that are tried.
            hot: temperature at the beginning.
            cold: temperature at the end.
            seconds: wall time after which to be cold, whatever the steps.
            listed_M: the only features that may enter; None lists the best candidates every now and then.
            after_batch: called with the fraction done; it sees a valid state.
        """
        from chiqpm.assignment.renewal import renew
        from chiqpm.assignment.selection_moves import anneal_selection

        state = self.state
        regions, rows = state.regions(), state.rows()
        began = time.monotonic()
        fraction, done = 0.0, 0
        while done < steps and fraction < 1.0:
            if done % _LISTED_STEPS == 0:
                features = self.shortlist() if listed_M is None else self.features(listed_M)
            batch = min(_BATCH, steps - done)
            following = min(fraction + batch / steps, 1.0)
            temperature, later = (self.unit * hot * (cold / hot) ** f for f in (fraction, following))
            if len(regions.grouped):
                drawn = temperature * self.row_unit / self.unit
                draws = (_DRAW_HOT * drawn, _DRAW_COLD * drawn)
                renew(batch, _NEIGHBOURHOOD, *draws, temperature, state.random, regions, rows)
            anneal_selection(batch, temperature, later, state.random, features, regions, rows)
            done += batch
            fraction = max(done / steps, (time.monotonic() - began) / max(seconds, 1e-3))
            after_batch(min(fraction, 1.0))

    def anneal_rows(self) -> None:
        """Anneal the rows of the present selection."""
        from chiqpm.assignment.renewal import renew
        from chiqpm.assignment.rows import anneal_rows

        state, regions, rows = self.state, self.state.regions(), self.state.rows()
        steps = int(_ROW_STEPS * self.problem.num_classes * self.problem.features_per_class)
        hot, cold = _ROW_HOT * self.row_unit, _ROW_COLD * self.row_unit
        for part, warm, cool in _cooling(steps, hot, cold, self._share_of_time()):
            anneal_rows(part, warm, cool, state.random, rows)
        tries = _RENEWALS * len(regions.grouped)
        while tries > 0 and time.monotonic() < self.deadline:
            renew(min(tries, _RENEWED), _NEIGHBOURHOOD, hot, cold, cold, state.random, regions, rows)
            tries -= _RENEWED

    def repair(self, attempts: int = _REPAIR_ATTEMPTS) -> bool:
        """Make the forced pairs hold; those that resist every attempt are dropped. Returns whether there are none.

        Once exchanges along chains have not been enough, every later attempt also lets classes jump.
        """
        from chiqpm.assignment.repair import repair

        state, pairs_P2 = self.state, self.problem.pairs
        if not len(pairs_P2):
            return True
        state.set_pairs(pairs_P2)
        steps = _REPAIR_STEPS * len(pairs_P2)
        left, best = -1, state.rows_CN.copy()
        until = time.monotonic() + self._share_of_time()
        for _ in range(attempts):
            energy = 0
            hot, cold, leak, jumps = _JUMPING if self.jumping else _EXCHANGING
            share = 1.0 if self.jumping else _TIME_SHARE
            for part, warm, cool in _cooling(steps, hot, cold, share * (until - time.monotonic())):
                energy = repair(part, warm, cool, leak, jumps, state.random, pairs_P2, state.rows())
                if energy == 0:
                    break
            self.jumping = self.jumping or energy > 0
            if left < 0 or energy < left:
                left, best = energy, state.rows_CN.copy()
            if left == 0 or time.monotonic() > until:
                break
        if left > 0:
            state.set_rows(best)
            shared_P = (state.has_CK[pairs_P2[:, 0]] & state.has_CK[pairs_P2[:, 1]]).sum(axis=1)
            state.set_pairs(pairs_P2[shared_P == self.problem.features_per_class - 1])
        return left == 0

    def _share_of_time(self) -> float:
        """What one phase may take of what is left of the time, in seconds."""
        return _TIME_SHARE * (self.deadline - time.monotonic())


def _cooling(steps: int, hot: float, cold: float, seconds: float) -> Iterator[tuple[int, float, float]]:
    """Split an annealing into parts: steps and temperatures of each. It cools faster where the time is short."""
    began = time.monotonic()
    size = min(-(-steps // _PARTS), _LONGEST_PART)
    fraction, done = 0.0, 0
    while done < steps and fraction < 1.0:
        part = min(size, steps - done)
        following = min(fraction + part / steps, 1.0)
        yield part, hot * (cold / hot) ** fraction, hot * (cold / hot) ** following
        done += part
        fraction = max(done / steps, (time.monotonic() - began) / max(seconds, 1e-3))
