"""Do a feature's most activating images show one thing or two: is it polysemantic?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chiqpm.explain.inputs import finite_array

FEWEST_IMAGES = 12
"""Fewer images say nothing about clusters."""
_SIMULATIONS = 40
_STARTS = 4
_LLOYD_STEPS = 25


@dataclass(frozen=True, eq=False)
class TwoClusters:
    """The best division of points in two, and how far it beats chance.

    Attributes:
        second_T: True for the points of the second, smaller cluster.
        index: sum of squares within the two clusters over the total one, in [0, 1]; small where they lie apart.
        expected: mean of the index for points of one normal distribution with the same covariance.
        z: how many standard deviations the index lies below that mean; 0 where nothing can be said.
    """

    second_T: NDArray[np.bool_]
    index: float
    expected: float
    z: float


def two_clusters(points_TD: Any, *, seed: int = 0) -> TwoClusters:
    """Divide points in two by 2-means, and compare with what one normal distribution would give (SigClust).

    Any cloud of points can be divided; only a division much tighter than that of a normal cloud with the same
    covariance speaks of two kinds. (Liu, Hayes, Nobel, Marron, Statistical Significance of Clustering for
    High-Dimension, Low-Sample Size Data, JASA 2008; here with the sample's own covariance.)

    Args:
        points_TD: points (T, D).
        seed: of the starts and of the simulated clouds.

    Raises:
        ChiqpmError: not a finite matrix.

    >>> clusters = two_clusters(np.repeat([[0.0, 1.0], [5.0, 0.0]], 10, axis=0) + np.eye(20, 2) / 9)
    >>> int(clusters.second_T.sum()), bool(clusters.index < clusters.expected)
    (10, True)
    """
    points = finite_array(points_TD, "the points", ("T", "D")).astype(np.float64)
    nothing = TwoClusters(np.zeros(len(points), dtype=bool), 1.0, 1.0, 0.0)
    if len(points) < FEWEST_IMAGES:
        return nothing
    centred = points - points.mean(axis=0)
    # In the axes of the principal components nothing changes but the number of columns.
    _, deviation, axes = np.linalg.svd(centred, full_matrices=False)
    kept = deviation > 1e-9 * max(float(deviation[0]), 1e-30)
    if not kept.any() or deviation[0] < 1e-9:
        return nothing
    scores = centred @ axes[kept].T
    generator = np.random.default_rng(seed)
    second, index = _two_means(scores, generator)
    spread = deviation[kept] / np.sqrt(len(points))
    simulated = [
        _two_means(generator.standard_normal(scores.shape) * spread, generator)[1] for _ in range(_SIMULATIONS)
    ]
    expected, scatter = float(np.mean(simulated)), float(np.std(simulated, ddof=1))
    if 2 * second.sum() > len(second):
        second = ~second
    return TwoClusters(second, index, expected, (expected - index) / max(scatter, 1e-9))


def _two_means(points_TD: NDArray[np.float64], generator: np.random.Generator) -> tuple[NDArray[np.bool_], float]:
    """Return the division with the smallest sum of squares over several starts, and its index.

    The first start is the sign of the first column, which varies most; the others are random. All run at once.
    """
    count = len(points_TD)
    centred = points_TD - points_TD.mean(axis=0)
    total = max(float((centred**2).sum()), 1e-30)
    second_RT = np.concatenate([(centred[:, 0] > 0)[None], generator.random((_STARTS, count)) < 0.5])
    for _ in range(_LLOYD_STEPS):
        size_R1, gap_RD, middle_RD = _means(centred, second_RT)
        moved_RT = (centred @ gap_RD.T - (middle_RD * gap_RD).sum(axis=1)).T > 0
        # A division that has become empty stays as it was.
        moved_RT = np.where((size_R1 == 0) | (size_R1 == count), second_RT, moved_RT)
        if (moved_RT == second_RT).all():
            break
        second_RT = moved_RT
    size_R1, gap_RD, _ = _means(centred, second_RT)
    # Between the clusters: n1 n2 / n times the squared distance of the means.
    between_R = size_R1[:, 0] * (count - size_R1[:, 0]) / count * (gap_RD**2).sum(axis=1)
    best = int(between_R.argmax())
    return second_RT[best], max(0.0, 1.0 - float(between_R[best]) / total)


def _means(
    centred_TD: NDArray[np.float64], second_RT: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sizes of the second clusters (R, 1), differences of the two means (R, D), and their middles (R, D)."""
    count = len(centred_TD)
    size_R1 = second_RT.sum(axis=1, keepdims=True).astype(np.float64)
    sum_RD = second_RT @ centred_TD
    # The points are centred: what the second cluster has, the first one lacks.
    mean_second, mean_first = sum_RD / np.maximum(size_R1, 1.0), -sum_RD / np.maximum(count - size_R1, 1.0)
    return size_R1, mean_second - mean_first, (mean_second + mean_first) / 2
