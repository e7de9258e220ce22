"""The doubly non-negative relaxation of the choice of features, solved by alternating directions on its dual."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.assignment.prices import Array, ClassPrices
from chiqpm.assignment.problem import AssignmentProblem
from chiqpm.assignment.spectrum import NegativePart

Single = NDArray[Any]

_PRICE_STEPS = 4
_RELAXATION = 1.6
_WEIGHT = 1.8


class Relaxation:
    """Multipliers y and Z, and the prices with them, for a core of features that can grow.

    X stands for x xᵀ over the core; `lifted` is the present X, `slack` the positive semidefinite multiplier, and
    `nonnegative` is Z (see `chiqpm.assignment.bound`).

    Args:
        problem: the problem.
        prices: prices to be improved.
        core_N: features that enter the matrix.
        guess_F: a fractional selection to start from.
    """

    def __init__(
        self, problem: AssignmentProblem, prices: ClassPrices, core_N: NDArray[np.int64], guess_F: Array
    ) -> None:
        self.problem, self.prices, self.core_N = problem, prices, core_N
        kept, size = problem.kept_features, len(core_N)
        self.kept = kept
        self.half_penalty = self._half_penalty()
        # Half way between knowing nothing and the guess.
        known_N = guess_F[core_N]
        self.lifted = (np.outer(known_N, known_N) / 2).astype(np.float32)
        self.lifted += np.float32(kept * (kept - 1) / (2 * size * max(size - 1, 1)))
        self.lifted[np.diag_indices(size)] = (known_N + kept / size) / 2
        self.slack, self.nonnegative = np.zeros_like(self.lifted), np.zeros_like(self.lifted)
        self.multiplier_N = np.zeros(size)
        self.level = 0.0
        # A feature's worth is what the lifted selection's entries, which are at most 1, are weighed against. The more
        # classes, the more a small step of all their prices moves it.
        per_class = problem.features_per_class
        best_CN = -np.partition(-problem.gain_FC.T, per_class, axis=1)[:, :per_class]
        self.first_weight = _WEIGHT * problem.num_classes**0.5 * kept / max(float(best_CN.sum()), 1e-9)
        self.negative_part = NegativePart()
        self.worth_N = prices.worth(core_N) + problem.bias_F[core_N]

    def grow(self, more_N: NDArray[np.int64]) -> None:
        """Let these features enter the matrix, unselected."""
        if not len(more_N):
            return
        old, size = len(self.core_N), len(self.core_N) + len(more_N)
        self.core_N = np.concatenate([self.core_N, more_N])
        self.half_penalty = self._half_penalty()
        worth_N = self.prices.worth(more_N) + self.problem.bias_F[more_N]
        self.worth_N = np.concatenate([self.worth_N, worth_N])
        self.multiplier_N = np.concatenate([self.multiplier_N, np.minimum(worth_N - self.level, 0.0)])
        for name in ("lifted", "slack", "nonnegative"):
            grown = np.zeros((size, size), dtype=np.float32)
            grown[:old, :old] = getattr(self, name)
            setattr(self, name, grown)
        outer = ((self.multiplier_N[:, None] + self.multiplier_N[old:]) / (2 * self.kept)).astype(np.float32)
        needed = np.maximum(self.half_penalty[:, old:] - outer, 0.0)
        self.nonnegative[:, old:] = needed
        self.nonnegative[old:] = needed.T
        new = np.arange(old, size)
        self.nonnegative[new, new] = 0.0
        self.slack[new, new] = np.maximum(self.level - worth_N + self.multiplier_N[old:], 0.0)
        self.negative_part.grow(size)

    def _half_penalty(self) -> Single:
        return (self.problem.penalty_FF[np.ix_(self.core_N, self.core_N)] / 2).astype(np.float32)

    def _constraints(self, matrix: Single) -> Array:
        diagonal = np.diag(matrix).astype(np.float64)
        return np.concatenate([[diagonal.sum()], diagonal - matrix.sum(axis=1, dtype=np.float64) / self.kept])

    def _invert(self, target: Array) -> Array:
        """Solve with the Gram matrix of the constraints: a multiple of the identity, bordered, plus rank one."""
        kept, size = self.kept, len(self.core_N)
        corner, rest = 1 - 1 / kept, 1 / (2 * kept * kept)
        single = 1 - 2 / kept + size / (2 * kept * kept)
        small = np.array([[size, corner], [size * corner, single + size * rest]])
        trace, total = np.linalg.solve(small, [target[0], target[1:].sum()])
        return np.concatenate([[trace], (target[1:] - corner * trace - rest * total) / single])

    def _subtract_adjoint(self, matrix: Single) -> None:
        half = (self.multiplier_N / (2 * self.kept)).astype(np.float32)
        matrix += half[:, None]
        matrix += half
        matrix[np.diag_indices(len(half))] -= (self.multiplier_N + self.level).astype(np.float32)

    def step(self, growth: float) -> None:
        """One round of alternating directions.

        Args:
            growth: multiplies the weight of the dual residual. A small weight lets the lifted selection settle; a
                large one makes the bound good, which depends on the dual residual only.
        """
        size, bias_N = len(self.core_N), self.problem.bias_F[self.core_N]
        diagonal = np.diag_indices(size)
        right = np.zeros(size + 1)
        right[0] = self.kept
        weight = self.first_weight * growth
        single = np.float32(weight)
        # What is left of cost + slack + nonnegative - adjoint, built up in place.
        residual = self.slack + self.nonnegative
        residual -= self.half_penalty
        residual[diagonal] += self.worth_N.astype(np.float32)
        target = self._constraints(residual) + (self._constraints(self.lifted) - right) / weight
        solution = self._invert(target)
        self.level, self.multiplier_N = float(solution[0]), solution[1:]
        self._subtract_adjoint(residual)
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
        offset_N = np.diag(residual).astype(np.float64) - self.worth_N + bias_N
        use_N = np.diag(self.lifted).astype(np.float64)
        worth_N = self.prices.descend(self.core_N, use_N, offset_N, weight, _PRICE_STEPS) + bias_N
        residual[diagonal] += (worth_N - self.worth_N).astype(np.float32)
        self.worth_N = worth_N
        residual *= np.float32(_RELAXATION) * single
        self.lifted += residual
