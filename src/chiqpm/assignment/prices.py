"""Lagrangian prices that turn the classes' constraints into a worth of each feature.

Letters: P forced pairs, N the features looked at. A class pays the price lambda_c for every feature it uses, so that
the count n needn't be enforced; a pair earns theta_p >= 0 for every feature it shares, so that the count n - 1 needn't
be. A shared feature's theta_p is split between the two classes, a different share for each feature:
w_c w_d theta <= split w_c + (theta - split) w_d holds for every split in [0, theta]. What is left decomposes: feature
f, if selected, is worth

    q_f = Σ_c max(0, gain_fc - lambda_c + Σ_{p with c} share_fp,c)

and Z <= n Σ lambda - (n - 1) Σ theta + max over selections of Σ_f (b_f + q_f) x_f - penalties, for any prices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from chiqpm.assignment.compiled import compiled

Array = NDArray[np.float64]

_MARGIN = 0.3
_NEGLIGIBLE = 15.0
_SWEEPS = 200
_BALANCED = 0.02
_FAR = 5.0
_PART, _MOST_PARTS = 32, 8
"""Features in a part that a thread looks at. Parts don't depend on how many threads there are, nor does rounding."""


class ClassPrices:
    """Prices of the class counts and of the shared counts, with the splits of the latter.

    Args:
        gain_FC: what each feature adds for each class (F,C).
        pairs_P2: class pairs that share exactly n - 1 features.
        per_class: n.
        kept: K, for a first guess at the prices.

    `threads` says how many threads may look at features; the result doesn't depend on it.
    """

    def __init__(self, gain_FC: Array, pairs_P2: NDArray[np.int64], per_class: int, kept: int) -> None:
        self.gain_FC, self.pairs, self.per_class = gain_FC, pairs_P2, per_class
        self.threads = 1
        self.largest = largest = float(np.abs(gain_FC).max())
        self.smoothing = 0.01 * largest
        depth = min(len(gain_FC) - 1, 4 * kept)
        self.class_C: Array = -np.partition(-gain_FC, depth, axis=0)[depth]
        self.pair_P = np.full(len(pairs_P2), 0.1 * largest)
        self.split_FP = np.repeat(self.pair_P[None] / 2, len(gain_FC), axis=0)

    @property
    def constant(self) -> float:
        """Part of the bound that no selection changes: n Σ lambda - (n - 1) Σ theta."""
        return float(self.per_class * self.class_C.sum() - (self.per_class - 1) * self.pair_P.sum())

    def worth(self, rows_N: NDArray[np.int64] | None = None, sweeps: int = _SWEEPS, smoothing: float = 0.0) -> Array:
        """q, what selecting each of these features is worth to all classes at these prices (N,).

        Args:
            rows_N: features; None takes all.
            sweeps: how often to balance the splits of each feature first.
            smoothing: width over which max(0, ·) is rounded; a rounded worth is larger.
        """
        rows_N = np.arange(len(self.gain_FC)) if rows_N is None else rows_N

        def part(rows_M: NDArray[np.int64]) -> Array:
            worth_M = np.empty(len(rows_M))
            _worth(rows_M, self._state(self.class_C, self.pair_P, smoothing), sweeps, worth_M)
            return worth_M

        with self._mapping() as run:
            return np.concatenate(run(part, _parts(rows_N)))

    def descend(self, rows_N: NDArray[np.int64], use_N: Array, offset_N: Array, penalty: float, steps: int) -> Array:
        """Lower the augmented Lagrangian in the prices by a few quasi-Newton steps.

        Minimises n Σ lambda - (n - 1) Σ theta + penalty/2 Σ max(0, q_f + offset_f + use_f / penalty)², with q smoothed.

        Args:
            rows_N: features looked at.
            use_N: present fractional selection of these features.
            offset_N: what is added to their worth.
            penalty: weight of the quadratic term.
            steps: quasi-Newton steps.

        Returns:
            The smoothed worth q of these features.
        """
        # Features far from being selected don't matter for a few steps.
        fixed_N = offset_N + use_N / penalty
        excess_N = self.worth(rows_N, _SWEEPS, self.smoothing) + fixed_N
        near_N = excess_N > -_MARGIN * excess_N.max(initial=0.0)
        near_rows, near_fixed = rows_N[near_N], fixed_N[near_N]
        num_classes, per_class = len(self.class_C), float(self.per_class)
        parts = list(zip(_parts(near_rows), _parts(near_fixed), strict=True))

        def lagrangian(prices: Array) -> tuple[float, Array]:
            class_C, pair_P = prices[:num_classes], np.maximum(prices[num_classes:], 0.0)

            def part(near: tuple[NDArray[np.int64], Array]) -> tuple[float, Array]:
                slope_D = np.zeros(len(prices))
                state = self._state(class_C, pair_P, self.smoothing)
                return _excess(near[0], state, near[1], penalty, slope_D), slope_D

            values, slopes = zip(*run(part, parts), strict=True)
            slope_D = np.concatenate([np.full(num_classes, per_class), np.full(len(pair_P), 1.0 - per_class)])
            constant = per_class * class_C.sum() - (per_class - 1) * pair_P.sum()
            return constant + sum(values), slope_D + np.sum(slopes, axis=0)

        bounds = [(None, None)] * num_classes + [(0.0, None)] * len(self.pairs)
        start = np.concatenate([self.class_C, self.pair_P])
        with self._mapping() as run:
            found = minimize(
                lagrangian,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": steps, "maxcor": 10, "ftol": 0.0, "gtol": 0.0},
            )
        self.class_C, self.pair_P = found.x[:num_classes].copy(), np.maximum(found.x[num_classes:], 0.0)
        return self.worth(rows_N, _SWEEPS, self.smoothing)

    @contextmanager
    def _mapping(self) -> Iterator[Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]]:
        """Give a map over parts of the features, in as many threads as there may be."""
        if self.threads < 2:
            yield lambda function, parts: [function(part) for part in parts]
            return
        with ThreadPoolExecutor(self.threads) as pool:
            yield lambda function, parts: list(pool.map(function, parts))

    def _state(self, class_C: Array, pair_P: Array, smoothing: float) -> _State:
        most_C = np.zeros(len(class_C))
        np.add.at(most_C, self.pairs, pair_P[:, None])
        num_classes, num_pairs = len(class_C), len(pair_P)
        scratch = (
            np.empty(num_classes),
            np.empty(num_classes),
            np.empty(num_pairs, dtype=np.int64),
            np.empty(num_classes, dtype=np.int64),
        )
        return _State(self.gain_FC, class_C, pair_P, most_C, self.pairs, self.split_FP, smoothing, *scratch)

    def copy(self) -> ClassPrices:
        """A copy whose prices don't change with these."""
        other = object.__new__(ClassPrices)
        other.__dict__.update(self.__dict__)
        other.class_C, other.pair_P = self.class_C.copy(), self.pair_P.copy()
        other.split_FP = self.split_FP.copy()
        return other


