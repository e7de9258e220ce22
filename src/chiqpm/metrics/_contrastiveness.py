"""Contrastiveness: is a feature either on or off?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from chiqpm.metrics._arrays import ArrayOrTensor
from chiqpm.metrics._mixture import Mixtures, fit_mixtures


def contrastiveness(features: ArrayOrTensor, seed: int) -> float:
    """One minus the overlap of a feature's silent and active state, mean over features (arXiv 2511.20779).

    The states are the two components of a Gaussian mixture fitted to the feature's values; their overlap is
    taken between the two normal distributions without their shares. A constant feature, such as one that is
    always silent, has one state only and contrastiveness 0.

    Args:
        features: Features of the training images (N, K), on the scale of the standardised model head, N at
            least 2.
        seed: Seed of the mixtures' random starts.

    Returns:
        A number in [0, 1]; 1 where every feature has two states that don't overlap.

    Raises:
        ChiqpmError: On a wrong shape, a single sample or values that aren't finite.

    Example:
        >>> round(contrastiveness(np.array([[0.0], [0.01], [2.0], [2.01]]), seed=0), 6)
        1.0
    """
    return float(1 - overlap_coefficient(fit_mixtures(features, seed)).mean())


def overlap_coefficient(mixtures: Mixtures) -> npt.NDArray[np.float64]:
    """Area under the smaller of the two components' densities, without their shares.

    Args:
        mixtures: Mixtures of K features.

    Returns:
        Overlap of each feature (K,), in [0, 1]; 1 for equal components.
    """
    # With the narrower component first, its density is the larger one exactly between the two crossings.
    order_K2 = mixtures.variance_K2.argsort(axis=1, kind="stable")
    mean_K, other_mean_K = np.take_along_axis(mixtures.mean_K2, order_K2, axis=1).T
    deviation_K, other_deviation_K = np.sqrt(np.take_along_axis(mixtures.variance_K2, order_K2, axis=1)).T

    # In units of the narrower component: it is N(0, 1), the other has mean `distance` and deviation `ratio`,
    # and the densities cross where a z² + 2 distance z - c = 0.
    distance_K = (other_mean_K - mean_K) / deviation_K
    ratio_K = other_deviation_K / deviation_K
    a_K = ratio_K**2 - 1
    c_K = distance_K**2 + 2 * ratio_K**2 * np.log(ratio_K)
    root_K = np.sqrt(distance_K**2 + a_K * c_K)
    overlap_K = np.ones_like(distance_K)
    for k in np.flatnonzero((distance_K != 0) | (a_K > 0)):
        a, c, distance, root = a_K[k], c_K[k], distance_K[k], root_K[k]
        # The stable pair of solutions: with equal widths one crossing is at infinity.
        far = -(distance + np.copysign(root, distance))
        near = -c / far
        crossings = np.array([near, far / a if a > 0 else np.copysign(np.inf, far)])
        low, high = crossings.min(), crossings.max()
        inside = ndtr(high) - ndtr(low)
        other_inside = ndtr((high - distance) / ratio_K[k]) - ndtr((low - distance) / ratio_K[k])
        overlap_K[k] = 1 - inside + other_inside
    clipped: npt.NDArray[np.float64] = np.clip(overlap_K, 0.0, 1.0)
    return clipped
