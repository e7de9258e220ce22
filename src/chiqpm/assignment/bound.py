"""An upper bound on the objective that anybody can recompute from its multipliers.

Given prices for the classes' constraints (see `prices`), what remains is to choose K features with worth c_f = b_f
+ q_f and the
penalties R between them. With X = x xᵀ this is max <Diag(c) - R/2, X> over matrices that are positive semidefinite and
non-negative, with trace K and X_ff = (X 1)_f / K, of which only x xᵀ is lost. Its dual is an eigenvalue: for any y
and any Z >= 0

    max_x  <=  K · lambda_max( Diag(c) - R/2 - Diag(y) + (y 1ᵀ + 1 yᵀ) / (2K) + Z ).

Only a core of features enters the matrix. The others are represented by K slots that carry the worths of the best
of them, without
any penalty, which can only raise the maximum. Prices, y and Z are found together by alternating directions; no matter
how badly they converged, the bound is valid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.prices import Array, ClassPrices
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.spectrum import NegativePart, Single

_PRICE_STEPS = 5
_REFRESH = 5
_RELAXATION = 1.6
_WEIGHT = 5.0
_HOLD = 0.3
_GROWTH = 12.0
_EVALUATE = 20
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Certificate:
    """A bound and all that is needed to recompute it."""

    bound: float
    """No assignment that satisfies the pairs has a larger objective; rounded outwards."""
    prices: ClassPrices
    """Prices of the class counts and of the shared counts."""
    core_N: NDArray[np.int64]
    """Features in the matrix."""
    slots: int
    """Slots behind the core that stand for the other features."""
    multiplier_M: Array
    """y, one per core feature and slot."""
    nonnegative_MM: Array
    """Z, symmetric and non-negative."""


def evaluate(
    problem: AssignmentProblem,
    *,
    prices: ClassPrices,
    core_N: NDArray[np.int64],
    slots: int,
    multiplier_M: Array,
    nonnegative_MM: Array,
) -> float:
    """The bound that these multipliers prove, rounded outwards.

    The eigenvalue is raised by more than the backward error of the symmetric eigensolver, and every sum by more
    than its rounding
    error, so that the value holds in exact arithmetic.
    """
    kept = problem.kept_features
    worth_F = prices.worth(sweeps=0) + problem.bias_F
    others = problem.allowed_F.copy()
    others[core_N] = False
    tail = np.sort(worth_F[others])[::-1][:slots]
    diagonal = np.concatenate([worth_F[core_N], tail])
    size = len(diagonal)
    matrix = (nonnegative_MM + nonnegative_MM.T) / 2
    matrix[: len(core_N), : len(core_N)] -= problem.penalty_FF[np.ix_(core_N, core_N)] / 2
    matrix += (multiplier_M[:, None] + multiplier_M[None, :]) / (2 * kept)
    matrix[np.diag_indices(size)] += diagonal - multiplier_M
    largest = float(np.linalg.eigvalsh(matrix)[-1])
    terms = prices.gain_CF.shape[0] + len(prices.pair_P)
    rounding = 8 * _EPS * (size * float(np.linalg.norm(matrix)) + terms * float(np.abs(diagonal).max()))
    total = prices.constant + kept * (largest + rounding)
    scale = abs(prices.per_class) * (np.abs(prices.class_C).sum() + prices.pair_P.sum())
    return float(total + 8 * _EPS * (terms * scale + abs(total)))


class _Relaxation:
    """Alternating directions on the dual of the semidefinite relaxation and the prices together."""

    def __init__(self, problem: AssignmentProblem, prices: ClassPrices, core_size: int, guess_F: Array) -> None:
        self.problem, self.prices = problem, prices
        worth_F = prices.worth() + problem.bias_F
        score_F = np.where(problem.allowed_F, worth_F - problem.penalty_FF @ guess_F, -np.inf)
        count = min(core_size, int(problem.allowed_F.sum()))
        self.core_N = np.sort(np.argsort(-score_F, kind="stable")[:count])
        self.others_F = problem.allowed_F.copy()
        self.others_F[self.core_N] = False
        kept = self.kept = problem.kept_features
        self.slots = min(kept, int(self.others_F.sum()))
        size = self.size = count + self.slots
        self.half_penalty = np.zeros((size, size), dtype=np.float32)
        self.half_penalty[:count, :count] = problem.penalty_FF[np.ix_(self.core_N, self.core_N)] / 2
        # Half way between knowing nothing and the guess.
        known_M = np.zeros(size)
        known_M[:count] = guess_F[self.core_N]
        self.lifted = (np.outer(known_M, known_M) / 2).astype(np.float32)
        self.lifted += np.float32(kept * (kept - 1) / (2 * size * max(size - 1, 1)))
        self.lifted[np.diag_indices(size)] = (known_M + kept / size) / 2
        self.slack, self.nonnegative = np.zeros_like(self.lifted), np.zeros_like(self.lifted)
        # A feature's worth is what the lifted selection's entries, which are at most 1, are weighed against.
        best_CN = -np.partition(-problem.gain_FC.T, problem.features_per_class, axis=1)[:, : problem.features_per_class]
        self.first_weight = _WEIGHT * kept / max(float(best_CN.sum()), 1e-9)
        self.negative_part = NegativePart()
        self.refresh()

    def refresh(self) -> None:
        """Let the slots stand for the features outside the core that are now worth most."""
        worth_F = self.prices.worth() + self.problem.bias_F
        outside = np.flatnonzero(self.others_F)
        best = outside[np.argsort(-worth_F[outside], kind="stable")[: self.slots]]
        self.rows_M = np.concatenate([self.core_N, best])
        self.worth_M = worth_F[self.rows_M]

    def _constraints(self, matrix: Single) -> Array:
        diagonal = np.diag(matrix).astype(np.float64)
        return np.concatenate([[diagonal.sum()], diagonal - matrix.sum(axis=1, dtype=np.float64) / self.kept])

    def _invert(self, target: Array) -> Array:
        """Solve with the Gram matrix of the constraints: a multiple of the identity, bordered, plus rank one."""
        kept, size = self.kept, self.size
        corner, rest = 1 - 1 / kept, 1 / (2 * kept * kept)
        single = 1 - 2 / kept + size / (2 * kept * kept)
        small = np.array([[size, corner], [size * corner, single + size * rest]])
        trace, total = np.linalg.solve(small, [target[0], target[1:].sum()])
        return np.concatenate([[trace], (target[1:] - corner * trace - rest * total) / single])

    def _subtract_adjoint(self, multiplier: Array, matrix: Single) -> None:
        half = (multiplier[1:] / (2 * self.kept)).astype(np.float32)
        matrix += half[:, None]
        matrix += half
        matrix[np.diag_indices(self.size)] -= (multiplier[1:] + multiplier[0]).astype(np.float32)

    def step(self, fraction: float) -> None:
        """One round of alternating directions, when this fraction of the work is done.

        A small weight lets the lifted selection settle; then it grows, since the bound depends on the dual
        residual only.
        """
        diagonal = np.diag_indices(self.size)
        right = np.zeros(self.size + 1)
        right[0] = self.kept
        weight = self.first_weight * _GROWTH ** (max(fraction - _HOLD, 0.0) / (1.0 - _HOLD))
        single = np.float32(weight)
        # What is left of cost + slack + nonnegative - adjoint, built up in place.
        residual = self.slack + self.nonnegative
        residual -= self.half_penalty
        residual[diagonal] += self.worth_M.astype(np.float32)
        target = self._constraints(residual) + (self._constraints(self.lifted) - right) / weight
        self.multiplier = self._invert(target)
        self._subtract_adjoint(self.multiplier, residual)
        # residual + lifted / weight = -(shifted - slack - nonnegative), with the old slack and nonnegative.
        shifted = self.slack + self.nonnegative
        residual -= shifted
        shifted = self.lifted / -single
        shifted -= residual
        np.subtract(shifted, self.slack, out=self.nonnegative)
        np.maximum(self.nonnegative, 0, out=self.nonnegative)
        shifted -= self.nonnegative
        self.slack = self.negative_part(shifted)
        self.slack += shifted
        residual += self.slack
        residual += self.nonnegative
        offset_M = np.diag(residual).astype(np.float64) - self.worth_M
        offset_M += self.problem.bias_F[self.rows_M]
        smoothed_M = self.prices.descend(
            self.rows_M, np.diag(self.lifted).astype(np.float64), offset_M, weight, _PRICE_STEPS
        )
        worth_M = smoothed_M + self.problem.bias_F[self.rows_M]
        residual[diagonal] += (worth_M - self.worth_M).astype(np.float32)
        self.worth_M = worth_M
        residual *= np.float32(_RELAXATION) * single
        self.lifted += residual

    def certificate(self) -> Certificate:
        """The bound that the present multipliers prove."""
        prices = self.prices.copy()
        prices.worth()
        proof: dict[str, Any] = {
            "prices": prices,
            "core_N": self.core_N,
            "slots": self.slots,
            "multiplier_M": self.multiplier[1:].copy(),
            "nonnegative_MM": self.nonnegative.astype(np.float64),
        }
        return Certificate(bound=evaluate(self.problem, **proof), **proof)


def certify(
    problem: AssignmentProblem,
    *,
    pairs: NDArray[np.int64] | None = None,
    guess_K: NDArray[np.int64] | None = None,
    core_size: int = 2048,
    iterations: int = 300,
    deadline: float = float("inf"),
    target: float = -float("inf"),
    progress: Callable[[float, float], bool | None] | None = None,
) -> Certificate:
    """Prove an upper bound on the objective.

    Args:
        problem: the problem.
        pairs: forced pairs to be respected (P,2); fewer give a weaker bound. None takes the problem's.
        guess_K: a good selection, which helps to choose the core.
        core_size: features that enter the matrix. More give a better bound; time grows with the cube.
        iterations: rounds of alternating directions.
        deadline: moment of `time.monotonic()` after which no further round starts.
        target: stop as soon as the bound is no larger.
        progress: called with the fraction done and the bound so far; returns True to stop.

    Returns:
        The best certificate found on the way. Wishes other than the pairs and the forbidden features are not used,
        which leaves the bound valid.
    """
    prices = ClassPrices(
        np.ascontiguousarray(problem.gain_FC.T),
        problem.pairs if pairs is None else pairs,
        problem.features_per_class,
        problem.kept_features,
    )
    guess_F = np.full(problem.num_features, problem.kept_features / problem.num_features)
    if guess_K is not None:
        guess_F[:] = 0.0
        guess_F[guess_K] = 1.0
    use_F = (guess_F + problem.kept_features / problem.num_features) / 2
    everything = np.flatnonzero(problem.allowed_F)
    prices.descend(everything, use_F[everything], -prices.worth()[everything], 0.05, 100)
    relaxation = _Relaxation(problem, prices, core_size, guess_F)
    best: Certificate | None = None
    began = time.monotonic()
    allowance = max(deadline - began, 1e-3)
    count = 0
    while True:
        fraction = max(count / iterations, (time.monotonic() - began) / allowance)
        relaxation.step(min(fraction, 1.0))
        count += 1
        if count % _REFRESH == 0:
            relaxation.refresh()
        last = count >= iterations or fraction >= 1.0
        if last or count % _EVALUATE == 0:
            found = relaxation.certificate()
            if best is None or found.bound < best.bound:
                best = found
            stop = progress is not None and progress(min(fraction, 1.0), best.bound)
            if last or stop or best.bound <= target:
                return best