def _parts(array_N: NDArray[Any]) -> list[NDArray[Any]]:
    return np.array_split(array_N, int(np.clip(len(array_N) // _PART, 1, _MOST_PARTS)))


class _State(NamedTuple):
    """What the inner loops work on."""

    gain_FC: Array
    class_C: Array
    pair_P: Array
    most_C: Array
    """The most that a class's pairs can add to its total (C,)."""
    pairs: NDArray[np.int64]
    split_FP: Array
    smoothing: float
    total_C: Array
    """Scratch: gain - lambda + shares of one feature (C,)."""
    active_C: Array
    """Scratch: slope of its rounded max(0, ·) (C,)."""
    live_P: NDArray[np.int64]
    """Scratch: pairs whose split matters (P,)."""
    stamp_C: NDArray[np.int64]
    """Scratch: the last sweep in which a class's total moved (C,)."""


@compiled
def _totals(f: Any, state: Any, sweeps: Any) -> Any:  # pragma: no cover - compiled
    """Fill in `total_C` for one feature, its splits balanced in place; returns how many `live_P` there are.

    The best split for a pair, the others given, makes the two classes' totals as equal as it can. A class that no
    shares can bring near to using the feature takes everything. Where both classes are far from the kink of max(0, ·),
    on the same side, every split is as good. Sweeps go on until nothing moves, because the slopes that are taken from
    the splits are only true of the best ones: with inexact slopes no line search finds a way down.
    """
    pair_P, pairs, split_FP, total_C, smoothing = (
        state.pair_P,
        state.pairs,
        state.split_FP,
        state.total_C,
        state.smoothing,
    )
    for c in range(len(total_C)):
        total_C[c] = state.gain_FC[f, c] - state.class_C[c]
        state.active_C[c] = total_C[c] + state.most_C[c]
    live = 0
    for p in range(len(pair_P)):
        split_FP[f, p] = min(max(split_FP[f, p], 0.0), pair_P[p])
        if sweeps > 0:
            if state.active_C[pairs[p, 0]] <= -_NEGLIGIBLE * smoothing:
                split_FP[f, p] = pair_P[p]
            elif state.active_C[pairs[p, 1]] <= -_NEGLIGIBLE * smoothing:
                split_FP[f, p] = 0.0
            else:
                state.live_P[live] = p
                live += 1
        total_C[pairs[p, 0]] += split_FP[f, p]
        total_C[pairs[p, 1]] += pair_P[p] - split_FP[f, p]
    for c in range(len(total_C)):
        state.stamp_C[c] = 0
    tolerance, far = _BALANCED * smoothing, _FAR * smoothing
    for sweep in range(1, sweeps + 1):
        moved = False
        for i in range(live):
            p = state.live_P[i if sweep % 2 == 0 else live - 1 - i]
            c, d, whole = pairs[p, 0], pairs[p, 1], pair_P[p]
            if max(state.stamp_C[c], state.stamp_C[d]) < sweep - 1:
                continue
            if max(total_C[c], total_C[d]) < -far or min(total_C[c], total_C[d]) > far:
                continue
            before = split_FP[f, p]
            share = min(max(before + (total_C[d] - total_C[c]) / 2, 0.0), whole)
            split_FP[f, p] = share
            total_C[c] += share - before
            total_C[d] -= share - before
            if abs(share - before) > tolerance:
                moved = True
                state.stamp_C[c] = sweep
                state.stamp_C[d] = sweep
        if not moved:
            break
    return live


@compiled
def _worth(rows_N: Any, state: Any, sweeps: Any, worth_N: Any) -> None:  # pragma: no cover - compiled
    total_C, smoothing = state.total_C, state.smoothing
    for i in range(len(rows_N)):
        _totals(rows_N[i], state, sweeps)
        worth = 0.0
        for c in range(len(total_C)):
            worth += max(total_C[c], 0.0)
            if abs(total_C[c]) < _NEGLIGIBLE * smoothing:
                worth += smoothing * np.log1p(np.exp(-abs(total_C[c]) / smoothing))
        worth_N[i] = worth


@compiled
def _excess(rows_N: Any, state: Any, fixed_N: Any, penalty: Any, slope_D: Any) -> Any:  # pragma: no cover - compiled
    """penalty/2 Σ max(0, q_f + fixed_f)²; its slopes in the classes' and the pairs' prices are added up.

    With the splits balanced, what a pair's price gains is worth to it what the less active of its classes gains.
    """
    num_classes, pairs, smoothing = len(state.class_C), state.pairs, state.smoothing
    total_C, active_C = state.total_C, state.active_C
    value = 0.0
    for i in range(len(rows_N)):
        live = _totals(rows_N[i], state, _SWEEPS)
        excess = fixed_N[i]
        for c in range(num_classes):
            total = total_C[c]
            active_C[c] = 1.0 if total > 0.0 else 0.0
            excess += max(total, 0.0)
            if abs(total) < _NEGLIGIBLE * smoothing:
                decay = np.exp(-abs(total) / smoothing)
                excess += smoothing * np.log1p(decay)
                active_C[c] = (1.0 if total > 0.0 else decay) / (1.0 + decay)
        if excess <= 0.0:
            continue
        value += penalty / 2 * excess * excess
        for c in range(num_classes):
            slope_D[c] -= penalty * excess * active_C[c]
        for p in state.live_P[:live]:
            slope_D[num_classes + p] += penalty * excess * min(active_C[pairs[p, 0]], active_C[pairs[p, 1]])
    return value
