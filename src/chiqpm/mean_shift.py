"""Mean shift of numbers on a line, in milliseconds where the general algorithm takes seconds.

The result is scikit-learn's `MeanShift` with `estimate_bandwidth`: a flat kernel from every point, then the densest
means, none nearer to another than the bandwidth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MOST_STEPS = 300
_QUANTILE = 0.3
_BLOCK = 1024


def mean_shift(values_N: Array) -> NDArray[np.int64]:
    """Cluster numbers.

    Args:
        values_N: finite numbers (N,), at least one.

    Returns:
        Cluster of each number (N,); 0 is the cluster with the most members.

    >>> near, far = np.linspace(0.0, 1.0, 15), np.linspace(8.0, 8.2, 4)
    >>> np.flatnonzero(mean_shift(np.concatenate([near, far])) == 0).tolist() == list(range(15))
    True
    """
    bandwidth = mean_neighbour_distance(values_N)
    if bandwidth == 0:
        # More than 30% of the numbers are one number, wherever one looks from: that number is the cluster.
        distinct, label_N = np.unique(values_N, return_inverse=True)
        return _biggest_first(label_N.astype(np.int64), len(distinct))
    centres = _centres(np.sort(values_N), bandwidth)
    label_N = np.abs(values_N[:, None] - centres).argmin(axis=1)
    return _biggest_first(label_N, len(centres))


def mean_neighbour_distance(values_N: Array) -> float:
    """Mean over all numbers of the distance within which 30% of them lie, the number itself included."""
    count = max(1, int(len(values_N) * _QUANTILE))
    total = 0.0
    for start in range(0, len(values_N), _BLOCK):
        distance = np.abs(values_N[start : start + _BLOCK, None] - values_N)
        total += float(np.partition(distance, count - 1, axis=1)[:, count - 1].sum())
    return total / len(values_N)


def _centres(sorted_N: Array, bandwidth: float) -> Array:
    """Shift every number to the mean of its neighbourhood until it rests; keep the densest of near means."""
    sum_N = np.concatenate([[0.0], np.cumsum(sorted_N)])
    mean_N, moving_N = sorted_N.copy(), np.ones(len(sorted_N), dtype=np.bool_)
    density_N = np.zeros(len(sorted_N), dtype=np.int64)
    for _ in range(_MOST_STEPS):
        low = np.searchsorted(sorted_N, mean_N[moving_N] - bandwidth, side="left")
        high = np.searchsorted(sorted_N, mean_N[moving_N] + bandwidth, side="right")
        shifted = (sum_N[high] - sum_N[low]) / (high - low)
        still = np.abs(shifted - mean_N[moving_N]) > 1e-3 * bandwidth
        mean_N[moving_N], density_N[moving_N] = shifted, high - low
        moving_N[moving_N] = still
        if not moving_N.any():
            break
    kept: list[float] = []
    for place in np.lexsort((-mean_N, -density_N)):
        if all(abs(mean_N[place] - other) > bandwidth for other in kept):
            kept.append(float(mean_N[place]))
    return np.array(kept)


def _biggest_first(label_N: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    rank = np.argsort(np.argsort(-np.bincount(label_N, minlength=count), kind="stable"), kind="stable")
    return rank[label_N]
