"""Pivot-aware similarity: make classes that share n-1 features prefer features that tell them apart.

An extension of this package to the quadratic problem of arXiv 2511.20779, which leaves its form as it is.
Axis letters: F features, C classes, P forced pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError
from chiqpm.statistics import Statistics

Array = NDArray[np.float64]


def separation(statistics: Statistics, pairs: Sequence[tuple[int, int]]) -> Array:
    """How far, and in which direction, each feature separates the two classes of each pair.

    `(m_fc - m_fc') / (sqrt((v_fc + v_fc')/2) + 0.1)` with mean m and variance v of the standardised feature within a
    class, divided by the largest absolute value.

    Args:
        statistics: of the dense model.
        pairs: P pairs of classes.

    Returns:
        Separation (F, P) in [-1, 1]; positive where the first class of the pair has more of the feature.
    """
    std_F1 = np.maximum(statistics.std_F, 1e-6)[:, None]
    mean_FC = (statistics.class_mean_FC - statistics.mean_F[:, None]) / std_F1
    variance_FC = statistics.class_variance_FC / std_F1**2
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    spread_FP = np.sqrt((variance_FC[:, first] + variance_FC[:, second]) / 2)
    separation_FP = (mean_FC[:, first] - mean_FC[:, second]) / (spread_FP + 0.1)
    largest = np.abs(separation_FP).max(initial=0.0)
    scaled_FP: Array = separation_FP / largest if largest > 0 else separation_FP
    return scaled_FP


def pivot_similarity(
    similarity_FC: Array, separation_FP: Array, pairs: Sequence[tuple[int, int]], weight: float
) -> Array:
    """Add to A, for each pair, `weight` times the separation for its first class, and subtract it for its second.

    What the two share cancels, so only the separating feature counts. The result is not renormalised.

    Args:
        similarity_FC: A (F, C), whose nearest columns gave the pairs.
        separation_FP: see `separation`.
        pairs: P pairs of classes.
        weight: gamma >= 0; 0 returns A.

    Raises:
        ChiqpmError: a negative weight, or a separation for another number of pairs.

    >>> pivot_similarity(np.zeros((1, 2)), np.array([[0.5]]), [(0, 1)], weight=2.0).tolist()
    [[1.0, -1.0]]
    """
    if weight < 0:
        raise ChiqpmError(f"the pivot weight must not be negative, received {weight}; 0 switches it off")
    if separation_FP.shape != (len(similarity_FC), len(pairs)):
        raise ChiqpmError(
            f"separation must be (F, P) = ({len(similarity_FC)}, {len(pairs)}), received {separation_FP.shape}"
        )
    result_FC = similarity_FC.copy()
    for pair, (first, second) in enumerate(pairs):
        result_FC[:, first] += weight * separation_FP[:, pair]
        result_FC[:, second] -= weight * separation_FP[:, pair]
    return result_FC
