"""Correlation: is a feature told apart from its nearest relative?"""

from __future__ import annotations

import numpy as np

from chiqpm.errors import ChiqpmError
from chiqpm.metrics._arrays import ArrayOrTensor, floats
from chiqpm.metrics._cosine import cosine_of_rows


def correlation(features: ArrayOrTensor) -> float:
    """Each feature's largest cosine with another feature, mean over features (arXiv 2511.20779).

    The cosine is uncentred and keeps its sign. A feature that is zero everywhere has cosine 0 with every
    other.

    Args:
        features: Features of the training images (N, K), K at least 2.

    Returns:
        A number in [-1, 1]; for features that are never negative in [0, 1]. The lower, the less redundant.

    Raises:
        ChiqpmError: On a wrong shape, fewer than two features or values that aren't finite.

    Example:
        >>> round(correlation(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])), 3)
        0.667
    """
    features_NK = floats(features, "features", "NK")
    if features_NK.shape[1] < 2:
        raise ChiqpmError("features holds one feature; at least two are needed to compare them.")
    cosine_KK = cosine_of_rows(features_NK.T)
    np.fill_diagonal(cosine_KK, -np.inf)
    return float(cosine_KK.max(axis=1).mean())
