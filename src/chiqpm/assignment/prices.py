"""Lagrangian prices that turn the classes' constraints into a worth of each feature.

Letters: P forced pairs, N the features looked at. A class pays the price lambda_c for every feature it uses, so
that the count n
needn't be enforced; a pair earns theta_p >= 0 for every feature it shares, so that the count n - 1 needn't be. A shared
feature's theta_p is split between the two classes, a different share for each feature: w_c w_d theta <= split w_c
+ (theta - split) w_d
holds for every split in [0, theta]. What is left decomposes: feature f, if selected, is worth

    q_f = Σ_c max(0, gain_fc - lambda_c + Σ_{p with c} share_fp,c)

and Z <= n Σ lambda - (n - 1) Σ theta + max over selections of Σ_f (b_f + q_f) x_f - penalties, for any prices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

_MARGIN = 0.3


def independent_groups(pairs_P2: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Part the pairs into groups in which no class occurs twice, so that each group can be treated at once."""
    groups: list[tuple[list[int], set[int]]] = []
    for p, (c, d) in enumerate(pairs_P2.tolist()):
        for members, classes in groups:
            if c not in classes and d not in classes:
                members.append(p)
                classes.update((c, d))
                break
        else:
            groups.append(([p], {c, d}))
    return [np.array(members) for members, _ in groups]


class ClassPrices:
    """Prices of the class counts and of the shared counts, with the splits of the latter.

    Args:
        gain_CF: what each feature adds for each class (C,F).
        pairs_P2: class pairs that share exactly n - 1 features.
        per_class: n.
        kept: K, for a first guess at the prices.
    """

    def __init__(self, gain_CF: Array, pairs_P2: NDArray[np.int64], per_class: int, kept: int) -> None:
        self.gain_CF, self.pairs, self.per_class = gain_CF, pairs_P2, per_class
        self.groups = independent_groups(pairs_P2)
        self.smoothing = 0.005 * float(np.abs(gain_CF).max())
        depth = min(gain_CF.shape[1] - 1, 4 * kept)
        self.class_C: Array = -np.partition(-gain_CF, depth, axis=1)[:, depth]
        self.pair_P = np.full(len(pairs_P2), 0.1 * float(np.abs(gain_CF).max()))
        self.split_PF = np.repeat(self.pair_P[:, None] / 2, gain_CF.shape[1], axis=1)

    @property
    def constant(self) -> float:
        """Part of the bound that no selection changes: n Σ lambda - (n - 1) Σ theta."""
        return float(self.per_class * self.class_C.sum() - (self.per_class - 1) * self.pair_P.sum())

    def balance(self, gain_CN: Array, class_C: Array, pair_P: Array, split_PN: Array, sweeps: int) -> Array:
        """Balance the splits in place; returns gain - lambda + shares (C,N).

        The best split for a pair, the others given, makes the two classes' totals as equal as it can.
        """
        total_CN = gain_CN - class_C[:, None]
        np.clip(split_PN, 0.0, pair_P[:, None], out=split_PN)
        first_P, second_P = self.pairs[:, 0], self.pairs[:, 1]
        for group in self.groups:
            total_CN[first_P[group]] += split_PN[group]
            total_CN[second_P[group]] += pair_P[group, None] - split_PN[group]
        for _ in range(sweeps):
            for group in self.groups:
                whole = pair_P[group, None]
                first = total_CN[first_P[group]] - split_PN[group]
                second = total_CN[second_P[group]] - (whole - split_PN[group])
                share = np.clip((second + whole - first) / 2, 0.0, whole)
                total_CN[first_P[group]] = first + share
                total_CN[second_P[group]] = second + whole - share
                split_PN[group] = share
        return total_CN

    def worth(self, sweeps: int = 3) -> Array:
        """q, what selecting each feature is worth to all classes at these prices (F,)."""
        total_CF = self.balance(self.gain_CF, self.class_C, self.pair_P, self.split_PF, sweeps)
        worth_F: Array = np.maximum(total_CF, 0.0).sum(axis=0)
        return worth_F

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
        excess_N = self._smoothed(rows_N) + offset_N + use_N / penalty
        near_N = excess_N > -_MARGIN * excess_N.max(initial=0.0)
        everything_N, rows_N = rows_N, rows_N[near_N]
        offset_N, use_N = offset_N[near_N], use_N[near_N]
        gain_CN, split_PN = self.gain_CF[:, rows_N], self.split_PF[:, rows_N]
        num_classes, smooth, per_class = len(gain_CN), self.smoothing, self.per_class
        first_P, second_P = self.pairs[:, 0], self.pairs[:, 1]

        def lagrangian(prices: Array) -> tuple[float, Array]:
            class_C, pair_P = prices[:num_classes], np.maximum(prices[num_classes:], 0.0)
            scaled = self.balance(gain_CN, class_C, pair_P, split_PN, 1) / smooth
            decay = np.exp(-np.abs(scaled))
            worth_N = smooth * (np.maximum(scaled, 0.0) + np.log1p(decay)).sum(axis=0)
            active_CN = np.where(scaled > 0, 1.0, decay) / (1.0 + decay)
            excess_N = np.maximum(worth_N + offset_N + use_N / penalty, 0.0)
            shared_P = np.minimum(active_CN[first_P], active_CN[second_P]) @ (penalty * excess_N)
            value = per_class * class_C.sum() - (per_class - 1) * pair_P.sum() + penalty / 2 * excess_N @ excess_N
            slope = np.concatenate([per_class - active_CN @ (penalty * excess_N), shared_P - (per_class - 1)])
            return float(value), slope

        bounds = [(None, None)] * num_classes + [(0.0, None)] * len(self.pairs)
        start = np.concatenate([self.class_C, self.pair_P])
        found = minimize(
            lagrangian, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps, "maxcor": 10}
        )
        self.class_C, self.pair_P = found.x[:num_classes].copy(), np.maximum(found.x[num_classes:], 0.0)
        lagrangian(found.x)
        self.split_PF[:, rows_N] = split_PN
        return self._smoothed(everything_N)

    def _smoothed(self, rows_N: NDArray[np.int64]) -> Array:
        """The worth q of these features, smoothed, their splits balanced by one sweep."""
        split_PN = self.split_PF[:, rows_N]
        scaled = self.balance(self.gain_CF[:, rows_N], self.class_C, self.pair_P, split_PN, 1) / self.smoothing
        self.split_PF[:, rows_N] = split_PN
        worth_N: Array = self.smoothing * (np.maximum(scaled, 0.0) + np.log1p(np.exp(-np.abs(scaled)))).sum(axis=0)
        return worth_N

    def copy(self) -> ClassPrices:
        """A copy whose prices don't change with these."""
        other = object.__new__(ClassPrices)
        other.__dict__.update(self.__dict__)
        other.class_C, other.pair_P = self.class_C.copy(), self.pair_P.copy()
        other.split_PF = self.split_PF.copy()
        return other
